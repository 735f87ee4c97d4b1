"""Whose a name is, as the directory says: the answer to `control.account_id` (L3).

An id that is made of the name is none: whoever has the name next has it, too.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from bastion.auth.directory import SILENT, Directory
from bastion.auth.embedded import has_own_id
from bastion.auth.identity import Account
from bastion.control.account_id import NO_ANSWER, AccountId
from bastion.errors import Refused


def id_of(directory: Directory, name: str) -> Deferred[AccountId]:
    """What the directory knows now. Never fails with Refused."""

    def known(account: Account) -> AccountId:
        if has_own_id(account):
            return AccountId(account.uid)
        return AccountId(why=f"{account.name} has no id of its own")

    def refused(failure: Failure) -> AccountId:
        if not isinstance(failure.value, Refused):
            failure.raiseException()
        reason = failure.value.reason
        return AccountId(
            why=NO_ANSWER if reason in SILENT else f"the directory has nobody of that name ({reason})"
        )

    return directory.lookup(name).addCallbacks(known, refused)
