"""Sessions of one person, in one process and over two workers."""

from __future__ import annotations

import pytest

from bastion.errors import LimitReason, Refused
from bastion.session.personal import PersonalSessions
from bastion.sharing.rows import ROW_SIZE, Row


def refused(personal: PersonalSessions, session: str, person: str, most: int) -> str:
    with pytest.raises(Refused) as caught:
        personal.take(session, person, most)
    assert caught.value.reason is LimitReason.USER_SESSIONS
    return caught.value.text


def test_a_person_may_have_so_many_and_others_are_not_asked() -> None:
    personal = PersonalSessions()
    personal.take("one", "u-1", 2)
    personal.take("two", "u-1", 2)
    assert refused(personal, "three", "u-1", 2) == "you may have 2 sessions at a time there: end one first"
    personal.take("bob", "u-2", 1)
    assert "1 session at a time" in refused(personal, "bob2", "u-2", 1)
    personal.take("free", "u-1", None)
    personal.give("one")
    personal.give("three")
    assert refused(personal, "three", "u-1", 2), "whatever rule the others were opened by, they count"
    personal.give("free")
    personal.take("three", "u-1", 2)


def test_it_is_one_number_over_two_workers_and_nothing_stays() -> None:
    memory = memoryview(bytearray(2 * ROW_SIZE))
    here, there = (PersonalSessions(Row(memory, 2, own, b"secret")) for own in (0, 1))
    here.take("one", "u-1", 2)
    there.take("two", "u-1", 2)
    assert refused(here, "three", "u-1", 2) and refused(there, "four", "u-1", 2)
    there.give("two")
    here.take("three", "u-1", 2)
    for personal, session in ((here, "one"), (here, "three")):
        personal.give(session)
    assert not any(memory), "whoever was refused is counted nowhere either"
