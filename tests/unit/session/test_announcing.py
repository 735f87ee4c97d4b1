"""Requests told to a real web server and to a real program, and what becomes of those that cannot be."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from email import message_from_bytes
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from bastion.errors import ConfigError
from bastion.observe.meters import APPROVAL_ANNOUNCEMENTS, Meters
from bastion.policy.approval import as_text
from bastion.session import announcing
from bastion.session.announcing import RETRIES, Announcer, Mail, Post, Ways, document_of, mail_of
from bastion.state.approvals import Request, State

ROW = Request(
    "abcdefghij", State.OPEN, "u-1", "alice", "web1", "root", "exec,shell", "192.0.2.1",
    as_text((("group:leads",),)), "INC-42 é", 1.0, 601.0,
)  # fmt: skip
WAYS = Ways(
    mail_command=("/bin/true",), mail_from="b@example.com", mail_to=("l@example.com", "m@example.com")
)


class Hook(BaseHTTPRequestHandler):
    statuses: ClassVar[list[int]] = []
    seen: ClassVar[list[tuple[str, str | None, dict[str, Any]]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.path, self.headers["Authorization"], json.loads(body)))
        self.send_response(self.statuses.pop(0))
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def hook() -> Iterator[str]:
    Hook.statuses, Hook.seen = [], []
    server = HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hooks/a?b=c"
    server.shutdown()
    thread.join(10)
    server.server_close()


def test_a_webhook_gets_the_request_and_the_commands(hook: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    token.chmod(0o600)
    Hook.statuses = [204]
    Post(hook, token, document_of(ROW, "ssh bastion")).send()
    ((path, authorization, document),) = Hook.seen
    assert (path, authorization) == ("/hooks/a?b=c", "Bearer s3cret")
    assert document["approve"] == "ssh bastion approve abcdefghij" and document["approvers"] == "group leads"
    assert (document["user"], document["reason"], document["verbs"]) == (
        "alice",
        "INC-42 é",
        ["exec", "shell"],
    )
    token.chmod(0o644)
    with pytest.raises(ConfigError):
        Post(hook, token, {}).send()


@pytest.mark.parametrize("status", [301, 404, 500])
def test_another_status_is_a_failure_and_no_redirect_is_followed(hook: str, status: int) -> None:
    Hook.statuses = [status, 200]
    with pytest.raises(HTTPException):
        Post(hook, None, {}).send()
    assert len(Hook.seen) == 1


def test_a_server_that_says_nothing_is_cut_off() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        post = Post(f"http://127.0.0.1:{silent.getsockname()[1]}/", None, {})
        ended: list[BaseException] = []

        def send() -> None:
            try:
                post.send()
            except (OSError, HTTPException) as error:
                ended.append(error)

        thread = threading.Thread(target=send)
        thread.start()
        taken, _ = silent.accept()
        taken.recv(1)  # the request is on its way, and an answer is waited for
        post.cut()
        thread.join(3.0)  # less than its own patience
        taken.close()
    assert len(ended) == 1


def test_a_mail_is_a_whole_message_with_nothing_typed_in_its_head(tmp_path: Path) -> None:
    file = tmp_path / "mail"
    program = f"import sys, pathlib; pathlib.Path({str(file)!r}).write_bytes(sys.stdin.buffer.read())"
    Mail((sys.executable, "-c", program), mail_of(ROW, "ssh bastion", WAYS)).send()
    message = message_from_bytes(file.read_bytes())
    assert message["To"] == "l@example.com, m@example.com" and message["From"] == "b@example.com"
    assert message["Subject"] == "approval abcdefghij: alice on web1 as root"
    body = message.get_payload(decode=True)
    assert isinstance(body, bytes) and "reason: INC-42 é" in body.decode() and b"approve abcdefghij" in body
    with pytest.raises(subprocess.SubprocessError):
        Mail(("/bin/false",), b"").send()


class Bench:
    """An announcer whose thread does what the test says."""

    def __init__(self) -> None:
        self.clock, self.meters = Clock(), Meters()
        self.tries: list[Deferred[None]] = []
        ways = Ways(webhook="http://127.0.0.1:1/")
        self.announcer = Announcer(self.clock, self.run, self.meters, lambda: ways, lambda: "ssh bastion")

    def run(self, work: Callable[[], None], timeout: float, cut: Any = None) -> Deferred[None]:
        self.tries.append(Deferred())
        return self.tries[-1]

    def count(self, result: str) -> int:
        return self.meters.value(APPROVAL_ANNOUNCEMENTS, "webhook", result)


def test_it_is_tried_again_and_then_given_up() -> None:
    bench = Bench()
    bench.announcer.announce(ROW)
    for wait in RETRIES:
        bench.tries[-1].errback(OSError("no"))
        before = len(bench.tries)
        bench.clock.advance(wait - 0.1)
        assert len(bench.tries) == before
        bench.clock.advance(0.2)
        assert len(bench.tries) == before + 1
    bench.tries[-1].errback(OSError("no"))
    assert (bench.count("failed"), bench.count("given_up")) == (4, 1) and not bench.clock.getDelayedCalls()
    bench.announcer.announce(ROW)
    bench.tries[-1].callback(None)
    assert bench.count("sent") == 1


def test_so_many_wait_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcing, "WAITING", 2)
    bench = Bench()
    for _ in range(3):
        bench.announcer.announce(ROW)
    assert len(bench.tries) == 2 and bench.count("dropped") == 1
