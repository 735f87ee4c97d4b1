"""What is said on one sftp channel: requests until they are answered, files from open to close.

Invariants: an event tells what the target answered, never what was only asked; the tables are bounded by the
constants below, whoever fills them; a fault is a `ProtocolError`, after which a `Conversation` is not to be
used any more.
"""

from __future__ import annotations

from collections.abc import Callable

from bastion.errors import ProtocolError
from bastion.relay import events
from bastion.relay.sftp.files import OpenFile
from bastion.wire import sftp
from bastion.wire.requests import Detail, printable
from bastion.wire.sftp import Attributes, Request

OUTSTANDING = 16_384
"""Requests without an answer. OpenSSH keeps 64, asyncssh 128 per file, a script that asks for 10,000 files at
once 10,000. About 200 bytes each: 3 MiB."""

HANDLES = 2_048
"""Open files and directories. OpenSSH's server has 1,024 descriptors. About 700 bytes each, 1.4 MiB."""

PATHS = 1 << 20
"""Bytes of paths in both tables together: 10,000 requests of 100 bytes each."""

SIZES = 256
"""Sizes remembered from stat answers, for clients that stop reading there. They ask just before they open."""

PATH_MAX = 4_096
"""Bytes of a path that a POSIX system takes (limits.h)."""

_ANSWERS_TO = {
    sftp.OPEN: sftp.HANDLE,
    sftp.OPENDIR: sftp.HANDLE,
    sftp.READ: sftp.DATA,
    sftp.READDIR: sftp.NAME,
    sftp.REALPATH: sftp.NAME,
    sftp.READLINK: sftp.NAME,
    sftp.STAT: sftp.ATTRS,
    sftp.LSTAT: sftp.ATTRS,
    sftp.FSTAT: sftp.ATTRS,
}
"""Request -> its answer, when it is not a STATUS. An extended request is answered with what it likes."""


class Pending:
    """A request that waits for its answer. `path` and `to` are kept for the event, `file` is what the
    handle meant; `offset` and `size` belong to READ and WRITE.
    """

    __slots__ = ("file", "flags", "kind", "name", "offset", "request", "size")

    def __init__(self, kind: int, file: OpenFile | None, offset: int, size: int, request: Request | None):
        self.kind = kind
        self.file = file
        self.offset = offset
        self.size = size
        self.request = request

    @property
    def paths(self) -> tuple[bytes, ...]:
        return self.request.paths if self.request is not None else ()


class Conversation:
    """Both directions of one channel. `tell` takes the events; `files` are the open ones by handle.

    `home` is where relative paths begin, once the target has answered the client's question for it.
    """

    def __init__(self, channel_id: int, tell: Callable[[events.Event], None], *, hashing: bool) -> None:
        self.files: dict[bytes, OpenFile] = {}
        self.home: bytes | None = None
        self._channel_id = channel_id
        self._tell = tell
        self._hashing = hashing
        self._asked = 0  # the version in INIT; 0 before it
        self._version = 0  # the version in the target's answer; 0 before it
        self._pending: dict[int, Pending] = {}
        self._opening = 0
        self._opened = 0
        self._paths = 0
        self._sizes: dict[bytes, int] = {}

    # -- what the client asks ----------------------------------------------------------------------------

    @property
    def begun(self) -> bool:
        return self._asked > 0

    @property
    def full(self) -> bool:
        """No more files may be opened."""
        return len(self.files) + self._opening >= HANDLES

    def init(self, version: int) -> None:
        if self._asked:
            raise ProtocolError("sftp: a second init")
        self._asked = max(version, 1)

    def check_id(self, number: int) -> None:
        """`ProtocolError` when the id is in use: nobody could tell which request an answer belongs to."""
        if not self._asked:
            raise ProtocolError("sftp: a request before init")
        if number in self._pending:
            raise ProtocolError("sftp: the id of a request is in use")

    def _expect(self, number: int, pending: Pending) -> None:
        self.check_id(number)
        if len(self._pending) >= OUTSTANDING:
            raise ProtocolError("sftp: too many requests without an answer")
        self._pending[number] = pending

    def read(self, number: int, file: OpenFile | None, offset: int, size: int) -> None:
        self._expect(number, Pending(sftp.READ, file, offset, size, None))
        if file is not None:
            file.read_asked()

    def write(self, number: int, file: OpenFile | None, offset: int, size: int) -> None:
        self._expect(number, Pending(sftp.WRITE, file, offset, size, None))
        if file is not None:
            file.writing(offset, size)

    def request(self, request: Request) -> None:
        """Any other request goes to the target."""
        file = self.files.get(request.handles[0]) if request.handles else None
        self._expect(request.id, Pending(request.kind, file, 0, 0, request))
        self._keep(sum(map(len, request.paths)))
        if request.kind in (sftp.OPEN, sftp.OPENDIR):
            if self.full:
                raise ProtocolError("sftp: too many open files")
            self._opening += 1
        elif request.kind == sftp.CLOSE and file is not None:
            del self.files[request.handles[0]]
        elif request.kind == sftp.FSETSTAT and file is not None and request.attributes.size is not None:
            file.resizing(request.attributes.size)
        elif request.name == sftp.COPY_DATA:
            copy = self.files.get(request.handles[1])
            if copy is not None:
                copy.spoil("copied on the target")

    def _keep(self, size: int) -> None:
        self._paths += size
        if self._paths > PATHS:
            raise ProtocolError("sftp: too many paths at once")

    # -- what the target answers -------------------------------------------------------------------------

    def version(self, version: int) -> None:
        if not self._asked or self._version:
            raise ProtocolError("sftp: a version that nobody asked for")
        self._version = max(version, 1)
        if min(self._asked, version) > sftp.VERSION:
            raise ProtocolError("sftp: a version that is not known here")

    def pending(self, number: int) -> Pending:
        """The request that `number` answers."""
        found = self._pending.get(number)
        if found is None or not self._version:
            raise ProtocolError("sftp: an answer to nothing")
        return found

    def data(self, number: int, size: int) -> OpenFile | None:
        """DATA of `size` bytes: the file that it belongs to."""
        pending = self.pending(number)
        if pending.kind != sftp.READ or size > pending.size:
            raise ProtocolError("sftp: data that nobody asked for")
        del self._pending[number]
        if pending.file is not None:
            pending.file.reading(pending.offset, size)
        return pending.file

    def status(self, number: int, code: int) -> None:
        """STATUS, which may answer every request."""
        pending = self.pending(number)
        if code == sftp.FX_OK and pending.kind in _ANSWERS_TO:
            raise ProtocolError("sftp: an empty success")
        del self._pending[number]
        file = pending.file
        if pending.kind == sftp.WRITE:
            if file is not None:
                file.written(pending.size, code)
        elif pending.kind == sftp.READ:
            if file is not None:
                file.read_failed(pending.offset, code)
        else:
            self._answered(pending, sftp.status_name(code), ok=code == sftp.FX_OK)

    def handle(self, number: int, handle: bytes) -> None:
        """HANDLE: a file is open."""
        pending = self._settle(number, sftp.HANDLE)
        if handle in self.files:
            raise ProtocolError("sftp: a handle is given twice")
        self._opened += 1
        path = pending.paths[0] if pending.paths else b""
        directory = pending.kind == sftp.OPENDIR
        flags = pending.request.flags if pending.request is not None else 0
        file = OpenFile(self._opened, path, flags, directory=directory, hashing=self._hashing)
        if not flags & (sftp.FXF_TRUNC | sftp.FXF_EXCL):
            file.size = self._sizes.get(path)
        pending.file = self.files[handle] = file
        self._answered(pending, "ok", ok=True)
        self._keep(len(path))

    def attributes(self, number: int, size: int | None) -> None:
        """ATTRS, with the size if it was among them."""
        pending = self._settle(number, sftp.ATTRS)
        if size is not None:
            if pending.file is not None:
                pending.file.size = size
                self._remember(pending.file.path, size)
            elif pending.paths:
                self._remember(pending.paths[0], size)
        self._answered(pending, "ok", ok=True)

    def _remember(self, path: bytes, size: int) -> None:
        if len(path) > PATH_MAX:
            return
        self._sizes.pop(path, None)
        if len(self._sizes) >= SIZES:
            del self._sizes[next(iter(self._sizes))]
        self._sizes[path] = size

    def name(self, number: int, first: bytes | None) -> None:
        """NAME; `first` is the one path in an answer to REALPATH."""
        pending = self._settle(number, sftp.NAME)
        if self.home is None and first and first.startswith(b"/") and _is_here(pending):
            # A relative path begins at the working directory of the server, which never changes.
            self.home = first
        self._answered(pending, "ok", ok=True)

    def extended(self, number: int) -> None:
        """EXTENDED_REPLY."""
        self._answered(self._settle(number, sftp.EXTENDED_REPLY), "ok", ok=True)

    def asks_home(self, number: int) -> bool:
        """The answer to `number` is looked into."""
        pending = self._pending.get(number)
        return pending is not None and pending.kind == sftp.REALPATH

    def _settle(self, number: int, answer: int) -> Pending:
        """Take the request that an answer of this type belongs to; `ProtocolError` when it cannot."""
        pending = self.pending(number)
        if _ANSWERS_TO.get(pending.kind) != answer and pending.kind != sftp.EXTENDED:
            raise ProtocolError("sftp: an answer of the wrong type")
        if pending.kind == sftp.EXTENDED and answer == sftp.HANDLE:
            raise ProtocolError("sftp: a handle that nobody asked for")
        del self._pending[number]
        return pending

    def _answered(self, pending: Pending, outcome: str, *, ok: bool) -> None:
        """Everything but READ and WRITE: an event, and what it changes."""
        request, file = pending.request, pending.file
        assert request is not None
        self._paths -= sum(map(len, request.paths))
        if pending.kind in (sftp.OPEN, sftp.OPENDIR):
            self._opening -= 1
        elif pending.kind == sftp.CLOSE:
            if file is not None:
                self._closed(file, outcome, ok)
            return
        elif pending.kind == sftp.READDIR:
            return
        size = request.attributes.size
        if pending.kind == sftp.FSETSTAT and ok and file is not None and size is not None:
            file.size = size
        paths = [printable(path) for path in request.paths[:2]]
        if not paths and file is not None:
            paths = [printable(file.path)]
        paths += [""] * (2 - len(paths))
        number = file.number if file is not None else 0
        detail = _detail(request)
        name = request.name or "extended"
        self._tell(events.SftpOperation(self._channel_id, name, outcome, paths[0], paths[1], number, detail))

    def _closed(self, file: OpenFile, outcome: str, closed: bool) -> None:
        self._paths -= len(file.path)
        if file.directory:
            return
        sha256, unhashed = file.outcome(closed)
        self._tell(
            events.SftpFile(
                self._channel_id,
                file.number,
                printable(file.path),
                sftp.flag_names(file.flags),
                outcome,
                file.bytes_read,
                file.bytes_written,
                sha256,
                unhashed,
            )
        )

    def finish(self) -> None:
        """The channel is over, or nothing more will be understood: what is open stays unclosed."""
        closing = [pending.file for pending in self._pending.values() if pending.kind == sftp.CLOSE]
        for file in [*closing, *self.files.values()]:
            if file is not None:
                self._closed(file, "not_closed", False)
        self.files.clear()
        self._pending.clear()


def _is_here(pending: Pending) -> bool:
    """REALPATH of the working directory, which clients ask for first: ".", "" or "./"."""
    if pending.kind != sftp.REALPATH or not pending.paths:
        return False
    path = pending.paths[0]
    return not path.startswith(b"/") and set(path.split(b"/")) <= {b"", b"."}


def _detail(request: Request) -> Detail:
    """What an operation sets, for the event."""
    detail: Detail = {}
    if request.kind == sftp.OPEN:
        detail["flags"] = sftp.flag_names(request.flags)
    attributes: Attributes = request.attributes
    if attributes.size is not None:
        detail["size"] = attributes.size
    if attributes.owner is not None:
        detail["uid"], detail["gid"] = attributes.owner
    if attributes.permissions is not None:
        detail["permissions"] = f"{attributes.permissions & 0o7777:04o}"
    if attributes.times is not None:
        detail["modified"] = attributes.times[1]
    return detail
