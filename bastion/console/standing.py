"""Is somebody who signed in a while ago still who he was? (L4) Asked of the directory and of the locks, now and then.

Invariants: an account that is gone, locked or without a role sees nothing after FRESH seconds; a directory or a store
that does not answer keeps nobody signed in for longer than UNANSWERED.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bastion.auth.directory import Asker, Directory
from bastion.clock import Clock
from bastion.console.reads import Reads, Trouble
from bastion.console.signing_in import is_silent, roles_of
from bastion.console.visits import Visit
from bastion.errors import ConsoleReason, LimitReason, Refused
from bastion.policy.locks import Party

FRESH: Final = 60.0
UNANSWERED: Final = 600.0
"""Seconds for which an answer counts, and for which the last one does while nobody answers."""


class Standing:
    """One per console."""

    def __init__(
        self, directory: Directory, reads: Reads, clock: Clock, groups: Mapping[str, frozenset[str]]
    ) -> None:
        self._directory, self._reads, self._clock, self._groups = directory, reads, clock, groups

    async def ask(self, visit: Visit, asker: Asker) -> ConsoleReason | None:
        """Why the visit is over; None: it goes on, with the roles of now."""
        age = self._clock.monotonic() - visit.asked_at
        if age < FRESH:
            return None
        try:
            account = await self._directory.lookup(visit.name, asker)
            locks = await self._reads.locks(asker)
        except Refused as refusal:
            if not is_silent(refusal) and not isinstance(refusal.reason, LimitReason):
                return ConsoleReason.ACCOUNT_GONE
            return None if age < UNANSWERED else ConsoleReason.UNAVAILABLE
        except Trouble:
            return None if age < UNANSWERED else ConsoleReason.UNAVAILABLE
        if account.uid != visit.uid or account.service is not None or account.only_targets:
            return ConsoleReason.ACCOUNT_GONE
        party = Party(account.name, account.uid, visit.source, visit.shown)
        if locks.party(party, self._clock.time()) is not None:
            return ConsoleReason.LOCKED
        visit.roles = roles_of(account.groups, self._groups)
        if not visit.roles:
            return ConsoleReason.ACCOUNT_GONE
        visit.asked_at = self._clock.monotonic()
        return None
