"""Unusual tunnels: tables of what must be told and what must not."""

from __future__ import annotations

from copy import deepcopy
from functools import cache

from bastion.errors import Detection, LimitReason, PolicyReason, UpstreamReason
from tests.support.tales import DAY, GIB, HOME, HOUR, Told
from tests.unit.detect.cases import judge, settings, table


def at_work() -> Told:
    """Alice has been at work for four weeks, with tunnels to db1:5432 of 160 MiB a day, and it is Monday at ten."""
    return deepcopy(_at_work())


@cache
def _at_work() -> Told:
    tale = Told(tunnel_bytes=2 * GIB)
    tale.days(28)
    tale.at(10)
    return tale


def tunnel(tale: Told, host: str = "db1", user: str = "alice", **more) -> None:
    tale.tunnel(tale.outer(user), host, **more)


@table(
    {
        "another host": lambda t: tunnel(t, "db2"),
        "another port": lambda t: tunnel(t, port=3306),
        "an address": lambda t: tunnel(t, "10.1.2.3"),
        "an address of IPv6": lambda t: tunnel(t, "2001:db8::7"),
        "on an old connection": lambda t: (
            about := t.outer(),
            t.tunnel(about),
            t.tunnel(about, "db2"),
        ),
        "that bob uses every day": lambda t: (tunnel(t, "db2", "bob"), tunnel(t, "db2")),
        "that was refused before": lambda t: (t.refuse(t.outer(), "db2"), tunnel(t, "db2")),
        "at the weekend": lambda t: (t.days(5), tunnel(t, "db2")),
        "nothing came out": lambda t: tunnel(t, "db2", out=0),
        "that was forgotten": lambda t: (
            tunnel(t, "db2"),
            t.found.clear(),
            setattr(t, "now", t.now + 130 * DAY),
            tunnel(t, "db2"),
        ),
    },
    {
        "the usual one": lambda t: tunnel(t),
        "in capitals": lambda t: tunnel(t, "DB1"),
        "with the root's dot": lambda t: tunnel(t, "db1."),
        "again the next day": lambda t: (
            tunnel(t, "db2"),
            t.found.clear(),
            setattr(t, "now", t.now + 1.1 * DAY),
            tunnel(t, "db2"),
        ),
        "again at once": lambda t: (tunnel(t, "db2"), t.found.clear(), tunnel(t, "db2")),
        "refused": lambda t: t.refuse(t.outer(), "db2"),
        "a newcomer's": lambda t: tunnel(t, "db2", "carol"),
        "of a connection that nobody is known of": lambda t: t.tunnel(replace_user(t.outer(), ""), "db2"),
        "a session": lambda t: t.session(target="db2"),
        "a forward of a session": lambda t: t.forward(t.session(target="db2"), 7),
        "off": lambda t: (settings(t, new_destination="off"), tunnel(t, "db2")),
    },
)
def test_a_destination_that_is_new_for_somebody(case, told):
    judge(Detection.NEW_DESTINATION, case, told, at_work())


def replace_user(about, user):
    from dataclasses import replace

    return replace(about, user=user, connection="unheardunheardun")


def test_a_scan_through_tunnels_is_told_in_a_bounded_way():
    tale = at_work()
    about = tale.outer()
    for number in range(200):
        tale.tunnel(about, f"10.0.0.{number}", seconds=1)
    assert len(tale.of(Detection.NEW_DESTINATION)) == 16


@table(
    {
        "three GiB at once": lambda t: tunnel(t, out=3 * GIB),
        "three GiB in thirty": lambda t: [tunnel(t, out=GIB // 10, seconds=60) for _ in range(30)],
        "over two destinations": lambda t: (tunnel(t, out=GIB), tunnel(t, "db2", out=GIB + GIB // 2)),
        "a night long": lambda t: tunnel(t, out=GIB, seconds=9 * HOUR),
        "a very slow one": lambda t: tunnel(t, out=GIB * 3 // 4, seconds=11 * HOUR),
        "through a session": lambda t: t.forward(t.session(), 3 * GIB),
        "both ways": lambda t: (t.forward(t.session(), 2 * GIB), tunnel(t, out=GIB)),
        "100 GiB": lambda t: tunnel(t, out=100 * GIB),
        "more than ever counts": lambda t: tunnel(t, out=1 << 70),
        "again after weeks": lambda t: (
            tunnel(t, out=3 * GIB),
            t.days(40),
            t.found.clear(),
            tunnel(t, out=20 * GIB),
        ),
        "a smaller limit": lambda t: (settings(t, tunnel_bytes=GIB), tunnel(t, out=GIB + 1)),
    },
    {
        "the usual": lambda t: tunnel(t, out=40 << 20),
        "one GiB": lambda t: tunnel(t, out=GIB),
        "one GiB on each of two days": lambda t: (
            tunnel(t, out=GIB),
            setattr(t, "now", t.now + DAY),
            tunnel(t, out=GIB),
        ),
        "all day, the usual": lambda t: tunnel(t, out=300 << 20, seconds=9 * HOUR),
        "in": lambda t: tunnel(t, out=0),
        "a newcomer": lambda t: tunnel(t, out=3 * GIB, user="carol"),
        "what bob takes": lambda t: (
            t.days(20, "bob"),
            t.found.clear(),
            tunnel(t, out=GIB, user="bob"),
            tunnel(t, out=GIB),
        ),
        "somebody who takes as much every day": lambda t: (
            heavy(t, "eve", 3 * GIB, 20),
            t.found.clear(),
            tunnel(t, out=5 * GIB, user="eve"),
        ),
        "of a connection that nobody is known of": lambda t: t.tunnel(
            replace_user(t.outer(), ""), out=9 * GIB
        ),
        "a shell that prints": lambda t: t.say_closed(t.session(), "session", 9 * GIB),
        "below what it takes of a habit": lambda t: (
            heavy(t, "eve", 3 * GIB, 20),
            t.found.clear(),
            tunnel(t, out=11 * GIB, user="eve"),
        ),
    },
)
def test_more_out_of_tunnels_than_ever(case, told):
    judge(Detection.TUNNEL_DATA, case, told, at_work())


def heavy(tale: Told, user: str, amount: int, days: int) -> None:
    for _ in range(days):
        tunnel(tale, out=amount, user=user)
        tale.now += DAY - 60


def beat(
    tale: Told, seconds: float, count: int = 10, off: float = 0.0, host: str = "db1", user: str = "alice"
) -> None:
    """Tunnels in that rhythm, each off by that much in turn."""
    about = tale.outer(user)
    begin = tale.now
    for number in range(count):
        tale.now = begin + number * seconds + off * (number % 3 - 1)
        tale.tunnel(about, host, seconds=1.0)
    tale.now += seconds


@table(
    {
        "a minute": lambda t: beat(t, 60),
        "five seconds": lambda t: beat(t, 5),
        "ten minutes, and a little off": lambda t: beat(t, 600, off=15),
        "an hour": lambda t: beat(t, 3600),
        "five hours": lambda t: beat(t, 5 * 3600),
        "a new place": lambda t: beat(t, 60, host="198.51.100.99"),
        "more of them": lambda t: beat(t, 60, 40),
        "after one out of step": lambda t: (tunnel(t), beat(t, 60, 11)),
        "two connections": lambda t: (beat(t, 60, 5), beat(t, 60, 6)),
        "another place in a rhythm that is known": lambda t: (
            beat(t, 60),
            t.found.clear(),
            beat(t, 60, host="db2"),
        ),
        "fewer, when wanted": lambda t: (settings(t, beacon_count=5), beat(t, 60, 5)),
    },
    {
        "nine": lambda t: beat(t, 60, 9),
        "a person": lambda t: [beat(t, gap, 2) for gap in (50, 90, 300, 20, 61, 700)],
        "a fifth off": lambda t: beat(t, 60, off=12),
        "a browser, all at once": lambda t: beat(t, 0.2, 40),
        "every second": lambda t: beat(t, 1, 40),
        "twice a day": lambda t: beat(t, 12 * 3600),
        "a newcomer": lambda t: beat(t, 60, user="carol"),
        "a rhythm that is known": lambda t: (beat(t, 60), t.found.clear(), beat(t, 60)),
        "a rhythm of the first days": lambda t: (
            beat(t, 60, user="carol"),
            t.days(16, "carol"),
            t.found.clear(),
            beat(t, 60, user="carol"),
        ),
        "with a pause": lambda t: (beat(t, 60, 5), setattr(t, "now", t.now + HOUR), beat(t, 60, 5)),
        "sessions": lambda t: [(t.session(), setattr(t, "now", t.now + 60)) for _ in range(20)],
    },
)
def test_the_rhythm_of_a_machine(case, told):
    judge(Detection.TUNNEL_BEACON, case, told, at_work())


def refuse(tale: Told, count: int, places: int = 1, every: float = 5.0, **more) -> None:
    about = tale.outer()
    for number in range(count):
        tale.refuse(about, f"db{number % places}", **more)
        tale.now += every


@table(
    {
        "the same place again and again": lambda t: refuse(t, 20),
        "six places": lambda t: refuse(t, 6, 6),
        "hundreds": lambda t: refuse(t, 300, 30, every=0.1),
        "nobody answers there": lambda t: refuse(t, 6, 6, reason=UpstreamReason.CONNECTION_REFUSED),
        "no such names": lambda t: refuse(t, 6, 6, reason=UpstreamReason.NAME_NOT_FOUND),
        "no rule": lambda t: refuse(t, 20, reason=PolicyReason.NO_RULE),
        "in a session": lambda t: [
            t.refuse_channel(about, f"db{n}") for about in [t.session()] for n in range(6)
        ],
        "summed up": lambda t: (about := t.outer(), t.refuse(about), t.refuse_more(about, 40)),
        "over two connections": lambda t: (refuse(t, 10), refuse(t, 10)),
        "in the first days of a gateway": lambda t: (t.__init__(), refuse(t, 20)),
        "again the next day": lambda t: (
            refuse(t, 20),
            t.found.clear(),
            setattr(t, "now", t.now + 1.1 * DAY),
            refuse(t, 20),
        ),
    },
    {
        "one": lambda t: refuse(t, 1),
        "nineteen": lambda t: refuse(t, 19),
        "five places": lambda t: refuse(t, 5, 5),
        "twenty in a day": lambda t: refuse(t, 20, every=HOUR),
        "six places over a day": lambda t: refuse(t, 6, 6, every=HOUR),
        "by a limit of ours": lambda t: refuse(t, 50, reason=next(iter(LimitReason))),
        "we had no descriptor": lambda t: refuse(t, 50, 10, reason=UpstreamReason.NO_DESCRIPTOR),
        "channels of other kinds": lambda t: [
            t.refuse_channel(about, f"db{n}", "x11") for about in [t.session()] for n in range(30)
        ],
        "other things summed up": lambda t: t.refuse_more(t.outer(), 99, PolicyReason.ENV_NOT_ALLOWED),
        "sessions": lambda t: [t.refuse_session(target=f"web{n}") for n in range(5)],
        "a second time the same day": lambda t: (refuse(t, 20), t.found.clear(), refuse(t, 20)),
        "tunnels that are given": lambda t: [tunnel(t) for _ in range(30)],
    },
)
def test_tunnels_refused_again_and_again(case, told):
    judge(Detection.TUNNELS_REFUSED, case, told, at_work())


def test_what_is_told_names_connections():
    tale = at_work()
    about = tale.outer(source=HOME)
    tale.tunnel(about, out=3 * GIB)
    (found,) = tale.of(Detection.TUNNEL_DATA)
    assert found.sessions == (about.connection,)
    assert "2.0 GiB" in found.expected and "3.0 GiB" in found.came and "db1:5432" in found.came
