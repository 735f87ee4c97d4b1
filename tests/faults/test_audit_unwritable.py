"""An audit log that cannot be written: counted and gone on by default; with `required` nobody gets further."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sshd import sshd_missing
from tests.support.world import PASSWORD, World, poll, refusal, running

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

WORDS = b"the audit log cannot be written"


class Log:
    """A world's audit log that can be put on a full device and back."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.file = world.folder / "audit.jsonl"
        self._kept = world.folder / "kept.jsonl"

    def fill(self) -> None:
        """From now on every write fails with "no space left on device"."""
        self.file.rename(self._kept)
        self.file.symlink_to("/dev/full")
        before = self.failures()
        os.kill(self.world.pid, signal.SIGHUP)  # reopens; its own line is the first that is lost
        poll(lambda: self.failures() > before)

    def empty(self) -> None:
        if self._kept.exists():
            self.file.unlink()
            self._kept.rename(self.file)
            self.world.reload()

    def failures(self) -> float:
        return self.world.metric('bastion_audit_failures_total{reason="write_failed"}')


@pytest.fixture(scope="module")
def strict() -> Iterator[World]:
    with running(audit="required = true") as made:
        yield made


@pytest.fixture(scope="module")
def lenient() -> Iterator[World]:
    with running() as made:
        yield made


@pytest.fixture
def log(strict: World) -> Iterator[Log]:
    made = Log(strict)
    yield made
    made.empty()
    assert strict.ssh("true").returncode == 0, "it did not recover"


@pytest.mark.parametrize("way", ["key", "password", "keyboard-interactive"])
def test_nobody_logs_in_and_the_words_say_why(strict: World, log: Log, way: str) -> None:
    sessions = len(strict.sessions())
    log.fill()
    with strict.moves(
        f'bastion_auth_attempts_total{{method="{way if way != "key" else "publickey"}",reason="internal_error"}}'
    ):
        done = strict.ssh("true") if way == "key" else strict.ask("alice+root+web1", PASSWORD, way)
    text, _ = refusal(done)
    assert text == "nobody can log in now: the audit log cannot be written"
    assert len(strict.sessions()) == sessions


def test_a_wrong_password_is_not_even_answered(strict: World, log: Log) -> None:
    log.fill()
    done = strict.ask("alice+root+web1", "wrong")
    assert done.returncode == 255 and WORDS in done.stderr and b"Permission denied" not in done.stderr


def test_a_running_session_may_finish_what_it_was_let_do(strict: World, log: Log) -> None:
    """Data needs no line, and the lines of an ending cannot stop it."""
    with strict.client("cat") as client:
        client.echo(b"before")
        log.fill()
        client.echo(b"still echoes")
        client.end_input()
        assert client.wait() == 0
        assert strict.recorded(strict.last_session()) == client.out == b"before\nstill echoes\n"
    poll(lambda: strict.metric('bastion_sessions_live{door="direct"}') == 0)


def test_what_needs_a_line_ends_a_running_session(strict: World, log: Log, tmp_path: Path) -> None:
    control = ("-o", f"ControlPath={tmp_path}/c")
    with strict.client("cat", options=("-o", "ControlMaster=yes", *control)) as master:
        master.echo(b"up")
        log.fill()
        marker = strict.folder / "reached"
        with strict.moves('bastion_recorder_failures_total{reason="audit_failed"}'):
            done = strict.ssh(f"touch {marker}", options=control)
            assert done.returncode == 255
            assert master.wait() == 255
        assert b"the session cannot be recorded: " + WORDS in master.err
        assert not marker.exists(), "the command ran without a line in the audit log"
        assert strict.recorded(strict.last_session()) == master.out
    assert strict.sessions()[-1]["reason"] == "recorder_failed"
    poll(lambda: strict.metric('bastion_sessions_live{door="direct"}') == 0)
    poll(lambda: strict.metric("bastion_recordings_live") == 0)


def test_the_gap_is_marked_when_the_log_is_well_again(strict: World, log: Log) -> None:
    log.fill()
    strict.ssh("true")
    log.empty()
    resumed = strict.audit("audit_resumed")
    assert resumed and resumed[-1]["lines_lost"] >= 2


def test_without_the_rule_work_goes_on_and_the_loss_is_counted(lenient: World) -> None:
    log = Log(lenient)
    log.fill()
    lost = log.failures()
    assert lenient.ssh("echo in").stdout == b"in\n"
    assert log.failures() > lost
    log.empty()
    assert lenient.audit("audit_resumed")[-1]["lines_lost"] > 3


@pytest.mark.parametrize(
    ("name", "status", "word"), [("strict", 503, "refusing"), ("lenient", 200, "degraded")]
)
def test_it_is_told_until_it_is_over(
    name: str, status: int, word: str, request: pytest.FixtureRequest
) -> None:
    """On /readyz at once; on the operator's log once, and once more when it works again, by itself."""
    world: World = request.getfixturevalue(name)
    log = Log(world)
    assert world.health()[0] == 200 and world.health()[1][0] == "ok"
    said = world.log.read_text().count("health: audit")
    log.fill()
    code, lines = world.health()
    assert (code, lines[0]) == (status, word)
    assert any(line.startswith(f"audit {word}: ") and "No space left" in line for line in lines)
    poll(lambda: world.log.read_text().count("health: audit") == said + 1)
    world.ssh("true")
    log.file.unlink()
    log._kept.rename(log.file)
    os.kill(world.pid, signal.SIGHUP)
    poll(lambda: world.health()[0] == 200)
    poll(lambda: world.log.read_text().count("health: audit") == said + 2)


def test_a_log_that_cannot_be_opened_stops_the_start(strict: World) -> None:
    broken = strict.folder / "broken.toml"
    broken.write_text(strict.config.read_text().replace('"audit.jsonl"', '"no-such-folder/audit.jsonl"'))
    done = strict.bastion("serve", "--config", str(broken))
    assert done.returncode == 2
    assert (
        b"audit.file: " in done.stderr
        and b"no-such-folder is no folder" in done.stderr
        and b"Traceback" not in done.stderr
    )
