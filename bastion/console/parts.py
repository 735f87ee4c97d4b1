"""What the player asks of a recording (L4), in the process that opened it: what there is, and one part after the other;
and the tree of its files.

Invariant: of a recording that the reading index knows, no more is read than what is shown; of another, whatever is
asked for is bounded in time here, and by what its process may cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

import orjson

from bastion.indexing.playing import IndexedSession, Played
from bastion.indexing.store import IndexUnfit
from bastion.indexing.words import Question
from bastion.recording.channels import ChannelSummary, Survey, choose_channel, survey
from bastion.recording.commands import Command, commands_of
from bastion.recording.file_tree import FileTree, walk
from bastion.recording.format import Kind
from bastion.recording.page import change_values, command_values
from bastion.recording.reader import Place, Reader
from bastion.recording.redacted import masked_text
from bastion.recording.redacting import Redaction
from bastion.recording.render import strings_words
from bastion.recording.resizes import Resizes
from bastion.recording.segments import BRIEF, USUAL, Cutter, Segment
from bastion.recording.transcript import Mark
from bastion.wire.printable import printable

MOST_CHANNELS: Final = 500
MOST_COMMANDS: Final = 10_000
COMMANDS_SIZE: Final = 2 << 20
"""Characters of all commands that the player gets."""

MOST_HITS: Final = 500
LONGEST_HIT: Final = 400

SECONDS: Final = 4.0
"""Of a recording that is not in the reading index: how long commands are looked for, and then parts are cut that the
page gets at once."""

FILES_SECONDS: Final = 10.0
"""That a recording is looked through for its tree of files."""

LOOK_AT: Final = 200
"""Events between two looks at the clock."""

AHEAD: Final = 4 << 20
"""Bytes of such parts."""

NOT_INDEXED: Final = (
    "not in the reading index as it is now: what is far behind is drawn from the beginning, which takes its time;"
    " `bastion index` makes it quick"
)


class Parts:
    """Of one recording, opened with what is masked in it."""

    def __init__(
        self,
        reader: Reader,
        indexed: IndexedSession | None,
        redaction: Redaction,
        monotonic: Callable[[], float],
    ) -> None:
        self._reader, self._indexed, self._redaction = reader, indexed, redaction
        self._monotonic = monotonic

    def film(self, wanted: int | None, at: float, words: str) -> Iterator[bytes]:
        """What the page gets: who and when, channels, marks, and the part at `at` seconds; of what is not indexed as
        many parts as come in time. JSON, in pieces. Raises ChannelNotChosen."""
        played = self._played()
        channels = played.channels
        chosen = choose_channel(channels.channels, wanted)
        length = self._reader.tail().time_us / 1e6
        every = [chosen, *(one for one in channels.channels.values() if one is not chosen)][:MOST_CHANNELS]
        at = min(max(at, 0.0), length)
        commands, cut = self._commands()
        head = {
            "session": self._reader.header.session_id,
            "heading": self._heading(played, len(channels.channels) - len(every) + channels.more),
            "channels": [[one.id, one.label, *one.size] for one in sorted(every, key=lambda one: one.id)],
            "channel": chosen.id,
            "duration": round(length, 6),
            "at": at,
            "commands": commands,
            "resizes": [[round(one.time, 3), *one[1:]] for one in played.resizes],
            "hits": self._hits(words),
            "words": list(Question.of(words).terms),
            "cut": cut,
        }
        yield orjson.dumps(head)[:-1] + b',"parts":['
        for number, part in enumerate(self._first(chosen, at)):
            yield b"," * (number > 0) + part
        yield b"]}"

    def part(self, number: int, at: float, brief: bool) -> bytes:
        """One part. Raises ChannelNotChosen."""
        channel = self._channel(number)
        cutter = Cutter(self._reader, channel, at, self._keyframe)
        return _packed(number, cutter.next(BRIEF if brief else USUAL))

    def _first(self, channel: ChannelSummary, at: float) -> Iterator[bytes]:
        if self._indexed is not None:
            yield _packed(channel.id, Cutter(self._reader, channel, at, self._keyframe).next(BRIEF))
            return
        until, size, cutter = self._monotonic() + SECONDS, 0, Cutter(self._reader, channel)
        while True:
            part = cutter.next()
            packed = _packed(channel.id, part)
            size += len(packed)
            yield packed
            if part.ended or size > AHEAD or self._monotonic() > until:
                return

    def _played(self) -> Played:
        if self._indexed is not None:
            return self._indexed.played
        resizes = Resizes()
        return Played(survey(resizes.watch(self._reader)), {}, tuple(resizes.found))

    def _channel(self, number: int) -> ChannelSummary:
        """What is known of a channel before it shows anything."""
        if self._indexed is not None:
            return choose_channel(self._indexed.played.channels.channels, number)
        found = Survey()
        for event in self._reader:
            found.add(event)
            if event.channel == number and event.kind is not Kind.NOTE:
                break
        return choose_channel(found.channels, number)

    def _keyframe(self, channel: int, time: float) -> tuple[float, Place, bytes | None] | None:
        try:
            return None if self._indexed is None else self._indexed.keyframe(channel, time)
        except IndexUnfit:
            return None

    def _heading(self, played: Played, more: int) -> list[str]:
        header = self._reader.header
        who = f"{header.session_id}: {header.identity} as {header.login} on {header.target}"
        counts = played.strings.values()
        said = [
            printable(who, 1024),
            f"and {more} channels that are not listed here" if more else "",
            strings_words(sum(one for one, _ in counts), sum(one for _, one in counts)),
            masked_text(self._reader),
            NOT_INDEXED if self._indexed is None else self._indexed.problem,
        ]
        return [printable(one, 2000) for one in said if one]

    def _commands(self) -> tuple[list[Any], str]:
        """Commands for the player, and what is to be said where they are not all."""
        found, late = list[Command](), False
        if self._indexed is not None:
            found = self._indexed.commands()
        else:
            until = self._monotonic() + SECONDS
            with self._reader.aside():
                for one in commands_of(self._reader):
                    found.append(one)
                    if late := self._monotonic() > until:
                        break
        found.sort(key=lambda one: (one.start, one.channel))
        given, size = [], 0
        for one in found[:MOST_COMMANDS]:
            values = command_values(replace(one, text=self._redaction.mask(one.text)))
            size += len(values[3])
            if size > COMMANDS_SIZE:
                break
            given.append(values)
        missing = late or len(given) < len(found)
        return given, "not all commands are listed: `bastion commands` has them" if missing else ""

    def _hits(self, words: str) -> list[Any]:
        """Where the words stand: `[time, channel, line]`."""
        if self._indexed is None or not Question.of(words).terms:
            return []
        try:
            found = self._indexed.hits(words, MOST_HITS)
        except IndexUnfit:
            return []
        shown = [
            [round(hit.time, 3), hit.channel, printable(self._redaction.mask(hit.text), LONGEST_HIT)]
            for hit in found
        ]
        return sorted(shown)


def files_of(reader: Reader, monotonic: Callable[[], float]) -> dict[str, Any]:
    """What was done with files: `places`, how many deeds are `more`, and until which second was looked, None: all."""
    tree, until = FileTree(), monotonic() + FILES_SECONDS
    cut: float | None = None
    for number, time in enumerate(walk(reader, tree)):
        if number % LOOK_AT == LOOK_AT - 1 and monotonic() > until:
            cut = time
            break
    return {"places": tree.top.document()["below"], "more": tree.more, "cut": cut}


def _packed(channel: int, part: Segment) -> bytes:
    """A part as the player reads it; what stands in lines is `[time, text, 1 for ours]`."""
    lines: Iterable[list[Any]] = (
        [round(one.time, 3), one.text, int(isinstance(one, Mark))] for one in part.lines if one.text.strip()
    )
    changes = [change_values(one) for one in part.changes]
    for values in changes[:1]:
        values[0] = round(part.begin, 6)  # no later than the begin
    document = {
        "channel": channel,
        "from": round(part.begin, 6),
        "until": round(part.until, 6),
        "ended": part.ended,
        "changes": changes,
        "lines": list(lines),
        "more": part.more,
    }
    return orjson.dumps(document)
