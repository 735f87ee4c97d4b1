"""Alerts posted: in batches, again after faults, within limits; and what goes over the wire."""

from __future__ import annotations

import hmac
import http.client
import json
import ssl
import threading
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from bastion.clock import FixedClock
from bastion.config.detections import Detections
from bastion.detect import posting
from bastion.detect.findings import Draft, Finding, finding
from bastion.detect.posting import (
    BATCH,
    DEADLINE,
    LASTS,
    LEAST_PAUSE,
    LONGEST_PAUSE,
    MOST_WAITING,
    Poster,
    Where,
    alertmanager,
    alerts_of,
    fault_of,
    places,
    result_of,
    webhook,
)
from bastion.errors import ConfigError, Detection, PostReason
from tests.support.world import poll


def alert(number: int = 0, user: str = "alice") -> Finding:
    draft = Draft(Detection.TUNNEL_DATA, str(number), "little", "much\ud800", ("s1", "s2"), target="db1")
    return finding(draft, "alert", 1_800_000_000.0 + number, user)


FAULT = ConfigError("token", 0, "", "lets others in")


class Server:
    """Answers as it is told, and keeps what came."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = FixedClock()
        self.answers: list[int | Exception] = []
        self.bodies: list[list[dict]] = []
        where = Where("alertmanager", "http://127.0.0.1:1/", alerts_of, lambda _, __: {})
        self.poster = Poster(where, self.clock)
        server = self

        class Post:
            def __init__(self, url: str, body: bytes, patience: float) -> None:
                server.bodies.append(json.loads(body))

            def send(self, headers: dict[str, str]) -> int:
                answer = server.answers.pop(0) if server.answers else 200
                if isinstance(answer, Exception):
                    raise answer
                return answer

        monkeypatch.setattr(posting, "Post", Post)

    def flush(self, seconds: float = LONGEST_PAUSE) -> int:
        """A while later: how many were posted then."""
        self.clock.advance(seconds)
        before = len(self.bodies)
        self.poster.flush()
        return len(self.bodies[-1]) if len(self.bodies) > before else 0

    def settled(self) -> list[PostReason]:
        return [result for _, result in self.poster.take_settled()]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    return Server(monkeypatch)


def test_an_alert_says_what_the_finding_says(server: Server):
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


def test_many_go_in_batches_with_pauses(server: Server):
    for number in range(BATCH + 5):
        server.poster.put(alert(number))
    assert [server.flush(), server.flush(0), server.flush(LEAST_PAUSE), server.flush()] == [BATCH, 0, 5, 0]
    assert server.settled() == [PostReason.SENT] * (BATCH + 5) and server.poster.waiting == 0
    assert server.settled() == [] and server.poster.counts() == {"sent": 2}


@pytest.mark.parametrize(
    "fault", [OSError("refused"), http.client.BadStatusLine(""), 500, 503, 301, 404, 401, 429, FAULT]
)  # fmt: skip
def test_what_may_pass_is_tried_again_with_longer_pauses(server: Server, fault):
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
    assert (server.settled(), server.poster.told.fault) == ([PostReason.SENT], "")
    assert server.poster.counts()["sent"] == 1 and sum(server.poster.counts().values()) == 11


def test_what_is_refused_for_what_it_is_is_not_posted_again(server: Server):
    server.answers = [400]
    server.poster.put(alert())
    assert server.flush() == 1 and server.flush() == 0
    assert (server.settled(), server.poster.told.fault) == ([PostReason.REFUSED], "it answers 400")


def test_the_oldest_go_when_too_many_wait(server: Server):
    for number in range(MOST_WAITING + 7):
        server.poster.put(alert(number))
    assert server.poster.waiting == MOST_WAITING and server.settled() == [PostReason.DROPPED] * 7
    assert server.poster.counts() == {"dropped": 7}
    server.flush()
    assert server.bodies[0][0]["labels"]["finding"] == alert(7).id


def test_a_late_alert_is_still_firing_when_it_comes(server: Server):
    server.clock.now = alert().at + 10 * LASTS
    server.poster.put(alert())
    server.flush()
    assert server.bodies[0][0]["endsAt"] > "2027-01-17"


def test_one_that_goes_while_it_is_posted_is_settled_once(server: Server, monkeypatch: pytest.MonkeyPatch):
    server.poster.put(alert())

    class Post:
        def __init__(self, *_: object) -> None: ...

        def send(self, _: object) -> int:
            for number in range(MOST_WAITING):
                server.poster.put(alert(number + 1))
            return 200

    monkeypatch.setattr(posting, "Post", Post)
    server.flush()
    assert server.settled() == [PostReason.DROPPED] and server.poster.waiting == MOST_WAITING


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (FAULT, PostReason.SECRET), (ssl.SSLError("self-signed"), PostReason.TLS), (TimeoutError(), PostReason.TIMEOUT),
        (http.client.BadStatusLine("x"), PostReason.BAD_ANSWER), (ConnectionRefusedError(), PostReason.UNREACHABLE),
        (http.client.RemoteDisconnected(), PostReason.UNREACHABLE), (OSError("no route"), PostReason.UNREACHABLE),
    ],
)  # fmt: skip
def test_every_fault_has_a_reason_and_words(fault: Exception, reason: PostReason):
    assert fault_of(fault)[0] is reason and fault_of(fault)[1]


def test_every_answer_has_one_too():
    assert result_of(204) == (PostReason.SENT, "")
    assert [result_of(status)[0] for status in (400, 422, 404, 302, 503)] == [
        PostReason.REFUSED, PostReason.REFUSED, PostReason.STATUS, PostReason.STATUS, PostReason.STATUS,
    ]  # fmt: skip


class Wire:
    """A web server on loopback; `came` has path, headers and body of each post."""

    def __init__(self) -> None:
        self.came: list[tuple[str, Message, bytes]] = []
        self.hold = threading.Event()
        wire = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                wire.came.append((self.path, self.headers, body))
                if self.path.startswith("/slow"):
                    self.wfile.write(b"HTTP/1.1 20")
                    wire.hold.wait(20)
                    return
                self.send_response(302 if self.path.startswith("/away") else 200)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.hold.set()
        self.server.shutdown()
        self.server.server_close()
        self._thread.join(10)


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.close()


def secret(folder: Path, text: str) -> Path:
    file = folder / "secret"
    file.write_text(text + "\n")
    file.chmod(0o600)
    return file


def post(where: Where, clock: FixedClock | None = None) -> Poster:
    """One finding, posted there."""
    poster = Poster(where, clock or FixedClock())
    poster.put(alert())
    poster.flush()
    return poster


def test_an_alertmanager_is_shown_the_token_of_now(wire: Wire, tmp_path: Path):
    post(alertmanager(wire.url + "/am/", secret(tmp_path, "secret-1")))
    post(alertmanager(wire.url, secret(tmp_path, "secret-2")))
    post(alertmanager(wire.url, None))
    assert [(path, headers["Authorization"]) for path, headers, _ in wire.came] == [
        ("/am/api/v2/alerts", "Bearer secret-1"),
        ("/api/v2/alerts", "Bearer secret-2"),
        ("/api/v2/alerts", None),
    ]
    assert wire.came[0][1]["Content-Type"] == "application/json"


def test_a_webhook_can_tell_whose_post_it_is(wire: Wire, tmp_path: Path):
    clock = FixedClock()
    post(webhook(wire.url + "/hooks/a?b=c", secret(tmp_path, "s3cret"), "gw1"), clock)
    ((path, headers, body),) = wire.came
    assert path == "/hooks/a?b=c"
    parts = dict(part.split("=") for part in headers["Bastion-Signature"].split(","))
    assert parts["t"] == str(int(clock.time()))
    made = hmac.new(b"s3cret", f"{parts['t']}.".encode() + body, "sha256").hexdigest()
    assert parts["v1"] == made, "as docs/detections.md says it"
    told = json.loads(body)
    assert (told["event"], told["gateway"]) == ("detections", "gw1")
    (found,) = told["findings"]
    assert found == {
        "ts": "2027-01-15T08:00:00.000Z", "id": alert().id, "kind": "tunnel_data", "level": "alert", "user": "alice",
        "target": "db1", "expected": "little", "came": "much?", "sessions": ["s1", "s2"],
    }  # fmt: skip
    post(webhook(wire.url, None, "gw1"))
    assert wire.came[1][1]["Bastion-Signature"] is None


def test_a_secret_goes_nowhere_else(wire: Wire, tmp_path: Path):
    token = secret(tmp_path, "secret")
    poster = post(alertmanager(wire.url + "/away", token))
    assert len(wire.came) == 1 and poster.told.fault == "it answers 302", "no redirect is followed"
    token.chmod(0o644)
    for where in (alertmanager(wire.url, token), webhook(wire.url, token, "gw1")):
        poster = post(where)
        assert (
            poster.counts() == {"secret": 1} and poster.waiting == 1 and "lets others in" in poster.told.fault
        )
    assert len(wire.came) == 1


def test_a_server_that_never_comes_to_its_end_is_cut(wire: Wire):
    clock = FixedClock()
    poster = Poster(webhook(wire.url + "/slow", None, "gw1"), clock)
    poster.put(alert())
    thread = threading.Thread(target=poster.flush)
    thread.start()
    poll(lambda: wire.came)
    poster.cut_late()
    assert thread.is_alive(), "it has its time"
    clock.advance(DEADLINE)
    poster.cut_late()
    thread.join(5)
    assert not thread.is_alive() and poster.waiting == 1 and poster.told.fault


def test_places_are_those_that_are_configured(tmp_path: Path):
    assert places(*Detections().ways, "gw1") == []
    both = Detections(alertmanager="http://127.0.0.1:1", webhook="http://127.0.0.1:2/x")
    assert [one.name for one in places(*both.ways, "gw1")] == ["alertmanager", "webhook"]
