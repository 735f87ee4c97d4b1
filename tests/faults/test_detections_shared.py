"""Gateways of one PostgreSQL learn of the same people at the same time, and keep what they find."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bastion.assembly.lookout import LOOK_EVERY, SAVE_EVERY, Lookout
from bastion.clock import FixedClock
from bastion.detect.detector import Detector
from bastion.detect.learned import FORMAT, document_of, merged, person_of
from bastion.detect.person import Person
from bastion.detect.places import locate_by
from bastion.detect.settings import Settings
from bastion.state.database import Database, Place, password_of
from bastion.state.findings import Wanted, add, listed, strangers
from bastion.state.learned import PERSON, Saving, learned, pack
from bastion.state.migrating import migrate
from tests.support.postgres import Postgres
from tests.support.tales import DAY, GIB, START, Tale
from tests.unit.state.test_findings import row

pytestmark = [pytest.mark.interop, pytest.mark.slow]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as made:
        database = opened(made)
        migrate(database)
        database.close()
        yield made


@pytest.fixture
def database(server: Postgres) -> Iterator[Database]:
    made = opened(server)
    yield made
    with made.write() as connection:
        connection.exec_driver_sql("TRUNCATE findings, mutes, learned")
    made.close()


def opened(server: Postgres) -> Database:
    place = Place(server.folder, server.url, server.password_file)
    return Database(place, password_of(place))


def test_nobody_writes_over_what_another_has_learned(server: Postgres, database: Database) -> None:
    """Four gateways write the row of one person as fast as they can; each has networks of its own."""
    each, faults = 25, []

    def learn(node: str) -> None:
        own, known = opened(server), [Person()]

        def both(found: object) -> object:
            return document_of(merged(known[0], person_of(found)))

        revision = 0
        try:
            for number in range(each):
                known[0].targets.add(f"{node}-{number}", START + number)
                with own.write() as connection:
                    saving = Saving(connection, FORMAT, node, START)
                    saved = saving.put(PERSON, "alice", revision, pack(document_of(known[0])), both)
                revision = saved.revision
                if saved.document is not None:
                    known[0] = person_of(saved.document)
        except Exception as error:
            faults.append(error)
        finally:
            own.close()

    threads = [threading.Thread(target=learn, args=(f"gw{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert faults == []
    (one,) = learned(database, PERSON, FORMAT, 10)
    assert one.revision == 4 * each and len(person_of(one.document).targets.days) == 4 * each


def test_a_finding_is_one_row_whoever_keeps_it_first(server: Postgres, database: Database) -> None:
    other = opened(server)
    with database.write() as one:
        add(one, [row("a")])
        blocked = threading.Thread(target=_add, args=(other,))
        blocked.start()
    blocked.join(30)
    assert [found.id for found in listed(database, Wanted(), 10)] == ["a"]
    with other.read() as connection:
        assert strangers(connection, "gw1", [row("a")]) == []
    other.close()


def _add(database: Database) -> None:
    with database.write() as connection:
        add(connection, [row("a")])


class Node:
    """A gateway's log and what looks at it, on a clock of its own."""

    def __init__(self, server: Postgres, folder: Path, name: str) -> None:
        self.clock = FixedClock(START)
        self.log = folder / f"{name}.jsonl"
        self.log.touch()
        self.tale = Tale(self._write)
        self.database = opened(server)
        self.name = name

    def _write(self, at: float, line: bytes) -> None:
        with self.log.open("ab") as file:
            file.write(line)

    def start(self) -> None:
        detector = Detector(Settings(), locate_by(24, ()))
        self.lookout = Lookout(
            self.database, self.name, self.log, detector, [], self.clock, lambda line: None
        )

    def run(self, seconds: float = LOOK_EVERY) -> None:
        self.clock.advance(seconds)
        while self.lookout.turn():
            pass
        assert self.lookout.trouble == ""

    def kinds(self) -> list[str]:
        return [one.kind for one in listed(self.database, Wanted(), 100) if one.node == self.name]


def test_what_one_gateway_has_learned_counts_on_the_other(
    server: Postgres, database: Database, tmp_path: Path
) -> None:
    """Four weeks through the first; then through the second, whose log is empty, from where she always comes."""
    first, second = Node(server, tmp_path, "gw1"), Node(server, tmp_path, "gw2")
    first.tale.days(28)
    first.tale.at(10)
    first.clock.now = second.clock.now = second.tale.now = first.tale.now
    first.start()
    first.run()
    second.start()
    second.tale.login()
    second.run()
    assert second.kinds() == [], "she comes from where she always comes"
    second.tale.login(source="198.51.100.7")
    second.tale.now += 60
    second.tale.tunnel(second.tale.outer(source="198.51.100.7"), out=9 * GIB)
    second.clock.now = second.tale.now
    second.run(SAVE_EVERY)
    assert set(second.kinds()) == {"new_network", "tunnel_data"}
    first.run(SAVE_EVERY)
    first.tale.now = first.clock.now = second.clock.now
    first.run()
    first.tale.login(source="198.51.100.9")
    first.run()
    assert first.kinds() == [], "the first knows that network from the second"
    first.tale.now += 2 * DAY
    first.tale.tunnel(first.tale.outer(), out=20 * GIB)
    first.run()
    assert first.kinds() == [], "and the habit: four times the highest day of late"
    for node in (first, second):
        node.lookout.close()
        node.database.close()
