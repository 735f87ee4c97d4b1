"""What a channel that moves files did, as lines to read (L1, pure): sftp from its notes, scp and rsync from their
streams.

Invariant: a line says what the target answered, or rsync's sender; what is not known (a file whose content was not
kept, a list that is not understood) is said to be unknown and never left out silently.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bastion.recording.channels import ChannelSummary
from bastion.recording.rsync import MOST_NAMES, RsyncList
from bastion.recording.scp import Copied, ScpStream, alone
from bastion.sides import Side
from bastion.wire.printable import printable

# Characters of a path that a line shows: PATH_MAX of Linux.
LONGEST_PATH = 4096

# What clients do around a file and that tells nobody more than the file's own line; JSON has them.
_BOOKKEEPING = frozenset(("close", "readdir", "fstat", "limits@openssh.com", "fsync@openssh.com"))


def sftp_line(note: dict[str, Any]) -> str:
    """One note of an sftp channel as a line, "" when it is of no interest to a person."""
    name = note.get("event")
    if name == "sftp_file":
        return _file(note)
    if name == "sftp_operation":
        return _operation(note)
    if name == "sftp_refused":
        rule = f" (rule {_text(note, 'rule')})" if note.get("rule") else ""
        return f"REFUSED {_named(note)}: {_text(note, 'text') or _text(note, 'reason')}{rule}"
    if name == "sftp_unparsed":
        return f"sftp could not be followed from here on: {_text(note, 'why')}"
    return ""


def sftp_deed(note: dict[str, Any]) -> tuple[str, str, str] | None:
    """(path, where it leads to, what was done) of a note of an sftp channel, for a tree of files; None when it is of no
    interest to a person, or about no file."""
    name, path, to = note.get("event"), str(note.get("path") or ""), str(note.get("to") or "")
    if not path or not sftp_line(note):
        return None
    if name == "sftp_file":
        return path, "", ": ".join(_file_words(note))
    said = (
        f"{_text(note, 'text') or _text(note, 'reason')}"
        if name == "sftp_refused"
        else _text(note, "outcome")
    )
    verb = f"{'REFUSED ' if name == 'sftp_refused' else ''}{_text(note, 'name')}"
    return path, to, f"{verb}: {said}"


def _file(note: dict[str, Any]) -> str:
    verb, rest = _file_words(note)
    return f"{verb} {_text(note, 'path')}: {rest}"


def _file_words(note: dict[str, Any]) -> tuple[str, str]:
    read, written = note.get("bytes_read") or 0, note.get("bytes_written") or 0
    verb = "read and wrote" if read and written else "put" if written else "get" if read else "opened"
    if verb == "opened":
        verb = "put" if "write" in str(note.get("flags")) else "get"
    digest = (
        f"sha256 {_text(note, 'sha256')}" if note.get("sha256") else f"no sha256: {_text(note, 'unhashed')}"
    )
    size = f"{read} and {written}" if read and written else f"{read or written}"
    return verb, f"{size} bytes, {digest}, {_text(note, 'outcome')}"


def _operation(note: dict[str, Any]) -> str:
    name, outcome = note.get("name"), note.get("outcome")
    if outcome == "ok" and (name in _BOOKKEEPING or (name == "realpath" and note.get("path") in (".", ""))):
        return ""
    return f"{_named(note)}: {_text(note, 'outcome')}"


def _named(note: dict[str, Any]) -> str:
    to = f" -> {_text(note, 'to')}" if note.get("to") else ""
    path = f" {_text(note, 'path')}" if note.get("path") else ""
    return f"{_text(note, 'name')}{path}{to}"


def _text(note: dict[str, Any], key: str) -> str:
    return printable(str(note.get(key, "")), LONGEST_PATH)


class CopyCommand:
    """An exec of scp or rsync: its bytes are a protocol, not text. `shows` says whose bytes stand in for it.

    Feed it both directions; when they are not what the command line said, `lost` is true and bytes are bytes again.
    """

    def __init__(
        self,
        channel: ChannelSummary,
        input_kept: bool,
        heard: Callable[[Copied], None] = lambda one: None,
    ) -> None:
        """`heard` gets what scp says, as values."""
        self.kind, self.direction = channel.transfer
        self.unshown = 0
        self.lost = False
        self._input_kept = input_kept
        sender = Side.TARGET if self.direction == "download" else Side.CLIENT
        self._stream = ScpStream(heard) if self.kind == "scp" else None
        self._names = (
            RsyncList(channel.program.partition(" ")[2], self.direction) if self._stream is None else None
        )
        self._sender = sender

    @property
    def opening(self) -> str:
        """What the command line says by itself of where files are, "" for scp, whose line is as short."""
        if self._names is None:
            return ""
        paths = ", ".join(self._names.call.paths) or "paths that its command line does not name"
        verb = "reads" if self.direction == "download" else "writes below"
        return f"rsync {self.direction}: the target {verb} {printable(paths, LONGEST_PATH)}"

    def data(self, side: Side, data: bytes) -> tuple[list[str], bytes]:
        """Lines, and what of `data` is to be shown as output after all."""
        if self.lost:
            return [], data
        lines: list[str] = []
        if self._names is not None:
            lines = self._names.feed(side is Side.TARGET, data)
        elif self._stream is not None and side is self._sender:
            lines = self._stream.feed(data)
            if self._stream.broken:
                self.lost = True
                return [*lines, f"this is not {self.kind}'s protocol: shown as it came"], data
        if side is Side.TARGET:
            if self.kind == "scp" and self.direction == "upload" and data.strip(b"\0"):
                return lines, data.strip(b"\0")  # answers are zeros; anything else is a complaint
            self.unshown += len(data)
        return lines, b""

    def missing(self, side: Side, size: int) -> None:
        """Bytes that passed and were not kept."""
        if self._names is not None and size > 0:
            self._names.missing(side is Side.TARGET)
        elif self._stream is not None and side is self._sender:
            self._stream.missing(size)

    def summary(self, channel: ChannelSummary) -> str:
        """What is to be said at the end of the channel."""
        moved = channel.bytes_in if self.direction == "upload" else channel.bytes_out
        if self._names is not None:
            why = _of_names(self._names, self.direction == "upload" and not self._input_kept)
        elif self.direction == "upload" and not self._input_kept:
            why = "what clients send is not recorded, so names and hashes are not known"
        else:
            return f"scp {self.direction}: {moved} bytes"
        return f"{self.kind} {self.direction}: {moved} bytes; {why}"


def _of_names(names: RsyncList, unseen: bool) -> str:
    """What a list of names is: what the sender had to offer. Which of it the other side already had is not in it."""
    listed = f"{names.names} names in the sender's list, of which some may not have been sent"
    if names.names > MOST_NAMES:
        listed += f", {MOST_NAMES} shown"
    if names.complete:
        return listed
    why = names.lost or "the list has no end"
    if unseen:
        why = "what clients send is not recorded"
    return f"{listed}; names not decoded: {why}" if names.names else f"names not decoded: {why}"


def copy_command(
    channel: ChannelSummary, input_kept: bool, heard: Callable[[Copied], None] = lambda one: None
) -> CopyCommand | None:
    """The reading of a channel whose command line is scp's or rsync's alone, without a terminal; else None."""
    if channel.transfer[0] and not channel.has_pty and alone(channel.program):
        return CopyCommand(channel, input_kept, heard)
    return None
