"""Signing in with the same directory and factors as SSH (L4), by the same attempts (`auth.attempt`).

One sign-in is a few attempts, one for each factor of a chain, in the order in which SSH takes them: a code before the
password, so that nobody locks an account in the directory who has no code. Each is charged before it is judged, a line
in the audit log and a count. Invariants: what was proved is kept for this one sign-in alone; whoever has not proved
everything learns the same whatever was wrong, and when; somebody who is locked, a program, or an account for
emergencies is not signed in.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from twisted.internet.task import deferLater

from bastion.auth.attempt import Attempt, Before, UserName
from bastion.auth.context import AuthContext
from bastion.auth.directory import SILENT
from bastion.auth.factors import CODE, OIDC, PASSKEY, PASSWORD, Given
from bastion.auth.identity import Destination, Identity
from bastion.auth.names import SEPARATOR, account_part
from bastion.console.browsers_attempt import BrowsersAttempt, Note
from bastion.control.roles import Role
from bastion.errors import AuthReason, Refused
from bastion.policy.locks import LockSet, party_of
from bastion.state.passkeys import Passkey

if TYPE_CHECKING:  # it loads what verifies tokens, which comes with the extra `oidc`
    from bastion.auth.oidc import Binding
    from bastion.console.elsewhere import Told

A = TypeVar("A", bound=Attempt)

STEP: Final = 0.3
"""Seconds: an answer comes after a whole number of these, so that a clock tells little of what was wrong."""

NOBODYS: Final = UserName("(nobody)", "", Destination("nobody"))
"""Whom guesses count against that name nobody. No account has such a name."""

CODE_MAX: Final = 64
"""Characters of a one-time or recovery code."""

NOT_ADMITTED: Final = "name, password or code is not right"
NO_PASSKEY: Final = "the passkey is not right, or not known here"
NOT_ELSEWHERE: Final = "that sign-in proves nothing here"

SHOWN: Final = {
    AuthReason.THROTTLED: "too many failed sign-ins for this name from here: try again later",
    AuthReason.OVER_BUDGET: "too many failed sign-ins from here: try again in a moment",
    AuthReason.CODES_UNAVAILABLE: "codes cannot be checked now: try again in a moment",
    AuthReason.DIRECTORY_UNAVAILABLE: "the directory is not available: try again in a minute",
    AuthReason.FACTOR_UNAVAILABLE: "the identity provider is not available: try again in a minute",
    AuthReason.FACTOR_DENIED: "the sign-in was refused there",
    AuthReason.DIRECTORY_TIMEOUT: "the directory did not answer in time: try again in a minute",
}
"""Refusals that say nothing about who asks."""


@dataclass(frozen=True, slots=True)
class Typed:
    """What somebody typed. Nothing of it is logged but the name."""

    name: str
    password: str = field(repr=False)
    code: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Shown:
    """A passkey's answer: `passkey` is the store's, None where it has none; `judge` and `note` as in
    `PasskeyAttempt.passkey`."""

    passkey: Passkey | None
    judge: Callable[[Passkey], int]
    note: Note


@dataclass(frozen=True, slots=True)
class Returned:
    """Whoever comes back from an identity provider: what it told, or why that is nothing."""

    told: Told | Refused
    binding: Binding


class NotSignedIn(Exception):
    """`text` is for whoever tried; the audit log has more."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class SigningIn:
    """One sign-in."""

    def __init__(self, reactor: Any, context: AuthContext, locks: LockSet) -> None:
        self._reactor, self._context, self._locks = reactor, context, locks
        self._before = Before(Given(context.services.chains_of_anybody))
        self._identity: Identity | None = None

    async def prove(self, given: Typed | Shown | Returned) -> Identity:
        """Who it is. Raises NotSignedIn, at the end of a step."""
        began = self._reactor.seconds()
        try:
            if isinstance(given, Typed):
                return await self._prove(given)
            return await (
                self._prove_passkey(given) if isinstance(given, Shown) else self._prove_elsewhere(given)
            )
        except Refused as refusal:
            text = TEXTS[type(given)]
            if isinstance(refusal.reason, AuthReason):
                text = SHOWN.get(refusal.reason, text)
                if refusal.reason is AuthReason.LOCKED:
                    text = refusal.text
            raise NotSignedIn(text) from None
        finally:
            took = self._reactor.seconds() - began
            await deferLater(self._reactor, STEP * max(1, math.ceil(took / STEP)) - took)

    async def _prove(self, typed: Typed) -> Identity:
        name = _name_of(typed.name)
        code: str | None = typed.code.strip()
        password: str | None = typed.password
        while self._identity is None:
            wanted = self._before.given.wanted
            if CODE in wanted and code is not None and (code or PASSWORD not in wanted):
                await self._attempt(name, CODE, code)
                code = None
            elif PASSWORD in wanted and password is not None:
                await self._attempt(name, PASSWORD, password)
                password = None
            else:
                raise Refused(AuthReason.FACTOR_NOT_WANTED, NOT_ADMITTED)
        return self._identity

    async def _prove_passkey(self, shown: Shown) -> Identity:
        """By the name that the directory had on the day it was made: of an account of another name it is nobody's."""
        name = NOBODYS if shown.passkey is None else UserName.read(shown.passkey.name)
        attempt = self._new(BrowsersAttempt, name, PASSKEY)
        await self._settled(attempt, lambda: attempt.passkey(shown.passkey, shown.judge, shown.note))
        return self._somebody()

    async def _prove_elsewhere(self, returned: Returned) -> Identity:
        """By the name that the token says; account and roles are the directory's."""
        told = returned.told
        if not isinstance(told, Refused) and not told.name:
            told = Refused(AuthReason.FACTOR_MISMATCH, "the ID token names no account")
        name = NOBODYS if isinstance(told, Refused) else _name_of(told.name)
        attempt = self._new(BrowsersAttempt, name, OIDC)
        await self._settled(attempt, lambda: attempt.elsewhere(told, returned.binding))
        return self._somebody()

    def _somebody(self) -> Identity:
        if self._identity is None:
            raise Refused(AuthReason.FACTOR_NOT_WANTED, NOT_ADMITTED)
        return self._identity

    async def _attempt(self, name: UserName, method: str, text: str) -> None:
        attempt = self._new(Attempt, name, method)
        await self._settled(
            attempt, lambda: attempt.answer(text) if method == CODE else attempt.password(text)
        )

    def _new(self, kind: type[A], name: UserName, method: str) -> A:
        return kind(
            self._context,
            name,
            method,
            self._before,
            on_proved=self._admitted,
            on_succeeded=lambda identity, *_: self._whole(identity),
            on_kept=self._keep,
        )

    async def _settled(self, attempt: Attempt, prove: Callable[[], Awaitable[None]]) -> None:
        """One factor. Raises Refused, once it is booked."""
        reason = AuthReason.ABANDONED
        try:
            await prove()
            reason = AuthReason.OK if attempt.whole else AuthReason.PARTIAL
        except Refused as refusal:
            known = isinstance(refusal.reason, AuthReason)
            reason = AuthReason(refusal.reason) if known else AuthReason.INTERNAL_ERROR
            raise
        except Exception:
            reason = AuthReason.INTERNAL_ERROR
            raise
        finally:
            attempt.settle(reason)
        if attempt.whole and not attempt.owed:
            attempt.succeed()
        else:
            attempt.keep()

    def _admitted(self, identity: Identity) -> Identity:
        """Only who has proved who he is learns that he is locked, and why."""
        if identity.service or identity.is_break_glass:
            raise Refused(AuthReason.FACTOR_NOT_WANTED, NOT_ADMITTED)
        lock = self._locks.party(party_of(identity), self._context.clock.time())
        if lock is not None:
            raise Refused(AuthReason.LOCKED, lock.text)
        return identity

    def _keep(self, before: Before) -> None:
        self._before = before

    def _whole(self, identity: Identity) -> None:
        self._identity = identity


TEXTS: Final = {Typed: NOT_ADMITTED, Shown: NO_PASSKEY, Returned: NOT_ELSEWHERE}
"""What whoever has proved nothing reads."""


def _name_of(typed: str) -> UserName:
    """A name alone: nobody is led to a login or a target here."""
    name = typed.strip()
    if SEPARATOR.search(name):
        return UserName(account_part(name), name[:64], None, NOT_ADMITTED)
    return UserName.read(name)


def roles_of(account_groups: frozenset[str], groups: Mapping[str, frozenset[str]]) -> frozenset[Role]:
    """What somebody in these groups may be here; `groups`: role -> whose members have it (`config.console`)."""
    return frozenset(role for role in Role if groups.get(role, frozenset()) & account_groups)


def is_silent(refusal: Refused) -> bool:
    """The directory gave no answer: it says nothing about the account."""
    return refusal.reason in SILENT
