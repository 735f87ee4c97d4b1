"""What was run in a session, for its line of a listing (L4): looked up in the recordings, since no index knows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bastion.recording.listing import Ran, Recordings

# Channels that one line of the table names; --json has them all.
MOST_NAMED = 8

# Files that one listing looks into: 5 s at worst. An index lists 100,000 sessions at once.
MOST_LOOKED = 2000


class Look:
    """Looks into the recordings of one listing, into as many as may be."""

    def __init__(self, recordings: Recordings) -> None:
        self._recordings = recordings
        self._looked = 0
        self._passed_over = 0

    def place(self, path: str) -> Path | None:
        """The file of a session by its path in the folder; None for "", which a tunnel has."""
        return self._recordings.directory / path if path else None

    def _ran(self, path: Path | None) -> Ran | None:
        if path is None:
            return None
        if self._looked >= MOST_LOOKED:
            self._passed_over += 1
            return None
        self._looked += 1
        return self._recordings.ran(path)

    def text(self, path: Path | None) -> str:
        """`exec rm -rf /x (exit 0); shell; +3 more`: what was asked of each channel, those that printed nothing too."""
        ran = self._ran(path)
        return "" if ran is None else _text(ran)

    def document(self, path: Path | None) -> dict[str, Any]:
        """The same as JSON values; null for what was not looked at."""
        ran = self._ran(path)
        if ran is None:
            return {"ran": None, "channels_not_listed": None}
        return {"ran": [channel.document() for channel in ran.channels], "channels_not_listed": ran.more}

    def tell(self) -> None:
        """Says on standard error that there was more than was looked at."""
        if self._passed_over:
            text = f"what was run is shown for the first {MOST_LOOKED} sessions: ask for fewer, with --since or --user"
            click.echo(f"bastion: {text}", err=True)


def _text(ran: Ran) -> str:
    parts = []
    for channel in ran.channels[:MOST_NAMED]:
        moved = f", {channel.files} files" if channel.files else ""
        parts.append(f"{channel.what} ({channel.exit}{moved})" if channel.exit else channel.what + moved)
    more = len(ran.channels) - len(parts)
    if ran.more is None:
        parts.append(f"+{more} and perhaps more" if more else "perhaps more")
    elif more + ran.more:
        parts.append(f"+{more + ran.more} more")
    return "; ".join(parts)
