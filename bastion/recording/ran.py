"""What was asked of a session's channels, and how it ended (L1, pure): for one line of a listing, and to choose by.

Invariant: of a bounded size, whatever a session was. What a gateway keeps of it in the state store (`AskedSoFar`) has
no word that a peer chose: kinds are of a closed set, an end is a number or the letters of a signal. Command lines
(`Asked.what`) come from recordings alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

from bastion.recording.channels import ChannelSummary
from bastion.recording.scp import transfer_of

MOST_ASKED: Final = 16
"""Different things, by kind and end, that a gateway keeps of one session; the rest are counted as OTHERS."""

MOST_NAMED: Final = 8
"""Channels that one line of a table names; `--json` has all that are known."""

OTHERS: Final = "more"

KINDS: Final = (
    "shell",
    "exec",
    "sftp",
    "scp",
    "rsync",
    "subsystem",
    "direct-tcpip",
    "forwarded-tcpip",
    "x11",
    "agent",
    "streamlocal",
    "session",
    "other",
)
"""What a channel can be."""

_FORWARDS: Final = {
    "auth-agent@openssh.com": "agent",
    "direct-streamlocal@openssh.com": "streamlocal",
    "forwarded-streamlocal@openssh.com": "streamlocal",
}

_SIGNAL: Final = re.compile(r"[A-Z0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class Asked:
    """One channel, or `count` that were the same. `kind` is one of KINDS, `exit` its end in words (`exit 0`, `killed
    by SIGTERM`, "" when it has none), `what` the command line, safe to show, "" where it is not known."""

    kind: str
    exit: str = ""
    count: int = 1
    what: str = ""
    files: int = 0

    @property
    def text(self) -> str:
        """`exec rm -rf /x (exit 0)`, `exec x3 (exit 1)`."""
        words = self.what or self.kind
        if self.count > 1:
            words += f" x{self.count}"
        ended = ", ".join(part for part in (self.exit, f"{self.files} files" if self.files else "") if part)
        return f"{words} ({ended})" if ended else words

    def document(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return asdict(self)


def kind_of(request: str, argument: str = "") -> str:
    """The kind of a channel by its program request, and by the command line or the subsystem's name."""
    if request == "exec":
        return transfer_of(argument)[0] or "exec"
    if request == "subsystem":
        return "sftp" if argument == "sftp" else "subsystem"
    return request if request in KINDS else "other"


def exit_words(status: int) -> str:
    """How a program ended by its number."""
    return f"exit {status}"


def signal_words(signal: str) -> str:
    """How a program ended by a signal, by its name without SIG."""
    return f"killed by SIG{signal}" if _SIGNAL.fullmatch(signal) else "killed by a signal"


def asked_of(channel: ChannelSummary) -> Asked:
    """What a recording tells of one channel."""
    request, _, argument = channel.program.removesuffix(" (refused)").partition(" ")
    kind = kind_of(request, argument) if request else _FORWARDS.get(channel.kind, channel.kind)
    return Asked(kind if kind in KINDS else "other", channel.exit, 1, channel.what, channel.files)


def kinds_of(channels: Iterable[ChannelSummary]) -> tuple[Asked, ...]:
    """What a gateway would have kept of these channels: without a word that a peer chose."""
    kept = AskedSoFar()
    for number, channel in enumerate(channels):
        one = asked_of(channel)
        how, _, status = one.exit.rpartition(" ")
        kept.asked(number, one.kind)
        kept.ended(
            number, one.exit if how == "exit" else one.exit and signal_words(status.removeprefix("SIG"))
        )
        kept.closed(number)
    return kept.all()


class AskedSoFar:
    """What a gateway keeps of a session that runs: fed by its channels, in constant memory beside those open now."""

    __slots__ = ("_done", "_open")

    def __init__(self) -> None:
        self._open: dict[int, tuple[str, str]] = {}  # channel -> kind and end
        self._done: dict[tuple[str, str], int] = {}

    def asked(self, channel: int, kind: str) -> None:
        """A channel is of this kind."""
        self._open[channel] = (kind, "")

    def ended(self, channel: int, words: str) -> None:
        """Its program has ended, in the words of `exit_words` or `signal_words`."""
        if channel in self._open:
            self._open[channel] = (self._open[channel][0], words)

    def closed(self, channel: int) -> None:
        """The channel is gone."""
        one = self._open.pop(channel, None)
        if one is not None:
            _count(self._done, one)

    def all(self) -> tuple[Asked, ...]:
        """All of it, in the order in which channels closed."""
        done = dict(self._done)
        for one in self._open.values():
            _count(done, one)
        return tuple(Asked(kind, words, count) for (kind, words), count in done.items())


def _count(done: dict[tuple[str, str], int], one: tuple[str, str]) -> None:
    if one not in done and len(done) >= MOST_ASKED:
        one = (OTHERS, "")
    done[one] = done.get(one, 0) + 1


def pack(asked: Iterable[Asked]) -> str:
    """As JSON text, for a column: a list for each, its ends that say nothing left out."""
    rows = []
    for one in asked:
        row: list[str | int] = [one.kind, one.exit, one.count, one.what, one.files]
        rows.append(row if one.files else row[:4] if one.what else row[:3])
    return orjson.dumps(rows).decode()


def unpack(text: str) -> tuple[Asked, ...] | None:
    """`pack` read back; None for "", which says that nobody knows, and for what is none."""
    if not text:
        return None
    try:
        return tuple(Asked(*row) for row in orjson.loads(text))
    except (orjson.JSONDecodeError, TypeError):
        return None


def asked_text(asked: Sequence[Asked], more: int | None = 0) -> str:
    """`exec rm -rf /x (exit 0); shell; +3 more`: a cell of a table. `more` were not looked at; None: perhaps some."""
    parts = [one.text for one in asked[:MOST_NAMED]]
    left = len(asked) - len(parts)
    if more is None:
        parts.append(f"+{left} and perhaps more" if left else "perhaps more")
    elif left + more:
        parts.append(f"+{left + more} more")
    return "; ".join(parts)
