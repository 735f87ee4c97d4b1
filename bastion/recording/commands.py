"""The commands of a recording (L1, pure): what was asked of each channel, and what was typed at a shell.

Invariant: exec and subsystem requests are exact. What was typed is read off the screen (typed.py) and named as what
it is by `source`; what a target did not show, a password above all, is never in it. Nothing is ever enforced by it.
Memory is bounded: MOST_CHANNELS channels at once, LONGEST_PROGRAM characters of a command.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from bastion.recording.channels import LONGEST_PROGRAM, MOST_CHANNELS
from bastion.recording.format import FormatError, Kind, Recorded
from bastion.recording.reader import Reader

_ASKED = frozenset(("exec", "subsystem"))


@dataclass(frozen=True, slots=True)
class Command:
    """One command. Times are seconds from the session's start, `at` is `start` in seconds since 1970.

    `kind`: exec, subsystem, typed; lobby for the gateway's own, which is in no session. `source` is how it is known:
    `request` (exactly), `osc133` (the target's shell marked it), `heuristic`. `offset` is where to open the replay of
    `channel` to see it. `end`, `exit_status` and `signal` are None and "" where they are not known. `refused` says by
    which rule it was not run, or that the target would not. `prompt` is what stood before a typed one.
    """

    session: str
    channel: int
    kind: str
    text: str
    start: float
    at: float
    offset: float
    source: str = "request"
    end: float | None = None
    exit_status: int | None = None
    signal: str = ""
    refused: str = ""
    prompt: str = ""

    def document(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def commands_of(reader: Reader) -> Iterator[Command]:
    """Every command of a recording, each when all is known of it: in the order in which they ended.

    Those without a known end come last. Raises FormatError for notes that cannot be read.
    """
    yield from _Commands(reader).walk()


class _Commands:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._asked: dict[int, Command] = {}

    def walk(self) -> Iterator[Command]:
        for event in self._reader:
            if event.channel == 0:
                continue
            if event.kind is Kind.NOTE:
                yield from self._note(event, event.time_us / 1e6)
        yield from self._asked.values()

    def _note(self, event: Recorded, now: float) -> Iterator[Command]:
        try:
            note = event.note
        except FormatError:
            return
        name, number = note.get("event"), event.channel
        asked = self._asked.get(number)
        if name in ("request_forwarded", "request_refused") and note.get("name") in _ASKED:
            command = self._request(note, number, now)
            if name == "request_refused":
                yield replace(command, refused=str(note.get("reason", "?"))[:80], end=now)
            elif len(self._asked) < MOST_CHANNELS:
                self._asked[number] = command
        elif asked is None:
            return
        elif name == "exit_status" and type(note.get("status")) is int:
            self._asked[number] = replace(asked, exit_status=note["status"], end=now)
        elif name == "exit_signal":
            self._asked[number] = replace(asked, signal=str(note.get("signal", ""))[:40], end=now)
        elif name == "request_answered" and note.get("name") == asked.kind and note.get("ok") is False:
            yield replace(self._asked.pop(number), refused="by the target", end=now)
        elif name == "channel_closed":
            del self._asked[number]
            yield asked if asked.end is not None else replace(asked, end=now)

    def _request(self, note: dict[str, Any], channel: int, now: float) -> Command:
        detail = note.get("detail")
        detail = detail if isinstance(detail, dict) else {}
        kind = str(note["name"])
        text = str(detail.get("command" if kind == "exec" else "subsystem", ""))[:LONGEST_PROGRAM]
        header = self._reader.header
        return Command(header.session_id, channel, kind, text, now, header.started_at + now, now)
