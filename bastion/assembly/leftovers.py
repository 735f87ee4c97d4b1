"""What processes that died left of their sessions, written to its end (L4): recordings, audit lines, counts, rows.

Invariants: what another process still writes is left alone (its lock on the file); a file that cannot be ended holds up
no other; a session's `session_ended` is written before its row says that it was.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from bastion.assembly.endings import DIED, is_to_be_told, line_of, rows_of
from bastion.assembly.reloading import unhurried
from bastion.errors import EndReason
from bastion.observe.families.recordings import RECORDINGS_SEALED, RECORDINGS_UNSEALED
from bastion.observe.meters import SESSIONS_ENDED
from bastion.recording.sealing import Sealed
from bastion.session.gateway import Gateway
from bastion.wire.printable import printable

DOORS: Final = frozenset(("direct", "jump"))

ASK_AGAIN: Final = 5.0
"""Seconds until a store that is away is asked again which recordings have no end."""


class Leftovers:
    """Used in the reactor's thread; files are read in one of their own."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._reactor: Any = gateway.reactor
        self._log = Logger(namespace="bastion.leftovers")

    def end(self, sessions: Sequence[str], reason: EndReason, text: str = DIED) -> Deferred[None]:
        """End these sessions, which nobody ends any more, with `reason`. Fires when all are looked at; never fails."""
        done: Deferred[None] = Deferred()

        def work() -> None:
            try:
                unhurried(lambda: self._seal(sessions, reason, text))
            finally:
                self._reactor.callFromThread(done.callback, None)

        threading.Thread(target=work, name="adopt", daemon=True).start()
        return done

    def end_all(self) -> Deferred[None]:
        """End what is left of a gateway that died as a whole. Fires after the first try; when the store is away it is
        tried again."""
        found = self._gateway.state.unfinished()

        def ended(sessions: list[str]) -> Deferred[None]:
            return self.end(sessions, EndReason.GATEWAY_DIED)

        def away(_: object) -> None:
            if not self._gateway.closing:
                self._reactor.callLater(ASK_AGAIN, self.end_all)

        return found.addCallbacks(ended, away)

    def _seal(self, sessions: Sequence[str], reason: EndReason, text: str) -> None:
        for session in sessions:
            try:
                sealed = self._gateway.store.seal(session, reason, text)
            except Exception as error:  # whatever is wrong with one file, the others get their end
                words = "the recording of session {session} cannot be ended: {error}"
                self._log.error(words, session=session, error=type(error).__name__)
                continue
            if sealed is not None:  # else it was not open yet, or is gone
                self._reactor.callFromThread(self._write_down, session, sealed, reason, text)
        try:
            self._gateway.store.book_ended()
        except OSError as error:
            words = "the ledger of recordings cannot be told what has ended: {error}"
            self._log.error(words, error=error.strerror)

    def _write_down(self, session: str, sealed: Sealed, reason: EndReason, text: str) -> None:
        gateway, totals = self._gateway, sealed.totals
        if sealed.problem and not sealed.again:
            gateway.meters.add(RECORDINGS_UNSEALED, "successor")
        elif totals is not None and totals.reason == reason:
            gateway.meters.add(RECORDINGS_SEALED, "successor")
        if sealed.problem:
            words = "the recording of session {session} has no end: {problem}"
            self._log.warn(words, session=session, problem=printable(sealed.problem))
        if sealed.again and reason is EndReason.GATEWAY_DIED:
            return  # looked at again at the next start
        if is_to_be_told(sealed, reason):
            if sealed.header.door in DOORS:
                gateway.meters.add(SESSIONS_ENDED, sealed.header.door, reason)
            gateway.audit.note(*line_of(session, sealed, reason, text))
        gateway.state.note(rows_of(session, sealed, reason))
