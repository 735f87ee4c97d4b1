"""What each channel of a recording was (L1, pure): what was asked of it, how it ended, what passed.

Invariant: every channel of the file is named, those that printed nothing and those that were refused too, in bounded
memory: what a peer says is cut, and of more than `MOST_CHANNELS` channels the rest are counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from bastion.errors import BastionError
from bastion.recording.format import FormatError, Kind, Recorded
from bastion.recording.scp import transfer_of
from bastion.sides import Side
from bastion.wire.printable import printable

DEFAULT_SIZE = (80, 24)

# The peer's word for its terminal's size is taken within these bounds (cells), or a player allocates by it.
LARGEST_SIZE = (1000, 500)

# Characters of a command line that a summary keeps: a request has 256 KiB at most, and the export as JSON all of it.
LONGEST_PROGRAM = 4096

# About 1 KiB each, with programs of the usual length: 16 MiB. Counted beyond.
MOST_CHANNELS = 16_384

# Refused requests that a summary names; the rest are counted.
MOST_REFUSALS = 16

# Characters of a line that names a channel, and channels that one line names.
LABEL_LENGTH = 160
LABELS = 20

# How a control string begins, or may begin at the end of a piece.
_STRING = re.compile(rb"\x1b(?:[\]PX^_k]|$)|\xc2(?:[\x90\x98\x9d-\x9f]|$)")

_PROGRAMS = frozenset(("shell", "exec", "subsystem"))


class ChannelNotChosen(BastionError):
    """Which channel to show is not clear or there is no such one. `text` lists those there are."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


@dataclass(slots=True)
class ChannelSummary:
    """What one channel was. `size` is that of the terminal asked for, in cells; `program` what was asked to run,
    `place` where a forward leads; `exit` its end in words ("" while it has none). `bytes_out` and `bytes_in` are
    bytes that passed, towards the client and from it, kept or not.
    """

    id: int
    kind: str = ""
    by: str = "client"
    place: str = ""
    has_pty: bool = False
    term: str = ""
    size: tuple[int, int] = DEFAULT_SIZE
    program: str = ""
    exit: str = ""
    state: str = "open"  # open, closed, failed (the far side refused it)
    bytes_out: int = 0
    bytes_in: int = 0
    skipped: int = 0
    files: int = 0
    operations: int = 0
    refused: list[str] = field(default_factory=list)
    refusals: int = 0
    followed: bool = False  # sftp, and its operations are in the notes
    strings: bool = False  # there may be control strings in its output: see `render.strings_text`
    began: float = 0.0  # seconds from the session's start, as is
    ended: float = 0.0  # when the last of it happened

    @property
    def transfer(self) -> tuple[str, str]:
        """(`scp` or `rsync`, `upload` or `download`) when the command line says so, else empty."""
        asked, _, command = self.program.partition(" ")
        return transfer_of(command) if asked == "exec" else ("", "")

    @property
    def what(self) -> str:
        """What was asked of the channel, safe to show: `exec rm -rf /x`, `shell`, `direct-tcpip db:5432`."""
        what = self.program or f"{self.kind or 'channel'} {self.place}".strip()
        return printable(what, LABEL_LENGTH)

    @property
    def outcome(self) -> str:
        """How it ended and what passed: `exit 0, 12 bytes shown`."""
        parts = [self.exit or {"failed": "refused by the target"}.get(self.state, "")]
        parts.append(f"{self.bytes_out} bytes shown" if self.bytes_out else "nothing shown")
        if self.bytes_in:
            parts.append(f"{self.bytes_in} bytes sent")
        if self.files:
            parts.append(f"{self.files} files")
        if self.refusals:
            parts.append(f"{self.refusals} requests refused")
        return ", ".join(part for part in parts if part)

    @property
    def label(self) -> str:
        """One line for a list to choose from."""
        return f"{self.id}: {self.what}{' (terminal)' if self.has_pty else ''}, {self.outcome}"

    def document(self) -> dict[str, Any]:
        """All of it as JSON values."""
        values = asdict(self)
        values["size"] = list(self.size)
        return values


class Survey:
    """Channels, as events tell of them: feed it, then look. `refused` are opens that never became a channel."""

    def __init__(self) -> None:
        self.channels: dict[int, ChannelSummary] = {}
        self.more = 0  # channels beyond MOST_CHANNELS
        self.refused: list[str] = []
        self.refusals = 0
        self._newest = 0

    def add(self, event: Recorded) -> None:
        """Take one event of the file into account."""
        if event.kind is Kind.NOTE:
            try:
                note = event.note
            except FormatError:
                return
            if event.channel == 0:
                self._refused_open(note)
                return
        elif event.channel == 0:
            return
        channel = self._channel(event.channel, event.time_us)
        if channel is None:
            return
        channel.ended = event.time_us / 1e6
        if event.kind is Kind.NOTE:
            _learn(channel, note)
        elif event.kind is Kind.GAP:
            size = event.gap.size
            channel.skipped += size
            _passed(channel, event.side, size)
        elif event.kind is Kind.DATA:
            _passed(channel, event.side, len(event.payload))
            if event.side is Side.TARGET and not channel.strings:
                channel.strings = _STRING.search(event.payload) is not None

    def _channel(self, number: int, time_us: int) -> ChannelSummary | None:
        channel = self.channels.get(number)
        if channel is None:
            if len(self.channels) >= MOST_CHANNELS:
                if number > self._newest:
                    self.more, self._newest = self.more + 1, number
                return None
            channel = self.channels[number] = ChannelSummary(number, began=time_us / 1e6)
            self._newest = max(self._newest, number)
        return channel

    def _refused_open(self, note: dict[str, Any]) -> None:
        if note.get("event") == "channel_refused":
            self.refusals += 1
            if len(self.refused) < MOST_REFUSALS:
                place = _place(note.get("detail"))
                text = f"{note.get('kind', '')} {place}".strip()
                self.refused.append(f"{printable(text, 80)} ({printable(str(note.get('reason', '')), 40)})")

    def document(self) -> dict[str, Any]:
        """All of it as JSON values."""
        channels = [one.document() for one in self.channels.values()]
        return {"channels": channels, "more": self.more, "refused": self.refused, "refusals": self.refusals}

    @classmethod
    def of(cls, document: dict[str, Any]) -> Survey:
        """`document` read back. Raises ValueError for what is none."""
        made = cls()
        try:
            for one in document["channels"]:
                channel = ChannelSummary(**{**one, "size": (int(one["size"][0]), int(one["size"][1]))})
                made.channels[channel.id] = channel
            made.more, made.refusals = int(document["more"]), int(document["refusals"])
            made.refused = [str(one) for one in document["refused"]]
        except (TypeError, LookupError) as error:
            raise ValueError(f"no survey ({type(error).__name__})") from None
        return made

    def others(self, shown: int) -> str:
        """`2 other channels: 2: exec true, exit 0, nothing shown; ...`, "" when there is nothing beside `shown`."""
        others = [channel for channel in self.channels.values() if channel.id != shown]
        count = len(others) + self.more
        parts = []
        if count:
            labels = [channel.label for channel in others[:LABELS]]
            if count > len(labels):
                labels.append(f"and {count - len(labels)} more")
            parts.append(f"{count} other channel{'s' if count != 1 else ''}: " + "; ".join(labels))
        if self.refusals:
            more = (
                f" and {self.refusals - len(self.refused)} more" if self.refusals > len(self.refused) else ""
            )
            parts.append(f"{self.refusals} refused: " + "; ".join(self.refused) + more)
        return "; ".join(parts)


def _passed(channel: ChannelSummary, side: Side, size: int) -> None:
    if side is Side.TARGET:
        channel.bytes_out += size
    else:
        channel.bytes_in += size


def survey(events: Iterable[Recorded]) -> Survey:
    """Every channel of a recording."""
    found = Survey()
    for event in events:
        found.add(event)
    return found


def _learn(channel: ChannelSummary, note: dict[str, Any]) -> None:
    listener = _NOTES.get(str(note.get("event")))
    if listener is not None:
        detail = note.get("detail")
        listener(channel, note, detail if isinstance(detail, dict) else {})


def _opened(channel: ChannelSummary, note: dict[str, Any], detail: dict[str, Any]) -> None:
    channel.kind = str(note.get("kind", ""))[:LABEL_LENGTH]
    channel.by = str(note.get("by", "client"))[:LABEL_LENGTH]
    channel.place = _place(detail)


def _place(detail: object) -> str:
    if not isinstance(detail, dict):
        return ""
    place = str(detail.get("path") or detail.get("host") or "")[:LABEL_LENGTH]
    return f"{place}:{detail['port']}" if type(detail.get("port")) is int else place


def _asked(channel: ChannelSummary, note: dict[str, Any], detail: dict[str, Any]) -> None:
    request = note.get("name")
    if request == "pty-req":
        channel.has_pty, channel.term = True, str(detail.get("term", ""))[:LABEL_LENGTH]
        channel.size = size_of(detail) or channel.size
    elif request in _PROGRAMS:
        argument = str(detail.get("command", detail.get("subsystem", "")))[:LONGEST_PROGRAM]
        channel.program = f"{request} {argument}".strip()


def _denied(channel: ChannelSummary, note: dict[str, Any], detail: dict[str, Any]) -> None:
    channel.refusals += 1
    if len(channel.refused) < MOST_REFUSALS:
        argument = detail.get("command", detail.get("subsystem", ""))
        text = f"{note.get('name', '')} {argument}".strip()
        channel.refused.append(
            f"{printable(text, LABEL_LENGTH)} ({printable(str(note.get('reason', '')), 40)})"
        )
        if not channel.program and note.get("name") in _PROGRAMS:
            channel.program = f"{text[:LONGEST_PROGRAM]} (refused)"


def _exited(channel: ChannelSummary, note: dict[str, Any], detail: dict[str, Any]) -> None:
    channel.exit = printable(f"exit {note.get('status')}", 40)


def _killed(channel: ChannelSummary, note: dict[str, Any], detail: dict[str, Any]) -> None:
    channel.exit = printable(f"killed by SIG{note.get('signal')}", 40)


def _failed(channel: ChannelSummary, note: dict[str, Any], detail: dict[str, Any]) -> None:
    channel.state = "failed"


def _closed(channel: ChannelSummary, note: dict[str, Any], detail: dict[str, Any]) -> None:
    """The close has the counts of what passed: more than was kept, when nothing was to be kept."""
    channel.state = "closed"
    for name in ("bytes_in", "bytes_out"):
        count = note.get(name)
        if type(count) is int and 0 <= count < 1 << 64:
            setattr(channel, name, max(count, getattr(channel, name)))


def _followed(channel: ChannelSummary, note: dict[str, Any], detail: dict[str, Any]) -> None:
    channel.followed = True


def _unparsed(channel: ChannelSummary, note: dict[str, Any], detail: dict[str, Any]) -> None:
    channel.followed = False


def _operated(channel: ChannelSummary, note: dict[str, Any], detail: dict[str, Any]) -> None:
    channel.operations += 1


def _file(channel: ChannelSummary, note: dict[str, Any], detail: dict[str, Any]) -> None:
    channel.files += 1


_NOTES = {
    "channel_opened": _opened,
    "request_forwarded": _asked,
    "request_refused": _denied,
    "sftp_refused": _denied,
    "exit_status": _exited,
    "exit_signal": _killed,
    "channel_failed": _failed,
    "channel_closed": _closed,
    "sftp_started": _followed,
    "sftp_unparsed": _unparsed,
    "sftp_operation": _operated,
    "sftp_file": _file,
}


def size_of(detail: dict[str, Any]) -> tuple[int, int] | None:
    """Columns and rows of a terminal as a peer gave them, within LARGEST_SIZE; None for nonsense."""
    cols, rows = detail.get("cols"), detail.get("rows")
    if type(cols) is not int or type(rows) is not int or cols < 1 or rows < 1:
        return None
    return min(cols, LARGEST_SIZE[0]), min(rows, LARGEST_SIZE[1])


def choose_channel(
    channels: dict[int, ChannelSummary], wanted: int | None, only: bool = False
) -> ChannelSummary:
    """The channel asked for, or the first with a terminal, or the first that showed anything, or the first.

    With `only` it must be the only one of its group: for what goes on to programs. Raises ChannelNotChosen.
    """
    if wanted is not None:
        if wanted not in channels:
            raise ChannelNotChosen(f"there is no channel {wanted}{_list(channels.values())}")
        return channels[wanted]
    for group in (
        [channel for channel in channels.values() if channel.has_pty],
        [channel for channel in channels.values() if channel.bytes_out or channel.skipped],
        list(channels.values()),
    ):
        if group and only and len(group) > 1:
            raise ChannelNotChosen(f"several channels, name one with --channel{_list(channels.values())}")
        if group:
            return group[0]
    raise ChannelNotChosen("the recording has no channel")


def _list(channels: Iterable[ChannelSummary]) -> str:
    return "".join(f"\n  {channel.label}" for channel in channels)
