"""Files that move, as the audit log tells of them: sftp operations, and scp and rsync by their command line.

The recording has every sftp operation with its paths. The audit log has what changed something or was refused:
one line per file from open to close, one per rename, removal or changed attribute; ids, sizes and hashes, and
paths only where `audit.detail` says so. Looking (stat, realpath, directory listings) stays in the recording.

scp and rsync are recognised by the command that their clients send, for the reader of the log and for nothing
else: a command line is the engineer's word, and no permission ever hangs on it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bastion.observe.events import AuditEvent
from bastion.observe.events import sessions as lines
from bastion.observe.events.refusals import SftpRefused as SftpRefusedLine
from bastion.observe.meters import SFTP_FILES, SFTP_REFUSALS, SFTP_UNPARSED, Meters
from bastion.recording.recorder import Recorder
from bastion.recording.scp import transfer_of as copied_by
from bastion.relay.events import (
    Event,
    RequestForwarded,
    SftpFile,
    SftpOperation,
    SftpRefused,
    SftpStarted,
    SftpUnparsed,
)
from bastion.wire import sftp

Emit = Callable[[AuditEvent], None]

# Operations that change nothing: in the recording, not in the audit log.
_LOOKS = frozenset(
    (
        "stat",
        "lstat",
        "fstat",
        "readlink",
        "realpath",
        "opendir",
        "readdir",
        "close",
        sftp.STATVFS,
        sftp.FSTATVFS,
        sftp.LIMITS,
        sftp.EXPAND_PATH,
        sftp.HOME_DIRECTORY,
        sftp.USERS_GROUPS,
        sftp.FSYNC,
    )
)


class TransferLog:
    """Sftp events of one session, after they were recorded.

    `emit` writes an audit line and raises RecorderFailed when it must be there and is not. `content`: a rule or
    target wants the content of files in the recording; `detail`: paths may stand in the audit log.
    """

    __slots__ = ("_content", "_detail", "_emit", "_meters", "_recorder")

    def __init__(
        self, emit: Emit, recorder: Recorder, meters: Meters, *, content: bool, detail: bool
    ) -> None:
        self._emit = emit
        self._recorder = recorder
        self._meters = meters
        self._content = content
        self._detail = detail

    def tell(self, event: Event) -> None:
        """One of the events below."""
        _LISTENERS[type(event)](self, event)

    def _started(self, event: SftpStarted) -> None:
        if not self._content:
            self._recorder.omit(event.channel_id)

    def _unparsed(self, event: SftpUnparsed) -> None:
        # What no event tells any more is recorded like the data of any other channel.
        self._recorder.omit(event.channel_id, omitted=False)
        by = event.by.name.lower()
        self._meters.add(SFTP_UNPARSED, by)
        self._emit(lines.SftpUnparsed(event.channel_id, by, event.why))

    def _operation(self, event: SftpOperation) -> None:
        if event.name in _LOOKS or (event.name == "open" and event.outcome == "ok"):
            return
        self._emit(
            lines.SftpOperation(
                channel=event.channel_id,
                name=event.name,
                outcome=event.outcome,
                file=event.file or None,
                path=self._shown(event.path),
                to=self._shown(event.to),
            )
        )

    def _file(self, event: SftpFile) -> None:
        self._meters.add(SFTP_FILES, _transfer(event))
        self._emit(
            lines.SftpFile(
                channel=event.channel_id,
                file=event.file,
                flags=event.flags,
                outcome=event.outcome,
                bytes_read=event.bytes_read,
                bytes_written=event.bytes_written,
                sha256=event.sha256,
                unhashed="" if event.sha256 else event.unhashed,
                path=self._shown(event.path),
            )
        )

    def _refused(self, event: SftpRefused) -> None:
        self._meters.add(SFTP_REFUSALS, event.verb)
        self._emit(
            SftpRefusedLine(
                channel=event.channel_id,
                name=event.name,
                verb=event.verb,
                reason=event.reason,
                rule=event.rule,
                text=event.text,
                path=self._shown(event.path),
                to=self._shown(event.to),
            )
        )

    def _shown(self, path: str) -> str:
        return path if self._detail else ""


def _transfer(event: SftpFile) -> str:
    """A value of the meter's closed set."""
    if event.bytes_written:
        return "both" if event.bytes_read else "upload"
    return "download" if event.bytes_read else "none"


_LISTENERS: dict[type, Callable[[TransferLog, Any], None]] = {
    SftpStarted: TransferLog._started,
    SftpUnparsed: TransferLog._unparsed,
    SftpOperation: TransferLog._operation,
    SftpFile: TransferLog._file,
    SftpRefused: TransferLog._refused,
}
SFTP_EVENTS = tuple(_LISTENERS)


def transfer_of(event: RequestForwarded) -> tuple[str, str]:
    """(kind, direction) for the audit line of an exec that is scp or rsync; empty for any other."""
    if event.name != "exec":
        return "", ""
    return copied_by(str(event.detail.get("command", "")))
