"""How large recordings may grow, of a session and of a person."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bastion.session.allowance import UNIT, Allowance, Written
from bastion.sharing.rows import ROW_SIZE, Row


def test_a_session_ends_beyond_its_own_limit_and_not_at_it() -> None:
    one = Allowance(Written(), "alice", 1000, 0)
    one.took(1000)
    assert one.spent == ""
    one.took(1)
    assert "its recording has reached the limit of 1000 bytes" in one.spent


def test_running_sessions_of_one_person_count_together_and_ended_ones_no_more() -> None:
    written = Written()
    first, second, other = (Allowance(written, user, 0, 64 << 10) for user in ("alice", "alice", "bob"))
    first.took(60 << 10)
    second.took(5 << 10)
    other.took(1)
    assert "your running sessions" in second.spent and "64 KiB" in second.spent and other.spent == ""
    first.release()
    first.release()
    assert second.spent == "" and written.of("alice") == 5 << 10


def test_workers_see_what_others_hold_in_whole_units() -> None:
    memory = memoryview(bytearray(2 * ROW_SIZE))
    here, there = (Written(Row(memory, 2, own, b"secret")) for own in (0, 1))
    one, other = Allowance(here, "alice", 0, 3 * UNIT), Allowance(there, "alice", 0, 3 * UNIT)
    other.took(2 * UNIT + 5)
    one.took(UNIT)
    assert one.spent == ""
    one.took(UNIT)
    assert one.spent != "" and here.of("alice") == 4 * UNIT
    other.release()
    one.took(UNIT)
    assert here.of("alice") == 3 * UNIT and one.spent == ""
    one.release()
    there.add("alice", UNIT)
    assert there.of("alice") == UNIT


@given(st.lists(st.integers(0, 3 * UNIT), max_size=20))
def test_what_was_taken_is_given_back_whole(sizes: list[int]) -> None:
    memory = memoryview(bytearray(2 * ROW_SIZE))
    row, other = (Row(memory, 2, own, b"s") for own in (0, 1))
    allowance = Allowance(Written(row), "alice", 1, 1)
    for size in sizes:
        allowance.took(size)
    assert other.elsewhere_of("recorded by alice") == sum(sizes) // UNIT
    allowance.release()
    assert other.elsewhere_of("recorded by alice") == 0
