"""Penalties over restarts and handovers (L4): read before anybody is let in, written when they have changed.

Where there are other gateways they are shared, too (`control.penalty_sharing`).

Invariants: the reactor waits for no disk but at the very end; a folder that cannot be used is no hindrance, and then
penalties are this process's own; what was read last is never written over by a process that has handed over.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from bastion.auth.penalty_records import Kept
from bastion.auth.throttle import Penalties
from bastion.clock import DelayedCall
from bastion.config.sections import Sections
from bastion.control.hub import Hub
from bastion.control.penalty_sharing import PenaltySharing, with_consoles
from bastion.observe.families.standing import PENALTIES, PENALTY_BLOCKS, PENALTY_CLAIMS_LEFT_OUT
from bastion.observe.meters import Meters
from bastion.state.penalty_copy import KEY, key_of, read_penalties, write_key, write_penalties

WRITE_EVERY: Final = 3.0
"""Seconds between two looks whether anything is to be written: what a `kill -9` may forget."""


class PenaltyKeeper:
    """One for the process that judges. `load` it before anybody connects, `close` it last of all.

    `key` is what digests are keyed with: of the folder, or of this process when the folder cannot be used.
    """

    def __init__(self, reactor: Any, folder: Path) -> None:
        """Blocks, for a small file."""
        self._reactor, self._folder = reactor, folder
        self._penalties: Penalties | None = None  # until they are kept
        self._written = 0
        self._timer: DelayedCall | None = None
        self._writing = threading.Lock()
        self._newest = 0
        self._log = Logger(namespace="bastion.penalties")
        self._sharing: PenaltySharing | None = None
        self._why = ""  # nothing can be kept
        try:
            self.key = key_of(folder)
        except OSError as error:
            self._why = error.strerror or "the folder cannot be used"
            self.key = secrets.token_bytes(KEY)

    def share(self, config: Sections, hub: Hub, on_key: Callable[[bytes], object] = bytes) -> None:
        """Where there are other gateways, or a console: share them from `load` on, by whichever process of `hub` has
        the store. `on_key` hears of the key that all of them use, when it is another one than `key`."""
        nodes = with_consoles((config.state.name, *config.nodes.peers), config.state.name)
        if not config.nodes.used and not any(config.console.groups.values()):
            return

        def keyed(key: bytes) -> None:
            self.key = key
            on_key(key)
            threading.Thread(target=self._keep_key, args=(key,), name="penalties", daemon=True).start()

        self._sharing = PenaltySharing(config.state.name, nodes, hub.ask_any, self._reactor, keyed)

    def _keep_key(self, key: bytes) -> None:
        try:
            write_key(self._folder, key)
        except OSError as error:
            self._log.warn("the key of penalties cannot be kept: {why}", why=error.strerror)

    def load(self, penalties: Penalties) -> None:
        """In the reactor, once: give them those of last time, and keep them from now on."""
        penalties.use_key(self.key)
        if self._sharing is not None:
            self._sharing.start(penalties, self.key)
        self._restore(penalties)

    def _restore(self, penalties: Penalties) -> None:
        if self._why:
            self._log.warn("penalties are not kept over a restart: {why}", why=self._why)
            return
        found = read_penalties(self._folder)
        if found is None:
            self._log.warn("the penalties kept in {folder} cannot be read", folder=str(self._folder))
        penalties.restore(found or ())
        self._penalties, self._written = penalties, penalties.changes
        self._timer = self._reactor.callLater(WRITE_EVERY, self._look)

    def _look(self) -> None:
        self._timer = self._reactor.callLater(WRITE_EVERY, self._look)
        self.flush()

    def flush(self) -> Deferred[None]:
        """Write what has changed, in a thread. Fires when that is done; never fails."""
        done: Deferred[None] = Deferred()
        taken = self._taken()
        if taken is None:
            done.callback(None)
            return done
        kept, number = taken

        def work() -> None:
            self._write(kept, number)
            self._reactor.callFromThread(done.callback, None)

        threading.Thread(target=work, name="penalties", daemon=True).start()
        return done

    def retire(self) -> None:
        """Another process keeps them now."""
        self._penalties = None
        if self._sharing is not None:
            self._sharing.stop()
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def close(self) -> None:
        """Write what has changed, here and now: nobody is left who would wait."""
        if taken := self._taken():
            self._write(*taken)
        self.retire()

    def _taken(self) -> tuple[Sequence[Kept], int] | None:
        """What is to be written; None when that is what stands there."""
        penalties = self._penalties
        if penalties is None or self._written == penalties.changes:
            return None
        self._written = penalties.changes
        self._newest += 1
        return penalties.kept(), self._newest

    def _write(self, kept: Sequence[Kept], number: int) -> None:
        with self._writing:
            if number < self._newest:
                return  # a later one is on its way, or there
            try:
                write_penalties(self._folder, kept)
            except OSError as error:
                self._log.warn("penalties cannot be kept: {why}", why=error.strerror)


def look_at_penalties(meters: Meters, penalties: Penalties) -> None:
    """Of the process that keeps them; there are none in the others."""
    for what, count in penalties.running().items():
        meters.set(PENALTIES, count, what)
        meters.set(PENALTY_BLOCKS, penalties.begun[what], what)
    for why, count in penalties.claims.left_out.items():
        meters.set(PENALTY_CLAIMS_LEFT_OUT, count, why)
