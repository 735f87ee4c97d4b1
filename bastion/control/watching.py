"""Watching a session as it happens (L3): blocks of its recording as events, for somebody who may be slow.

What a watcher gets is what the recording gets: a few last blocks from the file, then each block once it is written. But
not what the engineer typed, where that is recorded at all: a password that the target does not show leaves for nobody.
Invariant: what a watcher does not take is dropped and counted, at most WINDOW of it is ever under way, and the session
waits for nobody. Who watches stands in the audit log before the first byte is shown; whether somebody may, and whether
the engineer is told, say the rules that opened the session.
"""

from __future__ import annotations

import os
import threading
from base64 import b64encode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from twisted.internet.defer import Deferred

from bastion.control.asking import ControlError, Stream
from bastion.control.orders import Watched, WatchSession
from bastion.errors import ControlReason
from bastion.observe.audit import AuditFailed
from bastion.observe.events.control import WatchEnded, WatchStarted
from bastion.observe.meters import WATCH_DROPPED, WATCHERS
from bastion.policy.rules import NO, SILENT
from bastion.recording.blocks import without_input
from bastion.recording.bulk import Bytes
from bastion.session.gateway import Gateway
from bastion.session.session import Session
from bastion.session.watching import Watcher

MOST_WATCHERS: Final = 64
"""In a process: with WINDOW under way for each, 16 MiB."""

HISTORY: Final = 96 << 10
"""Bytes of the file that are shown at first: several screens of a terminal."""

READ_ON: Final = 32 << 10
"""Bytes that may have been written while those were read and are still shown; beyond that the watcher reads of it."""

ROOM: Final = 512
"""Bytes that an event is counted with beside its blocks."""

SIZE: Final = 32
"""Bytes that the size of a terminal is counted with."""


class Watching:
    """All watchers of one process."""

    def __init__(
        self, gateway: Gateway, in_thread: Callable[[Callable[[], None]], None] | None = None
    ) -> None:
        self._gateway = gateway
        self._in_thread = in_thread or _start_thread
        self._each: list[_Watch] = []

    def count(self, session: str = "") -> int:
        """Of one session, or of all."""
        return sum(session in ("", one.id) for one in self._each)

    def watch(self, request: WatchSession, stream: Stream | None) -> Deferred[Watched]:
        """Show the session in `stream` until it ends or the Deferred is cancelled. Raises ControlError."""
        session = self._gateway.live.find(request.id)
        if session is None or stream is None:
            raise ControlError(ControlReason.NOT_FOUND, "no session is open under that name")
        if session.watched == NO:
            text = f"the rules that opened session {request.id} say that nobody watches it"
            raise ControlError(ControlReason.BY_POLICY, text)
        if len(self._each) >= MOST_WATCHERS:
            raise ControlError(ControlReason.TOO_MANY, f"{MOST_WATCHERS} watchers are here already")
        watch = _Watch(self._gateway, session, request, stream, self._over)
        self._each.append(watch)
        self._gateway.meters.set(WATCHERS, len(self._each))
        path, size, *_ = session.recording()
        start = max(0, size - HISTORY)

        def read() -> None:
            data = _read(path, start, size)
            self._gateway.reactor.callFromThread(watch.begin, data, path, size)

        self._in_thread(read)
        return watch.ended

    def _over(self, watch: _Watch) -> None:
        if watch in self._each:
            self._each.remove(watch)
        self._gateway.meters.set(WATCHERS, len(self._each))


class _Watch:
    """One watcher of one session."""

    def __init__(
        self,
        gateway: Gateway,
        session: Session,
        request: WatchSession,
        stream: Stream,
        on_over: Callable[[_Watch], None],
    ) -> None:
        """Raises ControlError when the line of the audit log that must be there is not."""
        self.id = request.id
        self.ended: Deferred[Watched] = Deferred(lambda _: self._stop())
        self._gateway, self._session, self._request, self._stream = gateway, session, request, stream
        self._on_over = on_over
        self._began = gateway.reactor.seconds()
        self._told = session.watched != SILENT
        self._dropped = self._untold = 0
        self._sync, self._sizes = b"", dict[int, tuple[int, int]]()
        self._over = False
        self._watcher = Watcher(self._show, self._session_ended)
        by = request.by
        try:
            line = WatchStarted(by.name, by.uid, self._told, request.reason, by.person)
            gateway.audit.emit(line, session.about)
        except AuditFailed:
            raise ControlError(
                ControlReason.FAILED, "nobody watches now: the audit log cannot be written"
            ) from None
        self._tell(f"{by.person or 'somebody'} of the security team watches this session")

    def begin(self, history: bytes, path: Path, read_to: int) -> None:
        """What the file had, what came meanwhile, and from here on every block."""
        if self._over:
            return
        if not self._session.watch(self._watcher):
            self._session_ended()
            return
        _, size, self._sync, self._sizes = self._session.recording()
        more = size - read_to
        whole = more <= READ_ON
        rest = _read(path, read_to, size) if whole else b""  # written a moment ago: it is in memory
        self._offer(history + rest, skipped=not whole)

    def _offer(self, data: bytes, skipped: bool) -> None:
        data = without_input(data, self._sync)
        event = {
            "session": self.id,
            "sync": self._sync.hex(),
            "blocks": _text(data),
            "skipped": skipped,
            "told": self._told,
            "terminals": {str(channel): list(size) for channel, size in self._sizes.items()},
        }
        self._stream.offer(event, len(data) + ROOM + SIZE * len(self._sizes))

    def _show(self, buffers: Sequence[Bytes]) -> None:
        size = sum(map(len, buffers)) + ROOM
        if size > self._stream.credit:
            self._dropped += 1
            self._untold += 1
            self._gateway.meters.add(WATCH_DROPPED)
            return
        data = without_input(b"".join(buffers), self._sync)
        if not data:
            return
        untold, self._untold = self._untold, 0
        self._stream.offer({"blocks": _text(data), "dropped": untold}, len(data) + ROOM)

    def _session_ended(self) -> None:
        self._end()
        self.ended.callback(Watched("ended", "the session has ended", self._dropped))

    def _stop(self) -> None:
        """The watcher has left."""
        if not self._over:
            self._session.unwatch(self._watcher)
            self._end()
            self._tell("the security team does not watch this session any more")

    def _end(self) -> None:
        self._over = True
        by, seconds = self._request.by, round(self._gateway.reactor.seconds() - self._began, 3)
        line = WatchEnded(by.name, by.uid, seconds, self._dropped, by.person)
        self._gateway.audit.note(line, self._session.about)
        self._on_over(self)

    def _tell(self, text: str) -> None:
        if self._told:
            self._session.warn(f"\r\nbastion: {text}\r\n")


def _text(data: bytes) -> str:
    return b64encode(data).decode("ascii")


def _read(path: Path, start: int, end: int) -> bytes:
    """A part of a recording, "" when it cannot be had: watching goes on without."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.pread(fd, end - start, start)
    except OSError:
        return b""
    finally:
        os.close(fd)


def _start_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="watch", daemon=True).start()
