"""The tables of what may cross: each name has a codec, and nobody is asked twice."""

from __future__ import annotations

import pytest

from bastion.relay import passlist
from bastion.sides import Side
from bastion.wire.requests import CHANNEL_OPENS, CHANNEL_REQUESTS, GLOBAL_REQUESTS

CLIENT, TARGET = Side.CLIENT, Side.TARGET
PASSED = (
    passlist.PASSED_REQUESTS
    | passlist.PASSED_SESSION_REQUESTS[CLIENT]
    | passlist.PASSED_SESSION_REQUESTS[TARGET]
)
PASSED_GLOBAL = passlist.PASSED_GLOBAL_REQUESTS[CLIENT] | passlist.PASSED_GLOBAL_REQUESTS[TARGET]


def test_what_may_cross_can_be_read() -> None:
    """Without a codec a body would go on as it came, unread."""
    assert passlist.OPENABLE[CLIENT] | passlist.OPENABLE[TARGET] == CHANNEL_OPENS.keys()
    assert CHANNEL_REQUESTS.keys() == passlist.JUDGED_REQUESTS | PASSED
    assert GLOBAL_REQUESTS.keys() == passlist.JUDGED_GLOBAL_REQUESTS | PASSED_GLOBAL


def test_what_is_judged_does_not_go_through_unasked() -> None:
    assert not passlist.JUDGED_REQUESTS & PASSED
    assert not passlist.JUDGED_GLOBAL_REQUESTS & PASSED_GLOBAL
    assert not passlist.LEG_BOUND_REQUESTS & (passlist.JUDGED_GLOBAL_REQUESTS | PASSED_GLOBAL)


def test_no_kind_is_open_to_both_sides() -> None:
    assert not passlist.OPENABLE[CLIENT] & passlist.OPENABLE[TARGET]


@pytest.mark.parametrize("name", sorted(passlist.PROGRAM_REQUESTS))
def test_a_program_is_judged(name: str) -> None:
    assert name in passlist.JUDGED_REQUESTS


def test_what_leaves_no_event_is_judged_by_nobody_and_says_nothing() -> None:
    quiet = passlist.QUIET_REQUESTS
    assert quiet <= passlist.PASSED_REQUESTS
    assert all(CHANNEL_REQUESTS[name].parse(b"").detail() == {} for name in quiet)


def test_streams_are_the_channels_of_other_programs_bytes() -> None:
    assert CHANNEL_OPENS.keys() > passlist.STREAMS
    assert {kind for kind in CHANNEL_OPENS if "tcpip" in kind or "streamlocal" in kind} == passlist.STREAMS
