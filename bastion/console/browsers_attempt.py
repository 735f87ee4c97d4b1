"""Attempts to sign in that SSH does not know (L4), with a passkey or at an identity provider: booked, charged and
written down as every other (`auth.attempt`).

Invariants: whose a passkey is says the store, by the immutable id of an identity, and who has signed in elsewhere a
verified token; the directory is asked about that account now. What is not right costs whoever tried as a wrong code
does, and so do passkeys that nobody has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred

from bastion.auth.attempt import Attempt
from bastion.auth.directory import NOT_ADMITTED
from bastion.auth.evidence import NO_EVIDENCE
from bastion.auth.factors import OIDC, PASSKEY, Proof
from bastion.auth.identity import Account
from bastion.auth.restrictions import Restrictions
from bastion.errors import AuthReason, Refused
from bastion.observe.events.logins import SecurityKeyCounter
from bastion.state.passkeys import Passkey

if TYPE_CHECKING:  # it loads what verifies tokens, which comes with the extra `oidc`
    from bastion.auth.oidc import Binding
    from bastion.console.elsewhere import Told

COST: Final = 300
"""Microseconds of processor that a signature takes to check."""

Note = Callable[[str, int], Deferred[bool]]
"""Keeps the counter of the passkey with this id; False: one as high was there, or the passkey is gone."""


class BrowsersAttempt(Attempt):
    """`passkey` and `elsewhere` beside the other proofs."""

    def passkey(self, passkey: Passkey | None, judge: Callable[[Passkey], int], note: Note) -> Deferred[None]:
        """Of the passkey that the store has, None for one that it has not; `judge` gives the counter of a good
        signature, or raises Refused."""
        self._method = PASSKEY
        return Deferred.fromCoroutine(self._check_passkey(passkey, judge, note)).addErrback(self._cover)

    async def _check_passkey(
        self, passkey: Passkey | None, judge: Callable[[Passkey], int], note: Note
    ) -> None:
        name = self._admit()
        self._check_wanted(PASSKEY)
        if passkey is None:
            raise Refused(AuthReason.FACTOR_INVALID, NOT_ADMITTED)
        self._context.pay_for_keys(COST)
        self._evidence = NO_EVIDENCE._replace(key=passkey.id)
        counter = judge(passkey)
        self._evidence = self._evidence._replace(user_verified=1, counter=counter)

        def theirs(account: Account) -> Account:
            if account.uid != passkey.uid:
                raise Refused(AuthReason.FACTOR_INVALID, NOT_ADMITTED)
            return account

        account = await self._context.services.directory.check_key(name, theirs, self._asker())
        if not await note(passkey.id, counter):
            self._fallen(passkey, counter)
            raise Refused(AuthReason.BAD_SIGNATURE, "the counter of the passkey has not risen")
        self._remember((Proof((PASSKEY,), passkey.id),), account, Restrictions())

    def elsewhere(self, told: Told | Refused, binding: Binding) -> Deferred[None]:
        """What an identity provider told, or why that is nothing."""
        self._method = OIDC
        return Deferred.fromCoroutine(self._check_elsewhere(told, binding)).addErrback(self._cover)

    async def _check_elsewhere(self, told: Told | Refused, binding: Binding) -> None:
        name = self._admit()
        self._check_wanted(OIDC)
        if isinstance(told, Refused):
            raise told

        def theirs(account: Account) -> Account:
            binding.check(told.claims, account)
            return account

        account = await self._context.services.directory.check_key(name, theirs, self._asker())
        self._remember((Proof((OIDC,)),), account, Restrictions())

    def _fallen(self, passkey: Passkey, counter: int) -> None:
        """Two authenticators that count for themselves are one and its copy."""
        context = self._context
        context.audit.note(
            SecurityKeyCounter(
                connection=context.connection,
                user=passkey.name,
                source=context.source,
                key=passkey.id,
                counter=counter,
                last=passkey.counter,
            )
        )
