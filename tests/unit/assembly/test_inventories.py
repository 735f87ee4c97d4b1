"""What the process that asks inventories says: counted, told, reloaded; a process of the test in its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from bastion.assembly.companion import CompanionProcess
from bastion.assembly.inventories import FIRST_AGAIN, Inventories
from bastion.clock import FixedClock
from bastion.errors import InventoryReason
from bastion.inventories.report import Report
from bastion.inventories.section import SOURCES_MAX
from bastion.observe.audit import AuditLog
from bastion.observe.families.inventories import (
    INVENTORIES,
    INVENTORY_AGE_SECONDS,
    INVENTORY_ANSWERS,
    INVENTORY_STARTS,
)
from bastion.observe.meters import Meters
from tests.unit.assembly.test_companion import Program


class Bench:
    def __init__(self, folder: Path) -> None:
        self.reactor, self.clock, self.meters = Clock(), FixedClock(), Meters()
        self.programs: list[Program] = []
        self.reloads: list[str] = []
        self._log = folder / "audit.jsonl"
        audit = AuditLog(str(self._log), self.clock, self.meters)
        parts = self.reactor, self.clock, self.meters, audit
        self.inventories = Inventories(*parts, self._start, self.reloads.append)

    def _start(self, process: CompanionProcess) -> None:
        self.programs.append(Program(process))

    def say(self, reason: InventoryReason, name: str = "cmdb", **more: Any) -> None:
        now = self.clock.time()
        report = Report(name, now, reason, **{"answered_at": now, **more})
        self.programs[-1].process.outReceived(report.line())

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def states(self) -> tuple[int, ...]:
        return tuple(self.meters.value(INVENTORIES, state) for state in ("ok", "failing", "expired"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_process_runs_while_there_is_an_inventory_and_anew_when_it_is_another(bench: Bench) -> None:
    bench.inventories.follow("")
    assert bench.programs == []
    bench.inventories.follow("one")
    bench.inventories.follow("one")
    assert len(bench.programs) == 1 and bench.programs[0].input_open, "a reload alone is no reason"
    bench.inventories.follow("two")
    assert not bench.programs[0].input_open
    bench.programs[0].ends()
    assert len(bench.programs) == 2 and bench.meters.value(INVENTORY_STARTS) == 2
    bench.inventories.follow("")
    bench.programs[1].ends()
    assert len(bench.programs) == 2


def test_a_change_is_reloaded_and_what_is_the_same_is_not(bench: Bench) -> None:
    bench.inventories.follow("one")
    bench.say(InventoryReason.TAKEN, changed=True, targets=3)
    assert bench.reloads == ["inventory cmdb"]
    bench.inventories.follow("one")
    bench.say(InventoryReason.SAME)
    bench.reactor.advance(10 * FIRST_AGAIN)
    assert bench.reloads == ["inventory cmdb"]
    assert (
        bench.meters.value(INVENTORY_ANSWERS, "taken") == bench.meters.value(INVENTORY_ANSWERS, "same") == 1
    )
    assert bench.states() == (1, 0, 0)


def test_a_change_that_no_reload_takes_is_asked_for_again_ever_later(bench: Bench) -> None:
    bench.inventories.follow("one")
    bench.say(InventoryReason.TAKEN, changed=True)
    bench.reactor.advance(FIRST_AGAIN)
    assert len(bench.reloads) == 2
    bench.reactor.advance(2 * FIRST_AGAIN - 1)
    assert len(bench.reloads) == 2
    bench.reactor.advance(1)
    assert len(bench.reloads) == 3
    bench.say(InventoryReason.TAKEN, name="fleet", changed=True)
    assert bench.reloads[-1] == "inventory cmdb, fleet"
    bench.inventories.follow("one")
    bench.reactor.advance(3600)
    assert len(bench.reloads) == 4 and bench.reactor.getDelayedCalls() == []


def test_that_it_fails_is_told_once_and_so_is_that_it_works_again(bench: Bench) -> None:
    bench.inventories.follow("one")
    bench.say(InventoryReason.SAME)
    answered = bench.clock.time()
    for _ in range(3):
        bench.clock.advance(60)
        bench.say(InventoryReason.TLS, text="not believed", answered_at=answered, targets=3)
    bench.say(InventoryReason.TIMEOUT, text="too late", answered_at=answered)
    assert bench.states() == (0, 1, 0) and bench.meters.value(INVENTORY_AGE_SECONDS) == 180
    bench.clock.advance(20)
    bench.inventories.refresh()
    assert bench.meters.value(INVENTORY_AGE_SECONDS) == 200
    bench.say(InventoryReason.SAME)
    first, second, third = bench.told()
    assert (first["event"], first["inventory"], first["state"], first["reason"], first["text"]) == (
        "inventory", "cmdb", "failing", "tls", "not believed",
    )  # fmt: skip
    assert (first["age"], first["targets"]) == (60, 3)
    assert (second["reason"], third["state"]) == ("timeout", "ok") and "reason" not in third


def test_one_that_is_too_old_is_told_and_reloaded(bench: Bench) -> None:
    bench.inventories.follow("one")
    bench.say(InventoryReason.UNREACHABLE, answered_at=bench.clock.time() - 9)
    bench.say(InventoryReason.UNREACHABLE, answered_at=bench.clock.time() - 9, expired=True, changed=True)
    assert [line["state"] for line in bench.told()] == ["failing", "expired"]
    assert bench.reloads == ["inventory cmdb"] and bench.states() == (0, 0, 1)


def test_what_is_no_report_is_nothing_and_what_is_said_too_late_is_not_heard(bench: Bench) -> None:
    bench.inventories.follow("one")
    bench.programs[0].process.outReceived(b"no report\n")
    gone = bench.inventories.stop()
    bench.say(InventoryReason.TAKEN, changed=True)
    bench.programs[0].ends()
    assert bench.reloads == [] and gone.called and bench.reactor.getDelayedCalls() == []


def test_it_remembers_no_more_than_there_can_be(bench: Bench) -> None:
    bench.inventories.follow("one")
    for number in range(SOURCES_MAX + 5):
        bench.say(InventoryReason.SAME, name=f"i{number}")
    assert sum(bench.states()) == SOURCES_MAX
