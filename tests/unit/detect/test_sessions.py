"""Unusual sessions: tables of what must be told and what must not."""

from __future__ import annotations

from copy import deepcopy
from functools import cache

from bastion.detect import sessions
from bastion.errors import Detection, PolicyReason, UpstreamReason
from bastion.observe.events import About
from tests.support.tales import DAY, GIB, HOUR, Told
from tests.unit.detect.cases import judge, settings, table


def at_work() -> Told:
    """Alice has been at work for four weeks, on web1, and reads 40 MiB a day over sftp; it is Monday at ten."""
    return deepcopy(_at_work())


@cache
def _at_work() -> Told:
    tale = Told(sftp_bytes=2 * GIB)
    tale.days(28)
    tale.at(10)
    return tale


def look_round(tale: Told, count: int, user: str = "alice", every: float = 10.0, name: str = "app") -> None:
    for number in range(count):
        tale.session(user, f"{name}{number}")
        tale.now += every


def fleet(tale: Told, user: str, count: int, days: int) -> None:
    """Ansible over so many targets each day."""
    for day in range(days):
        look_round(tale, count, user, 1.0, f"fleet{day % 3}-")
        tale.now += DAY - count


@table(
    {
        "ten": lambda t: look_round(t, 10),
        "fifty in a minute": lambda t: look_round(t, 50, every=1),
        "ten in nearly ten minutes": lambda t: look_round(t, 10, every=60),
        "all refused": lambda t: [t.refuse_session(target=f"app{n}") for n in range(10)],
        "half of them refused": lambda t: (
            look_round(t, 5),
            [t.refuse_session(target=f"db{n}") for n in range(5)],
        ),
        "that do not answer": lambda t: [
            t.refuse_session(target=f"app{n}", reason=UpstreamReason.UNREACHABLE) for n in range(10)
        ],
        "among the usual one": lambda t: [(t.session(), look_round(t, 1, name=f"x{n}-")) for n in range(10)],
        "more than twice what the fleet is": lambda t: (
            fleet(t, "ann", 15, 20),
            t.found.clear(),
            look_round(t, 40, "ann", 1, "other"),
        ),
        "fewer, when wanted": lambda t: (settings(t, targets_count=4), look_round(t, 4)),
        "in a longer time, when wanted": lambda t: (
            settings(t, targets_window=DAY),
            look_round(t, 10, every=HOUR),
        ),
        "on a Sunday": lambda t: (t.days(6), look_round(t, 12)),
    },
    {
        "nine": lambda t: look_round(t, 9),
        "ten over a morning": lambda t: look_round(t, 10, every=600),
        "the usual one, fifty times": lambda t: [t.session() for _ in range(50)],
        "one new one, fifty times": lambda t: [t.session(target="app1") for _ in range(50)],
        "one that is refused, fifty times": lambda t: [t.refuse_session(target="app1") for _ in range(50)],
        "a newcomer on the first day": lambda t: look_round(t, 20, "carol"),
        "the fleet": lambda t: (fleet(t, "ann", 60, 20), t.found.clear(), fleet(t, "ann", 60, 3)),
        "the fleet has grown by ten": lambda t: (
            fleet(t, "ann", 60, 20),
            t.found.clear(),
            look_round(t, 70, "ann", 1, "fleet0-"),
        ),
        "two people, five each": lambda t: (look_round(t, 5), look_round(t, 5, "bob")),
        "tunnels": lambda t: [t.tunnel(t.outer(), f"app{n}", seconds=1) for n in range(20)],
        "again the same day": lambda t: (look_round(t, 10), t.found.clear(), look_round(t, 10, name="db")),
    },
)
def test_many_targets_that_are_new(case, told):
    judge(Detection.MANY_TARGETS, case, told, at_work())


def fetch(tale: Told, *sizes: int, user: str = "alice", every: float = 60.0) -> None:
    about = tale.session(user)
    for size in sizes:
        tale.sftp(about, size)
        tale.now += every


def fetch_daily(tale: Told, user: str, size: int, days: int) -> None:
    for _ in range(days):
        fetch(tale, size, user=user, every=DAY)


@table(
    {
        "three GiB": lambda t: fetch(t, 3 * GIB),
        "three GiB in thirty files": lambda t: fetch(t, *[GIB // 10] * 31),
        "a hundred thousand small ones": lambda t: fetch(t, *[3 << 20] * 1000, every=1),
        "in two sessions": lambda t: (fetch(t, GIB), fetch(t, GIB + GIB // 8)),
        "from two targets": lambda t: (t.sftp(t.session(), GIB), t.sftp(t.session(target="db1"), 2 * GIB)),
        "more than ever counts": lambda t: fetch(t, 1 << 70),
        "five times a large habit": lambda t: (
            fetch_daily(t, "eve", GIB, 20),
            t.found.clear(),
            fetch(t, 5 * GIB, user="eve"),
        ),
        "a smaller limit": lambda t: (settings(t, sftp_bytes=GIB), fetch(t, GIB + 1)),
        "on a Sunday": lambda t: (t.days(6), fetch(t, 3 * GIB)),
        "again the next week": lambda t: (
            fetch(t, 3 * GIB),
            t.days(9),
            t.found.clear(),
            fetch(t, 40 * GIB),
        ),
        "what is written does not hide it": lambda t: [
            (t.sftp(about, 2 * GIB + 1)) for about in [t.session()]
        ],
    },
    {
        "the usual": lambda t: fetch(t, 10 << 20),
        "one GiB": lambda t: fetch(t, GIB),
        "one GiB on each of three days": lambda t: fetch_daily(t, "alice", GIB, 3),
        "nothing": lambda t: fetch(t, 0),
        "less than nothing": lambda t: fetch(t, -5),
        "a newcomer": lambda t: fetch(t, 9 * GIB, user="carol"),
        "somebody who always does": lambda t: (
            fetch_daily(t, "eve", 5 * GIB, 20),
            t.found.clear(),
            fetch(t, 6 * GIB, user="eve"),
        ),
        "of a session that nobody is known of": lambda t: t.sftp(About("unheardunheardun"), 9 * GIB),
        "of a session that has ended": lambda t: [
            (t.end(about), t.end(t.session()), t.sftp(about, 9 * GIB)) for about in [t.session()]
        ],
        "bob's are not alice's": lambda t: (fetch(t, GIB), fetch(t, GIB, user="bob"), fetch(t, GIB // 2)),
        "again the same day": lambda t: (fetch(t, 3 * GIB), t.found.clear(), fetch(t, 3 * GIB)),
    },
)
def test_more_read_over_sftp_than_ever(case, told):
    judge(Detection.SFTP_DATA, case, told, at_work())


CHANGED = UpstreamReason.HOST_KEY_CHANGED


@table(
    {
        "refused": lambda t: t.refuse_session(reason=CHANGED),
        "revoked": lambda t: t.refuse_session(reason=UpstreamReason.HOST_KEY_REVOKED),
        "a certificate that is no good": lambda t: t.refuse_session(reason=UpstreamReason.HOST_CERT_INVALID),
        "of a target that nobody was on": lambda t: t.refuse_session(target="new1", reason=CHANGED),
        "a newcomer sees it": lambda t: t.refuse_session("carol", reason=CHANGED),
        "in the first hour of a gateway": lambda t: (t.__init__(), t.refuse_session(reason=CHANGED)),
        "again the next day": lambda t: (
            t.refuse_session(reason=CHANGED),
            t.found.clear(),
            setattr(t, "now", t.now + 1.1 * DAY),
            t.refuse_session(reason=CHANGED),
        ),
        "another target the same day": lambda t: (
            t.refuse_session(reason=CHANGED),
            t.found.clear(),
            t.refuse_session(target="db1", reason=CHANGED),
        ),
        "accepted in another's place": lambda t: t.session(key="SHA256:b"),
        "accepted, and a third one": lambda t: (
            t.session(key="SHA256:b"),
            t.found.clear(),
            t.session(key="SHA256:c"),
        ),
    },
    {
        "the same": lambda t: t.session(),
        "the first of a target": lambda t: t.session(target="new1", key="SHA256:z"),
        "no key": lambda t: t.session(key=""),
        "not known": lambda t: t.refuse_session(reason=UpstreamReason.HOST_KEY_UNKNOWN),
        "unreachable": lambda t: t.refuse_session(reason=UpstreamReason.UNREACHABLE),
        "refused by policy": lambda t: t.refuse_session(reason=PolicyReason.NO_RULE),
        "two behind one name, in turn": lambda t: (
            t.session(key="SHA256:b"),
            t.found.clear(),
            [t.session(key=f"SHA256:{key}") for key in "abab"],
        ),
        "again the same day": lambda t: (
            t.refuse_session(reason=CHANGED),
            t.found.clear(),
            t.refuse_session(reason=CHANGED),
        ),
        "a tunnel to it": lambda t: t.refuse(t.outer(), "web1", reason=CHANGED),
        "off": lambda t: (settings(t, host_key_changed="off"), t.refuse_session(reason=CHANGED)),
    },
)
def test_host_keys_that_change(case, told):
    judge(Detection.HOST_KEY_CHANGED, case, told, at_work())


def test_a_key_that_was_accepted_is_a_notice():
    tale = at_work()
    tale.session(key="SHA256:b")
    tale.refuse_session(reason=CHANGED)
    assert [one.level for one in tale.of(Detection.HOST_KEY_CHANGED)] == ["notice", "alert"]


def test_targets_are_remembered_within_a_limit(monkeypatch):
    monkeypatch.setattr(sessions, "MOST_TARGETS", 20)
    tale = Told()
    for number in range(50):
        tale.session(target=f"t{number}")
    assert list(tale.detector.host_keys.keys) == [f"t{number}" for number in range(30, 50)]
