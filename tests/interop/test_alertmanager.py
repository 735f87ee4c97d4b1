"""What the audit log shows comes to a real Alertmanager, through its absence too."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from bastion.cli.alerts import follow_log
from bastion.clock import FixedClock, SystemClock
from bastion.config.detections import Detections
from bastion.detect.detector import Detector
from bastion.detect.posting import LONGEST_PAUSE, Poster
from bastion.detect.posting import alertmanager as alertmanager_at
from bastion.observe.tail import Tail
from tests.support.net import LOOPBACK, free_port
from tests.support.tales import DAY, GIB, START, Tale
from tests.support.world import poll

PROGRAM = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="no Alertmanager"),
]

SETTINGS = Path(__file__).resolve().parents[2] / "etc" / "alertmanager" / "alertmanager.yml"


def ask(port: int, path: str) -> bytes | None:
    try:
        with urlopen(f"http://{LOOPBACK}:{port}{path}", timeout=10) as answer:
            return bytes(answer.read())
    except (URLError, OSError):
        return None


@contextmanager
def alertmanager(folder: Path, port: int) -> Iterator[None]:
    command = [
        str(PROGRAM), f"--config.file={SETTINGS}", f"--storage.path={folder}/data",
        f"--web.listen-address={LOOPBACK}:{port}", "--cluster.listen-address=",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            poll(lambda: ask(port, "/-/ready"), 60.0)
            yield
        finally:
            process.kill()


def alerts(port: int) -> list[dict[str, Any]]:
    return json.loads(ask(port, "/api/v2/alerts") or b"[]")


@pytest.fixture
def world(tmp_path: Path) -> tuple[Path, Tale]:
    """An audit log with four weeks of alice, half of them rotated away."""
    log = tmp_path / "audit.jsonl"

    def write(_: float, line: bytes) -> None:
        with log.open("ab") as file:
            file.write(line)

    tale = Tale(write)
    tale.days(14)
    log.rename(tmp_path / "audit.jsonl.1")
    tale.days(14)
    tale.at(10)
    return log, tale


def test_findings_are_posted_as_they_happen_and_after_an_outage(world: tuple[Path, Tale], tmp_path: Path):
    log, tale = world
    port = free_port()
    clock = FixedClock(SystemClock().time())
    poster = Poster(alertmanager_at(f"http://{LOOPBACK}:{port}", None), clock)
    settings = Detections()
    tail = Tail(log)
    with alertmanager(tmp_path, port):
        steps = iter(
            [
                lambda: tale.tunnel(tale.outer(), out=9 * GIB),
                lambda: tale.break_glass(why="trial"),
            ]
        )

        def wait(_: float) -> bool:
            clock.advance(LONGEST_PAUSE)
            step = next(steps, None)
            if step is not None:
                step()
            return step is None and not poster.waiting

        follow_log(log, tail, Detector(settings, settings.locate()), [poster], START + 28 * DAY, wait)
        kinds = {one["labels"]["detection"]: one for one in alerts(port)}
        assert set(kinds) == {"tunnel_data", "break_glass"} and poster.counts() == {"sent": 2}
        assert kinds["tunnel_data"]["labels"]["user"] == "alice"
        assert "9.0 GiB" in kinds["tunnel_data"]["annotations"]["came"]
        assert all(one["status"]["state"] == "active" for one in kinds.values())
        assert all(one["receivers"] == [{"name": "security"}] for one in kinds.values()), (
            "by the routes we ship"
        )
    port = free_port()
    away = Poster(alertmanager_at(f"http://{LOOPBACK}:{port}", None), clock)
    rounds = 0

    def wait_away(_: float) -> bool:
        nonlocal rounds
        rounds += 1
        clock.advance(LONGEST_PAUSE)
        return rounds == 3

    again = Tail(log)
    follow_log(log, again, Detector(settings, settings.locate()), [away], START + 28 * DAY, wait_away)
    assert away.waiting == 2 and "refused" in away.told.fault
    (tmp_path / "second").mkdir()
    with alertmanager(tmp_path / "second", port):
        clock.advance(LONGEST_PAUSE)
        away.flush()
        assert {one["labels"]["finding"] for one in alerts(port)} == {
            one["labels"]["finding"] for one in kinds.values()
        }, "a restart posts the same alerts, which are no others"
    tail.close()
    again.close()


def test_the_command_follows_until_it_is_stopped(world: tuple[Path, Tale], tmp_path: Path):
    log, tale = world
    tale.now = SystemClock().time()
    port = free_port()
    config = tmp_path / "bastion.toml"
    config.write_text(f'[audit]\nfile = "{log}"\n[detections]\nalertmanager = "http://{LOOPBACK}:{port}"\n')
    with alertmanager(tmp_path, port):
        command = [sys.executable, "-m", "bastion", "alerts", "follow", "--config", str(config)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            tale.break_glass(why="trial")
            assert process.stdout is not None
            told = json.loads(process.stdout.readline())
            assert told["kind"] == "break_glass" and told["level"] == "alert"
            poll(lambda: [one["labels"]["finding"] for one in alerts(port)] == [told["id"]])
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
