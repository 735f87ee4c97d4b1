"""What was run in the sessions of a listing (L4): from the index as far as that knows it, else from the recordings.

The index of the state store knows kinds and ends; command lines stand in recordings alone. So a short listing looks
into the files, and a long one shows what the index has.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import click

from bastion.cli.bucket import Elsewhere, in_bucket
from bastion.cli.recordings import copies_of
from bastion.errors import StoreFault
from bastion.recording.channels import ChannelSummary
from bastion.recording.listed import Listed
from bastion.recording.listing import SCHEME, Ran, Recordings
from bastion.recording.ran import Asked, asked_of, asked_text, unpack
from bastion.recording.redacting import NOTHING, Redaction

# Files that one listing looks into, half a second at worst. A longer listing looks into none.
MOST_LOOKED = 200

Told = tuple[tuple[Asked, ...], int | None]
"""What was asked, and how many channels were not looked at; None: nobody knows."""


class Look:
    """What was run, of each session of one listing."""

    def __init__(
        self, recordings: Recordings, config: Path | None = None, redaction: Redaction = NOTHING
    ) -> None:
        """With `config` recordings in its bucket are fetched where only they know what was asked for. Command lines are
        masked by `redaction`."""
        self._recordings, self._redaction = recordings, redaction
        self._config = config
        self.copies = copies_of(config)
        self._away: dict[str, Elsewhere] | None = None
        self._typed: Collection[str] = ()
        self._known: dict[str, Told] = {}
        self._short = True
        self._without_lines = False

    def place(self, path: str) -> Path | None:
        """The file of a session by its path in the folder; None for "", which a tunnel has, and for an object: a
        listing fetches nothing but what is asked for by its command line."""
        return self._recordings.directory / path if path and not path.startswith(SCHEME) else None

    def expect(self, count: int) -> None:
        """So many sessions are about to be shown."""
        self._short = count <= MOST_LOOKED

    def know(self, typed: Collection[str]) -> None:
        """The sessions in which what is asked for as `command` was typed, as far as the reading index has that."""
        self._typed = typed

    def matches(self, one: Listed, kind: str, ended: str, command: re.Pattern[str] | None) -> bool:
        """Is there a channel of this `kind` that ended so, and with a command line in which `command` is found? What
        was typed at a shell has no end of its own."""
        if one.id in self._typed and not ended and kind in ("", "shell"):
            return True
        told = unpack(one.ran) if command is None else None
        if told is None:
            told = self._looked(one, whole=True)[0]
        return any(
            (not kind or asked.kind == kind)
            and (not ended or _ended(asked, ended))
            and (command is None or command.search(asked.what) is not None)
            for asked in told
        )

    def _looked(self, one: Listed, whole: bool = False) -> Told:
        known = self._known.get(one.id)
        if known is None:
            path = self.place(one.path)
            if path is None and one.path:
                ran = self._fetched(one) if whole else None
                if ran is None:
                    return unpack(one.ran) or (), 0
            else:
                ran = Ran((), 0) if path is None else self._recordings.ran(path, whole)
            known = self._known[one.id] = tuple(map(self._asked, ran.channels)), ran.more
        return known

    def _asked(self, channel: ChannelSummary) -> Asked:
        asked = asked_of(channel)
        return replace(asked, what=self._redaction.mask(asked.what)) if asked.what else asked

    def _fetched(self, one: Listed) -> Ran | None:
        """Of a recording in the bucket; None for one that cannot be had, which is told."""
        if self.copies is None:
            return None
        if self._away is None:
            self._away = {away.session: away for away in in_bucket(self._config, "")}
        away = self._away.get(one.id)
        if away is None:
            return None
        try:
            with self.copies.copy(away, one.id) as entry:
                return self._recordings.ran(entry.path, whole=True)
        except StoreFault as fault:
            self.copies.miss(away, fault.text)
            return None

    def _told(self, one: Listed) -> Told | None:
        if one.id in self._known or (self._short and self.place(one.path) is not None):
            return self._looked(one)
        asked = unpack(one.ran)
        if asked is None and not one.path:
            return (), 0
        self._without_lines = True
        return None if asked is None else (asked, 0)

    def text(self, one: Listed) -> str:
        """`exec rm -rf /x (exit 0); shell; +3 more`: what was asked of each channel, those that printed nothing too."""
        if not self._short and one.ran and one.id not in self._known:
            self._without_lines = True
            return _kept_text(one.ran) or ""
        told = self._told(one)
        return "" if told is None else asked_text(*told)

    def document(self, one: Listed) -> dict[str, Any]:
        """The same as JSON values; null for what is not known."""
        told = self._told(one)
        if told is None:
            return {"ran": None, "channels_not_listed": None}
        return {"ran": [asked.document() for asked in told[0]], "channels_not_listed": told[1]}

    def tell(self) -> None:
        """Says on standard error when command lines were left out."""
        if self.copies is not None:
            self.copies.conclude()
        if self._without_lines:
            text = f"command lines are shown for up to {MOST_LOOKED} sessions: ask for fewer, or give --limit"
            click.echo(f"bastion: {text}", err=True)


@lru_cache(maxsize=4096)
def _kept_text(ran: str) -> str | None:
    """What an index keeps, in words; sessions are much alike."""
    asked = unpack(ran)
    return None if asked is None else asked_text(asked)


def _ended(asked: Asked, wanted: str) -> bool:
    if wanted == "failed":
        return asked.exit not in ("", "exit 0")
    return asked.exit in (f"exit {wanted}", f"killed by SIG{wanted.removeprefix('SIG')}")
