"""Unusual logins: tables of what must be told and what must not."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from ipaddress import ip_network

import pytest

from bastion.detect.places import no_lookup
from bastion.errors import AuthReason, Detection
from tests.support.tales import DAY, HOME, HOUR, MINUTE, OFFICE, Told, lookup
from tests.unit.detect.cases import judge, table

AWAY, SYDNEY, HAMBURG = "198.51.100.7", "198.18.8.1", "198.18.7.1"
CERT = {
    "method": "publickey-cert",
    "certificate_id": "alice@corp",
    "certificate_serial": 7,
    "key": "SHA256:k",
}


def at_home(find=no_lookup, **settings) -> Told:
    """Alice has been at work for four weeks, from home and from the office, and it is Monday at ten."""
    return deepcopy(_at_home(find, **settings))


@cache
def _at_home(find, **settings) -> Told:
    tale = Told(find, **settings)
    for _ in range(4):
        tale.days(4)
        tale.days(3, source=OFFICE)
    tale.at(10)
    return tale


def later(tale: Told, seconds: float, source: str = AWAY, **more) -> None:
    tale.now += seconds
    tale.login(source=source, **more)


def often(tale: Told, *sources: str) -> None:
    for source in sources:
        later(tale, 60, source)


@table(
    {
        "another network": lambda t: t.login(source=AWAY),
        "the network beside": lambda t: t.login(source="203.0.114.10"),
        "IPv6": lambda t: t.login(source="2001:db8:5::1"),
        "IPv6 with a zone": lambda t: t.login(source="fe80:1::1%eth0"),
        "by password": lambda t: t.login(source=AWAY, method="password"),
        "at the weekend": lambda t: (t.days(5), t.login(source=AWAY)),
        "the second new one of a day": lambda t: often(t, AWAY, "198.18.9.1"),
        "bob, who came from there, tells nothing of alice": lambda t: (
            t.login("bob", AWAY),
            t.login(source=AWAY),
        ),
        "one that was forgotten": lambda t: (
            t.login(source=AWAY),
            t.found.clear(),
            later(t, 130 * DAY, HOME),
            later(t, 60),
        ),
        "mapped into IPv6": lambda t: t.login(source=f"::ffff:{AWAY}"),
        "after a refused one from there": lambda t: (
            t.login(source=AWAY, result="refused", reason=AuthReason.BAD_PASSWORD),
            t.login(source=AWAY),
        ),
    },
    {
        "home": lambda t: t.login(),
        "the office": lambda t: t.login(source=OFFICE),
        "another address at home": lambda t: t.login(source="203.0.113.99"),
        "home, mapped into IPv6": lambda t: t.login(source=f"::ffff:{HOME}"),
        "a refused login": lambda t: t.login(source=AWAY, result="refused", reason=AuthReason.BAD_PASSWORD),
        "half a login": lambda t: t.login(source=AWAY, result="partial", reason=AuthReason.PARTIAL),
        "inside another connection": lambda t: t.login(source=AWAY, method="none"),
        "a newcomer": lambda t: t.login("carol", AWAY),
        "a newcomer's second network": lambda t: (t.login("carol", HOME), t.login("carol", AWAY)),
        "no address": lambda t: t.login(source="unix"),
        "no source at all": lambda t: t.login(source=""),
        "the same again the next day": lambda t: (
            t.login(source=AWAY),
            t.found.clear(),
            later(t, 1.5 * DAY),
        ),
    },
)
def test_a_network_that_somebody_never_came_from(case, told):
    judge(Detection.NEW_NETWORK, case, told, at_home())


def test_a_trusted_network_is_nobodys_new_one():
    tale = at_home(trusted=(ip_network("198.51.100.0/24"),))
    judge(Detection.NEW_NETWORK, lambda t: t.login(source=AWAY), False, tale)


def test_providers_are_networks_where_they_are_known():
    def find(source):
        return ("AS64500" if source.startswith(("203.0.113.", "198.51.100.")) else ""), None

    judge(Detection.NEW_NETWORK, lambda t: t.login(source=AWAY), False, at_home(find))
    judge(Detection.NEW_NETWORK, lambda t: t.login(source=SYDNEY), True, at_home(find))


def test_what_is_new_is_learned_first():
    """In the first days of a gateway nothing is unusual, and neither is anything of a person who is new."""
    tale = Told()
    for number in range(13):
        tale.login(source=f"198.51.{number}.1")
        tale.now += DAY
    assert tale.found == []


@table(
    {
        "over the ocean in an hour": lambda t: (t.login(), later(t, HOUR)),
        "at once": lambda t: (t.login(), later(t, 0)),
        "to Sydney in ten hours": lambda t: (t.login(), later(t, 10 * HOUR, SYDNEY)),
        "from the office's city to Sydney": lambda t: (t.login(source=HAMBURG), later(t, HOUR, SYDNEY)),
        "twice a minute": lambda t: (t.login(), later(t, 30, SYDNEY), later(t, 30, HOME)),
        "with a login of unknown place between": lambda t: (t.login(), later(t, 60, OFFICE), later(t, HOUR)),
        "by password": lambda t: (t.login(method="password"), later(t, HOUR, method="password")),
        "after a refused one at home": lambda t: (
            t.login(),
            later(t, 60, HOME, result="refused", reason=AuthReason.BAD_PASSWORD),
            later(t, HOUR),
        ),
        "to a second place abroad": lambda t: (t.login(), later(t, HOUR), later(t, HOUR, SYDNEY)),
        "the clock went back": lambda t: (t.login(), later(t, -60)),
        "one known, one seen on one day": lambda t: (
            t.login(source=AWAY),
            t.found.clear(),
            later(t, 1.5 * DAY, HOME),
            later(t, HOUR),
        ),
    },
    {
        "a flight": lambda t: (t.login(), later(t, 13 * HOUR)),
        "a flight to Sydney": lambda t: (t.login(), later(t, 22 * HOUR, SYDNEY)),
        "the next town": lambda t: (t.login(), later(t, MINUTE, HAMBURG)),
        "home and home": lambda t: (t.login(), later(t, MINUTE, "203.0.113.77")),
        "home and the office, whose place is unknown": lambda t: (t.login(), later(t, MINUTE, OFFICE)),
        "a refused login abroad": lambda t: (
            t.login(),
            later(t, MINUTE, result="refused", reason=AuthReason.BAD_PASSWORD),
        ),
        "half a login abroad": lambda t: (
            t.login(),
            later(t, MINUTE, result="partial", reason=AuthReason.PARTIAL),
        ),
        "inside another connection": lambda t: (t.login(), later(t, MINUTE, method="none")),
        "bob is there": lambda t: (t.login(), t.login("bob", AWAY)),
        "a newcomer": lambda t: (t.login("carol"), t.login("carol", AWAY)),
        "a far exit of the VPN, on several days": lambda t: (
            t.login(),
            later(t, 20 * HOUR),
            later(t, 20 * HOUR, HOME),
            later(t, 20 * HOUR),
            t.found.clear(),
            later(t, 20 * HOUR, HOME),
            later(t, MINUTE),
        ),
    },
)
def test_places_too_far_apart(case, told):
    judge(Detection.IMPOSSIBLE_TRAVEL, case, told, at_home(lookup))


def test_travel_needs_places():
    judge(Detection.IMPOSSIBLE_TRAVEL, lambda t: (t.login(), later(t, 60)), False, at_home())


def at(tale: Told, hour: float, user: str = "alice", **more) -> None:
    tale.at(hour)
    tale.login(user, **more)


@table(
    {
        "three at night": lambda t: at(t, 3),
        "midnight": lambda t: at(t, 0),
        "one before six": lambda t: at(t, 5.9),
        "eleven in the evening": lambda t: at(t, 23),
        "by password": lambda t: at(t, 2, method="password"),
        "from elsewhere": lambda t: at(t, 3, source=AWAY),
        "on Sunday night": lambda t: (t.days(6), at(t, 3)),
        "the second night within the month": lambda t: (
            at(t, 3),
            t.days(2),
            t.found.clear(),
            at(t, 21),
        ),
        "nobody else's hours are theirs": lambda t: (
            [at(t, 3, "bob") for _ in range(20)],
            at(t, 3),
        ),
        "refused logins teach nothing": lambda t: (
            [at(t, 3, result="refused", reason=AuthReason.BAD_PASSWORD) for _ in range(20)],
            at(t, 3),
        ),
    },
    {
        "ten in the morning": lambda t: at(t, 10.5),
        "the first of the day": lambda t: at(t, 8),
        "an hour before the first": lambda t: at(t, 7),
        "two hours after the last": lambda t: at(t, 17),
        "noon on Saturday": lambda t: (t.days(5), at(t, 12)),
        "a refused login": lambda t: at(t, 3, result="refused", reason=AuthReason.BAD_PASSWORD),
        "half a login": lambda t: at(t, 3, result="partial", reason=AuthReason.PARTIAL),
        "inside another connection": lambda t: at(t, 3, method="none"),
        "a newcomer": lambda t: at(t, 3, "carol"),
        "somebody who is seldom here": lambda t: (
            [at(t, 9, "dan") for _ in range(20)],
            at(t, 3, "dan"),
        ),
        "night shifts": lambda t: (
            t.days(21, "nina", hours=(22, 23, 1, 3), weekends=True),
            t.found.clear(),
            at(t, 0, "nina"),
        ),
        "on call, the night after": lambda t: (at(t, 3), at(t, 4), t.found.clear(), at(t, 3.5)),
    },
)
def test_hours_at_which_somebody_is_not_here(case, told):
    judge(Detection.UNUSUAL_HOUR, case, told, at_home())


def test_whoever_travels_keeps_the_hours_of_the_place():
    """Ten in the morning in San Francisco is the evening at home; three at night there is noon at home."""
    tale = at_home(lookup)
    later(tale, 8 * HOUR)
    judge(Detection.UNUSUAL_HOUR, lambda t: later(t, 0), False, tale)
    judge(Detection.UNUSUAL_HOUR, lambda t: at(t, 11.2, source=AWAY), True, tale)


def asleep(tale: Told, days: float, user: str = "alice", **more) -> None:
    tale.now += days * DAY
    tale.login(user, **more)


@table(
    {
        "46 days": lambda t: asleep(t, 46),
        "a year": lambda t: asleep(t, 365),
        "by password": lambda t: asleep(t, 50, method="password"),
        "from elsewhere": lambda t: asleep(t, 50, source=AWAY),
        "from nowhere that is known": lambda t: asleep(t, 50, source=""),
        "a second time": lambda t: (asleep(t, 50), t.found.clear(), asleep(t, 50)),
        "somebody who came once": lambda t: (t.login("carol"), asleep(t, 50, "carol")),
        "while strangers knocked": lambda t: (
            [asleep(t, 10, result="refused", reason=AuthReason.BAD_PASSWORD) for _ in range(5)],
            t.login(),
        ),
        "while others worked": lambda t: (t.days(70, "bob"), t.login()),
        "half logins are none": lambda t: (
            asleep(t, 30, result="partial", reason=AuthReason.PARTIAL),
            asleep(t, 20),
        ),
    },
    {
        "the next day": lambda t: asleep(t, 1),
        "two weeks on the beach": lambda t: asleep(t, 14),
        "four weeks": lambda t: asleep(t, 28),
        "six weeks": lambda t: asleep(t, 41.9),
        "a newcomer": lambda t: t.login("carol"),
        "a newcomer after long": lambda t: (t.days(90, "bob"), t.login("carol")),
        "once a month": lambda t: [asleep(t, 30) for _ in range(4)],
        "refused after a year": lambda t: asleep(t, 365, result="refused", reason=AuthReason.BAD_PASSWORD),
        "half a login after a year": lambda t: asleep(t, 365, result="partial", reason=AuthReason.PARTIAL),
        "inside another connection": lambda t: asleep(t, 365, method="none"),
        "the second login after it": lambda t: (asleep(t, 50), t.found.clear(), asleep(t, 0.1)),
    },
)
def test_an_account_that_wakes(case, told):
    judge(Detection.DORMANT_ACCOUNT, case, told, at_home())


def cert(tale: Told, source: str, after: float = 60, user: str = "alice", **more) -> None:
    tale.now += after
    tale.login(user, source, **{**CERT, **more})


@table(
    {
        "home, then elsewhere": lambda t: (cert(t, HOME), cert(t, AWAY)),
        "at once": lambda t: (cert(t, HOME), cert(t, AWAY, 0)),
        "the office, then elsewhere": lambda t: (cert(t, OFFICE), cert(t, AWAY)),
        "just within the hour": lambda t: (cert(t, HOME), cert(t, AWAY, 59 * MINUTE)),
        "home, home, elsewhere": lambda t: (cert(t, HOME), cert(t, HOME), cert(t, AWAY)),
        "home and office, then elsewhere": lambda t: (cert(t, HOME), cert(t, OFFICE), cert(t, AWAY)),
        "IPv6": lambda t: (cert(t, HOME), cert(t, "2001:db8:9::1")),
        "without a serial": lambda t: (
            cert(t, HOME, certificate_serial=None),
            cert(t, AWAY, certificate_serial=None),
        ),
        "without a name": lambda t: (cert(t, HOME, certificate_id=""), cert(t, AWAY, certificate_id="")),
        "with a password between": lambda t: (cert(t, HOME), t.login(method="password"), cert(t, AWAY)),
        "two strange places": lambda t: (cert(t, AWAY), cert(t, SYDNEY)),
    },
    {
        "home alone": lambda t: [cert(t, HOME) for _ in range(20)],
        "home and the office": lambda t: (cert(t, HOME), cert(t, OFFICE), cert(t, HOME)),
        "two hours on the train": lambda t: (cert(t, HOME), cert(t, AWAY, 2 * HOUR)),
        "elsewhere alone": lambda t: [cert(t, AWAY) for _ in range(5)],
        "another certificate": lambda t: (cert(t, HOME), cert(t, AWAY, certificate_serial=8)),
        "another name": lambda t: (cert(t, HOME), cert(t, AWAY, certificate_id="alice@laptop")),
        "a key": lambda t: (cert(t, HOME), later(t, 60, AWAY, key="SHA256:k")),
        "refused elsewhere": lambda t: (
            cert(t, HOME),
            cert(t, AWAY, result="refused", reason=AuthReason.CERT_EXPIRED),
        ),
        "refused at home": lambda t: (
            cert(t, HOME, result="refused", reason=AuthReason.CERT_EXPIRED),
            cert(t, AWAY),
        ),
        "another address at home": lambda t: (cert(t, HOME), cert(t, "203.0.113.200")),
        "a newcomer": lambda t: (cert(t, HOME, user="carol"), cert(t, AWAY, user="carol")),
        "a phone's network that is known by now": lambda t: (
            cert(t, AWAY),
            cert(t, HOME, 2 * HOUR),
            t.found.clear(),
            cert(t, AWAY),
        ),
    },
)
def test_a_certificate_in_two_networks(case, told):
    judge(Detection.CERTIFICATE_SHARED, case, told, at_home())


@pytest.mark.parametrize("kind", [Detection.NEW_NETWORK, Detection.UNUSUAL_HOUR])
def test_one_soft_sign_is_a_notice_and_two_are_an_alert(kind):
    tale = at_home()
    (at(tale, 3) if kind is Detection.UNUSUAL_HOUR else tale.login(source=AWAY))
    assert [(one.kind, one.level) for one in tale.found] == [(kind, "notice")]
    both = at_home()
    at(both, 3, source=AWAY)
    assert [(one.kind, one.level) for one in both.found] == [
        (Detection.NEW_NETWORK, "notice"),
        (Detection.UNUSUAL_HOUR, "alert"),
    ]
    assert AWAY in both.found[1].came, "the alert tells of both"
