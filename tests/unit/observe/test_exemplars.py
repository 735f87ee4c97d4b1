"""The last session beside the count: in OpenMetrics, of several workers, and never in the older format."""

from __future__ import annotations

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from bastion.clock import FixedClock
from bastion.control.codec import from_json, to_json
from bastion.control.node import Counted, SnapshotAsked
from bastion.observe.exemplars import SessionMeters, latest, place
from bastion.observe.exporter import build_registry, render
from bastion.observe.meters import SESSIONS_ENDED, UPSTREAM_PHASE_SECONDS, Meters

OPENMETRICS = "application/openmetrics-text;version=1.0.0"
FIRST, SECOND = "k3v2m5q7p2r4t6wa", "zzzzzzzzzzzzzzzz"


def shown(meters: Meters, **options: object) -> dict[tuple[str, str], tuple[str, float, float]]:
    """(sample, its label that tells it apart) -> (session, value, at), as a strict parser reads the page."""
    page = render(build_registry(meters, process=False, **options), OPENMETRICS)[0].decode()  # type: ignore[arg-type]
    return {
        (sample.name, sample.labels.get("le", sample.labels.get("reason", ""))): (
            sample.exemplar.labels["session_id"],
            sample.exemplar.value,
            float(sample.exemplar.timestamp or 0),
        )
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.exemplar is not None
    }


def test_each_bucket_has_its_last_session() -> None:
    meters, clock = Meters(), FixedClock(1_800_000_000.0)
    SessionMeters(meters, clock, FIRST).observe(UPSTREAM_PHASE_SECONDS, 0.003, "kex")
    SessionMeters(meters, clock, FIRST).observe(UPSTREAM_PHASE_SECONDS, 30.0, "kex")
    clock.advance(5)
    SessionMeters(meters, clock, SECOND).observe(UPSTREAM_PHASE_SECONDS, 0.004, "kex")
    SessionMeters(meters, clock, SECOND).add(SESSIONS_ENDED, "direct", "idle")
    assert meters.value(UPSTREAM_PHASE_SECONDS, "kex") == 3
    assert shown(meters) == {
        ("bastion_upstream_phase_seconds_bucket", "0.005"): (SECOND, 0.004, 1_800_000_005.0),
        ("bastion_upstream_phase_seconds_bucket", "+Inf"): (FIRST, 30.0, 1_800_000_000.0),
        ("bastion_sessions_ended_total", "idle"): (SECOND, 1.0, 1_800_000_005.0),
    }
    assert FIRST not in render(build_registry(meters, process=False))[0].decode()


def test_those_of_workers_come_over_the_link_and_the_latest_stays() -> None:
    clock, answers = FixedClock(1_800_000_000.0), []
    for session in (FIRST, SECOND):
        worker = Meters()
        SessionMeters(worker, clock, session).add(SESSIONS_ENDED, "direct", "idle")
        counted = Counted(worker.snapshot(), dict(worker.exemplars))
        answers.append(from_json(Counted, to_json(counted), strict=False))
        clock.advance(1)
    merged = SnapshotAsked.merged(answers)
    where = place(SESSIONS_ENDED, "direct,idle", 0)
    assert merged.exemplars is not None and list(merged.exemplars[where]) == [SECOND, 1.0, 1_800_000_001.0]
    marks = latest(answer.exemplars or {} for answer in answers)
    found = shown(Meters(), exemplars=lambda: marks)
    assert found == {("bastion_sessions_ended_total", "idle"): (SECOND, 1.0, 1_800_000_001.0)}


def test_a_process_of_the_version_before_reads_what_has_none() -> None:
    assert "exemplars" not in to_json(Counted(Meters().snapshot()))
    assert from_json(Counted, {"snapshot": {}}, strict=False).exemplars is None
