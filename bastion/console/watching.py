"""Watching sessions as they happen (L4): one, or several side by side, drawn here and sent as rows of text.

Invariants: the line about it stands in the audit log before the gateway is asked, and the gateway is told for whom; a
watch ends with its stream, and so with its visit; a browser that takes nothing is sent nothing, and then the picture of
that moment, not those between; what a gateway may send ahead of what was drawn is a window (`control.asking.WINDOW`).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from bastion.console.answers import Answer
from bastion.console.desk import Call
from bastion.console.gateway import by
from bastion.console.listing import lockable, one_session
from bastion.console.orders import WALL
from bastion.console.painting import Painter
from bastion.console.reads import Trouble
from bastion.console.screens import LiveScreens
from bastion.console.streams import HEADERS, KIND, LineStream
from bastion.control.asking import WINDOW, Stream
from bastion.control.node import LiveAsked
from bastion.control.orders import WatchSession
from bastion.errors import ConsoleReason
from bastion.policy.locks import MAX_REASON, LockKind
from bastion.recording.changes import Change

PIECE: Final = 64 << 10
"""Bytes of one session drawn at a time: 20 ms for what programs print, 320 KiB a second at most."""

_SESSION: Final = re.compile(r"[a-z2-7]{16}(?:\.[0-9]{1,10})?")

_log = Logger(namespace="bastion.console")


async def watch_page(call: Call) -> Answer:
    """The page on which sessions are watched: those that are named, or the newest."""
    named = names_in(call.asked.query)
    call.note_read("live", " ".join(named))
    found = await call.desk.gateway.ask(LiveAsked())
    running = {row.id: row for row in found.rows if row.kind == "session"}
    wanted = named or [row.id for row in sorted(running.values(), key=lambda row: -row.started_at)[:WALL]]
    rows = [running[name] for name in wanted if name in running]
    one = await one_session(call, rows[0].id) if len(rows) == 1 else None
    shown = lockable(one) if one is not None else []
    return call.page(
        "watch.html",
        rows=rows,
        certificates=[value for kind, value in shown if kind == LockKind.CERTIFICATE],
        gone=[name for name in wanted if name not in running],
        now=call.desk.clock.time(),
        most=MAX_REASON,
    )


async def watch(call: Call) -> Answer:
    """The stream of it."""
    form = call.asked.form
    names = names_in(form)
    why = " ".join(form.get("reason", "").split())[:MAX_REASON]
    if not names:
        raise Trouble(ConsoleReason.BAD_REQUEST, "that names no session")
    for name in names:
        call.note_read("watch", why, name)
    line = call.desk.streams.open(call.somebody, call.found.route, call.asker)
    _Wall(call, line, names, why)
    return Answer(kind=KIND, headers=HEADERS, stream=line)


def names_in(fields: Mapping[str, str]) -> list[str]:
    """The sessions among the names of fields: a form says `ID=1` for each. Raises Trouble for too many."""
    found = [name for name in fields if _SESSION.fullmatch(name)]
    if len(found) > WALL:
        raise Trouble(ConsoleReason.BAD_REQUEST, f"{WALL} sessions are watched side by side at most")
    return found


class _Wall:
    """What one stream shows."""

    def __init__(self, call: Call, line: LineStream, names: list[str], why: str) -> None:
        self._line = line
        self._tiles = [_Tile(call, line, name, self._ended) for name in names]
        line.on_room = self._room
        line.on_over.append(self._stop)
        self._begun = Deferred.fromCoroutine(self._begin(why))
        self._begun.addErrback(_failed)

    async def _begin(self, why: str) -> None:
        """One after the other, so that they share connections."""
        for tile in self._tiles:
            await tile.begin(why)

    def _room(self) -> None:
        for tile in self._tiles:
            tile.painter.wants()

    def _ended(self) -> None:
        if all(tile.over for tile in self._tiles):
            self._line.end("")

    def _stop(self) -> None:
        self._begun.cancel()
        for tile in self._tiles:
            tile.stop()


def _failed(failure: Any) -> None:
    if not failure.check(CancelledError):
        _log.failure("watching a session failed", failure=failure)


class _Tile:
    """One session of it."""

    def __init__(self, call: Call, line: LineStream, name: str, on_over: Any) -> None:
        self.over = False
        self.painter = Painter(call.desk.easel, self._work)
        self._gateway, self._person = call.desk.gateway, call.somebody.name
        self._line, self._name, self._on_over = line, name, on_over
        self._screens = LiveScreens(call.desk.redaction)
        self._stream = Stream(self._take)
        self._waiting: deque[tuple[Mapping[str, Any], int]] = deque()  # WINDOW of it at most
        self._told: bool | None = None
        self._end: str | None = None  # why it is over, once all that came is drawn
        self._asked: Deferred[None] | None = None

    async def begin(self, why: str) -> None:
        """Ask the gateway; returns once there is an answer, the first of what is shown."""
        first: Deferred[None] = Deferred()
        self._begun = first
        self._asked = Deferred.fromCoroutine(self._watch(why))
        self._asked.addErrback(_failed)
        await first

    async def _watch(self, why: str) -> None:
        request = WatchSession(self._name, why, by(self._person))
        try:
            done = await self._gateway.watch(request, self._stream)
            text = done.text
        except Trouble as trouble:
            text = trouble.text
        self._end = text
        self._answered()
        self.painter.wants()

    def _take(self, event: Mapping[str, Any], size: int) -> None:
        self._waiting.append((event, size))
        self._answered()
        self.painter.wants()

    def _answered(self) -> None:
        if not self._begun.called:
            self._begun.callback(None)

    def _work(self) -> bool:
        """A piece of what has come, and a picture where there is room for one."""
        drawn = 0
        while self._waiting and drawn < PIECE:
            event, size = self._waiting.popleft()
            self._screens.take(event)
            self._stream.grant(min(size, WINDOW))
            drawn += size
        if self._waiting:
            self._show()
            return True
        if self._line.has_room:
            self._show()
            self._finish()
        return False

    def _show(self) -> None:
        if not self._line.has_room:
            return
        if self._screens.told is not self._told:
            self._told = self._screens.told
            self._line.send({"s": self._name, "told": self._told})
        changes, gone = self._screens.changes()
        for channel in gone:
            self._line.send({"s": self._name, "c": channel, "gone": True})
        for change in changes:
            self._line.send(shown(self._name, change))

    def _finish(self) -> None:
        if self._end is not None and not self.over:
            self.over = True
            self._line.send({"s": self._name, "over": self._end})
            self._on_over()

    def stop(self) -> None:
        """Nobody watches any more."""
        self.over = True
        self.painter.stop()
        self._waiting.clear()
        if self._asked is not None:
            self._asked.cancel()


def shown(session: str, change: Change) -> dict[str, Any]:
    """A change as a line: `s` the session, `c` the channel (0: of all), `rows` number -> text, `cursor` [characters
    before it, row], `size` [columns, rows], `note` words of ours."""
    line: dict[str, Any] = {"s": session, "c": change.channel}
    if change.note:
        return {**line, "note": change.note}
    line |= {"rows": change.rows, "cursor": change.cursor}
    return {**line, "size": change.size} if change.size is not None else line
