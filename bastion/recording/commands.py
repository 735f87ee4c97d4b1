"""The commands of a recording (L1, pure): what was asked of each channel, and what was typed at a shell.

Invariant: exec and subsystem requests are exact. What was typed is read off the screen (typed.py) and named as what
it is by `source`; what a target did not show, a password above all, is never in it. Nothing is ever enforced by it.
Memory is bounded: MOST_CHANNELS channels at once, LONGEST_PROGRAM characters of a command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from bastion.recording.channels import DEFAULT_SIZE, LONGEST_PROGRAM, MOST_CHANNELS, size_of
from bastion.recording.format import FormatError, Kind, Recorded
from bastion.recording.reader import Reader
from bastion.recording.running import Typed
from bastion.recording.typed import Typing
from bastion.sides import Side

# Terminals that are drawn at once; a screen of usual size is some 100 KiB with its history.
MOST_TERMINALS = 256

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


Lost = Callable[[int, float], None]
"""Told of a terminal that was made to cost too much to draw: its channel, and from which second on nothing typed there
is known."""


def lost_text(channel: int, at: float) -> str:
    """What `Lost` was told, for people."""
    return (
        f"channel {channel} was made to cost too much to draw: what was typed after {at:.0f} s is not listed"
    )


def commands_of(reader: Reader, lost: Lost | None = None) -> Iterator[Command]:
    """Every command of a recording, each when all is known of it: in the order in which they ended.

    Those without a known end come last.
    """
    yield from _Commands(reader, lost).walk()


class _Commands:
    def __init__(self, reader: Reader, lost: Lost | None) -> None:
        self._reader = reader
        self._lost = lost
        self._asked: dict[int, Command] = {}
        self._terminals: dict[int, Typing] = {}
        self._ready: list[Command] = []
        self._now = 0.0

    def walk(self) -> Iterator[Command]:
        for event in self._reader:
            now = self._now = event.time_us / 1e6
            if event.channel == 0:
                continue
            if event.kind is Kind.NOTE:
                yield from self._note(event, now)
            elif (terminal := self._terminals.get(event.channel)) is not None:
                if event.kind is Kind.DATA and event.side is Side.TARGET:
                    if not terminal.output(event.payload, now) and self._lost is not None:
                        self._lost(event.channel, now)
                elif event.kind is Kind.DATA:
                    terminal.typed(event.payload)
                elif event.kind is Kind.GAP and event.side is Side.TARGET:
                    terminal.gap()
            if self._ready:
                yield from self._taken()
        for terminal in self._terminals.values():
            terminal.close(self._now)
        yield from self._taken()
        yield from self._asked.values()

    def _taken(self) -> list[Command]:
        ready, self._ready = self._ready, []
        return ready

    def _note(self, event: Recorded, now: float) -> Iterator[Command]:
        try:
            note = event.note
        except FormatError:
            return
        name, number = note.get("event"), event.channel
        request = str(note.get("name"))
        if name in ("request_forwarded", "request_refused") and request in _ASKED:
            command = self._request(note, number, now)
            if name == "request_refused":
                yield replace(command, refused=str(note.get("reason", "?"))[:80], end=now)
            elif len(self._asked) < MOST_CHANNELS:
                self._asked[number] = command
        elif name == "request_forwarded" and request == "pty-req":
            self._terminal(number, note.get("detail"))
        elif name == "window_changed" and number in self._terminals:
            size = size_of(note)
            if size is not None:
                self._terminals[number].resize(size)
        elif number in self._asked:
            yield from self._of_asked(name, note, number, now)
        if name == "channel_closed" and number in self._terminals:
            self._terminals.pop(number).close(now)

    def _of_asked(self, name: object, note: dict[str, Any], number: int, now: float) -> Iterator[Command]:
        asked = self._asked[number]
        if name == "exit_status" and type(note.get("status")) is int:
            self._asked[number] = replace(asked, exit_status=note["status"], end=now)
        elif name == "exit_signal":
            self._asked[number] = replace(asked, signal=str(note.get("signal", ""))[:40], end=now)
        elif name == "request_answered" and note.get("name") == asked.kind and note.get("ok") is False:
            yield replace(self._asked.pop(number), refused="by the target", end=now)
        elif name == "channel_closed":
            del self._asked[number]
            yield asked if asked.end is not None else replace(asked, end=now)

    def _terminal(self, number: int, detail: object) -> None:
        if len(self._terminals) < MOST_TERMINALS:
            size = size_of(detail) if isinstance(detail, dict) else None
            self._terminals[number] = Typing(
                size or DEFAULT_SIZE, self._reader.header.input, lambda typed: self._typed(typed, number)
            )

    def _typed(self, typed: Typed, channel: int) -> None:
        header = self._reader.header
        self._ready.append(
            Command(
                header.session_id,
                channel,
                "typed",
                typed.text,
                typed.start,
                header.started_at + typed.start,
                typed.offset,
                "osc133" if typed.marked else "heuristic",
                typed.end,
                typed.exit_status,
                prompt=typed.prompt,
            )
        )

    def _request(self, note: dict[str, Any], channel: int, now: float) -> Command:
        detail = note.get("detail")
        detail = detail if isinstance(detail, dict) else {}
        kind = str(note["name"])
        text = str(detail.get("command" if kind == "exec" else "subsystem", ""))[:LONGEST_PROGRAM]
        header = self._reader.header
        return Command(header.session_id, channel, kind, text, now, header.started_at + now, now)
