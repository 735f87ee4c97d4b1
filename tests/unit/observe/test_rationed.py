"""Audit lines that a payer pays for: written while the purse allows it, then counted, nothing lost from sight."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from bastion.auth.budget import LIMITS, Budget, Limit, Payer, Work
from bastion.clock import FixedClock
from bastion.observe.audit import AuditLog, encode_line
from bastion.observe.events import About
from bastion.observe.meters import AUDIT_SUMMED, Meters
from bastion.observe.rationed import MAX_PAYERS, SUMMARY_INTERVAL, RationedLog, line_size
from tests.support.audit_lines import Told

SMALL = dict(LIMITS) | {(payer, Work.LOG): Limit(1000, 10_000, 10, 100) for payer in Payer}


class Bench:
    def __init__(self, folder: Path) -> None:
        self.clock, self.timers, self.meters = FixedClock(), Clock(), Meters()
        self.audit = AuditLog(str(folder / "audit"), self.clock, self.meters)
        self.budget = Budget(self.clock, SMALL)
        self.log = RationedLog(self.audit, self.timers, self.meters)

    def refused(self, source: str, reason: str = "bad_password", **fields: Any) -> bool:
        return self.log.emit(
            self.budget.source(source), source, Told("auth", reason=reason, source=source, **fields)
        )

    def lines(self, event: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in Path(self.audit.path).read_text().splitlines()]
        return [line for line in found if line["event"] == event]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.audit.close()


def test_a_line_each_and_then_one_with_the_counts(bench: Bench) -> None:
    written = [bench.refused("192.0.2.1") for _ in range(20)]
    assert 0 < sum(written) < 20 and not any(written[sum(written) :])
    bench.refused("192.0.2.1", "throttled")
    assert len(bench.lines("auth")) == sum(written) and not bench.lines("lines_summed")
    bench.timers.advance(SUMMARY_INTERVAL)
    (summary,) = bench.lines("lines_summed")
    left = 20 - sum(written)
    assert summary["source"] == "192.0.2.1" and summary["lines"] == left + 1
    assert summary["counts"] == {"auth bad_password": left, "auth throttled": 1}
    assert bench.meters.value(AUDIT_SUMMED, "source") == left + 1
    assert not bench.timers.getDelayedCalls()


def test_another_source_is_written_and_a_quiet_one_again_later(bench: Bench) -> None:
    while bench.refused("192.0.2.1"):
        pass
    assert bench.refused("192.0.2.2")
    bench.clock.advance(60)
    assert bench.refused("192.0.2.1")


def test_payers_and_their_summaries_are_bounded(bench: Bench) -> None:
    flood = [f"10.0.{number >> 8}.{number & 255}" for number in range(MAX_PAYERS + 50)]
    for source in flood:
        for _ in range(10):
            bench.refused(source)
    bench.timers.advance(SUMMARY_INTERVAL)
    summaries = bench.lines("lines_summed")
    assert len(summaries) <= MAX_PAYERS + 1 and summaries[-1]["source"] == "others"
    assert sum(line["lines"] for line in summaries) == 10 * len(flood) - len(bench.lines("auth"))


def test_the_purse_pays_at_least_what_is_written(bench: Bench) -> None:
    for text in ("alice", "\x01" * 64, "\U000e0001" * 64, "\ud800" * 64, "ü" * 64, '"\\' * 30):
        fields: dict[str, Any] = {"user": text, "reason": "bad_user_name", "number": 1 << 60}
        line = encode_line(0.0, "auth", About("k3v2m5q7p2r4t6wa"), fields)
        assert len(line) <= line_size(fields)


def test_identities_pay_for_themselves_and_the_end_writes_all_down(bench: Bench) -> None:
    purse = bench.budget.identity("alice")
    while bench.log.note(purse, "alice", Told("channel_opened", kind="session")):
        pass
    bench.log.flush()
    (summary,) = bench.lines("lines_summed")
    assert summary["identity"] == "alice" and summary["counts"] == {"channel_opened": 1}
    assert not bench.timers.getDelayedCalls()


def test_what_is_left_out_of_a_line_costs_nothing() -> None:
    assert line_size({"user": "alice", "rule": "", "key": ""}) == line_size({"user": "alice"})
