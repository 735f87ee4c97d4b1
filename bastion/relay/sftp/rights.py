"""What of a restricted sftp channel's requests may reach the target: `policy.sftp` asked about each of them."""

from __future__ import annotations

from bastion.errors import PolicyReason
from bastion.policy.sftp import SftpRights, is_path, normal_form, place_of
from bastion.policy.verdict import Verdict
from bastion.relay.sftp.audit import Conversation
from bastion.relay.sftp.files import OpenFile
from bastion.wire import sftp
from bastion.wire.sftp import Request

_LOOKS = frozenset({sftp.STAT, sftp.LSTAT, sftp.READLINK, sftp.REALPATH})
_MODIFIES = frozenset({sftp.SETSTAT, sftp.REMOVE, sftp.RMDIR})
_LOOK_EXTENSIONS = frozenset({sftp.STATVFS, sftp.EXPAND_PATH})
_LIST_EXTENSIONS = frozenset({sftp.HOME_DIRECTORY, sftp.USERS_GROUPS})
_WRITE_FLAGS = sftp.FXF_WRITE | sftp.FXF_APPEND | sftp.FXF_CREAT | sftp.FXF_TRUNC | sftp.FXF_EXCL
_ALL_FLAGS = sftp.FXF_READ | _WRITE_FLAGS
# A word for the event where no verb of policy fits.
_NO_VERB = "other"


class Rights:
    """Judges requests by `SftpRights`; None is yes. `verb` is what the last refusal lacked.

    Under restricted rights no symbolic link can be made: whatever it pointed to would be reached under a
    name that a rule allows, and nobody here can see that.
    """

    def __init__(self, rights: SftpRights, conversation: Conversation) -> None:
        self._rights = rights
        self._conversation = conversation
        self.verb = _NO_VERB

    # -- asked by `packets.RequestSink`

    def transfer(self, file: OpenFile | None, writing: bool) -> Verdict | None:
        """May data be read from or written under this handle? That follows what it was opened for."""
        self.verb = "upload" if writing else "download"
        if file is not None and not file.directory and (file.may_write if writing else file.may_read):
            return None
        return self._no("the file is not open for this")

    def request(self, request: Request) -> tuple[Verdict | None, bytes | None]:
        """May this request be made, and if it goes on in another form, which packet goes on?"""
        if request.known and not request.whole:
            self.verb = _NO_VERB
            return self._no("this request is malformed"), None
        if not all(map(is_path, request.paths)):
            # It could mean one place here and another there, whatever the rules say.
            self.verb = _NO_VERB
            return self._no("this path cannot be judged", PolicyReason.PATH_NOT_ALLOWED), None
        verdict = self._judge(request)
        if verdict is not None:
            return verdict, None
        paths = tuple(normal_form(path) for path in request.paths)
        return None, request.with_paths(paths) if paths != request.paths else None

    # -- by kind of request

    def _judge(self, request: Request) -> Verdict | None:
        kind, self.verb = request.kind, _NO_VERB
        if kind == sftp.OPEN:
            return self._open(request)
        if kind == sftp.OPENDIR:
            return self._room() or self._at("list", request.paths[0])
        if kind in _LOOKS:
            return self._look(request.paths[0])
        if kind in _MODIFIES:
            return self._at("modify", request.paths[0])
        if kind == sftp.MKDIR:
            # Whoever uploads a tree makes its directories.
            return self._at("upload", request.paths[0]) and self._at("modify", request.paths[0])
        if kind == sftp.RENAME:
            return self._rename(request)
        if kind == sftp.SYMLINK:
            self.verb = "modify"
            return self._no("symbolic links cannot be made here")
        if kind == sftp.EXTENDED:
            return self._extended(request)
        if request.handles:
            return self._by_handle(request)
        return self._no("this request is not known")

    def _extended(self, request: Request) -> Verdict | None:
        name = request.name
        if name in (sftp.POSIX_RENAME, sftp.HARDLINK):
            return self._rename(request)
        if name == sftp.LSETSTAT:
            return self._at("modify", request.paths[0])
        if name in _LOOK_EXTENSIONS:
            return self._look(request.paths[0])
        if name in _LIST_EXTENSIONS:
            self.verb = "list"
            return None if self._rights.has("list") else self._rights.refusal("list")
        if name == sftp.LIMITS:
            return None
        if name == sftp.COPY_DATA:
            source, copy = (self._conversation.files.get(handle) for handle in request.handles)
            return self.transfer(source, False) or self.transfer(copy, True)
        if request.handles:
            return self._by_handle(request)
        return self._no("this extension is not known")

    def _by_handle(self, request: Request) -> Verdict | None:
        """What is said of an open file: CLOSE, FSTAT, FSETSTAT, READDIR, fsync@, fstatvfs@."""
        file = self._conversation.files.get(request.handles[0])
        if file is None:
            return self._no("the file is not open")
        if request.kind == sftp.FSETSTAT or request.name == sftp.FSYNC:
            # Whoever may write a file may say its mode, times and size.
            self.verb = "upload"
            if not file.may_write:
                return self._no("the file is not open for this")
        return None

    def _open(self, request: Request) -> Verdict | None:
        flags, path = request.flags, request.paths[0]
        if flags & ~_ALL_FLAGS:
            return self._no("a flag of this open is not known")
        verdict = self._room()
        # OpenSSH reads when it is not told to write only: no flag at all is an open to read.
        if verdict is None and (flags & sftp.FXF_READ or not flags & sftp.FXF_WRITE):
            verdict = self._at("download", path)
        if verdict is None and flags & _WRITE_FLAGS:
            verdict = self._at("upload", path)
        return verdict

    def _rename(self, request: Request) -> Verdict | None:
        self.verb = "modify"
        home = self._conversation.home
        old, new = (place_of(path, home) for path in request.paths)
        if self._rights.renames(old, new, home is not None):
            return None
        if self._rights.allows("modify", old) and self._rights.allows("modify", new):
            return self._no("the new name would allow what the old one does not")
        return self._rights.refusal("modify")

    def _room(self) -> Verdict | None:
        return self._no("too many open files") if self._conversation.full else None

    def _look(self, path: bytes) -> Verdict | None:
        self.verb = "list"
        if self._rights.looks(place_of(path, self._conversation.home)):
            return None
        return self._no("nothing is allowed at this path", PolicyReason.PATH_NOT_ALLOWED)

    def _at(self, verb: str, path: bytes) -> Verdict | None:
        self.verb = verb
        if self._rights.allows(verb, place_of(path, self._conversation.home)):
            return None
        return self._rights.refusal(verb)

    def _no(self, text: str, reason: PolicyReason = PolicyReason.VERB_NOT_ALLOWED) -> Verdict:
        return Verdict(False, reason, self._rights.rule, text)
