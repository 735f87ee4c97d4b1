"""When break-glass accounts are open."""

from __future__ import annotations

import pytest

from bastion.auth.break_glass import (
    COMMAND,
    DIRECTORY_DOWN,
    MAX_REASON,
    BreakGlass,
    BreakGlassRules,
    Opening,
    reason_in,
)
from bastion.auth.directory import Servers
from bastion.clock import FixedClock

AFTER = 600.0


def servers(healthy: int = 0, since: float | None = None, of: int = 2) -> Servers:
    return Servers(of, healthy, local=True, down_since=since)


def test_closed_while_the_directory_works_and_for_a_while_after() -> None:
    clock = FixedClock()
    glass = BreakGlass(clock)
    since = clock.monotonic()
    assert glass.opened_by(servers(healthy=1), AFTER) == ""
    assert glass.opened_by(servers(since=since), AFTER) == ""
    clock.advance(AFTER - 0.1)
    assert glass.opened_by(servers(since=since), AFTER) == ""
    clock.advance(0.1)
    assert glass.opened_by(servers(since=since), AFTER) == DIRECTORY_DOWN
    assert glass.opened_by(servers(healthy=1, since=since), AFTER) == ""


@pytest.mark.parametrize("view", [servers(of=0), servers(of=0, since=0.0), servers(since=None)])
def test_what_is_not_known_to_be_down_is_not(view: Servers) -> None:
    """No LDAP at all is no directory that is down."""
    clock = FixedClock()
    clock.advance(10 * AFTER)
    assert BreakGlass(clock).opened_by(view, AFTER) == ""


def test_open_for_as_long_as_an_admin_has_said() -> None:
    clock = FixedClock()
    glass = BreakGlass(clock)
    glass.opening = opening = Opening(clock.time() + 3600, "INC-7", "root")
    assert glass.opening is opening and glass.opened_by(servers(healthy=2), AFTER) == COMMAND
    clock.advance(3599)
    assert glass.opened_by(servers(healthy=2), AFTER) == COMMAND
    clock.advance(1)
    assert glass.opened_by(servers(healthy=2), AFTER) == "" and glass.opening is None
    glass.opening = Opening(clock.time() + 3600, "INC-7", "root")
    glass.opening = None
    assert glass.opened_by(servers(healthy=2), AFTER) == ""


def test_the_key_comes_before_it_is_said_whether_they_are_open() -> None:
    assert BreakGlassRules().key_chains == (("publickey",), ("certificate",))
    both = BreakGlassRules(chains=(("sk-publickey", "publickey", "totp"), ("sk-publickey", "totp")))
    assert both.key_chains == (("sk-publickey", "publickey"), ("sk-publickey",))


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        (b" disk of  db1 is full\r\n", "disk of db1 is full"),
        (b"", ""),
        (b" . - ", ""),
        (b"\x1b[31mred", "[31mred"),
    ],
)
def test_a_reason_is_text(typed: bytes, reason: str) -> None:
    assert reason_in(typed) == reason
    assert len(reason_in(b"x" * 10_000)) <= MAX_REASON
