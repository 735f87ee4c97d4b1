"""Who somebody is for what only a person may decide (L3): an answer to a request, the deletion of a recording.

Invariants: whoever decides is an identity of the directory as it is now, with an id of its own, no account for
emergencies, and not locked; and proves it for this very decision: with a one-time code, which is used up, or with a
passkey's signature over exactly this, which the gateway judges itself. Guesses are charged as at the door. Whoever
speaks for somebody proves nothing by that.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from twisted.internet.defer import CancelledError, Deferred

from bastion.auth.budget import Work
from bastion.auth.directory import Asker
from bastion.auth.embedded import has_own_id
from bastion.auth.factors import CODE, PASSKEY
from bastion.auth.identity import Account
from bastion.control.asking import By
from bastion.control.code_using import charged, spend
from bastion.control.proving import challenge_of, is_timely
from bastion.errors import ApprovalReason, AuthReason, PolicyReason, Refused
from bastion.observe.events.logins import SecurityKeyCounter
from bastion.policy.locks import Party
from bastion.session.gateway import Gateway
from bastion.state.approvals import Approver
from bastion.state.passkeys import Passkey, find, use
from bastion.wire.printable import printable

T = TypeVar("T")

HERE: Final = ""
"""The source that guesses at the socket are charged to: it is no address."""

COST: Final = 300
"""Microseconds of processor that a signature takes to check."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What came with an order. `about` is what a passkey has to have signed; `moment` when it was asked."""

    about: tuple[str, ...]
    code: str = field(default="", repr=False)
    passkey: str = field(default="", repr=False)
    moment: int = 0


async def proved(gateway: Gateway, by: By, proof: Proof) -> Approver:
    """Who it is that decides, and with what that was proved. Raises Refused."""
    name = by.person or by.name
    asker = Asker(gateway.budget.identity(name))
    try:
        account = await gateway.services.auth.directory.lookup(name, asker)
    except Refused:
        text = f"{printable(name, 64)} is nobody in the directory: decide as somebody who is"
        raise Refused(ApprovalReason.NOT_APPROVER, text) from None
    if not has_own_id(account):
        raise Refused(ApprovalReason.NO_ID, f"{account.name} has no id of its own in the directory")
    if account.only_targets:
        raise Refused(ApprovalReason.NOT_APPROVER, "a break-glass account approves nothing")
    lock = gateway.locks.party(Party(account.name, account.uid, HERE), gateway.clock.time())
    if lock is not None:
        raise Refused(PolicyReason.LOCKED, lock.text)
    factor = PASSKEY if proof.passkey else CODE
    check = _check_passkey if proof.passkey else _check_code
    await check(gateway, account, proof, asker)
    return Approver(account.name, account.uid, account.groups, factor)


async def _check_code(gateway: Gateway, account: Account, proof: Proof, asker: Asker) -> None:
    """Use the code up. Raises Refused(NO_FACTOR) for whatever is wrong with it."""
    if gateway.codes is None or not proof.code:
        text = (
            "a one-time code is needed"
            if gateway.codes
            else "no [totp] key_file is configured: nobody can prove a code"
        )
        raise Refused(ApprovalReason.NO_FACTOR, text)
    reason, _ = await spend(gateway, HERE, account.name, account.uid, proof.code, asker)
    if reason is not AuthReason.OK:
        raise Refused(ApprovalReason.NO_FACTOR, f"the code was not accepted: {reason}")


async def _check_passkey(gateway: Gateway, account: Account, proof: Proof, asker: Asker) -> None:
    """Raises Refused(NO_FACTOR) for whatever is wrong with it."""
    if not gateway.services.approvals.origin:
        text = "this gateway takes no passkeys for that ([approvals] passkeys): a one-time code is needed"
        raise Refused(ApprovalReason.NO_FACTOR, text)
    reason, _ = await charged(gateway, HERE, account.name, partial(_judged, gateway, account, proof, asker))
    if reason is not AuthReason.OK:
        raise Refused(ApprovalReason.NO_FACTOR, f"the passkey was not accepted: {reason}")


async def _judged(gateway: Gateway, account: Account, proof: Proof, asker: Asker) -> bool:
    """The passkey is this account's, and its signature is over what was decided. Raises Refused."""
    from bastion.auth.webauthn import Credential, asserted  # `fido2`, for passkeys alone
    from bastion.auth.webauthn import Party as Relying

    now, given, state = gateway.clock.time(), asserted(proof.passkey), gateway.state
    if given is None or not is_timely(proof.moment, now):
        raise Refused(AuthReason.FACTOR_INVALID, "the passkey's answer is to no question of now")
    _pay(gateway, account)
    known = await _answered(state.decide(partial(find, passkey=given.id, uid=account.uid), asker))
    if known is None:
        raise Refused(AuthReason.FACTOR_INVALID, "the passkey is none of this account")
    if gateway.locks.party(Party(account.name, account.uid, HERE, (known.id,)), now) is not None:
        raise Refused(AuthReason.LOCKED, "the passkey is locked")
    wanted = challenge_of(account.uid, proof.moment, *proof.about)
    counter, _ = Relying(gateway.services.approvals.origin).judge(
        given,
        Credential(known.credential, known.public_key, known.uid),
        lambda found: hmac.compare_digest(found, wanted),
    )
    if not await _answered(state.decide(partial(use, passkey=known.id, counter=counter, now=now), asker)):
        _fallen(gateway, known, counter)
        raise Refused(AuthReason.BAD_SIGNATURE, "the counter of the passkey has not risen")
    return True


def _pay(gateway: Gateway, account: Account) -> None:
    try:
        gateway.budget.identity(account.name).spend(Work.PUBLIC_KEY, COST)
    except Refused as refusal:
        raise Refused(AuthReason.OVER_BUDGET, refusal.text) from None


async def _answered(asked: Deferred[T]) -> T:
    """What the store says. Raises Refused."""
    try:
        return await asked
    except CancelledError:
        raise
    except Exception:
        raise Refused(AuthReason.FACTOR_UNAVAILABLE, "the gateway's store does not answer") from None


def _fallen(gateway: Gateway, passkey: Passkey, counter: int) -> None:
    """Two authenticators that count for themselves are one and its copy."""
    gateway.audit.note(
        SecurityKeyCounter(
            connection="",
            user=passkey.name,
            source=HERE,
            key=passkey.id,
            counter=counter,
            last=passkey.counter,
        )
    )
