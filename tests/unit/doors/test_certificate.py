"""`cert` on a channel of the lobby: whole on standard output, or nothing there and words on the other."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.task import Clock

from bastion.doors.lobby import LobbyDoor
from bastion.endpoint.channel import OuterChannel
from bastion.errors import IssueReason, LimitReason, Refused
from bastion.observe.audit import AuditFailed
from bastion.observe.events import AuditEvent
from bastion.observe.meters import CERTIFICATES_ISSUED, CERTIFICATES_REFUSED
from bastion.wire import messages as m
from bastion.wire.certificates import Certificate
from bastion.wire.data import uint32
from bastion.wire.requests import Exec, PtyRequest
from tests.support.outer import Link
from tests.unit.session.test_issuing import ALICE, BOBS, KEY, LAPTOP, Bench


class World:
    """One session channel of alice's outer connection, over a gateway that issues."""

    def __init__(self) -> None:
        self.bench, self.link, self.clock = Bench(), Link(), Clock()
        self.bench.gateway.reactor = self.clock
        self.lines: list[AuditEvent] = []
        self.fault: Exception | None = None
        self.gateway = self.bench.gateway
        self.identity, self.ref = ALICE, "abcdef"
        outer: Any = self
        self.channel = OuterChannel(self.link, "session", 0, 7, 1 << 20, 32768, 1 << 20)
        self.link.channel = self.channel
        LobbyDoor().open(outer, self.channel, None)

    @property
    def services(self) -> Any:
        return self.gateway.services

    def check_fresh(self) -> None:
        """The login is young."""

    def pay_lines(self, count: int) -> None:
        if isinstance(self.fault, Refused):
            raise self.fault

    def note(self, event: AuditEvent) -> None:
        self.lines.append(event)

    def emit(self, event: AuditEvent, session: str = "") -> None:
        if self.fault is not None:
            raise self.fault
        self.lines.append(event)

    def ask(self, command: bytes, *sent: bytes, eof: bool = True) -> None:
        self.channel.take_request(m.ChannelRequest(0, "exec", True, Exec(command).encode()))
        for data in sent:
            self.channel.take_data(m.Data(0, data).encode())
            self.channel.deliver()
        if eof:
            self.channel.take_eof()
        self.clock.advance(0)

    def said(self) -> tuple[bytes, bytes, int | None]:
        """Standard output, standard error, exit status."""
        out, error, status = b"", b"", None
        for one in self.link.said():
            if isinstance(one, m.Data):
                out += one.data
            elif isinstance(one, m.ExtendedData):
                error += one.data
            elif isinstance(one, m.ChannelRequest):
                status = int.from_bytes(one.body, "big")
                assert one.name == "exit-status" and one.body == uint32(status)
        return out, error, status

    def refused(self, reason: IssueReason) -> str:
        out, error, status = self.said()
        assert (out, status) == (b"", 1)
        assert self.gateway.meters.value(CERTIFICATES_REFUSED, reason) == 1
        line = next(one for one in self.lines if one.event == "refused")
        assert line.fields()["reason"] is reason and line.what == "certificate"
        assert self.clock.getDelayedCalls() == []
        return error.decode()


def test_a_certificate_is_one_line_of_a_file() -> None:
    world = World()
    world.ask(b"cert", eof=False)
    out, error, status = world.said()
    assert (error, status) == (b"", 0) and out.count(b"\n") == 1
    kind, blob, key_id = out.decode().split()
    certificate = Certificate.parse(base64.b64decode(blob))
    assert (kind, key_id) == (certificate.type, "alice@gw.example.com") and certificate.key == KEY.public
    issued, lobby = world.lines
    assert issued.fields()["certificate_serial"] == certificate.serial
    assert lobby.fields() == {"command": "cert", "status": 0}
    assert world.gateway.meters.value(CERTIFICATES_ISSUED) == 1


@pytest.mark.parametrize("how", ["argument", "standard input", "in pieces"])
def test_a_key_that_is_given(how: str) -> None:
    world, line = World(), LAPTOP.public.line("my laptop").encode()
    if how == "argument":
        world.ask(b"cert " + line, eof=False)
    else:
        world.ask(b"cert -", *((line, b"\r\n") if how == "standard input" else (line[:9], line[9:])))
    out, error, status = world.said()
    assert status == 0, error
    assert Certificate.parse(base64.b64decode(out.split()[1])).key == LAPTOP.public


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"x" * (17 << 10), IssueReason.KEY_TOO_LONG),
        (b"one\ntwo\n", IssueReason.KEY_UNREADABLE),
        (b"", IssueReason.KEY_UNREADABLE),
        (BOBS.public.line().encode(), IssueReason.KEY_OF_ANOTHER),
    ],
    ids=["long", "two lines", "nothing", "somebody else's"],
)
def test_what_is_no_key_for_alice(sent: bytes, reason: IssueReason) -> None:
    world = World()
    world.ask(b"cert -", *([sent] if sent else []))
    text = world.refused(reason)
    assert text.startswith("bastion: ") and text.endswith(" (ref abcdef)\n") and text.count("\n") == 1


def test_a_key_that_drips_is_given_up() -> None:
    world = World()
    world.ask(b"cert -", b"ssh-ed25519", eof=False)
    assert world.said() == (b"", b"", None)
    world.clock.advance(10)
    assert "did not come in time" in world.refused(IssueReason.KEY_TOO_LATE)


def test_nobody_is_waited_for_who_could_have_none() -> None:
    world = World()
    world.identity = replace(ALICE, factors=("password",))
    world.ask(b"cert -", eof=False)
    world.refused(IssueReason.CHAIN_MISSING)


def test_what_cannot_be_written_down_is_not_handed_out() -> None:
    for fault, reason in (
        (AuditFailed("no"), IssueReason.STORE_AWAY),
        (Refused(LimitReason.BUDGET_LOG, "too much"), IssueReason.ISSUE_BUDGET),
    ):
        world = World()
        world.fault = fault
        world.ask(b"cert")
        world.refused(reason)


@pytest.mark.parametrize("command", [b"cert please", b"cert --help"])
def test_a_wrong_call_says_how_it_goes(command: bytes) -> None:
    world = World()
    world.ask(command)
    out, error, status = world.said()
    assert (out, status) == (b"", 2) and error.startswith(b"usage: cert")


def test_a_client_that_leaves_leaves_nothing() -> None:
    world = World()
    world.ask(b"cert -", b"ssh-ed25519", eof=False)
    world.channel.take_close()
    assert world.clock.getDelayedCalls() == [] and world.lines == []
    assert world.bench.store.kept == []


def test_a_fault_of_ours_is_told_and_ends_the_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    failures: list[str] = []
    monkeypatch.setattr(
        type(world.gateway), "log_failure", lambda self, doing, failure: failures.append(doing)
    )
    world.bench.store.meanwhile = lambda: 1 / 0
    world.ask(b"cert")
    out, error, status = world.said()
    assert (
        (out, status) == (b"", 1)
        and b"went wrong" in error
        and failures == ["answering a command of the lobby"]
    )


def test_on_a_terminal_return_ends_the_key() -> None:
    world = World()
    world.channel.take_request(m.ChannelRequest(0, "pty-req", True, PtyRequest(b"xterm", 80, 24).encode()))
    world.ask(b"cert -", LAPTOP.public.line().encode() + b"\r", eof=False)
    out, error, status = world.said()
    assert status == 0 and out.endswith(b"\r\n"), error
