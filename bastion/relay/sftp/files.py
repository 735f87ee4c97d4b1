"""One open file or directory of an sftp channel: what passes under its handle, from open to close.

The SHA-256 is of the file, not of whatever passed: it is given only when the bytes went through in order, from
offset 0 to the end, under one handle, and the target agreed to all of it. Otherwise `outcome` says in words
why there is none. Invariant: a digest that is given is that of the file's whole content as it passed.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from bastion.wire import sftp

if TYPE_CHECKING:
    from hashlib import _Hash

    from bastion.relay.sftp.stream import Bytes

_WRITES = sftp.FXF_WRITE | sftp.FXF_APPEND


class OpenFile:
    """A file (`flags`) or directory between the answer to its open and its close. Sizes in bytes.

    `number` counts the opens of a channel from 1. `may_read` and `may_write` say what the open was allowed
    for, `size` what the target last said of it. `reading` and `writing` come when data begins to pass, `body`
    with the data, `read` and `written` when the target has answered.
    """

    __slots__ = (
        "_digest",
        "_ended",
        "_hashing",
        "_position",
        "_read",
        "_sent",
        "_under_way",
        "_why",
        "bytes_read",
        "bytes_written",
        "directory",
        "flags",
        "may_read",
        "may_write",
        "number",
        "path",
        "size",
    )

    def __init__(self, number: int, path: bytes, flags: int, *, directory: bool, hashing: bool) -> None:
        self.number = number
        self.path = path
        self.flags = flags
        self.directory = directory
        # The target reads unless it is told to write only (OpenSSH opens without any flag as O_RDONLY).
        self.may_read = bool(flags & sftp.FXF_READ) or not flags & _WRITES
        self.may_write = bool(flags & _WRITES)
        self.size: int | None = None
        self.bytes_read = 0
        self.bytes_written = 0
        self._digest: _Hash | None = None if directory or not hashing else hashlib.sha256()
        self._hashing = False  # the data that passes now is the next of the file
        self._position = 0  # bytes of the file that are in the digest
        self._read = False  # data was asked for
        self._sent = False  # data went to the target
        self._ended = False  # the target said that the file ends at `_position`
        self._under_way = 0  # reads and writes without an answer
        self._why = "" if hashing else "hashing is switched off"
        if flags & sftp.FXF_APPEND:
            self.spoil("opened to append")

    def spoil(self, why: str) -> None:
        """There will be no digest; the first reason counts."""
        self._why = self._why or why
        self._digest = None
        self._hashing = False

    # -- the file comes from the target ------------------------------------------------------------------

    def read_asked(self) -> None:
        """The client asks for data."""
        self._under_way += 1
        self._read = True
        if self._sent:
            self.spoil("read and written under one handle")

    def reading(self, offset: int, size: int) -> None:
        """`size` bytes of the file from `offset` on are about to pass to the client."""
        self._under_way -= 1
        self.bytes_read += size
        self._pass(offset, size)
        if size:
            self._ended = False

    def read_failed(self, offset: int, code: int) -> None:
        """The target answered a read with a status."""
        self._under_way -= 1
        if code != sftp.FX_EOF:
            self.spoil("a read failed")
        elif offset == self._position:
            self._ended = True

    # -- the file goes to the target ---------------------------------------------------------------------

    def writing(self, offset: int, size: int) -> None:
        """`size` bytes for the file from `offset` on are about to pass to the target."""
        self._under_way += 1
        self._sent = True
        if self._read:
            self.spoil("read and written under one handle")
        self._pass(offset, size)

    def written(self, size: int, code: int) -> None:
        """The target answered a write."""
        self._under_way -= 1
        if code == sftp.FX_OK:
            self.bytes_written += size
        else:
            self.spoil("a write failed")

    def resizing(self, size: int) -> None:
        """The client sets the size of the open file."""
        if size < self._position:
            self.spoil("cut after it was written")

    # -- both --------------------------------------------------------------------------------------------

    def _pass(self, offset: int, size: int) -> None:
        if self._digest is None:
            return
        if offset != self._position:
            self.spoil("not passed from its beginning" if not self._position else "not passed in order")
            return
        self._position += size
        self._hashing = True

    def body(self, data: Bytes) -> None:
        """The data that `reading` or `writing` announced."""
        if self._hashing and self._digest is not None:
            self._digest.update(data)

    def outcome(self, closed: bool) -> tuple[str, str]:
        """(SHA-256 in hex, "") or ("", why there is none), after the close was answered with success."""
        if self._digest is None:
            return "", self._why
        if not closed:
            return "", "not closed"
        if self._under_way:
            return "", "closed before every answer had come"
        # What the target holds after writing is what passed if it was emptied, or is no longer than that.
        emptied = bool(self.flags & (sftp.FXF_TRUNC | sftp.FXF_EXCL))
        if self._sent or (emptied and not self._read):
            longer = self.size is not None and self.size > self._position
            whole = not longer if emptied else self.size is not None and not longer
            return self._result(whole, "written into a file that may have had more")
        return self._result(self._ended or self.size == self._position, "not read to its end")

    def _result(self, whole: bool, why: str) -> tuple[str, str]:
        assert self._digest is not None
        return (self._digest.hexdigest(), "") if whole else ("", why)
