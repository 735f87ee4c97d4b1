"""`totp` in the lobby: somebody makes a second factor of his own, or another one in its place.

Invariants: more than a password was proved before: a key, a certificate, or a code (of the second factor that is to
be replaced, a recovery code, or the one of an invitation); where there is no second factor a code of long ago counts
for nothing, since it may be of one that was taken away; a code is judged as at a login, and charged like one;
nothing is kept before the app has shown a code of the new secret, which leaves here once and is kept sealed.
"""

from __future__ import annotations

from functools import partial
from io import StringIO
from typing import Final

import segno

from bastion.auth.directory import Asker
from bastion.auth.embedded import has_own_id
from bastion.auth.factors import CODE, KEYS
from bastion.auth.identity import Account, Destination, Identity
from bastion.auth.totp import new_recovery_codes, new_secret, normal, step_of, uri_of
from bastion.doors.lobby_talk import Talk
from bastion.doors.step_up import StepUp, context_of
from bastion.errors import AuthReason, BastionError, PolicyReason, Refused
from bastion.observe.events.logins import TotpSetUp
from bastion.policy.grant import FactorsNeeded
from bastion.session.approving import fresh_factor
from bastion.state import codes as stored
from bastion.wire.userauth import Prompt

USAGE: Final = "usage: totp\n"

SCAN_TIME: Final = 300.0
"""Seconds to find the telephone, scan the picture and type the first code."""

TRIES: Final = 3


class TotpTalk(Talk):
    """One call of `totp`."""

    def begin(self) -> None:
        """It ends in `end`, or in `stop`."""
        self.run(self._talk())

    async def _talk(self) -> None:
        outer = self._outer
        key = outer.services.totp_key
        if key is None:
            raise Refused(AuthReason.CODES_UNAVAILABLE, "this gateway has no second factors")
        account = await self._account(outer.identity)
        has_one = await self._decide(partial(stored.is_enrolled, uid=account.uid))
        await self._prove(has_one)
        secret, codes = new_secret(), new_recovery_codes()
        step = await self._first_code(account, secret)
        now = outer.gateway.clock.time()
        who = stored.Enrolled(account.name, account.uid, now, account.name)
        kept = partial(stored.enrol, key=key, who=who, secret=secret, codes=codes, step=step, replace=has_one)
        if not await self._decide(kept):
            raise Refused(PolicyReason.PROOF_REQUIRED, "you have a second factor since a moment ago")
        outer.note(TotpSetUp(account.uid, has_one))
        self._say("Done: from now on a login that wants a code takes those of the app.\n\n")
        self._say("Recovery codes, each good once in the place of a code. They are shown this once:\n")
        self._say("".join(f"  {code}\n" for code in codes))
        self._finish(0)

    async def _account(self, identity: Identity) -> Account:
        """As the directory has it now. Raises Refused: it is another one, or has no id that would stay."""
        purse = self._outer.gateway.budget.identity(identity.name)
        account = await self._outer.services.auth.directory.lookup(identity.name, Asker(purse))
        if account.uid != identity.uid:
            raise Refused(PolicyReason.ACCOUNT_GONE, "the account is another one than at the login")
        if not has_own_id(account):
            text = "your account has no id of its own, which a second factor hangs on: ask whoever keeps this gateway"
            raise Refused(PolicyReason.PROOF_REQUIRED, text)
        return account

    async def _prove(self, has_one: bool) -> None:
        """Raises Refused when too little was proved."""
        outer = self._outer
        identity = outer.identity
        invited = fresh_factor(identity, outer.gateway.clock.time()) == CODE
        if not has_one and (invited or not set(KEYS).isdisjoint(identity.factors)):
            return
        if has_one:
            self._say("You have a second factor. To replace it, give a code of it, or a recovery code.\n")
        else:
            self._say("A password alone is not enough: give the code that you were invited with.\n")
        step_up = StepUp(
            context_of(outer, outer.id), self._clock, self.ask, outer.services.front_settings.login_grace
        )
        await step_up.prove(identity, Destination(identity.name), FactorsNeeded("a second factor", (CODE,)))

    async def _first_code(self, account: Account, secret: str) -> int:
        """The step of the first code that the app shows. Raises Refused."""
        uri = uri_of(secret, account.name, self._outer.services.issuer)
        drawn = StringIO()
        segno.make(uri, error="m").terminal(out=drawn, compact=True)
        self._say(f"Scan this with an app for one-time codes:\n{drawn.getvalue()}\nor type it in: {uri}\n\n")
        deadline = self._clock.seconds() + SCAN_TIME
        for _ in range(TRIES):
            left = max(deadline - self._clock.seconds(), 0.0)
            (answer,) = await self.ask((Prompt("Code that the app shows: "),), "", left)
            code = normal(answer.decode("utf-8", "replace"))
            step = step_of(secret, code, self._outer.gateway.clock.time())
            if step is not None:
                return step
            self._say("that is not it: is the clock of your telephone right?\n")
        raise Refused(PolicyReason.PROOF_REQUIRED, "nothing was changed")

    async def _decide(self, decision: partial[bool]) -> bool:
        gateway, name = self._outer.gateway, self._outer.identity.name
        try:
            return await gateway.state.decide(decision, Asker(gateway.budget.identity(name)))
        except Refused:
            raise
        except BastionError:
            text = "second factors cannot be kept now, please try again in a moment"
            raise Refused(AuthReason.CODES_UNAVAILABLE, text) from None
