"""What happens to a real gateway moves the counters that say so, by as much as happened, and no others.

Each counter has a test where its cause is easiest to make (tests/support/metric_causes.py names all of them); here are
those of an ordinary session, through stock ssh, and of what no other test makes.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest

from bastion.ca.keys import load_private_key
from bastion.wire.data import string
from bastion.wire.kexinit import FRONT
from bastion.wire.messages import ChannelOpen, ChannelOpenConfirmation, ChannelRequest
from bastion.wire.numbers import MSG_CHANNEL_OPEN_CONFIRMATION
from tests.hostile.rawssh import RawSsh, SocketWire
from tests.support.net import LOOPBACK, free_port
from tests.support.rawlogin import log_in
from tests.support.sshd import sshd_missing
from tests.support.world import World, poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

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
    'bastion_sessions_ended_total{door="direct",reason="client_closed"}': 1,
    'bastion_recordings_sealed_total{by="session"}': 1,
}
AT_LEAST = ("bastion_recorder_bytes_total", "bastion_recorder_blocks_total", "bastion_audit_lines_total",
            "bastion_state_rows_written_total", "bastion_state_write_seconds_count",
            'bastion_process_cpu_seconds_total{role="gateway"}')  # fmt: skip
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


def test_an_engineer_who_takes_nothing(open_world: World) -> None:
    """By hand: OpenSSH opens no larger window than the sockets hold."""
    paused = 'bastion_paused_seconds_total{leg="engineer"}'
    before = open_world.metric(paused)
    client = RawSsh(SocketWire.connect(open_world.port), algorithms=FRONT)
    log_in(client, "alice+root+web1", load_private_key(open_world.keys / "alice"))
    client.send(ChannelOpen("session", 0, (1 << 31) - 1, 32768).encode())
    opened = ChannelOpenConfirmation.parse(client.read_until(MSG_CHANNEL_OPEN_CONFIRMATION))
    client.send(ChannelRequest(opened.sender, "exec", False, string("cat /dev/zero")).encode())
    poll(lambda: open_world.metric(paused) > before, text="it was never paused")
    client.wire.close()  # type: ignore[attr-defined]


STRAINED = """bulk_burst = "1MiB"
bulk_rate = "64KiB"
[recording.store]
kind = "s3"
bucket = "recordings"
endpoint = "http://{place}"
path_style = true
access_key = "AKID"
secret_file = "s3.secret"
"""


@pytest.fixture(scope="module")
def strained() -> Iterator[World]:
    """Little is recorded at any speed, and the bucket is not there."""
    made = World(recording=STRAINED.format(place=f"{LOOPBACK}:{free_port()}"))
    (made.folder / "s3.secret").write_text("secret\n")
    (made.folder / "s3.secret").chmod(0o600)
    try:
        yield made.start()
    finally:
        made.close()


def test_bulk_that_is_left_out_of_a_recording(strained: World) -> None:
    gaps, size = "bastion_recorder_gap_bytes_total", 16 << 20
    before = strained.metric(gaps)
    assert len(strained.ssh(f"head -c {size} /dev/zero").stdout) == size
    assert size // 2 < strained.metric(gaps) - before < size


def test_a_bucket_that_is_not_there(strained: World) -> None:
    assert strained.ssh("true").returncode == 0
    poll(lambda: strained.metric('bastion_recording_uploads_total{result="unreachable"}') > 0)
    assert strained.metric("bastion_recording_uploader_starts_total") == 1


def test_a_recording_that_a_restart_finds_without_its_end(strained: World) -> None:
    """What is left of it cannot be read to its end; the count has moved before anybody has scraped the page."""
    with strained.client("cat") as client:
        client.echo(b"the last words")
        session = strained.audit("session_started")[-1]["session"]
        (left,) = strained.recordings.rglob(f"*{session}*.rec")
        strained.kill(signal.SIGKILL)
    data = left.read_bytes()
    left.write_bytes(data[:40] + b"\xff" * (len(data) - 40))
    strained.start()
    poll(lambda: strained.metric('bastion_recordings_unsealed_total{by="successor"}') == 1)


def test_ready_is_not_alive(open_world: World) -> None:
    status, lines = open_world.health()
    assert status == 200 and lines[0] == "ok"
    assert open_world.page("/healthz") == (200, lines)
