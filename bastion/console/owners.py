"""Whose saved searches may run (L4): asked of the directory before they do.

Invariants: a search runs for somebody who may search now, and for nobody else; one whose owner is gone is stopped, with
a line in the audit log. Where the directory does not answer nobody is gone, and nothing runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred

from bastion.assembly.building import build_directory
from bastion.auth.directory import OPERATOR, Directory
from bastion.auth.embedded import load_users
from bastion.clock import SystemClock
from bastion.config.load import Config
from bastion.console.routes import LOOKS
from bastion.console.signing_in import is_silent, roles_of
from bastion.errors import LimitReason, Refused
from bastion.policy.locks import LockSet, Party
from bastion.state.saved import Saved

GONE: Final = "the account is none any more"
NO_ROLE: Final = "the account may not search any more"
"""Why a search is stopped."""

LOCKED: Final = "its owner is locked"
SILENT: Final = "the directory does not answer"
"""Why one does not run now."""

STOPS: Final = frozenset((GONE, NO_ROLE))

Run = Callable[[Callable[[Any], Any]], Any]
"""Runs a function in the reactor, once, and gives what its Deferred does."""


def unfit(run: Run, config: Config, searches: Iterable[Saved], locks: LockSet) -> Mapping[str, str]:
    """Account id -> why the searches of whoever has it do not run; of those that run nothing. Raises ConfigError."""
    users = load_users(config.directory.embedded) if config.directory.embedded is not None else None
    owners = {one.uid: one.name for one in searches}
    if not owners:
        return {}

    def asked(reactor: Any) -> Any:
        directory = build_directory(config, users, reactor, SystemClock(), None)

        def close(result: Any) -> Any:
            directory.close()
            return result

        return Deferred.fromCoroutine(_asked(directory, owners, config, locks)).addBoth(close)

    found: Mapping[str, str] = run(asked)
    return found


async def _asked(
    directory: Directory, owners: Mapping[str, str], config: Config, locks: LockSet
) -> dict[str, str]:
    """One after the other: there is time at night."""
    found = {uid: await _why(directory, uid, name, config, locks) for uid, name in owners.items()}
    return {uid: why for uid, why in found.items() if why}


async def _why(directory: Directory, uid: str, name: str, config: Config, locks: LockSet) -> str:
    try:
        account = await directory.lookup(name, OPERATOR)
    except Refused as refused:
        return SILENT if is_silent(refused) or isinstance(refused.reason, LimitReason) else GONE
    if account.uid != uid:
        return GONE
    roles = roles_of(account.groups, config.console.groups)
    if account.service is not None or account.only_targets or not roles & LOOKS:
        return NO_ROLE
    return LOCKED if locks.party(Party(account.name, uid, ""), SystemClock().time()) is not None else ""
