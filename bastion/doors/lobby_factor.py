"""`factor` in the lobby: gives a factor to the connection itself, for what cannot ask, such as a tunnel.

The questions are asked on the session channel, a line each (`lobby_talk`). Without a terminal a password is not asked,
because the engineer's own terminal would show it. With `wait` the command stays until Ctrl-C, so that the listening
sockets of its client (`ssh -L`) stay too.
"""

from __future__ import annotations

from typing import Final

from bastion.auth.factors import CODE, OUTSIDE, PASSWORD, RADIUS, Chain, in_order, missing
from bastion.auth.identity import Destination
from bastion.doors.lobby_talk import Talk
from bastion.doors.step_up import StepUp, context_of
from bastion.options.kinds import show_seconds
from bastion.policy.grant import FactorsNeeded

USAGE: Final = "usage: factor [totp] [password] [oidc] [radius] [wait]\n"
WAIT: Final = "wait"


def read_words(words: list[str]) -> tuple[Chain, bool] | None:
    """Which factors, and whether to stay; None for a call that is wrong."""
    wait = words[-1:] == [WAIT]
    names = words[:-1] if wait else words
    if len(set(names)) < len(names) or not set(names) <= {CODE, PASSWORD, *OUTSIDE}:
        return None
    return in_order(names) or (CODE,), wait


class FactorTalk(Talk):
    """One call of `factor`."""

    def begin(self, factors: Chain, wait: bool) -> None:
        """It ends in `end`, or in `stop`."""
        self.run(self._talk(factors, wait))

    async def _talk(self, factors: Chain, wait: bool) -> None:
        outer = self._outer
        identity = outer.identity
        left = missing(factors, identity.factors)
        if left:
            if {PASSWORD, RADIUS} & set(left) and not self._terminal:
                self._say("what is secret is asked on a terminal only: ssh -t\n")
                self._finish(1)
                return
            context = context_of(outer, outer.id)
            step_up = StepUp(context, self._clock, self.ask, outer.services.front_settings.login_grace)
            await step_up.prove(identity, Destination(identity.name), FactorsNeeded("this connection", left))
            outer.note_factors(left)
        ttl = outer.services.auth.factor_ttl
        counts = f"counts for this connection for {show_seconds(ttl)}" if left else "was given already"
        self._say(f"{' and '.join(factors)} {counts}.\n")
        if not wait:
            self._finish(0)
            return
        self._waiting = True
        self._say("Tunnels of this connection work while this runs; Ctrl-C ends it.\n")
