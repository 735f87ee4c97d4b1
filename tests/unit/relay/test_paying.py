"""What is written down of requests and opens is paid for first; of what nobody pays, the first is told."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.relay.events import RefusalsCounted
from bastion.relay.paying import (
    OPEN_LINES,
    OPEN_NOTES,
    REQUEST_NOTES,
    SUMMARY_NOTES,
    UNPAID,
    Accounts,
    Free,
    text_size,
)
from bastion.sides import Side
from bastion.wire.forwards import printable
from tests.support.playbook import ListTap

CLIENT, TARGET = Side.CLIENT, Side.TARGET


class Purse:
    """Pays while it has something; `paid` is what was asked of it."""

    def __init__(self) -> None:
        self.rich = True
        self.paid: list[tuple[Side, int, int]] = []

    def pay(self, side: Side, notes: int, lines: int) -> bool:
        if self.rich:
            self.paid.append((side, notes, lines))
        return self.rich


@pytest.fixture
def purse() -> Purse:
    return Purse()


@pytest.fixture
def tap() -> ListTap:
    return ListTap()


@pytest.fixture
def accounts(purse: Purse, tap: ListTap) -> Accounts:
    return Accounts(purse, tap)


@given(st.binary(max_size=200))
def test_a_text_takes_no_more_of_the_recording_than_is_paid_but_for_quotes(body: bytes) -> None:
    quoted = body.count(b'"') + body.count(b"\\")  # printable, and two bytes each in JSON
    assert len(json.dumps(printable(body))) - 2 <= text_size(body) + quoted


def test_a_request_is_paid_by_its_side_with_its_text(accounts: Accounts, purse: Purse) -> None:
    assert accounts.pay_request(TARGET, b"xon", 1)
    assert accounts.pay_request(CLIENT, b"\x00ab", 0)
    assert purse.paid == [(TARGET, REQUEST_NOTES + 3, 1), (CLIENT, REQUEST_NOTES + 8, 0)]


@pytest.mark.parametrize("side", Side)
def test_a_channel_is_paid_by_the_client_whoever_opens_it(
    accounts: Accounts, purse: Purse, side: Side
) -> None:
    assert accounts.pay_open(side, b"db")
    assert purse.paid == [(CLIENT, OPEN_NOTES + 2, OPEN_LINES)]


def test_the_first_unpaid_is_told_and_the_rest_counted(
    accounts: Accounts, purse: Purse, tap: ListTap
) -> None:
    purse.rich = False
    assert not accounts.pay_request(CLIENT, b"", 1)
    assert [accounts.refuse(CLIENT) for _ in range(4)] == [True, False, False, False]
    assert accounts.refuse(TARGET), "each side has a first of its own"
    assert tap.heard == []
    purse.rich = True
    assert accounts.pay_request(CLIENT, b"", 1)
    assert purse.paid == [(CLIENT, REQUEST_NOTES + SUMMARY_NOTES, 2)], "who pays again pays for the count too"
    assert tap.heard == [RefusalsCounted(CLIENT, 3, UNPAID.reason)]
    assert accounts.pay_request(CLIENT, b"", 1)
    assert purse.paid[1:] == [(CLIENT, REQUEST_NOTES, 1)]
    accounts.finish()
    assert len(tap.heard) == 1, "one refusal of the target was told as it was"


def test_what_was_counted_is_told_at_the_end(accounts: Accounts, purse: Purse, tap: ListTap) -> None:
    for _ in range(3):
        accounts.refuse(TARGET)
    accounts.finish()
    accounts.finish()
    assert tap.heard == [RefusalsCounted(TARGET, 2, UNPAID.reason)]
    assert accounts.refuse(TARGET), "and the next one is a first again"


def test_a_relay_without_a_recording_pays_nothing() -> None:
    assert Free().pay(CLIENT, 1 << 40, 1 << 20)
