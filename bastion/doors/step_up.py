"""Factors that a rule wants and the login has not given: asked for before the target is dialled, and noted.

Every door that can ask does it here, by keyboard-interactive on the connection that waits for its success: a direct
login, and an inner connection. Each answer is an attempt like any other (`auth.attempt`): charged before it is judged,
one line, one count. What is proved is proved for the identity that is there already and for no other.

Invariants: a wrong answer leaves nothing behind; whoever leaves in the middle has an attempt booked as abandoned; what
was given on an inner connection is noted for its outer one, for a time, and dies with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from twisted.internet.defer import Deferred

from bastion.auth.attempt import Attempt, Before, UserName
from bastion.auth.context import AuthContext
from bastion.auth.factors import CODE, OUTSIDE, Chain, Given
from bastion.auth.identity import Destination, Identity
from bastion.auth.names import account_part
from bastion.auth.outside import Ask, OutsideFactor
from bastion.clock import Timers
from bastion.doors.authentication import told
from bastion.doors.door import Outer
from bastion.errors import AuthReason, PolicyReason, Refused
from bastion.observe.spans import Trace
from bastion.policy.grant import FactorsNeeded
from bastion.policy.patterns import canonical
from bastion.userauth.keyboard_interactive import METHOD, Answers
from bastion.userauth.server import MAX_PASSWORD, reason_of
from bastion.wire.forwards import TcpipOpen
from bastion.wire.userauth import Prompt

TRIES: Final = 3
"""Wrong answers of one opening, over all factors. OpenSSH asks as often (NumberOfPasswordPrompts)."""

ANSWER_TIME: Final = 60.0
"""Seconds for all answers when the login grace, which is the limit otherwise, is switched off."""

AGAIN: Final = {
    AuthReason.BAD_CODE: "that code was not right",
    AuthReason.CODE_USED: "that code was used already, wait for the next one",
    AuthReason.BAD_PASSWORD: "that password was not right",
    AuthReason.EMPTY_PASSWORD: "nothing was typed",
    AuthReason.PASSWORD_TOO_LONG: "that was too long",
}
"""Outcomes after which it is asked again."""


def context_of(outer: Outer, connection: str, trace: Trace | None = None) -> AuthContext:
    """What attempts inside an outer connection need; its identity pays. `connection` is the id of their lines, `trace`
    hears of proofs."""
    gateway, identity = outer.gateway, outer.identity
    return AuthContext(
        outer.services.auth,
        identity.source_address,
        gateway.budget.identity(identity.name),
        identity.name,
        gateway.clock,
        gateway.meters,
        gateway.audit,
        gateway.rationed,
        connection,
        gateway.codes,
        gateway.key_counters,
        gateway.list_in_force,
        trace,
    )


class NotedFactors:
    """What was given besides on inner connections of one outer connection, each for a time."""

    __slots__ = ("_clock", "_until")

    def __init__(self, clock: Timers) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def note(self, factors: Chain, seconds: float) -> None:
        """They count for so long from now."""
        until = self._clock.seconds() + seconds
        self._until.update(dict.fromkeys(factors, until))

    def added_to(self, identity: Identity) -> Identity:
        """The identity with those that still count."""
        if not self._until:
            return identity
        now = self._clock.seconds()
        self._until = {factor: until for factor, until in self._until.items() if now < until}
        return replace(identity, factors=tuple(dict.fromkeys((*identity.factors, *self._until))))


@dataclass(frozen=True, slots=True)
class StepUp:
    """Asks whoever is on one connection. `seconds` for all answers of one opening, 0: as ANSWER_TIME says.

    `context` pays in the name of the identity. `ask` is `UserauthService.ask`.
    """

    context: AuthContext
    clock: Timers
    ask: Ask
    seconds: float

    async def prove(self, identity: Identity, destination: Destination, needed: FactorsNeeded) -> Identity:
        """The same identity with what was missing. Raises Refused: nobody can be asked for it, or it was not given."""
        if not needed.askable:
            raise needed
        before, wrong, instruction = Before(Given((needed.missing,)), identity), 0, needed.text
        deadline = self.clock.seconds() + (self.seconds or ANSWER_TIME) + self._waits(needed.missing)
        while True:
            left = deadline - self.clock.seconds()
            if left <= 0:
                raise Refused(PolicyReason.FACTOR_NEEDED, f"{needed.text}: not answered in time")
            reason, before = await self._ask_one(before, destination, instruction, left)
            if reason is AuthReason.OK:
                assert before.identity is not None
                return before.identity
            if reason is AuthReason.PARTIAL:
                instruction = needed.text
                continue
            wrong += 1
            instruction = AGAIN.get(reason, "")
            if not instruction or wrong == TRIES:
                text = instruction or told(reason, known=True) or "it could not be checked"
                raise Refused(PolicyReason.FACTOR_NEEDED, f"{needed.text}: {text}")

    def _waits(self, factors: Chain) -> float:
        """Seconds that others may take, beside those in which something is typed."""
        outside = self.context.services.outside
        return sum(outside[factor].wait for factor in factors if factor in outside)

    async def _ask_one(
        self, before: Before, destination: Destination, instruction: str, left: float
    ) -> tuple[AuthReason, Before]:
        """Whatever is missing first, asked for and judged."""
        identity = before.identity
        assert identity is not None
        factor = next((one for one in OUTSIDE if one in before.given.wanted), "")
        judge = self.context.services.outside.get(factor)
        if factor and judge is None:
            return AuthReason.FACTOR_UNAVAILABLE, before
        if judge is None:
            prompt = _prompt(before, identity.name, destination.login)
        else:
            prompt = f"{judge.prompt} of {identity.name}: " if judge.prompt else ""
        answer = b""
        if prompt:
            (answer,) = await self.ask((Prompt(prompt),), instruction, left)
        if judge is None:
            return await self._judge(before, destination, lambda attempt: attempt.answer(_text_of(answer)))
        work = partial(self._outside, factor, judge, identity, answer, instruction)
        return await self._judge(before, destination, work)

    def _outside(
        self,
        factor: str,
        judge: OutsideFactor,
        identity: Identity,
        answer: bytes,
        instruction: str,
        attempt: Attempt,
    ) -> Deferred[None]:
        """Have it proved to somebody else, who may ask on."""
        typed = _text_of(answer) if judge.prompt else ""

        def ask(prompts: tuple[Prompt, ...], text: str, seconds: float) -> Deferred[Answers]:
            shown = text if judge.prompt else f"{instruction}\n{text}"
            return self.ask(prompts, shown, seconds)

        async def prove() -> None:
            await judge.prove(identity, self.context.source, typed, ask)

        return attempt.outside(factor, prove, guessed=bool(judge.prompt))

    async def _judge(
        self, before: Before, destination: Destination, work: Callable[[Attempt], Deferred[None]]
    ) -> tuple[AuthReason, Before]:
        """One attempt, booked whatever becomes of it, and what is proved after it."""
        name = UserName(account_part(destination.identity), str(destination), destination)
        kept: list[Before] = []
        attempt = Attempt(self.context, name, METHOD, before, on_kept=kept.append)
        reason = AuthReason.ABANDONED
        try:
            await work(attempt)
            reason = AuthReason.PARTIAL if attempt.owed or not attempt.whole else AuthReason.OK
        except Refused as refusal:
            reason = reason_of(refusal)
        finally:
            attempt.settle(reason)
        if reason is AuthReason.PARTIAL:
            attempt.keep()
            return reason, kept.pop()
        return reason, replace(before, identity=attempt.identity or before.identity)


def _prompt(before: Before, name: str, login: str | None) -> str:
    """Whose code or password is asked, and whose it is not."""
    if CODE in before.given.wanted:
        return f"One-time code of {name}: "
    other = f" (not of {login})" if login not in (None, name) else ""
    return f"Directory password of {name}{other}: "


def _text_of(answer: bytes) -> str:
    """Raises Refused for what no code and no password can be, as at the outer login."""
    if not answer:
        raise Refused(AuthReason.EMPTY_PASSWORD, "nothing was typed")
    if len(answer) > MAX_PASSWORD:
        raise Refused(AuthReason.PASSWORD_TOO_LONG, "the answer is too long")
    try:
        return answer.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(AuthReason.BAD_PASSWORD, "the answer is no text") from None


def without_asking(outer: Outer, place: TcpipOpen, refusal: Refused) -> Refused:
    """Of a tunnel to `place`, which cannot ask: a missing factor comes with the command that gets it."""
    if not isinstance(refusal, FactorsNeeded) or not refusal.askable or canonical(place.host) is None:
        return refusal
    host, port = outer.gateway.public
    way = f"-p {port} " if port != 22 else ""
    carried = f"-L {place.port}:{place.host}:{place.port}"
    command = f"ssh -t {way}{carried} {outer.identity.name}@{host} factor {' '.join(refusal.missing)} wait"
    return Refused(refusal.reason, f"{refusal.text}; a tunnel cannot ask: {command}")
