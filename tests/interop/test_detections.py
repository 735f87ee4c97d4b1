"""A gateway that detects by itself: real logins, a planted incident, and everybody who is to hear of it, each once.

The process that detects is killed in the middle. With SQLite and one process, and with PostgreSQL and several.
"""

from __future__ import annotations

import hmac
import json
import os
import random
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.interop.test_alertmanager import PROGRAM, alertmanager, alerts
from tests.support.net import LOOPBACK, free_port
from tests.support.postgres import Postgres
from tests.support.sshd import sshd_missing
from tests.support.world import PASSWORD, World, poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

PATIENCE = 60.0
SECRET = "a secret of the hook"
TARGETS = "".join(f'[targets.t{number}]\nhost = "{LOOPBACK}"\nport = 9\n' for number in range(40))
DETECTOR = "bastion.assembly.detecting"


class Hook:
    """A webhook that checks each signature, and keeps the findings that came."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []
        self.faults: list[str] = []
        hook = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                at, _, made = self.headers["Bastion-Signature"].removeprefix("t=").partition(",v1=")
                if not hmac.compare_digest(
                    hmac.new(SECRET.encode(), f"{at}.".encode() + body, "sha256").hexdigest(), made
                ):
                    hook.faults.append("another signature")
                hook.found += json.loads(body)["findings"]
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = HTTPServer((LOOPBACK, 0), Answer)
        self.url = f"http://{LOOPBACK}:{self._server.server_port}/hooks/bastion"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.close()


def world_of(hook: Hook, folder: Path, more: str = "", state: str = "", workers: int = 1) -> World:
    secret = folder / "hook.secret"
    secret.write_text(SECRET + "\n")
    secret.chmod(0o600)
    section = f"""[detections]
run = true
learning = "0s"
targets_count = 3
webhook = "{hook.url}"
webhook_secret_file = "{secret}"
{more}
{state}"""
    return World(targets=TARGETS, config=section, workers=workers)


def look_round(world: World, user: str, first: int = 0) -> None:
    """Somebody asks for three targets that they never asked for before."""
    for number in range(first, first + 3):
        name = f"{user}+nobody+t{number}"
        if user == "alice":
            assert world.ssh("true", user=name).returncode == 255
        else:
            assert world.ask(name, PASSWORD).returncode == 255


def detector_of(world: World) -> int:
    def found() -> int:
        command = ["pgrep", "-P", str(world.pid), "-f", DETECTOR]
        told = subprocess.run(command, capture_output=True, text=True).stdout.split()
        return int(told[0]) if told else 0

    pid: int = poll(found, PATIENCE, "nothing detects")
    return pid


def listed(world: World, *words: str) -> list[dict[str, Any]]:
    done = world.bastion("alerts", "list", *words, "--json", "--config", str(world.config))
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout)["findings"])


def told(world: World) -> list[str]:
    return [line["finding"] for line in world.audit("detection") if line["kind"] == "many_targets"]


def counted(world: World, level: str = "alert") -> float:
    return world.metric(f'bastion_detection_findings_total{{detection="many_targets",level="{level}"}}')


def posted(hook: Hook) -> list[str]:
    return [one["id"] for one in hook.found if one["kind"] == "many_targets"]


def everywhere_once(world: World, hook: Hook, count: int) -> list[str]:
    """So many findings, each one row, one line, one count, one post."""
    poll(lambda: len({*told(world)}) == count, PATIENCE, "it is not in the audit log")
    poll(lambda: len({*posted(hook)}) == count, PATIENCE, "it did not come to the webhook")
    poll(lambda: counted(world) == count, PATIENCE, "it was not counted")
    rows = [one["id"] for one in listed(world, "--kind", "many_targets")]
    assert len(rows) == count and sorted(told(world)) == sorted(posted(hook)) == sorted(rows)
    assert hook.faults == []
    return rows


def were_sent(world: World, count: int) -> None:
    """So many posts each way are done, and written down."""
    for way in ("webhook", "alertmanager"):
        sent = f'bastion_detection_posts_total{{result="sent",to="{way}"}}'
        poll(lambda: world.metric(sent) == count, PATIENCE, sent)  # noqa: B023 - polled at once
    assert all(
        row["posts"] == {"webhook": "sent", "alertmanager": "sent"}
        for row in listed(world, "--level", "alert")
    )


@pytest.mark.skipif(PROGRAM is None, reason="no Alertmanager")
def test_a_planted_incident_comes_to_everybody_once_over_a_kill(hook: Hook, tmp_path: Path) -> None:
    port = free_port()
    with (
        alertmanager(tmp_path, port),
        world_of(hook, tmp_path, f'alertmanager = "http://{LOOPBACK}:{port}"') as world,
    ):
        first = detector_of(world)
        poll(lambda: world.metric("bastion_detector_starts_total") == 1)
        assert world.ssh("true").returncode == 0
        look_round(world, "alice")
        (name,) = everywhere_once(world, hook, 1)
        were_sent(world, 1)
        os.kill(first, signal.SIGKILL)
        look_round(world, "carol")
        poll(lambda: detector_of(world) != first, PATIENCE)
        names = everywhere_once(world, hook, 2)
        poll(lambda: {one["labels"]["finding"] for one in alerts(port)} == {*names}, PATIENCE)
        (line,) = [one for one in world.audit("detection") if one["finding"] == name]
        assert line["user"] == "alice" and line["level"] == "alert" and len(line["sessions"]) >= 3
        done = world.bastion("alerts", "explain", name, "--config", str(world.config))
        text = done.stdout.decode()
        assert (
            "many_targets, alert about alice" in text
            and "webhook: sent" in text
            and "alertmanager: sent" in text
        )
        assert all(f"bastion explain {one}" in text for one in line["sessions"])
        assert world.metric("bastion_detector_starts_total") == 2
        were_sent(world, 2)
        poll(lambda: world.metric('bastion_detection_posts_waiting{to="webhook"}') == 0, PATIENCE)
        poll(lambda: world.metric("bastion_detector_behind_seconds") < 15, PATIENCE)
        assert SECRET not in world.log.read_text()


def muting(world: World, *words: str) -> subprocess.CompletedProcess[bytes]:
    return world.bastion("alerts", *words, "--config", str(world.config))


def test_what_is_muted_is_kept_and_told_nobody(hook: Hook, tmp_path: Path) -> None:
    """With PostgreSQL and two workers; over a restart of the gateway."""
    with Postgres() as server:
        state = f'[state]\nurl = "{server.url}"\npassword_file = "{server.password_file}"\n'
        world = world_of(hook, tmp_path, state=state, workers=2)
        try:
            assert world.bastion("state", "migrate", "--config", str(world.config)).returncode == 0
            world.start()
            detector_of(world)
            assert (
                muting(world, "mute", "--user", "alice", "--reason", "a drill", "--for", "1d").returncode == 0
            )
            look_round(world, "alice")
            poll(lambda: len(told(world)) == 1, PATIENCE)
            assert counted(world, "muted") == 1 and counted(world) == 0
            (row,) = listed(world, "--kind", "many_targets")
            assert row["state"] == "muted" and row["mute"] == world.audit("detection")[-1]["muted"]
            poll(lambda: world.metric("bastion_detection_mutes") == 1, PATIENCE)
            world.kill(signal.SIGTERM)
            world.start()
            detector_of(world)
            look_round(world, "carol")
            poll(lambda: len(posted(hook)) == 1, PATIENCE)
            poll(lambda: len(told(world)) == 2, PATIENCE)
            assert hook.found[0]["user"] == "carol"
            assert [one["event"] for one in world.audit() if one["event"].startswith("detection_")] == [
                "detection_muted"
            ]
        finally:
            world.close()


@pytest.mark.soak
@pytest.mark.parametrize("workers", [1, 2])
def test_each_is_told_once_however_often_it_is_killed(hook: Hook, tmp_path: Path, workers: int) -> None:
    """Findings come while the process is killed at moments that nobody chose. A post whose answer it did not live to
    write down may come again: under the same name, and not often."""
    chance = random.Random(14)
    world = world_of(hook, tmp_path, 'many_targets = "alert"\ntunnels_refused = "off"', workers=workers)
    over = threading.Event()

    def kill() -> None:
        while not over.wait(chance.uniform(0.2, 4.0)):
            for pid in subprocess.run(
                ["pgrep", "-P", str(world.pid), "-f", DETECTOR], capture_output=True
            ).stdout.split():
                os.kill(int(pid), signal.SIGKILL)

    with world:
        detector_of(world)
        killing = threading.Thread(target=kill)
        killing.start()
        try:
            for number in range(2):
                for user in ("alice", "carol"):
                    look_round(world, user, 3 * number)
        finally:
            over.set()
            killing.join()
        rows = poll(lambda: len(listed(world)) >= 2 and listed(world), PATIENCE)
        names = {one["id"] for one in rows}
        poll(lambda: {line["finding"] for line in world.audit("detection")} == names, 2 * PATIENCE)
        poll(
            lambda: {one["id"] for one in hook.found} >= {one["id"] for one in rows if one["posts"]},
            2 * PATIENCE,
        )
        lines = Counter(line["finding"] for line in world.audit("detection"))
        assert set(lines.values()) == {1}
