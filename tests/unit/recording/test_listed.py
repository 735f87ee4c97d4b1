"""Which sessions are wanted."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from bastion.recording.listed import TUNNEL, Listed, Wanted

ONE = Listed(
    "id", "ended", 1000.0, "alice", "root", "web1", 60.0, 5, "", "session", "", "10.1.2.3", "ops,dba", 0
)
DATABASE = ONE._replace(kind=TUNNEL, target="db1:5432", login="")


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(),
        Wanted(since=1060.0),
        Wanted(since=900.0, until=1001.0),
        Wanted(user="alice", target="web1", login="root", rule="dba"),
        Wanted(source=ip_network("10.1.0.0/16")),
        Wanted(tunnels=False),
    ],
)
def test_taken(wanted: Wanted) -> None:
    assert wanted.takes(ONE)


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(since=1060.1),
        Wanted(until=1000.0),
        Wanted(user="alic"),
        Wanted(target="web"),
        Wanted(login="deploy"),
        Wanted(rule="op"),
        Wanted(source=ip_network("fd00::/8")),
        Wanted(live=True),
        Wanted(incomplete=True),
        Wanted(opaque=True),
        Wanted(tunnels=True),
    ],
)
def test_left_out(wanted: Wanted) -> None:
    assert not wanted.takes(ONE)
    assert wanted != Wanted() and not wanted.everything


def test_states_and_tunnels() -> None:
    assert Wanted(live=True).takes(ONE._replace(state="live"))
    assert Wanted(incomplete=True).takes(ONE._replace(state="truncated"))
    assert Wanted(opaque=True).takes(ONE._replace(opaque=2)) and Wanted(opaque=True).takes(DATABASE)
    assert Wanted(target="db1").takes(DATABASE) and Wanted(target="db1:5432").takes(DATABASE)
    assert not Wanted(tunnels=False).takes(DATABASE)


def test_a_time_or_an_address_that_nobody_knows() -> None:
    assert Wanted(since=5000.0).takes(ONE._replace(started_at=0.0))
    assert not replace(Wanted(), source=ip_network("10.0.0.0/8")).takes(ONE._replace(source="?"))


@pytest.mark.parametrize(
    ("wanted", "inside"),
    [
        (Wanted(), True),
        (Wanted(since=1010.0), True),
        (Wanted(since=1010.1), False),
        (Wanted(until=1010.1), True),
        (Wanted(until=1010.0), False),
        (Wanted(since=1000.0, until=1060.0, user="nobody"), True),
    ],
)
def test_a_moment_lies_in_the_time_asked_for(wanted: Wanted, inside: bool) -> None:
    assert wanted.spans(1010.0) is inside
