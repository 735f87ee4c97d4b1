"""Proofs that go on to the gateway (L4): a one-time code, or a passkey's signature over one decision.

What it is for: whoever decides about somebody else proves at that moment who it is, and the gateway judges that, not
the console. Invariants: a challenge is for one decision of one account, and as old as its page; what a browser brought
is bounded, and is passed on as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from bastion.auth.factors import OIDC
from bastion.auth.webauthn import text_of
from bastion.console.accounts import own_passkeys
from bastion.console.desk import Call
from bastion.console.reads import Trouble
from bastion.control.codec import MAX_TEXT
from bastion.control.proving import challenge_of
from bastion.errors import ConsoleReason

CODE_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Asking:
    """What a page asks for. `options`: of a passkey, as JSON, "" where none can be; `challenges`: what each answer has
    signed; `said`: why there is no passkey, or what the sign-in is not good for."""

    moment: int
    challenges: Mapping[str, str]
    options: str = ""
    codes: bool = True
    said: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """What came with a form."""

    code: str = field(default="", repr=False)
    passkey: str = field(default="", repr=False)
    moment: int = 0


async def asking(call: Call, answers: Mapping[str, tuple[str, ...]]) -> Asking:
    """`answers`: the value of a button -> what a passkey signs for it."""
    desk, visit = call.desk, call.somebody
    moment, codes = int(desk.clock.time()), desk.codes is not None
    elsewhere = ""
    if OIDC in visit.factors:
        elsewhere = "A sign-in at an identity provider proves nothing to the gateway. "
    if desk.passkeys is None or not desk.passkeys.decide:
        return Asking(moment, {}, codes=codes, said=elsewhere)
    known = await own_passkeys(call)
    if not known:
        return Asking(moment, {}, codes=codes, said=f"{elsewhere}You have no passkey here.")
    made = {name: challenge_of(visit.uid, moment, *about) for name, about in answers.items()}
    options = desk.passkeys.party.request(next(iter(made.values())), tuple(one.credential for one in known))
    challenges = {name: text_of(challenge) for name, challenge in made.items()}
    return Asking(moment, challenges, options, codes, elsewhere)


def given(call: Call) -> Given:
    """What was typed or signed. Raises Trouble."""
    form = call.asked.form
    code, passkey, moment = form.get("code", "").strip(), form.get("passkey", ""), form.get("moment", "")
    if len(code) > CODE_MAX or len(passkey) > MAX_TEXT:
        raise Trouble(ConsoleReason.BAD_REQUEST, "that is no code, and no answer of a passkey")
    if not passkey:
        return Given(code)
    if not (moment.isascii() and moment.isdigit() and len(moment) <= 12):
        raise Trouble(ConsoleReason.BAD_REQUEST, "the passkey was asked at no time: load the page again")
    return Given("", passkey, int(moment))
