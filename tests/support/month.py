"""Two months of a company of 200 engineers as an audit log, with 12 incidents in the second one. Always the same log.

What people do there is drawn, from one seed: when they begin, who works at weekends, who is on call, who has the night
shift, who travels, gets another provider or a phone's network, begins, goes on holiday, mistypes, works on something
new, fetches something large, dumps a database, keeps a fleet by a program. None of that is an incident.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from bastion.errors import AuthReason, Detection, RecorderReason, UpstreamReason
from bastion.observe.events import About
from tests.support.tales import DAY, GIB, HOUR, MINUTE, START, Tale

PEOPLE, DAYS, JUDGED = 200, 60, 30  # the first 30 days are learned from
OFFICE = "192.0.2.5"
ABROAD = "198.18.200.9"


@dataclass
class Engineer:
    """One of them, and what they are used to."""

    name: str
    home: str
    begins: float  # hour of the day, UTC
    targets: list[str]
    databases: list[str]
    busy: int  # logins a day
    at_office: float  # share of days
    nights: bool = False
    certificate: bool = False
    weekends: bool = False
    away: list[range] = field(default_factory=list)
    trips: dict[int, str] = field(default_factory=dict)  # day -> network
    on_call: set[int] = field(default_factory=set)
    first_day: int = 0
    dumps: bool = False  # a database, once a week
    fleet: int = 0


@dataclass(frozen=True)
class Incident:
    """What was planted: found when one of the kinds is an alert about that person on that day."""

    name: str
    user: str
    day: int
    kinds: frozenset[Detection]


class Month:
    """`write(at, line)` gets the lines, in order of time."""

    def __init__(self, seed: int = 14) -> None:
        self._random = random.Random(seed)
        self._lines: list[tuple[float, bytes]] = []
        self._tale = Tale(lambda at, line: self._lines.append((at, line)))
        self.incidents: list[Incident] = []
        self.people = [self._engineer(number) for number in range(PEOPLE)]

    def write(self, write: Callable[[float, bytes], object]) -> None:
        """All lines. A day is made at a time, so that little is in memory."""
        for day in range(DAYS):
            self._lines.clear()
            for one in self.people:
                self._day(one, day)
            self._incidents_of(day)
            for at, line in sorted(self._lines, key=lambda pair: pair[0]):
                write(at, line)

    # -- who they are ----------------------------------------------------------------------------------------------

    def _engineer(self, number: int) -> Engineer:
        draw = self._random
        team = number % 12
        one = Engineer(
            name=f"user{number:03d}",
            home=f"203.{number % 100}.{draw.randrange(200)}.{draw.randrange(1, 250)}",
            begins=draw.gauss(8.0, 1.2),
            targets=[f"team{team}-{n}" for n in draw.sample(range(30), 6)],
            databases=[f"db{team}-{n}" for n in draw.sample(range(6), 2)],
            busy=draw.choice((1, 2, 2, 3)),
            at_office=draw.choice((0.0, 0.2, 0.5, 0.9)),
            nights=number % 40 == 7,
            certificate=number % 2 == 0,
            weekends=draw.random() < 0.1,
            first_day=draw.randrange(5, 55) if number % 25 == 3 else 0,
            dumps=number % 20 == 5,
            fleet=draw.choice((40, 80)) if number % 50 == 9 else 0,
        )
        if draw.random() < 0.35:
            begin = draw.randrange(DAYS)
            one.away.append(range(begin, begin + draw.choice((5, 7, 14, 21))))
        if draw.random() < 0.12:  # a trip: a hotel, a customer's network
            begin = draw.randrange(DAYS)
            for day in range(begin, begin + draw.choice((2, 3, 5))):
                one.trips[day] = f"198.{draw.randrange(20, 90)}.{draw.randrange(250)}.7"
        if draw.random() < 0.25:  # another provider, a phone, new addresses from a day on
            moved = f"204.{draw.randrange(100)}.{draw.randrange(250)}.9"
            one.trips |= dict.fromkeys(range(draw.randrange(DAYS), DAYS), moved)
        if number % 6 == 0:  # on call, a week in six
            one.on_call = {day for day in range(DAYS) if day // 7 % 6 == number // 6 % 6}
        return one

    # -- what they do ----------------------------------------------------------------------------------------------

    def _day(self, one: Engineer, day: int) -> None:
        draw = self._random
        if day < one.first_day or any(day in days for days in one.away):
            return
        midnight = START + day * DAY
        source = one.trips.get(day) or (OFFICE if draw.random() < one.at_office else one.home)
        if day in one.on_call and draw.random() < 0.15:
            self._work(one, midnight + draw.uniform(0, 6) * HOUR, one.home, day)
        if day % 7 >= 5 and not (one.weekends and draw.random() < 0.4):
            return
        begins = 21.0 if one.nights else one.begins
        length = draw.gauss(9.0 if draw.random() > 0.05 else 13.0, 1.0)  # now and then a long one
        for number in range(one.busy):
            hour = begins + length * number / one.busy + draw.uniform(0, 1.0)
            self._work(one, midnight + hour * HOUR, source, day)
        if one.fleet:
            self._tale.now = midnight + (one.begins + 1) * HOUR
            for number in range(one.fleet):
                self._end(self._tale.session(one.name, f"fleet-{number}", source))
                self._tale.now += 2.0

    def _login(self, one: Engineer, source: str, day: int) -> About:
        draw = self._random
        if draw.random() < 0.05:
            self._tale.login(
                one.name, source, result="refused", reason=AuthReason.BAD_PASSWORD, method="password"
            )
            self._tale.now += 5.0
        more = {"method": "password"} if draw.random() < 0.3 else {"key": f"SHA256:{one.name}"}
        if one.certificate:  # one for each day
            more = {
                "certificate_id": f"{one.name}@corp",
                "certificate_serial": 1000 * day + 1,
                "method": "publickey",
            }
        return self._tale.outer(one.name, source, **more)

    def _work(self, one: Engineer, at: float, source: str, day: int) -> None:
        draw, tale = self._random, self._tale
        tale.now = at
        about = self._login(one, source, day)
        known = draw.random() > 0.03
        target = draw.choice(one.targets) if known else f"team{draw.randrange(12)}-{draw.randrange(30)}"
        session = tale.session(one.name, target, source)
        tale.now += draw.expovariate(1 / 900)
        if draw.random() < 0.3:
            tale.sftp(session, int(draw.lognormvariate(14, 2.5)))
        self._end(session)
        if draw.random() < 0.4:
            known = draw.random() > 0.02
            place = draw.choice(one.databases) if known else f"db{draw.randrange(12)}-{draw.randrange(6)}"
            long = draw.random() < 0.1
            tale.tunnel(
                about, place, out=int(draw.lognormvariate(15, 2)), seconds=10 * HOUR if long else 600.0
            )
        if one.dumps and day % 7 == 2 and draw.random() < 0.5:
            tale.tunnel(about, one.databases[0], out=int(draw.uniform(0.5, 1.8) * GIB), seconds=1200.0)
        if draw.random() < 0.01:  # a mistyped forward, tried some times
            for _ in range(draw.randrange(1, 6)):
                tale.refuse(about, f"db{draw.randrange(12)}-9")
                tale.now += 20.0

    def _end(self, session: About) -> None:
        self._tale.now += 30.0
        self._tale.end(session)

    # -- what should be found --------------------------------------------------------------------------------------

    def _incidents_of(self, day: int) -> None:
        for planted, incident in _INCIDENTS.items():
            if planted == day:
                incident(self, day)

    def _plant(self, name: str, one: Engineer, day: int, *kinds: Detection) -> None:
        self.incidents.append(Incident(name, one.name, day, frozenset(kinds)))

    def _victim(self, day: int, number: int) -> Engineer:
        """Somebody ordinary who was at work all the time of late."""
        ordinary = [
            one
            for one in self.people
            if not (one.nights or one.fleet or one.dumps or one.first_day or one.on_call or one.trips)
            and one.busy > 1
            and not any(set(days) & set(range(day - 20, day + 2)) for days in one.away)
        ]
        return ordinary[number * 3]

    def _at(self, day: int, hour: float) -> None:
        self._tale.now = START + day * DAY + hour * HOUR

    def stolen_key(self, day: int) -> None:
        one, tale = self._victim(day, 0), self._tale
        self._at(day, 2.2)
        tale.outer(one.name, ABROAD, key=f"SHA256:{one.name}")
        self._plant(
            "a stolen key at night, from abroad", one, day, Detection.UNUSUAL_HOUR, Detection.NEW_NETWORK
        )

    def stolen_certificate(self, day: int) -> None:
        one, tale = self._victim(day, 1), self._tale
        self._at(day, 10.0)
        more = {"certificate_id": f"{one.name}@corp", "certificate_serial": 77}
        tale.outer(one.name, one.home, **more)
        tale.now += 20 * MINUTE
        tale.outer(one.name, ABROAD, **more)
        self._plant("a certificate that somebody else has too", one, day, Detection.CERTIFICATE_SHARED)

    def dump(self, day: int) -> None:
        one, tale = self._victim(day, 2), self._tale
        self._at(day, 11.0)
        about = tale.outer(one.name, one.home)
        for _ in range(8):
            tale.tunnel(about, one.databases[0], out=GIB, seconds=300.0)
        self._plant("a database taken out by a tunnel", one, day, Detection.TUNNEL_DATA)

    def slow_leak(self, day: int) -> None:
        one, tale = self._victim(day, 3), self._tale
        self._at(day, 9.0)
        tale.tunnel(tale.outer(one.name, one.home), one.databases[0], out=GIB + GIB // 2, seconds=11 * HOUR)
        self._plant("the same, slowly", one, day, Detection.TUNNEL_DATA)

    def beacon(self, day: int) -> None:
        one, tale = self._victim(day, 4), self._tale
        self._at(day, 12.0)
        about = tale.outer(one.name, one.home)
        for number in range(60):
            self._at(day, 12.0 + number / 12)
            tale.now += (number % 5) * 3.0
            tale.tunnel(about, "198.51.100.200", 443, out=800, seconds=2.0)
        self._plant("a program that calls home", one, day, Detection.TUNNEL_BEACON)

    def scan(self, day: int) -> None:
        one, tale = self._victim(day, 5), self._tale
        self._at(day, 14.0)
        about = tale.outer(one.name, one.home)
        for number in range(50):
            tale.refuse(about, f"10.0.7.{number}", 22)
            tale.now += 1.0
        self._plant("a scan through refused tunnels", one, day, Detection.TUNNELS_REFUSED)

    def download(self, day: int) -> None:
        one, tale = self._victim(day, 6), self._tale
        self._at(day, 16.0)
        tale.login(one.name, one.home)
        session = tale.session(one.name, one.targets[0], one.home)
        for _ in range(400):
            tale.sftp(session, 30 << 20)
            tale.now += 3.0
        self._end(session)
        self._plant("a home folder copied by sftp", one, day, Detection.SFTP_DATA)

    def look_round(self, day: int) -> None:
        one, tale = self._victim(day, 7), self._tale
        self._at(day, 15.0)
        tale.login(one.name, one.home)
        for number in range(25):
            self._end(tale.session(one.name, f"finance-{number}", one.home))
        self._plant("somebody looks round in another team", one, day, Detection.MANY_TARGETS)

    def sleeper(self, day: int) -> None:
        one, tale = Engineer("leaver", "203.0.77.1", 9.0, ["team0-1"], ["db0-0"], 1, 0.0), self._tale
        self._at(day, 13.0)
        tale.outer(one.name, one.home)
        self._plant("the account of somebody who left", one, day, Detection.DORMANT_ACCOUNT)

    def leaver(self, day: int) -> None:
        self._at(day, 9.0)
        self._tale.outer("leaver", "203.0.77.1")

    def emergency(self, day: int) -> None:
        one = Engineer("emergency", OFFICE, 9.0, [], [], 1, 0.0)
        self._at(day, 17.0)
        self._tale.break_glass("ok", one.name, OFFICE, why="no reason at all")
        self._plant("break-glass without an emergency", one, day, Detection.BREAK_GLASS)

    def in_the_middle(self, day: int) -> None:
        one = self._victim(day, 8)
        self._at(day, 10.5)
        self._tale.refuse_session(one.name, one.targets[0], UpstreamReason.HOST_KEY_CHANGED)
        self._plant("somebody between gateway and target", one, day, Detection.HOST_KEY_CHANGED)

    def blinded(self, day: int) -> None:
        one, tale = self._victim(day, 9), self._tale
        self._at(day, 11.0)
        tale.fail_recording(tale.session(one.name, one.targets[0], one.home), RecorderReason.WRITE_FAILED)
        self._plant("a recording that was broken", one, day, Detection.RECORDING_TROUBLE)


_INCIDENTS: dict[int, Callable[[Month, int], None]] = {
    3: Month.leaver,
    31: Month.stolen_key,
    33: Month.stolen_certificate,
    36: Month.dump,
    38: Month.slow_leak,
    40: Month.beacon,
    43: Month.scan,
    45: Month.download,
    47: Month.look_round,
    50: Month.sleeper,
    52: Month.emergency,
    55: Month.in_the_middle,
    57: Month.blinded,
}
