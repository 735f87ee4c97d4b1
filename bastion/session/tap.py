"""Where everything that passes a session is written down: recording, audit log and meters behind one seam.

The relay calls `data` and `event` before a payload is put into its actions; `commit` writes the block of the
turn with one write(2). After `broken` nothing more is recorded, because nothing more is forwarded.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from bastion.errors import EndReason, PolicyReason, RecorderFailed, RecorderReason
from bastion.observe.audit import AuditFailed, AuditLog
from bastion.observe.events import About, AuditEvent, Facts, refusals
from bastion.observe.events import sessions as lines
from bastion.observe.families.recordings import (
    RECORDER_BLOCKS,
    RECORDER_BYTES,
    RECORDER_FAILURES,
    RECORDER_GAP_BYTES,
    RECORDINGS_LIVE,
    RECORDINGS_SEALED,
    RECORDINGS_UNSEALED,
)
from bastion.observe.meters import BYTES, CHANNELS, CHANNELS_LIVE, REQUESTS, Meters
from bastion.recording.ran import AskedSoFar, exit_words, kind_of, signal_words
from bastion.recording.recorder import Recorder
from bastion.recording.writer import Writer
from bastion.relay.channels import Channel
from bastion.relay.events import (
    ChannelClosed,
    ChannelConfirmed,
    ChannelFailed,
    ChannelOpened,
    ChannelRefused,
    Event,
    ExitSignal,
    ExitStatus,
    RefusalsCounted,
    RequestForwarded,
    RequestRefused,
    StreamRefused,
    StreamSsh,
)
from bastion.session.allowance import Allowance
from bastion.session.ending import End
from bastion.session.present import Counts
from bastion.session.transfers import SFTP_EVENTS, TransferLog, transfer_of
from bastion.session.watching import WatchedWriter, Watcher
from bastion.sides import Side
from bastion.state.rows import Moved

# Channel types of the wire -> the closed set of the meters.
KINDS = {
    "session": "session",
    "direct-tcpip": "direct-tcpip",
    "forwarded-tcpip": "forwarded-tcpip",
    "x11": "x11",
    "auth-agent@openssh.com": "agent",
    "direct-streamlocal@openssh.com": "streamlocal",
    "forwarded-streamlocal@openssh.com": "streamlocal",
}

AUDIT_LENGTH = 255
"""Characters of a peer's text in an audit line: longer than any host name. The recording has all of it."""

AUDIT_TEXT = "the audit log cannot be written"


class _FirstWord:
    """Stands in the place of a cell until the first byte is counted in it: whoever waits for that hears of it, and what
    comes after it is counted in the cell itself. So the hot path has no question that is answered once."""

    __slots__ = ("_cell", "_heard")

    def __init__(self, cell: list[int], heard: Callable[[], None]) -> None:
        self._cell, self._heard = cell, heard

    def __getitem__(self, place: int) -> int:
        return self._cell[place]

    def __setitem__(self, place: int, value: int) -> None:
        self._cell[place] = value
        self._heard()


class _Kind(NamedTuple):
    """What is counted of a channel: its kind in the meters, and bytes by `Side` of their sender."""

    name: str
    cells: tuple[list[int], list[int] | _FirstWord]


class SessionTap:
    """One per session: implements `relay.tap.Tap`."""

    __slots__ = (
        "_allowance",
        "_asked",
        "_audit",
        "_blocks",
        "_bytes",
        "_channels",
        "_detail",
        "_gap",
        "_gap_seen",
        "_meters",
        "_ran",
        "_recorder",
        "_sftp_content",
        "_size",
        "_transfers",
        "_writer",
        "about",
        "on_first_output",
    )

    def __init__(
        self,
        recorder: Recorder,
        writer: Writer,
        audit: AuditLog,
        meters: Meters,
        about: About,
        *,
        sftp_content: bool = False,
        detail: bool = False,
        allowance: Allowance | None = None,
    ) -> None:
        """`sftp_content`: files that pass over sftp are recorded; `detail`: their paths stand in the audit log.

        `about`: whose lines its are. `allowance`: how large recordings may grow, when there is a limit.
        """
        self._allowance = allowance
        self._recorder = recorder
        self._writer: Writer | WatchedWriter | None = writer
        self._audit = audit
        self._meters = meters
        self.about = about
        self._channels: dict[int, _Kind] = {}  # those that were let through, by id
        self._asked: dict[str, int] = {}  # what was asked for, and how often: a dozen words at most
        self._ran = AskedSoFar()
        self._size = 0  # the file's, once it is closed
        self._blocks = meters.cell(RECORDER_BLOCKS)
        self._bytes = meters.cell(RECORDER_BYTES)
        self._gap = meters.cell(RECORDER_GAP_BYTES)
        self._gap_seen = 0
        self._sftp_content = sftp_content
        self._detail = detail
        self._transfers: TransferLog | None = None  # made when sftp is spoken first
        self.on_first_output: Callable[[], None] | None = None  # until the target has said something
        meters.add(RECORDINGS_LIVE)

    # -- relay.tap.Tap -----------------------------------------------------------------------------------

    def data(self, channel: Channel, side: Side, stream: int, data: bytes | memoryview) -> None:
        """Channel bytes about to be forwarded: the hot path."""
        self._recorder.data(channel.id, side, stream, data)
        kind = self._channels.get(channel.id) or self._counted(channel.kind)
        kind.cells[side][0] += len(data)

    def event(self, event: Event) -> None:
        """Anything else that happened, in order with the data around it."""
        if self._writer is not None:
            self._recorder.event(event)
        listener = _LISTENERS.get(type(event))
        if listener is not None:
            listener(self, event)

    def _opened(self, event: ChannelOpened) -> None:
        counted = self._channels[event.channel_id] = self._listened(self._counted(event.kind))
        kind = counted.name
        self._meters.add(CHANNELS, kind, PolicyReason.ALLOWED)
        self._meters.add(CHANNELS_LIVE, kind)
        self._emit(
            lines.ChannelOpened(
                channel=event.channel_id,
                kind=event.kind,
                by=event.by.name.lower(),
                rule=event.rule,
                host=_text(event.detail, "host"),
                port=_number(event.detail, "port"),
                path=_text(event.detail, "path"),
            )
        )

    def _confirmed(self, event: ChannelConfirmed) -> None:
        """From the first channel on that is no session, the recording is not all that happened."""
        kind = self._kind_of(event.channel_id)
        if kind == "session":
            return
        self._asked[kind] = self._asked.get(kind, 0) + 1
        self._ran.asked(event.channel_id, kind)
        self._recorder.opaque += 1
        if self._recorder.opaque == 1 and self._writer is not None:
            self._recorder.note("session_opaque", event.channel_id, {"kind": kind})
            self._emit(lines.SessionOpaque(event.channel_id, kind))

    def _counted(self, kind: str) -> _Kind:
        return self._counted_as(KINDS.get(kind, "other"))

    def _counted_as(self, name: str) -> _Kind:
        cell = self._meters.cell
        return _Kind(name, (cell(BYTES, name, "to_target"), cell(BYTES, name, "to_client")))

    def _listened(self, kind: _Kind) -> _Kind:
        """Until the target has said its first word, a channel whose cell hears it."""
        if self.on_first_output is None:
            return kind
        to_target, to_client = kind.cells
        assert isinstance(to_client, list)
        return _Kind(kind.name, (to_target, _FirstWord(to_client, self._first_output)))

    def _first_output(self) -> None:
        told, self.on_first_output = self.on_first_output, None
        for number, kind in self._channels.items():
            self._channels[number] = self._counted_as(kind.name)
        if told is not None:
            told()

    def _kind_of(self, channel_id: int) -> str:
        channel = self._channels.get(channel_id)
        return "other" if channel is None else channel.name

    def _gone(self, channel_id: int) -> None:
        channel = self._channels.pop(channel_id, None)
        if channel is not None:
            self._meters.add(CHANNELS_LIVE, channel.name, by=-1)

    def _failed(self, event: ChannelFailed) -> None:
        self._gone(event.channel_id)
        self._emit(lines.ChannelFailed(event.channel_id, event.code))

    def _exited(self, event: ExitStatus) -> None:
        self._ran.ended(event.channel_id, exit_words(event.status))

    def _killed(self, event: ExitSignal) -> None:
        self._ran.ended(event.channel_id, signal_words(event.signal))

    def _closed(self, event: ChannelClosed) -> None:
        self._gone(event.channel_id)
        self._ran.closed(event.channel_id)
        self._emit(lines.ChannelClosed(event.channel_id, event.kind, event.bytes_in, event.bytes_out))

    def _open_refused(self, event: ChannelRefused) -> None:
        self._meters.add(CHANNELS, KINDS.get(event.kind, "other"), event.reason)
        self._emit(
            refusals.ChannelRefused(
                kind=event.kind,
                by=event.by.name.lower(),
                reason=event.reason,
                rule=event.rule,
                text=event.text,
                facts=Facts(
                    _text(event.detail, "host"), _number(event.detail, "port"), _text(event.detail, "path")
                ),
            )
        )

    def _stream_refused(self, event: StreamRefused) -> None:
        kind = self._kind_of(event.channel_id)
        self._meters.add(CHANNELS, kind, event.reason)
        self._emit(
            refusals.StreamRefused(
                channel=event.channel_id,
                kind=kind,
                by=event.by.name.lower(),
                reason=event.reason,
                rule=event.rule,
                text=event.text,
            )
        )

    def _stream_ssh(self, event: StreamSsh) -> None:
        self._emit(lines.StreamSsh(event.channel_id, event.by.name.lower(), event.rule))

    def _request_forwarded(self, event: RequestForwarded) -> None:
        self._meters.add(REQUESTS, event.name, PolicyReason.ALLOWED)
        if event.name == "pty-req" and self._writer is not None:
            self._recorder.terminal(event.channel_id)
        if event.name in ("shell", "exec", "subsystem", "pty-req"):
            # Ids and sizes here (docs/audit.md); command lines stand in the recording.
            kind, direction = transfer_of(event)
            if event.name != "pty-req":
                self._asked[event.name] = self._asked.get(event.name, 0) + 1
                argument = str(event.detail.get("command", event.detail.get("subsystem", "")))
                self._ran.asked(event.channel_id, kind_of(event.name, argument))
            asked = str(event.detail.get("asked", "")).partition(" ")[0]
            self._emit(lines.Request(event.channel_id, event.name, event.rule, kind, direction, asked))

    def _sftp(self, event: Event) -> None:
        transfers = self._transfers
        if transfers is None:
            transfers = self._transfers = TransferLog(
                self._emit, self._recorder, self._meters, content=self._sftp_content, detail=self._detail
            )
        transfers.tell(event)

    def _request_refused(self, event: RequestRefused) -> None:
        self._meters.add(REQUESTS, event.name, event.reason)
        self._emit(
            refusals.RequestRefused(
                channel=event.channel_id,
                name=event.name,
                by=event.by.name.lower(),
                reason=event.reason,
                rule=event.rule,
                text=event.text,
            )
        )

    def _refusals_counted(self, event: RefusalsCounted) -> None:
        self._meters.add(REQUESTS, "other", event.reason, by=event.count)
        self._emit(refusals.MoreRefused(event.by.name.lower(), event.reason, event.count))

    def _emit(self, event: AuditEvent) -> None:
        """One audit line about what is to be forwarded. Raises RecorderFailed when it must be there and is not."""
        try:
            self._audit.emit(event, self.about)
        except AuditFailed:
            raise RecorderFailed(RecorderReason.AUDIT_FAILED, AUDIT_TEXT) from None

    def _note(self, event: AuditEvent) -> None:
        """One audit line about an ending, which nothing can refuse."""
        self._audit.note(event, self.about)

    # -- blocks ------------------------------------------------------------------------------------------

    @property
    def moved(self) -> int:
        """Channel bytes so far, both ways."""
        return sum(self._recorder.seen)

    def counts(self) -> Counts:
        """Channels so far, and their bytes each way."""
        return Counts(self._recorder.channels, *self._recorder.seen)

    def moved_in_all(self) -> tuple[Moved, int]:
        """What has passed, and the size of the file."""
        recorder = self._recorder
        bytes_in, bytes_out = recorder.seen
        moved = Moved(bytes_in, bytes_out, recorder.channels, recorder.opaque, self._asked, self._ran.all())
        return moved, self._size

    def watch(self, watcher: Watcher) -> bool:
        """From now on `watcher` is shown what is written. False: nothing is written any more."""
        writer = self._writer
        if writer is None:
            return False
        if not isinstance(writer, WatchedWriter):
            self._writer = writer = WatchedWriter(writer, self._recorder.clear)
        writer.watchers.append(watcher)
        return True

    def unwatch(self, watcher: Watcher) -> None:
        """And now no more."""
        writer = self._writer
        if isinstance(writer, WatchedWriter) and watcher in writer.watchers:
            writer.watchers.remove(watcher)
            if not writer.watchers:
                self._writer = writer.writer

    def recording(self) -> tuple[Path, int, bytes, dict[int, tuple[int, int]]]:
        """The file and its size, what each of its blocks begins with, and the size of each terminal by its channel; no
        file when none is written any more."""
        writer = self._writer.writer if isinstance(self._writer, WatchedWriter) else self._writer
        sync, sizes = self._recorder.sync, self._recorder.sizes or {}
        return (Path(), 0, sync, sizes) if writer is None else (writer.path, writer.written, sync, sizes)

    def commit(self) -> bool:
        """Write what this turn recorded, with one write(2). Raises RecorderFailed; then forward nothing.

        True when a rule wants something, which is rare: see `unsettled`, `owed` and `spent`.
        """
        writer = self._writer
        if writer is None:
            return False
        recorder = self._recorder
        buffers = recorder.take()
        if buffers is not None:
            try:
                written = writer.write(buffers)
            except RecorderFailed:
                recorder.rewind()
                raise
            self._bytes[0] += written
            self._blocks[0] += 1
            skipped = recorder.skipped
            if skipped != self._gap_seen:
                self._gap[0] += skipped - self._gap_seen
                self._gap_seen = skipped
            if self._allowance is not None:
                self._allowance.took(written)
                if self._allowance.spent:
                    return True
        return recorder.owed is not None or recorder.unsettled

    @property
    def spent(self) -> str:
        """What the engineer is told when recordings have grown as large as they may, else ""."""
        return "" if self._allowance is None or self._writer is None else self._allowance.spent

    def is_due(self) -> bool:
        """What was written waits for a signature: `commit` now, even if nothing comes."""
        return self._writer is not None and self._recorder.due()

    @property
    def failure(self) -> RecorderFailed | None:
        """What the disk has refused of this recording, as far as is known."""
        return None if self._writer is None else self._writer.failure

    @property
    def unsettled(self) -> bool:
        """A gap of the rate rule is open: `commit` again shortly, even if nothing comes."""
        return self._writer is not None and self._recorder.unsettled

    def owed(self) -> dict[Side, float]:
        """Seconds in which the leg of a side is not to be read, so that terminals write no more than they may."""
        return self._recorder.collect() or {}

    def broken(self, error: RecorderFailed) -> None:
        """The recording failed: give the file up (it stays listed and plays to its last whole block)."""
        writer, self._writer = self._writer, None
        self._meters.add(RECORDER_FAILURES, error.reason)
        self._meters.add(RECORDINGS_LIVE, by=-1)
        self._note(lines.RecorderFailed(error.reason, error.text))
        if writer is not None:
            self._seal(writer, EndReason.RECORDER_FAILED)
        self._release()

    def _seal(self, writer: Writer | WatchedWriter, reason: EndReason) -> None:
        """The end block, signed; a disk that refuses it has broken the writer."""
        writer.close(self._recorder.finish(reason), self._recorder.link)
        self._meters.add(RECORDINGS_SEALED if writer.ended else RECORDINGS_UNSEALED, "session")
        self._recorder.forget()
        self._size = writer.written

    def _release(self) -> None:
        allowance, self._allowance = self._allowance, None
        if allowance is not None:
            allowance.release()

    def ended(self, end: End) -> None:
        """The session is over: end block, fsync, close, one audit line."""
        for channel in self._channels.values():
            self._meters.add(CHANNELS_LIVE, channel.name, by=-1)
        self._channels.clear()
        self._transfers = None  # it holds us
        writer, self._writer = self._writer, None
        if writer is not None:
            self._meters.add(RECORDINGS_LIVE, by=-1)
            self._recorder.note("session_ended", detail={"reason": end.reason, "text": end.text})
            self._seal(writer, end.reason)
        self._release()
        bytes_in, bytes_out = self._recorder.seen
        self._note(
            lines.SessionEnded(
                reason=end.reason,
                text=end.text,
                bytes_in=bytes_in,
                bytes_out=bytes_out,
                channels=self._recorder.channels,
                bytes_not_kept=self._recorder.skipped,
                opaque=self._recorder.opaque,
            )
        )


# What of a channel's detail belongs into the audit log: where it goes, never content.


def _text(detail: dict[str, str | int], key: str) -> str:
    return str(detail.get(key, ""))[:AUDIT_LENGTH]


def _number(detail: dict[str, str | int], key: str) -> int | None:
    value = detail.get(key)
    return value if isinstance(value, int) else None


_LISTENERS: dict[type, Callable[[SessionTap, Any], None]] = {
    ChannelOpened: SessionTap._opened,
    ChannelConfirmed: SessionTap._confirmed,
    ChannelFailed: SessionTap._failed,
    ChannelClosed: SessionTap._closed,
    ExitStatus: SessionTap._exited,
    ExitSignal: SessionTap._killed,
    ChannelRefused: SessionTap._open_refused,
    RequestForwarded: SessionTap._request_forwarded,
    RequestRefused: SessionTap._request_refused,
    RefusalsCounted: SessionTap._refusals_counted,
    **dict.fromkeys(SFTP_EVENTS, SessionTap._sftp),
    StreamRefused: SessionTap._stream_refused,
    StreamSsh: SessionTap._stream_ssh,
}
