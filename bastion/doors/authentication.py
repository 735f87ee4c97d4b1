"""Who is at the door: joins the userauth service with the directory, the trusted CAs and the penalties.

One `Authentication` belongs to one connection and keeps of its attempts only what was proved and is not enough yet
(`auth.factors`), as a value that the next attempt builds on. A certificate proves the person and
the directory still has to know the account; a key must stand in the account; a password is checked by the
directory alone. Every attempt (`auth.attempt`) is one audit line and one counter, with a reason from a closed
set, whether or not the connection lives to hear of it.
"""

from __future__ import annotations

from collections.abc import Callable

from bastion.auth.attempt import Attempt, Before, Succeeded, UserName
from bastion.auth.context import AuthContext
from bastion.auth.directory import TIMED_OUT, UNAVAILABLE
from bastion.auth.factors import CODE, Given
from bastion.auth.identity import Identity
from bastion.doors.break_glass import alarm
from bastion.errors import AuthReason, Refused

# Refusals that say nothing about who asks: the engineer reads why, since the method list alone cannot say it.
SHOWN = {
    AuthReason.DIRECTORY_UNAVAILABLE: UNAVAILABLE,
    AuthReason.DIRECTORY_TIMEOUT: TIMED_OUT,
    AuthReason.BAD_USER_NAME: "the user name must be identity+login+target or identity+target",
    AuthReason.THROTTLED: "too many failed logins for this name from here, please try again later",
    AuthReason.SK_NOT_TOUCHED: "your security key was not touched, and this gateway wants it to be",
    AuthReason.SK_NOT_VERIFIED: "your security key must verify you, by its PIN or your fingerprint",
    AuthReason.REVOCATION_UNKNOWN: "no key is taken while the list of revoked keys cannot be read: tell an operator",
    AuthReason.CODES_UNAVAILABLE: "second factors cannot be checked now, please try again in a moment",
    AuthReason.CODE_USED: "that one-time code was used already, wait for the next one",
    AuthReason.FACTOR_DENIED: "the sign-in was refused there",
    AuthReason.FACTOR_TIMEOUT: "nobody signed in in time",
    AuthReason.FACTOR_MISMATCH: "the sign-in was somebody else's",
    AuthReason.FACTOR_INVALID: "what came back proves nothing: tell an operator",
    AuthReason.FACTOR_UNAVAILABLE: "nobody there answers, please try again in a minute",
    AuthReason.FACTOR_BUSY: "as many are being asked as may be, please try again in a moment",
    AuthReason.OVER_BUDGET: "too many keys to check for your address, please try again in a moment",
}


def told(reason: AuthReason, known: bool) -> str | None:
    """What an engineer reads of a refusal, if anything; `known`: it is no stranger."""
    if reason is AuthReason.NOT_ENROLLED and known:
        return "you have no second factor yet: ask whoever keeps this gateway to invite you"
    return SHOWN.get(reason)


class Authentication:
    """The `userauth.authenticator.Authenticator` of one front connection."""

    def __init__(
        self,
        context: AuthContext,
        on_success: Succeeded | None = None,
        check_locks: Callable[[Identity], None] | None = None,
    ) -> None:
        """`check_locks` raises Refused when the security team has locked whoever has proved to be there."""
        self.context = context
        self._on_success = on_success
        self._check_locks = check_locks
        self._before = Before(Given(context.services.chains_of_anybody))
        self.on_notice: Callable[[str], None] | None = None  # shows the engineer a line before success

    def methods(self) -> tuple[str, ...]:
        return self._before.given.methods(self.context.services.methods)

    def prompt(self, user: str) -> str:
        """RFC 4256 prompt. Names whose password is asked, since the login on the target is another account."""
        name = UserName.read(user).destination.identity
        return f"{'One-time code' if CODE in self._before.given.wanted else 'Directory password'} of {name}: "

    def open(self, user: str, method: str) -> Attempt:
        name = UserName.read(user)
        return Attempt(
            self.context,
            name,
            method,
            self._before,
            on_proved=self._proved,
            on_succeeded=self._on_success,
            on_refused=self._alarming(name) or self.tell,
            on_kept=self._keep,
        )

    def _alarming(self, name: UserName) -> Callable[[AuthReason], None] | None:
        """Who tries the name of a break-glass account in vain is told as everybody is, and somebody else of him."""
        if name.account not in self.context.services.break_glass.names:
            return None

        def refused(reason: AuthReason) -> None:
            if reason is not AuthReason.METHOD_NOT_OFFERED:
                alarm(self.context, name.account, "refused", reason)
            self.tell(reason)

        return refused

    def _keep(self, before: Before) -> None:
        self._before = before

    def _proved(self, identity: Identity) -> Identity:
        """Only who has proved who he is learns that he is locked, and why."""
        if self._check_locks is not None:
            try:
                self._check_locks(identity)
            except Refused as refusal:
                self._say(refusal.text)
                raise Refused(AuthReason.LOCKED, refusal.text) from None
        return identity

    def tell(self, reason: AuthReason) -> None:
        """One banner per connection for what is no fault of the engineer's and would read as a wrong password."""
        self.tell_somebody(reason, self._before.identity is not None)

    def tell_somebody(self, reason: AuthReason, known: bool) -> None:
        """The same; `known`: it is no stranger."""
        text = told(reason, known)
        if text is not None:
            self._say(text)

    def _say(self, text: str) -> None:
        if self.on_notice is not None:
            on_notice, self.on_notice = self.on_notice, None
            on_notice(f"bastion: {text}{self.context.reference}\r\n")

    def stop(self) -> None:
        """Break the cycle with the connection."""
        self._on_success = self.on_notice = self._check_locks = None
