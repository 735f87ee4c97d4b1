"""What happens to a real gateway moves the counters that say so, by as much as happened, and no others.

Each counter has a test where its cause is easiest to make (tests/unit/observe/test_meters.py sees to that); here are
those of an ordinary session, through stock ssh.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.world import World, poll

pytestmark = pytest.mark.interop

SESSION = {
    "bastion_connections_accepted_total": 1,
    "bastion_connections_closed_total": 1,
    'bastion_handshakes_total{at="front",result="ok"}': 1,
    "bastion_handshake_seconds_count": 1,
    'bastion_auth_attempts_total{method="publickey",reason="ok"}': 1,
    'bastion_auth_seconds_count{method="publickey"}': 1,
    'bastion_authorisations_total{reason="allowed"}': 1,
    'bastion_opening_step_seconds_count{step="policy"}': 1,
    'bastion_opening_step_seconds_count{step="record"}': 1,
    "bastion_opening_seconds_count": 1,
    "bastion_first_output_seconds_count": 1,
    'bastion_upstream_dials_total{reason="ok"}': 1,
    'bastion_upstream_phase_seconds_count{phase="connect"}': 1,
    'bastion_upstream_phase_seconds_count{phase="kex"}': 1,
    'bastion_upstream_phase_seconds_count{phase="login"}': 1,
    'bastion_host_key_checks_total{outcome="pinned_ok"}': 1,
    "bastion_upstream_certificates_total": 1,
    'bastion_sessions_started_total{door="direct"}': 1,
    'bastion_channels_total{kind="session",verdict="allowed"}': 1,
    'bastion_requests_total{name="exec",verdict="allowed"}': 1,
    'bastion_channel_bytes_total{direction="to_client",kind="session"}': 3,
    'bastion_recordings_sealed_total{by="session"}': 1,
}
AT_LEAST = ("bastion_recorder_bytes_total", "bastion_recorder_blocks_total", "bastion_audit_lines_total",
            "bastion_state_rows_written_total", "bastion_state_write_seconds_count")  # fmt: skip
NOTHING_ELSE = ("bastion_connections_refused_total", "bastion_recorder_failures_total", "bastion_recordings_unsealed",
                "bastion_audit_failures_total", "bastion_budget_refusals_total", "bastion_state_errors_total",
                "bastion_recorder_admission_refusals_total", "bastion_host_key_checks_total{outcome=\"changed\"}",
                "bastion_worker_deaths_total", "bastion_descriptors_exhausted_total")  # fmt: skip


def deltas(world: World, cause: Callable[[], object], until: str) -> dict[str, float]:
    """How much each sample has moved once the one named `until` has."""
    before = world.metrics()
    assert until in before
    cause()
    after = poll(lambda: (now := world.metrics())[until] != before[until] and now)
    return {name: value - before.get(name, 0.0) for name, value in after.items()}


def test_a_session_moves_what_its_steps_are_counted_by(open_world: World) -> None:
    def session() -> None:
        assert (
            open_world.ssh("echo hi", options=("-o", "PreferredAuthentications=publickey")).stdout == b"hi\n"
        )
        poll(lambda: open_world.metric("bastion_connections_live") == 0)

    moved = deltas(open_world, session, "bastion_state_rows_written_total")
    assert {name: moved[name] for name in SESSION} == SESSION
    assert all(moved[name] > 0 for name in AT_LEAST)
    for name, by in moved.items():
        assert by == 0 or not name.startswith(NOTHING_ELSE), f"{name} moved by {by}"


def test_ready_is_not_alive(open_world: World) -> None:
    status, lines = open_world.health()
    assert status == 200 and lines[0] == "ok"
    assert open_world.page("/healthz") == (200, lines)
