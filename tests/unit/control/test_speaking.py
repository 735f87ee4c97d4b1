"""Whom an account speaks for: taken from those that may alone, for what people order, and never as a right."""

from __future__ import annotations

import pytest

from bastion.control.asking import By, ControlError
from bastion.control.node import REQUESTS
from bastion.control.peer import Caller
from bastion.control.roles import MAY, Role
from bastion.control.speaking import FOR_OTHERS, spoken
from bastion.errors import ControlReason

CONSOLE = By(990, "console")
SPEAKER = Caller(CONSOLE, frozenset((Role.RESPONDER,)), speaks=True)


def claim(person: str) -> By:
    return By(0, "root", person)


def test_the_account_stays_and_the_person_stands_beside_it() -> None:
    by = spoken(SPEAKER, "kill", claim("ada"))
    assert by == By(990, "console", "ada") and str(by) == "console for ada (uid 990)"
    assert by.alone == CONSOLE and str(by.alone) == "console (uid 990)"
    assert spoken(SPEAKER, "kill", claim("")) == CONSOLE


@pytest.mark.parametrize("command", sorted(REQUESTS))
def test_what_may_be_asked_for_others_is_what_people_order(command: str) -> None:
    if command in FOR_OTHERS:
        assert command in MAY and spoken(SPEAKER, command, claim("ada")).person == "ada"
        return
    with pytest.raises(ControlError) as refused:
        spoken(SPEAKER, command, claim("ada"))
    assert refused.value.reason is ControlReason.NO_ROLE


@pytest.mark.parametrize("roles", [(), tuple(Role)])
def test_whoever_may_not_speak_speaks_for_nobody(roles: tuple[Role, ...]) -> None:
    with pytest.raises(ControlError) as refused:
        spoken(Caller(CONSOLE, frozenset(roles)), "kill", claim("ada"))
    assert refused.value.reason is ControlReason.NO_ROLE and "may not ask for ada" in refused.value.text


@pytest.mark.parametrize("person", ["ada (uid 0)", "a b", "ada\n", "\x1b[2J", "x" * 1000, "ada for root"])
def test_a_person_is_the_name_of_an_account(person: str) -> None:
    with pytest.raises(ControlError) as refused:
        spoken(SPEAKER, "kill", claim(person))
    assert refused.value.reason is ControlReason.MALFORMED and person not in refused.value.text
