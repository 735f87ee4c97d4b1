"""One sink, turn by turn: faults, refusals, what is noted when, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from bastion.clock import FixedClock
from bastion.observe.labels import SinkReason
from bastion.sinks.delivery import FIRST_PAUSE, LONGEST_PAUSE, LOOK, Delivery
from bastion.sinks.fault import SinkFault
from bastion.sinks.lines import AuditLine
from bastion.sinks.position import load
from bastion.sinks.report import Report, read_report
from tests.support.sinks import Log


class Destination:
    """Takes lines as it is told to."""

    def __init__(self) -> None:
        self.took: list[AuditLine] = []
        self.tried: list[int] = []
        self.fault: SinkFault | None = None
        self.bad: set[int] = set()  # numbers of lines
        self.names_them = True  # it says which; else the whole delivery is refused

    def deliver(self, lines: Sequence[AuditLine]) -> Sequence[int]:
        self.tried.append(len(lines))
        if self.fault is not None:
            raise self.fault
        bad = [index for index, line in enumerate(lines) if line.document.get("number") in self.bad]
        if bad and not self.names_them:
            raise SinkFault(SinkReason.REFUSED, "HTTP status 400")
        self.took += [line for index, line in enumerate(lines) if index not in bad]
        return bad


class Bench:
    def __init__(self, folder: Path) -> None:
        self.clock = FixedClock()
        self.log = Log(folder / "audit.jsonl", self.clock)
        self.file = folder / "siem.json"
        self.destination = Destination()
        self.begin()

    def begin(self) -> None:
        """As a new process."""
        names = "siem", "loki"
        self.delivery = Delivery(names, self.destination.deliver, self.log.path, self.file, self.clock, 4, 7)

    def all(self) -> None:
        while not self.delivery.turn():
            pass

    def numbers(self) -> list[int]:
        return [line.document["number"] for line in self.destination.took]

    @property
    def report(self) -> Report:
        return self.delivery.report()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_lines_go_in_order_and_what_was_confirmed_is_on_disk(bench: Bench) -> None:
    bench.log.write(10)
    assert bench.delivery.turn() == 0 and bench.numbers() == [1, 2, 3, 4]
    (reached,) = load(bench.file).chains.values()
    assert reached.serial == 3
    bench.all()
    assert bench.numbers() == list(range(1, 11)) and bench.destination.tried == [4, 4, 2]
    assert bench.delivery.turn() == LOOK
    bench.begin()
    bench.all()
    assert len(bench.numbers()) == 10 and bench.report.sent == 0


def test_a_fault_is_waited_out_ever_longer_and_loses_nothing(bench: Bench) -> None:
    bench.log.write(5)
    bench.destination.fault = SinkFault(SinkReason.UNREACHABLE, "there: Connection refused")
    pauses = [bench.delivery.turn() for _ in range(9)]
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE] and max(pauses) == LONGEST_PAUSE
    bench.clock.advance(100)
    report = bench.report
    assert read_report(report.line()) == report
    assert report.failing and report.reason is SinkReason.UNREACHABLE and report.lines == 5
    assert report.age(bench.clock.time()) == 100 and report.results == {"unreachable": 9}
    assert bench.delivery.state == (SinkReason.UNREACHABLE, 0)
    bench.destination.fault = None
    bench.all()
    assert bench.numbers() == [1, 2, 3, 4, 5] and not bench.report.failing and bench.report.lines == 0
    bench.destination.fault = SinkFault(SinkReason.BUSY, "there: HTTP status 429", later=30.0)
    bench.log.write(1)
    assert bench.delivery.turn() == 30.0


def test_an_outage_with_rotations_is_seen_while_it_lasts(bench: Bench) -> None:
    bench.destination.fault = SinkFault(SinkReason.TIMEOUT, "there: no answer in time")
    for number in range(3):
        bench.log.write(2)
        bench.delivery.turn()
        bench.log.rotate(f".{number}")
    bench.log.write(1)
    report = bench.report
    assert report.ending and report.lines == 2 + 3 + 3 + 2
    bench.destination.fault = None
    bench.all()
    assert [line.document.get("number") for line in bench.destination.took if "number" in line.document] == [
        1, 2, 3, 4, 5, 6, 7,
    ]  # fmt: skip
    assert not bench.report.ending


@pytest.mark.parametrize("names_them", [True, False])
def test_a_line_that_is_refused_is_passed_by_when_others_are_taken(bench: Bench, names_them: bool) -> None:
    bench.destination.names_them, bench.destination.bad = names_them, {2, 7}
    bench.log.write(8)
    bench.all()
    assert bench.numbers() == [1, 3, 4, 5, 6, 8]
    assert (bench.report.refused, bench.report.sent) == (2, 6) and not bench.report.failing


@pytest.mark.parametrize("names_them", [True, False])
def test_when_all_are_refused_it_is_not_the_lines_and_none_is_passed_by(
    bench: Bench, names_them: bool
) -> None:
    bench.destination.names_them, bench.destination.bad = names_them, {1, 2, 3, 4, 5, 6}
    bench.log.write(6)
    for _ in range(3):
        assert bench.delivery.turn() > 0
    assert bench.numbers() == [] and bench.report.refused == 0 and bench.report.reason is SinkReason.REFUSED
    bench.destination.bad = set()
    bench.all()
    assert bench.numbers() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("names_them", [True, False])
def test_a_last_line_that_is_refused_waits_for_another_one_to_be_judged_by(
    bench: Bench, names_them: bool
) -> None:
    bench.destination.names_them, bench.destination.bad = names_them, {1}
    bench.log.write(1)
    assert bench.delivery.turn() > 0 and bench.report.lines == 1
    bench.log.write(1)
    bench.all()
    assert bench.numbers() == [2] and bench.report.refused == 1


def test_a_position_that_cannot_be_written_stops_deliveries_until_it_can(bench: Bench) -> None:
    bench.log.write(2)
    bench.all()
    folder = bench.file.parent
    bench.file.unlink()
    bench.file.mkdir()
    bench.log.write(1)
    assert bench.delivery.turn() > 0 and bench.report.reason is SinkReason.LOCAL_FILE
    bench.log.write(1)
    assert bench.delivery.turn() > 0 and bench.numbers() == [1, 2, 3], "no more until that is noted"
    bench.file.rmdir()
    bench.all()
    assert bench.numbers() == [1, 2, 3, 4] and not bench.report.failing and folder.exists()


def test_a_position_that_cannot_be_read_is_no_beginning(bench: Bench) -> None:
    bench.file.write_text("?")
    bench.log.write(1)
    assert bench.delivery.turn() > 0 and bench.report.reason is SinkReason.LOCAL_FILE
    assert bench.file.read_text() == "?" and bench.destination.tried == []
    bench.file.unlink()
    bench.all()
    assert bench.numbers() == [1] and not bench.report.failing


def test_a_fault_of_ours_is_told_and_holds_up_no_other_sink(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.log.write(1)
    with monkeypatch.context() as patched:
        patched.setattr(Destination, "deliver", lambda *_: {}["no"])
        bench.begin()
        assert bench.delivery.turn() > 0 and bench.report.reason is SinkReason.FAILED
    assert "KeyError" in capsys.readouterr().err
    bench.begin()
    bench.all()
    assert bench.numbers() == [1]


def test_a_log_whose_folder_is_gone_is_told(bench: Bench, tmp_path: Path) -> None:
    names = "siem", "loki"
    one = Delivery(
        names, bench.destination.deliver, tmp_path / "none" / "audit.jsonl", bench.file, bench.clock, 4, 7
    )
    assert one.turn() > 0 and one.report().reason is SinkReason.LOCAL_FILE and "none" in one.report().text
    one.close()
