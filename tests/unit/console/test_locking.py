"""Who may take a lock away, as far as the console decides; tests/interop/test_console_live.py has a gateway."""

from __future__ import annotations

import pytest

from bastion.clock import FixedClock
from bastion.console.locking import check_free, is_on
from bastion.console.reads import Trouble
from bastion.console.visits import Visit, Visits
from bastion.control.roles import Role
from bastion.errors import ConsoleReason
from bastion.policy.locks import Lock, LockKind
from tests.unit.console.made import Browser, ConsoleSite

NOW = 1000.0
KEY = "SHA256:" + "k" * 43


@pytest.fixture
def rex() -> Visit:
    visits = Visits(FixedClock(NOW), 900.0, 3600.0, lambda *_: None)
    return visits.begin("rex", "u-rex", frozenset({Role.RESPONDER}), "192.0.2.7", shown=(KEY,))[1]


def lock(kind: str, value: str, uid: str = "", until: float | None = None) -> Lock:
    return Lock(LockKind(kind), value, "why", "sec (uid 1)", 5.0, until, uid)


@pytest.mark.parametrize(
    ("one", "met", "on_himself"),
    [
        (lock("user", "mallory"), False, False),
        (lock("user", "rex"), True, True),
        (lock("user", "rex", "u-rex"), True, True),
        (lock("user", "before", "u-rex"), True, True),
        (lock("user", "rex", "u-other"), False, True),  # of whoever had the name before
        (lock("user", "rex", until=NOW - 1), False, True),
        (lock("source", "192.0.2.0/24"), True, False),
        (lock("source", "198.51.100.1"), False, False),
        (lock("certificate", KEY), True, True),
        (lock("certificate", "SHA256:" + "z" * 43), False, False),
        (lock("target", "web1"), False, False),
    ],
)
def test_who_meets_a_lock_takes_none_away(rex: Visit, one: Lock, met: bool, on_himself: bool) -> None:
    assert is_on(rex, one) is on_himself
    others = lock("user", "mallory")
    if not met:
        check_free(rex, (others, one), NOW)
        return
    with pytest.raises(Trouble) as refused:
        check_free(rex, (others, one), NOW)
    assert refused.value.reason is ConsoleReason.OWN


@pytest.fixture(scope="module")
def browser(console: ConsoleSite) -> Browser:
    return console.browser("rex", "127.5.0.7")


@pytest.mark.slow
def test_without_a_gateway_nothing_is_ordered(console: ConsoleSite, browser: Browser) -> None:
    before = len(console.audit("console_ordered"))
    form = {"kind": "user", "value": "alice", "since": "5.000000", "reason": "over"}
    got = browser.post("/locks/unlock", form)
    assert got.status == 503 and "no gateway answers" in got.text
    assert browser.get("/locks").status == 503 and browser.get("/locks/unlock").status == 503
    assert len(console.audit("console_ordered")) == before
    assert console.audit("recordings_read")[-1]["command"] == "console locks"
