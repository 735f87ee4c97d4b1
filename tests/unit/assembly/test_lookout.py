"""A log followed, and each finding kept, told and posted once, whatever dies in between."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bastion.assembly import lookout as module
from bastion.assembly.lookout import LOOK_EVERY, SAVE_EVERY, SWEEP_EVERY, TELL_AGAIN, Lookout
from bastion.clock import FixedClock
from bastion.detect.detector import Detector
from bastion.detect.learned import FORMAT
from bastion.detect.places import locate_by
from bastion.detect.posting import LONGEST_PAUSE, Poster, alertmanager, webhook
from bastion.detect.report import Report, Told, read_line
from bastion.detect.settings import Settings
from bastion.errors import Detection
from bastion.observe.audit import timestamp
from bastion.observe.events import NOBODY, About, AuditEvent
from bastion.observe.events.detections import Detected
from bastion.state.database import Database, Place, StateDown
from bastion.state.findings import Mute, Row, Wanted, listed, mute
from bastion.state.learned import NODE, PERSON, learned
from bastion.state.schema_version import check_schema
from tests.support.tales import DAY, GIB, START, Tale

DIES = "dies here"


class Live(Tale):
    """Told as the clock goes."""

    clock: FixedClock

    def say(self, event: AuditEvent, about: About = NOBODY) -> None:
        self.now = self.clock.now = max(self.now, self.clock.now)
        super().say(event, about)


class Bench:
    """A log in which alice has worked for four weeks, a store, and servers that take posts."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.log = folder / "audit.jsonl"
        self.log.touch()
        self.clock = FixedClock(START)
        self.tale = Live(self._write)
        self.tale.clock = self.clock
        self.told: list[Told] = []
        self.reports: list[Report] = []
        self.posted: dict[str, list[str]] = {"alertmanager": [], "webhook": []}
        self.lines: list[str] = []
        self.away = False
        self.place = Place(folder / "state")
        self.database = Database(self.place)
        check_schema(self.database)
        self.posters: list[Poster] = []
        bench = self

        class Post:
            def __init__(self, url: str, body: bytes, patience: float) -> None:
                self.to, self.body = ("webhook" if "hook" in url else "alertmanager"), json.loads(body)

            def send(self, headers: dict[str, str]) -> int:
                if bench.away:
                    raise ConnectionRefusedError
                found = (
                    self.body["findings"] if self.to == "webhook" else [one["labels"] for one in self.body]
                )
                bench.posted[self.to] += [one.get("id") or one["finding"] for one in found]
                return 200

        monkeypatch.setattr("bastion.detect.posting.Post", Post)

    def _write(self, at: float, line: bytes) -> None:
        with self.log.open("ab") as file:
            file.write(line)

    def start(self, node: str = "gw1", **settings: Any) -> Lookout:
        made = replace(Settings(), **settings)
        detector = Detector(made, locate_by(made.network_bits, made.trusted))
        places = alertmanager("http://127.0.0.1:1", None), webhook("http://127.0.0.1:2/hook", None, node)
        self.posters = [Poster(one, self.clock) for one in places]
        return Lookout(self.database, node, self.log, detector, self.posters, self.clock, self._said)

    def _said(self, line: bytes) -> None:
        found = read_line(line)
        (self.told if isinstance(found, Told) else self.reports).append(found)  # type: ignore[arg-type]

    def run(self, lookout: Lookout, seconds: float = LOOK_EVERY) -> None:
        """Turns until there is nothing more to do; posts too."""
        self.clock.advance(seconds)
        while lookout.turn():
            pass
        for poster in self.posters:
            poster.flush()
        lookout.turn()

    def gateway(self) -> list[Told]:
        """What was told is written into the log once; what that was."""
        told, self.told = self.told, []
        told = [one for one in {one.id: one for one in told}.values() if one.id not in self.lines]
        self.lines += [one.id for one in told]
        for one in told:
            event = Detected(
                finding=one.id, kind=one.kind, level=one.level, seen_at=timestamp(one.at), expected=one.expected,
                came=one.came, sessions=one.sessions, muted=one.mute,
            )  # fmt: skip
            self.tale.say(event, About(user=one.user))
        return told

    def kept(self) -> list[Row]:
        return listed(self.database, Wanted(), 1000)

    def incident(self, size: int = 9 * GIB) -> None:
        self.tale.tunnel(self.tale.outer(), out=size)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench(tmp_path, monkeypatch)
    made.tale.days(28)
    made.tale.at(10)
    made.clock.now = made.tale.now
    yield made
    made.database.close()


def test_a_finding_is_kept_told_and_posted_once(bench: Bench) -> None:
    lookout = bench.start()
    bench.run(lookout)
    assert bench.kept() == [], "what was before the first start is learned from"
    bench.incident()
    bench.run(lookout)
    (row,) = bench.kept()
    assert (row.kind, row.level, row.identity, row.target, row.node) == (
        "tunnel_data",
        "alert",
        "alice",
        "db1",
        "gw1",
    )
    assert "9.0 GiB" in row.came and row.sessions
    (told,) = bench.gateway()
    assert (told.id, told.kind, told.user, told.came) == (row.id, Detection.TUNNEL_DATA, "alice", row.came)
    assert bench.posted == {"alertmanager": [row.id], "webhook": [row.id]}
    bench.run(lookout, TELL_AGAIN)
    bench.run(lookout, TELL_AGAIN)
    assert bench.told == [] and bench.posted["webhook"] == [row.id]
    (row,) = bench.kept()
    assert (row.audited, row.alertmanager, row.webhook) == ("written", "sent", "sent")


def test_what_the_gateway_does_not_write_is_told_again(bench: Bench) -> None:
    lookout = bench.start()
    bench.run(lookout)
    bench.incident()
    bench.run(lookout)
    bench.run(lookout)
    assert len(bench.told) == 1
    bench.run(lookout, TELL_AGAIN)
    first, second = bench.told
    assert first == second
    bench.told.clear()
    again = bench.start()
    bench.run(again)
    assert bench.told == [first], "a successor tells it too"


def test_its_own_lines_are_not_looked_at(bench: Bench) -> None:
    lookout = bench.start()
    bench.run(lookout)
    for _ in range(5):
        bench.incident()
        bench.run(lookout, DAY)
        bench.gateway()
    people = set(learned_names(bench))
    bench.run(lookout, SAVE_EVERY)
    assert len(bench.kept()) <= 5 and people <= {"alice"}


def learned_names(bench: Bench) -> list[str]:
    return [one.name for one in learned(bench.database, PERSON, FORMAT, 100)]


def turning(bench: Bench, lookout: Lookout) -> None:
    bench.run(lookout)
    bench.gateway()
    bench.run(lookout, SAVE_EVERY)
    bench.run(lookout)


DEATHS = ("mutes_in", "strangers", "add", "settle")
AFTER_A_POST = ("strangers", "add", "settle", "put", "say", "post")
"""Where it can die between a post and the note that there was one."""


@pytest.mark.parametrize("at", [*DEATHS, "put", "commit", "say", "post"])
@pytest.mark.parametrize("turn", range(3))
def test_a_death_at_any_step_loses_and_doubles_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, at: str, turn: int
) -> None:
    """Killed there, in one of the turns around an incident; its successor takes it from there."""
    lookout = bench.start()
    bench.run(lookout)
    bench.incident()
    with monkeypatch.context() as patch:
        die_at(patch, bench, at, turn)
        try:
            turning(bench, lookout)
        except RuntimeError as error:
            assert str(error) == DIES
    again = bench.start()
    for _ in range(3):
        turning(bench, again)
    bench.run(again, LONGEST_PAUSE)
    (row,) = bench.kept()
    assert (row.audited, row.alertmanager, row.webhook) == ("written", "sent", "sent")
    lines = [json.loads(line) for line in bench.log.read_text().splitlines() if '"event":"detection"' in line]
    assert [line["finding"] for line in lines] == [row.id]
    for posted in bench.posted.values():
        again = posted[1:]
        assert posted[0] == row.id and (
            not again or (again == [row.id] and at in ("mutes_in", *AFTER_A_POST))
        )


def die_at(patch: pytest.MonkeyPatch, bench: Bench, at: str, turn: int) -> None:
    """The process dies when it comes to that for the so-manieth time."""
    left = [turn]

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        def died(*arguments: Any, **named: Any) -> Any:
            if left[0] == 0:
                left[0] = -1
                raise RuntimeError(DIES)
            left[0] -= 1
            return call(*arguments, **named)

        return died

    if at in DEATHS:
        patch.setattr(module.rows, at, dying(getattr(module.rows, at)))
    elif at == "put":
        patch.setattr(module.Saving, "put", dying(module.Saving.put))
    elif at == "commit":  # it is committed, and then dies
        patch.setattr(Lookout, "_kept", dying(Lookout._kept))
    elif at == "say":
        patch.setattr(Lookout, "_tell", dying(Lookout._tell))
    else:
        patch.setattr(Poster, "flush", dying(Poster.flush))


def test_a_successor_goes_on_where_it_was_over_a_rotation(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookout = bench.start()
    bench.run(lookout)
    bench.run(lookout, SAVE_EVERY)
    lookout.close()
    bench.incident()
    bench.log.rename(bench.log.with_name("audit.jsonl.1"))
    bench.log.touch()
    bench.tale.break_glass(why="trial")
    seen: list[str] = []
    see = Detector.see
    monkeypatch.setattr(
        Detector, "see", lambda self, line, at: seen.append(line["event"]) or see(self, line, at)
    )
    again = bench.start()
    bench.run(again)
    assert {row.kind for row in bench.kept()} == {"tunnel_data", "break_glass"}
    assert len(seen) < 10, "nothing was read twice"


def test_what_was_learned_is_remembered_without_the_log(bench: Bench) -> None:
    lookout = bench.start()
    bench.run(lookout)
    lookout.close()
    assert learned_names(bench) == ["alice"]
    bench.log.unlink()
    bench.log.touch()
    again = bench.start()
    bench.run(again)
    bench.incident()
    bench.run(again)
    assert [row.kind for row in bench.kept()] == ["tunnel_data"]


def test_a_lost_position_is_no_reason_to_tell_of_the_past(bench: Bench) -> None:
    """The log was copied by lines, say: what was written before the last line that was seen counts no more."""
    lookout = bench.start()
    bench.run(lookout)
    bench.incident()
    turning(bench, lookout)
    lookout.close()
    bench.log.write_bytes(b"{}\n" + bench.log.read_bytes())
    again = bench.start()
    turning(bench, again)
    assert len(bench.kept()) == 1
    bench.tale.break_glass(why="trial")
    bench.run(again)
    assert [row.kind for row in bench.kept()] == ["tunnel_data", "break_glass"]


def test_what_is_muted_is_kept_and_told_and_posted_to_nobody(bench: Bench) -> None:
    lookout = bench.start()
    bench.run(lookout)
    now = bench.clock.time()
    mute(
        bench.database,
        Mute("m1", "tunnel_data", "alice", "", "dump", "root", now, now + DAY / 2),
        lambda: None,
    )
    bench.run(lookout)
    assert bench.reports[-1].mutes == 1
    bench.incident()
    bench.run(lookout)
    (row,) = bench.kept()
    (told,) = bench.gateway()
    assert (row.mute, told.mute, row.alertmanager) == ("m1", "m1", "")
    assert bench.posted == {"alertmanager": [], "webhook": []}
    bench.tale.break_glass(why="trial")
    bench.run(lookout)
    assert len(bench.posted["webhook"]) == 1, "others are not"
    bench.run(lookout, 2 * DAY)
    bench.incident(90 * GIB)
    bench.run(lookout)
    assert len(bench.posted["webhook"]) == 2, "the mute has ended"
    assert bench.reports[-1].mutes == 0


def test_what_two_detections_have_made_an_alert_is_muted_where_both_are(bench: Bench) -> None:
    lookout = bench.start()
    bench.run(lookout)

    def muted(name: str, kind: str, target: str = "") -> None:
        now = bench.clock.time()
        mute(bench.database, Mute(name, kind, "", target, "noise", "root", now, now + 9 * DAY), lambda: None)

    def stolen(number: int) -> Row:
        about = bench.tale.outer(source=f"198.51.{number}.7")
        bench.tale.tunnel(about, host=f"new{number}")
        bench.run(lookout, DAY)
        return next(row for row in bench.kept() if row.target == f"new{number}")

    muted("m1", "new_destination")
    muted("m2", "", "new1")
    row = stolen(1)
    assert (row.kind, row.level, row.mute) == ("new_destination", "alert", "") and "198.51.1.7" in row.came
    assert bench.posted["webhook"] == [row.id]
    muted("m3", "new_network")
    row = stolen(2)
    assert (row.level, row.mute) == ("alert", "m1") and len(bench.posted["webhook"]) == 1


def test_notices_are_kept_and_told_and_not_posted(bench: Bench) -> None:
    lookout = bench.start()
    bench.run(lookout)
    bench.tale.login(source="198.51.100.7")
    bench.run(lookout)
    (row,) = bench.kept()
    assert (row.kind, row.level) == ("new_network", "notice")
    assert len(bench.gateway()) == 1 and bench.posted["webhook"] == []


def test_while_the_store_is_away_nothing_is_lost(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    lookout = bench.start()
    bench.run(lookout)
    read_at = bench.reports[-1].read_at
    with monkeypatch.context() as patch:
        patch.setattr(Database, "write", away)
        patch.setattr(module, "MOST_HELD", 2)
        for number in range(4):
            bench.tale.break_glass(user=f"glass{number}", why="trial")
        bench.run(lookout)
        bench.run(lookout)
        assert lookout.trouble == "it is away" and bench.told == [] and bench.posted["webhook"] == []
        assert bench.reports[-1].read_at == read_at and "it is away" in bench.reports[-1].trouble
    for _ in range(3):
        bench.run(lookout)
    assert len(bench.kept()) == 4 and len(bench.gateway()) == 4 and lookout.trouble == ""
    assert len(bench.posted["webhook"]) == 4 and bench.reports[-1].read_at > read_at


def away(*_: object) -> Any:
    raise StateDown("it is away")


def test_posts_wait_for_whoever_takes_them(bench: Bench) -> None:
    lookout = bench.start()
    bench.run(lookout)
    bench.away = True
    bench.incident()
    bench.run(lookout)
    (row,) = bench.kept()
    assert row.webhook == "waiting"
    bench.run(lookout)
    assert bench.reports[-1].waiting == {"alertmanager": 1, "webhook": 1}
    assert "webhook: " in bench.reports[-1].trouble and bench.reports[-1].posts["webhook"]["unreachable"] > 0
    again = bench.start()
    bench.away = False
    bench.run(again)
    assert bench.posted["webhook"] == [row.id], "a successor posts it"
    bench.clock.advance(2 * DAY)
    assert bench.start() and all(poster.waiting == 0 for poster in bench.posters)


def test_two_gateways_learn_of_one_person(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one database; the log of the second is empty."""
    monkeypatch.setattr(Place, "embedded", property(lambda self: False))
    one = bench.start()
    bench.run(one)
    second, first = bench.folder / "second.jsonl", bench.log
    second.touch()
    bench.log = second
    other = bench.start("gw2")
    bench.run(other)
    assert other._detector.began == one._detector.began > 0.0, "what the first has watched counts"
    bench.tale.login(source="198.51.100.7")
    bench.run(other, SAVE_EVERY)
    assert [row.kind for row in bench.kept()] == ["new_network"]
    bench.log = first
    bench.run(one)
    bench.tale.login(source="198.51.100.9")
    bench.run(one)
    assert len(bench.kept()) == 1, "the first has heard of it"
    bench.run(one, SAVE_EVERY)
    bench.run(other)
    names = [{*lookout._detector.people["alice"].networks.days} for lookout in (one, other)]
    assert names[0] == names[1] == {"203.0.113.0/24", "198.51.100.0/24"}


def test_rows_that_nobody_can_read_are_learned_anew(bench: Bench) -> None:
    lookout = bench.start()
    bench.run(lookout)
    lookout.close()
    with bench.database.write() as connection:
        connection.exec_driver_sql("UPDATE learned SET packed = 'x' WHERE kind = 'person'")
        connection.exec_driver_sql("UPDATE learned SET form = 0 WHERE kind = 'node'")
    again = bench.start()
    bench.run(again)
    again.close()
    (row,) = learned(bench.database, NODE, FORMAT, 10)
    assert row.name == "gw1" and row.document["log"] and learned_names(bench) == ["alice"]


def crowd(bench: Bench, count: int) -> None:
    for number in range(count):
        bench.tale.login(f"user{number:03}", source="198.51.100.7")


def test_a_first_start_that_is_not_finished_begins_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People are kept in pieces, and none of them counts before all are there."""
    monkeypatch.setattr(module, "MOST_TOUCHED", 10)
    crowd(bench, 35)
    lookout = bench.start()
    with monkeypatch.context() as patch:
        die_at(patch, bench, "put", 25)
        with pytest.raises(RuntimeError, match=DIES):
            bench.run(lookout)
    assert len(learned_names(bench)) == 20, "two pieces"
    again = bench.start()
    assert again._detector.people == {}
    bench.run(again)
    assert len(learned_names(bench)) == 36 and len(bench.start()._detector.people) == 36
    tunnels = again._detector.people["alice"].tunnels
    assert tunnels == bench.start()._detector.people["alice"].tunnels


def test_what_many_have_taught_is_kept_before_it_is_too_much(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_TOUCHED", 10)
    lookout = bench.start()
    bench.run(lookout)
    crowd(bench, 9)
    bench.run(lookout, 1.0)
    assert learned_names(bench) == ["alice"]
    crowd(bench, 10)
    bench.run(lookout, 1.0)
    assert len(learned_names(bench)) == 11 and not lookout._detector.touched


def test_what_is_old_is_swept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    lookout = bench.start()
    bench.run(lookout)
    bench.incident()
    bench.run(lookout)
    monkeypatch.setattr("bastion.state.findings.KEPT", 0.0)
    bench.run(lookout, SWEEP_EVERY)
    assert bench.kept() == []


def test_text_of_strangers_fits_every_reader(bench: Bench) -> None:
    lookout = bench.start()
    bench.run(lookout)
    bench.tale.break_glass(user="x\ud800\0y", why="z\udfff" * 3000)
    bench.run(lookout)
    (row,) = bench.kept()
    (told,) = bench.told
    assert row.identity == told.user == "x?y" and len(row.came) <= 1024
