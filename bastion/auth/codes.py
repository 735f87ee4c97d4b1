"""Asking for an account and its one-time code, so that whoever has proved nothing learns nothing of names (L2).

Where a code is a login's first factor, everybody is asked for one. Invariants: what a stranger hears, how long it takes
and what it costs do not tell who exists or who has a second factor: names that nobody has are asked for a code, too, so
that they wait for the store and read as it does while it is away; and a wrong code reads as the directory that it
does not come from (`auth.chain`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred

from bastion.auth.directory import Asker, Covered, Directory
from bastion.auth.identity import Account
from bastion.errors import AuthReason, Refused

Codes = Callable[[str, str, Asker], Deferred[bool]]
"""Uses up the code that was typed (the second) for the identity with this immutable id, in the turn of whoever asks;
True: it was a recovery code. Fails with Refused."""

NOBODY: Final = ""
"""No account has this id."""


async def check_code(
    directory: Directory,
    codes: Codes,
    name: str,
    answer: str,
    asker: Asker,
    stranger: bool,
    judge: Callable[[Account], Account] = lambda account: account,
) -> tuple[Account, bool]:
    """The account, whose code this was; True: it was a recovery code. Raises Refused.

    `stranger`: whoever asks has proved nothing before. `judge` raises Refused for an account that no code is asked of.
    """
    try:
        account = await directory.check_key(name, judge, asker)
    except Refused:
        if stranger:
            await _ask_in_vain(codes, answer, asker)
        raise
    try:
        return account, await codes(account.uid, answer, asker)
    except Refused as refused:
        if not stranger or refused.reason is AuthReason.CODES_UNAVAILABLE:
            raise
        raise await _as_from_directory(directory, name, asker, refused) from None


async def _ask_in_vain(codes: Codes, answer: str, asker: Asker) -> None:
    """Raises Refused(CODES_UNAVAILABLE), when that is how it is."""
    try:
        await codes(NOBODY, answer, asker)
    except Refused as refused:
        if refused.reason is AuthReason.CODES_UNAVAILABLE:
            raise


async def _as_from_directory(directory: Directory, name: str, asker: Asker, refused: Refused) -> Refused:
    """The refusal as the directory covers one of a key; booked by its own reason, whatever the directory says now."""

    def refuse(account: Account) -> None:
        raise refused

    try:
        await directory.check_key(name, refuse, asker)
    except Refused as told:
        if told is refused or isinstance(told, Covered):
            return told
        return Covered(refused, AuthReason(told.reason))
    return refused
