"""Alerts posted: in batches, again after faults, within limits; and what goes over the wire."""

from __future__ import annotations

import http.client
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from bastion.clock import FixedClock
from bastion.detect.findings import Draft, Finding, finding
from bastion.detect.posting import BATCH, LASTS, LEAST_PAUSE, LONGEST_PAUSE, MOST_WAITING, Poster, sender
from bastion.errors import ConfigError, Detection


def alert(number: int = 0, user: str = "alice") -> Finding:
    draft = Draft(Detection.TUNNEL_DATA, str(number), "little", "much\ud800", ("s1", "s2"))
    return finding(draft, "alert", 1_800_000_000.0 + number, user)


FAULT = ConfigError("token", 0, "", "lets others in")


class Server:
    """Answers as it is told, and keeps what came."""

    def __init__(self) -> None:
        self.clock = FixedClock()
        self.answers: list[int | Exception] = []
        self.bodies: list[list[dict]] = []
        self.poster = Poster(self._send, self.clock)

    def _send(self, body: bytes) -> int:
        self.bodies.append(json.loads(body))
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, Exception):
            raise answer
        return answer

    def flush(self, seconds: float = LONGEST_PAUSE) -> int:
        """A while later: how many were posted then."""
        self.clock.advance(seconds)
        before = len(self.bodies)
        self.poster.flush()
        return len(self.bodies[-1]) if len(self.bodies) > before else 0


def test_an_alert_says_what_the_finding_says():
    server = Server()
    server.poster.put(alert())
    assert server.flush() == 1
    (posted,) = server.bodies[0]
    assert posted["labels"] == {
        "alertname": "BastionDetection", "severity": "security", "detection": "tunnel_data", "finding": alert().id,
        "user": "alice",
    }  # fmt: skip
    assert posted["annotations"]["expected"] == "little" and posted["annotations"]["sessions"] == "s1 s2"
    assert posted["annotations"]["summary"] == "tunnel_data: much?"
    assert posted["annotations"]["runbook_url"].startswith("docs/detections.md#")
    assert posted["startsAt"] == "2027-01-15T08:00:00.000Z" < posted["endsAt"]
    assert (
        "user" not in (server.poster.put(alert(user="")), server.flush(), server.bodies[-1][0]["labels"])[2]
    )


def test_many_go_in_batches_with_pauses():
    server = Server()
    for number in range(BATCH + 5):
        server.poster.put(alert(number))
    assert [server.flush(), server.flush(0), server.flush(LEAST_PAUSE), server.flush()] == [BATCH, 0, 5, 0]
    assert server.poster.told.posted == BATCH + 5 and server.poster.waiting == 0


@pytest.mark.parametrize(
    "fault", [OSError("refused"), http.client.BadStatusLine(""), 500, 503, 301, 404, 401, 429, FAULT]
)  # fmt: skip
def test_what_may_pass_is_tried_again_with_longer_pauses(fault):
    server = Server()
    server.answers = [fault] * 10
    server.poster.put(alert())
    pauses = []
    while server.answers:
        seconds = 0.0
        while not server.flush(LEAST_PAUSE):
            seconds += LEAST_PAUSE
        pauses.append(seconds)
    assert pauses[-1] <= LONGEST_PAUSE and pauses[4] > pauses[2] > pauses[1]
    assert server.poster.waiting == 1 and server.poster.told.fault
    assert server.flush() == 1 and server.poster.waiting == 0
    assert (server.poster.told.posted, server.poster.told.refused, server.poster.told.fault) == (1, 0, "")


def test_what_is_refused_for_what_it_is_is_not_posted_again():
    server = Server()
    server.answers = [400]
    server.poster.put(alert())
    assert server.flush() == 1 and server.flush() == 0
    assert (server.poster.told.refused, server.poster.told.fault) == (1, "it answers 400")


def test_the_oldest_go_when_too_many_wait():
    server = Server()
    for number in range(MOST_WAITING + 7):
        server.poster.put(alert(number))
    assert server.poster.waiting == MOST_WAITING and server.poster.told.dropped == 7
    server.flush()
    assert server.bodies[0][0]["labels"]["finding"] == alert(7).id


def test_a_late_alert_is_still_firing_when_it_comes():
    server = Server()
    server.clock.now = alert().at + 10 * LASTS
    server.poster.put(alert())
    server.flush()
    assert server.bodies[0][0]["endsAt"] > "2027-01-17"


@pytest.fixture
def wire():
    """A server on loopback: (its URL, what came)."""
    came: list[tuple[str, str | None, bytes]] = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            came.append((self.path, self.headers["Authorization"], body))
            self.send_response(302 if self.path.startswith("/away") else 200)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", came
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_over_the_wire(wire, tmp_path: Path):
    url, came = wire
    token = tmp_path / "token"
    token.write_text("secret-1\n")
    token.chmod(0o600)
    assert sender(url + "/am/", token)(b"[]") == 200
    token.write_text("secret-2\n")
    assert sender(url, token)(b"[]") == 200
    assert sender(url, None)(b"[]") == 200
    assert came == [
        ("/am/api/v2/alerts", "Bearer secret-1", b"[]"),
        ("/api/v2/alerts", "Bearer secret-2", b"[]"),
        ("/api/v2/alerts", None, b"[]"),
    ]


def test_a_token_goes_nowhere_else(wire, tmp_path: Path):
    url, came = wire
    assert sender(url + "/away", None)(b"[]") == 302 and len(came) == 1, "no redirect is followed"
    token = tmp_path / "token"
    token.write_text("secret\n")
    token.chmod(0o644)
    with pytest.raises(ConfigError):
        sender(url, token)(b"[]")
    assert len(came) == 1
