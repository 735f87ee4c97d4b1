"""The audit log (L2): one JSON line per event, one write(2) per line, in the order in which things happened.

Invariant: a line is whole or it is counted as a failure, and no byte of a line can act on a terminal or split
a line: C0, C1, DEL, bidirectional and other invisible format characters and lone surrogates stand as
`\\uXXXX`. Several processes append to one file, and each line is bound to the one before (`observe.audit_chain`).
Nothing secret is ever passed in.

Every line has `ts` (RFC 3339, UTC, milliseconds) and `event`, and `session` and `ref` where they are known; `chain`,
`seq` and `prev` at the end. The events are those of `observe.events`.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import orjson

from bastion.clock import Clock
from bastion.errors import BastionError
from bastion.observe.audit_chain import NAMES, Chain, Link
from bastion.observe.events.base import NOBODY, About, AuditEvent, Value
from bastion.observe.events.process import AuditContinued, AuditResumed
from bastion.observe.meters import AUDIT_FAILED, AUDIT_LINES, Meters

# One string of an event. Long enough for a public key's fingerprint list or a path, short enough that a peer
# cannot fill the disk with one name.
MAX_TEXT: Final = 4096
# Items of a list or mapping inside an event, and how deep they nest.
MAX_ITEMS: Final = 128
MAX_DEPTH: Final = 4
CUT: Final = "[cut]"

FILE_MODE: Final = 0o640  # a log shipper in the file's group may read; `umask` may narrow it

# What JSON leaves as it is and must not reach a terminal or a line-based tool: DEL and C1, invisible and
# bidirectional format characters, line separators, surrogates, tags. C0 is escaped by JSON itself.
_UNSAFE: Final = re.compile(
    "[\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)


_ENCODE: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class AuditFailed(BastionError):
    """A line could not be written and the configuration says that nothing may happen unaudited."""


def escape(text: str) -> str:
    """`text` (JSON or any other) with every unsafe character as `\\uXXXX`, as in JSON."""
    return _UNSAFE.sub(_escape_one, text)


def _escape_one(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def timestamp(seconds: float) -> str:
    """Epoch seconds as RFC 3339 in UTC with milliseconds: `2026-11-23T03:10:07.042Z`."""
    part, whole = math.modf(seconds)
    microseconds = round(part * 1e6)
    if not 0 <= microseconds < 1_000_000:  # rounded up to a whole second, or before 1970
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"{_whole_second(int(whole))}.{microseconds // 1000:03d}Z"


@lru_cache(maxsize=1)
def _whole_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().removesuffix("+00:00")


def encode_line(seconds: float, event: str, about: About, fields: Mapping[str, Value]) -> bytes:
    """One line with its newline. A field named like one of the four fixed ones does not replace it."""
    line: dict[str, object] = {"ts": timestamp(seconds), "event": event}
    if about.session:
        line["session"] = about.session
    if about.ref:
        line["ref"] = about.ref
    for name, value in fields.items():
        if value == "" or value == b"" or name in line or name in NAMES:  # what is not known is left out
            continue
        # most of what there is, and no enum
        as_it_is = type(value) is int or (type(value) is str and len(value) <= MAX_TEXT)
        line[name] = value if as_it_is else _plain(value, MAX_DEPTH)
    try:
        quick = orjson.dumps(line)  # a tenth of the time, when nothing is to be escaped
    except TypeError:  # a lone surrogate, a large integer
        quick = b""
    if quick and quick.isascii() and b"\x7f" not in quick:
        return quick + b"\n"
    return escape(_ENCODE(line)).encode("utf-8") + b"\n"


def _plain(value: Value, depth: int) -> object:
    """What JSON can say, with every length bounded. Bytes that are no UTF-8 become lone surrogates."""
    if isinstance(value, bytes):
        value = value[: MAX_TEXT * 4].decode("utf-8", "surrogateescape")
    if isinstance(value, str):
        return str(value) if len(value) <= MAX_TEXT else value[:MAX_TEXT] + CUT
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return round(value, 6) if abs(value) < float("inf") else str(value)
    if depth == 0:
        return CUT
    if isinstance(value, Mapping):
        pairs = list(value.items())[:MAX_ITEMS]
        return {str(key)[:MAX_TEXT]: _plain(item, depth - 1) for key, item in pairs}
    return [_plain(item, depth - 1) for item in list(value)[:MAX_ITEMS]]


class AuditLog:
    """An open audit file.

    `required`: a line that cannot be written raises AuditFailed, so that the caller refuses what it was about
    to allow. Otherwise the loss is counted, and the next line that can be written is preceded by
    `audit_resumed` with the number of lines lost. Either way `failing` is true until a write succeeds.
    """

    def __init__(self, path: str, clock: Clock, meters: Meters, required: bool = False) -> None:
        self.path, self.required = path, required
        self._clock, self._meters = clock, meters
        self._lines = meters.cell(AUDIT_LINES)
        self._fd = -1
        self._chain = Chain()
        self._lost = 0
        self.fault = ""  # why the last line was lost, for /readyz and the operator's log
        self.reopen()

    @property
    def failing(self) -> bool:
        """Are lines being lost now?"""
        return self._lost > 0 or self._fd < 0

    @property
    def written(self) -> int:
        """Lines that this process has written."""
        return int(self._lines[0])

    @property
    def head(self) -> Link | None:
        """The last of them."""
        return self._chain.head

    def emit(self, event: AuditEvent, about: About = NOBODY) -> None:
        """Append one event. Raises AuditFailed only when the log is `required`."""
        self.append(event.event, about, about.fields() | event.fields())

    def append(self, event: str, about: About, fields: Mapping[str, Value]) -> None:
        """As `emit`, for whoever has looked at the fields already (`observe.rationed`)."""
        line = encode_line(self._clock.time(), event, about, fields)
        if not self._resume() or not self._write(line):
            self._give_up()

    def retry(self) -> None:
        """While `failing`: say that lines were lost, if that can be written now. Nobody has to log in for it."""
        with suppress(AuditFailed):
            if self._fd < 0:
                self.reopen()
            self._resume()

    def _resume(self) -> bool:
        """Say how many lines were lost before the next one. False when that cannot be written either."""
        if not self._lost:
            return True
        resumed = AuditResumed(self._lost)
        if not self._write(encode_line(self._clock.time(), resumed.event, NOBODY, resumed.fields())):
            return False
        self._lost = 0
        return True

    def note(self, event: AuditEvent, about: About = NOBODY) -> None:
        """As `emit`, for what has happened already and cannot be refused: never raises, a loss is counted."""
        with suppress(AuditFailed):
            self.emit(event, about)

    def move(self, path: str, required: bool) -> None:
        """From the next line on: another file, another rule. Raises AuditFailed, and then all stays as it was.

        The new file is open before the old one is closed.
        """
        if path != self.path:
            try:
                fresh = _open_log(path)
            except OSError as error:
                raise AuditFailed(f"audit log {path}: {error.strerror}") from None
            self.path = path
            self._go_on(fresh)
        self.required = required

    def look_at(self, path: str) -> None:
        """Could `move` go there? Raises AuditFailed."""
        if path != self.path:
            try:
                os.close(_open_log(path))
            except OSError as error:
                raise AuditFailed(f"audit log {path}: {error.strerror}") from None

    def reopen(self) -> None:
        """Open `path` again: at start, and on SIGHUP after a rotation. Keeps the old file if that fails."""
        try:
            fresh = _open_log(self.path)
        except OSError as error:
            self._meters.add(AUDIT_FAILED, "open_failed")
            self.fault = f"cannot be opened: {error.strerror}"
            if self.required and self._fd < 0:
                raise AuditFailed(f"audit log {self.path}: {error.strerror}") from None
            return
        self._go_on(fresh)

    def _go_on(self, fresh: int) -> None:
        """In another file, which is told where the one before ended; or in the same one."""
        before: Link | None = None
        if self._fd >= 0:
            if _is_same(self._fd, fresh):
                os.close(fresh)
                return
            with suppress(OSError):
                before = self._chain.last(self._fd)
        self.close()
        self._fd, self._chain = fresh, Chain()
        if before is not None:
            self.note(AuditContinued(before.chain, before.serial, before.digest))

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _write(self, line: bytes) -> bool:
        """One write(2). False, counted, when the line is not wholly in the file."""
        if self._fd < 0:
            with suppress(AuditFailed):  # whoever has the line counts it as lost, and then says so
                self.reopen()
        if self._fd < 0:
            return False
        try:
            whole = self._chain.append(self._fd, line)
        except OSError as error:
            self._meters.add(AUDIT_FAILED, "write_failed")
            self.fault = f"cannot be written: {error.strerror}"
            if error.errno == errno.EBADF:
                self._fd = -1
            return False
        if not whole:
            self._meters.add(AUDIT_FAILED, "short_write")
            self.fault = "took only part of a line"
            return False
        self._lines[0] += 1
        return True

    def _give_up(self) -> None:
        self._lost += 1
        if self.required:
            raise AuditFailed(f"audit log {self.path} cannot be written")


def _open_log(path: str) -> int:
    """Open a log to append to, made when it is not there. Raises OSError."""
    # A file is read too: each line is bound to the one before. A pipe is not, or nobody would notice that it has no
    # reader. O_NONBLOCK: a full one must lose a line (counted), not stop the gateway.
    try:
        access = os.O_WRONLY if stat.S_ISFIFO(os.stat(path).st_mode) else os.O_RDWR
    except FileNotFoundError:
        access = os.O_RDWR
    return os.open(path, access | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, FILE_MODE)


def _is_same(one: int, other: int) -> bool:
    """Are both the same file?"""
    try:
        return os.path.sameopenfile(one, other)
    except OSError:
        return False
