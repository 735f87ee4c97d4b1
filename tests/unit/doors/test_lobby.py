"""The lobby's answers, as text from facts."""

from __future__ import annotations

import json
import tomllib
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from bastion.auth.identity import Identity
from bastion.clock import FixedClock
from bastion.doors.lobby import Answer, LobbyDoor, LobbyFacts, answer, direct_command, jump_command
from bastion.endpoint.channel import OuterChannel
from bastion.errors import PolicyReason, Refused
from bastion.observe.events import AuditEvent
from bastion.observe.meters import REQUESTS, Meters
from bastion.options import Source
from bastion.policy.grant import Reachable
from bastion.policy.rules import parse_policy
from bastion.policy.targets import Target, parse_targets
from bastion.wire import messages as m
from bastion.wire.data import string, uint32
from bastion.wire.requests import Exec, PtyRequest, WindowChange
from tests.support.outer import Link

RULES = '[[rule]]\nname = "ops"\ngroups = ["ops"]\ntargets = ["web1"]\nlogins = ["root"]\nverbs = ["shell"]\n'

ALICE = Identity(
    name="alice",
    uid="u-1",
    groups=frozenset({"ops", "dev"}),
    source="embedded",
    factors=("publickey",),
    certificate=None,
    source_address="192.0.2.7",
    key_fingerprint="SHA256:abc",
)
WEB = Target("web1", host="10.0.0.1", labels=MappingProxyType({"env": "prod"}), aliases=("www",))
DB = Target("db-primary", host="10.0.0.2")


def facts(port: int = 22, columns: int = 100) -> LobbyFacts:
    targets = (
        Reachable(WEB, ("deploy", "root"), frozenset({"shell", "pty"})),
        Reachable(DB, ("postgres",), frozenset({"exec"})),
    )
    return LobbyFacts(ALICE, targets, "bastion.example.com", port, columns)


def test_the_welcome_has_the_exact_command_of_each_target() -> None:
    said = answer(None, facts())
    assert said.status == 0
    assert "ssh -J alice@bastion.example.com deploy@web1" in said.text
    assert "ssh -J alice@bastion.example.com postgres@db-primary" in said.text
    assert "ssh alice+deploy+web1@bastion.example.com" in said.text
    assert "recorded" in said.text


def test_another_port_stands_in_both_commands() -> None:
    assert jump_command(facts(2222), "deploy", "web1") == (
        "ssh -J alice@bastion.example.com:2222 deploy@web1"
    )
    assert direct_command(facts(2222), "deploy", "web1") == (
        "ssh -p 2222 alice+deploy+web1@bastion.example.com"
    )


def test_somebody_without_targets_is_told_whom_to_ask() -> None:
    said = answer(None, LobbyFacts(ALICE, (), "bastion", 22))
    assert said.status == 0
    assert "No rule lets you reach any target" in said.text


def test_targets_for_programs_are_json() -> None:
    said = answer("targets --json", facts())
    first, second = json.loads(said.text)
    assert first["name"] == "web1" and first["logins"] == ["deploy", "root"]
    assert first["aliases"] == ["www"] and first["labels"] == {"env": "prod"}
    assert first["jump"].startswith("ssh -J alice@") and first["direct"].startswith("ssh alice+deploy+web1@")
    assert second["verbs"] == ["exec"]


def test_targets_for_people_fit_the_terminal() -> None:
    long = Target("a" * 40, host="h", labels=MappingProxyType({f"label{n}": "value" for n in range(9)}))
    wide = LobbyFacts(ALICE, (Reachable(long, ("root",), frozenset()),), "b", 22, 70)
    said = answer("targets", wide)
    assert said.text.splitlines()[0].split() == ["TARGET", "LOGINS", "LABELS"]
    assert all(len(line) <= 70 for line in said.text.splitlines())


def test_whoami_says_what_the_gateway_knows() -> None:
    said = answer("whoami", facts())
    assert "alice" in said.text and "dev, ops" in said.text and "SHA256:abc" in said.text
    document = json.loads(answer("whoami --json", facts()).text)
    assert document["groups"] == ["dev", "ops"] and document["factors"] == ["publickey"]
    assert "certificate" not in document


@pytest.mark.parametrize("command", ["targets --yaml", "whoami me", "setup a b", "setup nothing"])
def test_a_wrong_call_says_how_it_goes(command: str) -> None:
    chosen = facts()
    made = LobbyFacts(
        chosen.identity, chosen.targets, chosen.gateway, chosen.port, setup={"openssh": "lines\n"}.__getitem__
    )
    said = answer(command, made)
    assert said.status == 2
    assert said.text.startswith("usage: ")


def test_setup_gives_the_lines_of_the_asked_form() -> None:
    chosen = facts()
    forms = {"openssh": "Host *\n", "putty": "reg\n"}
    made = LobbyFacts(chosen.identity, chosen.targets, chosen.gateway, chosen.port, setup=forms.__getitem__)
    assert answer("setup", made) == Answer("Host *\n")
    assert answer("setup putty", made) == Answer("reg\n")


@pytest.mark.parametrize(
    "command", ["bash", "/bin/sh -c id", "scp -t /tmp", "internal-sftp", "", "targets;id"]
)
def test_everything_else_is_no_command(command: str) -> None:
    said = answer(command, facts())
    assert said.status == 127
    assert "is no command of this gateway" in said.text
    assert "targets" in said.text


@given(st.text(max_size=400))
def test_whatever_is_typed_gets_an_answer_without_control_characters(command: str) -> None:
    said = answer(command, facts())
    assert said.status in (0, 1, 2, 127)
    assert all(character == "\n" or character.isprintable() for character in said.text)


# -- the channel ------------------------------------------------------------------------------------------------------


class World:
    """One session channel of alice's outer connection."""

    def __init__(self) -> None:
        self.link, self.reactor, self.meters = Link(), Clock(), Meters()
        self.lines: list[AuditEvent] = []
        self.stale: Refused | None = None
        services = SimpleNamespace(
            policy=parse_policy(tomllib.loads(RULES), Source("p")),
            inventory=parse_targets(tomllib.loads('[targets.web1]\nhost = "10.0.0.1"\n'), Source("t")),
            inner_host_keys=SimpleNamespace(ca=None, host_keys=()),
        )
        outer: Any = SimpleNamespace(
            services=services,
            identity=ALICE,
            gateway=SimpleNamespace(
                reactor=self.reactor, meters=self.meters, public=("bastion", 22), clock=FixedClock()
            ),
            check_fresh=self._check_fresh,
            note=self.lines.append,
        )
        self.channel = OuterChannel(self.link, "session", 0, 7, 1 << 20, 32768, 1 << 20)
        LobbyDoor().open(outer, self.channel, None)

    def _check_fresh(self) -> None:
        if self.stale is not None:
            raise self.stale

    def ask(self, name: str, body: bytes = b"") -> list[m.Message]:
        """A request that wants a reply; everything that is said to it before the next turn."""
        self.link.sent.clear()
        self.channel.take_request(m.ChannelRequest(0, name, True, body))
        return self.link.said()

    def turn(self) -> list[m.Message]:
        self.link.sent.clear()
        self.reactor.advance(0)
        return self.link.said()


def test_a_shell_is_answered_and_the_channel_closed() -> None:
    world = World()
    assert [type(one) for one in world.link.sent] == [m.ChannelOpenConfirmation]
    assert world.ask("shell") == [m.ChannelSuccess(7)], "the reply goes out before the text"
    text, status, eof, close = world.turn()
    assert isinstance(text, m.Data) and text.data.startswith(b"Hello alice. You may reach:\n\n  web1")
    assert status == m.ChannelRequest(7, "exit-status", False, uint32(0))
    assert (eof, close) == (m.Eof(7), m.Close(7))
    assert [(line.event, line.fields()) for line in world.lines] == [("lobby", {"command": "", "status": 0})]


def test_a_terminal_gets_its_line_ends() -> None:
    world = World()
    assert world.ask("pty-req", PtyRequest(b"xterm", 80, 24).encode()) == [m.ChannelSuccess(7)]
    assert world.ask("window-change", WindowChange(100, 30).encode()) == [m.ChannelSuccess(7)]
    world.ask("exec", Exec(b"whoami").encode())
    text = world.turn()[0]
    assert isinstance(text, m.Data) and b"\r\n" in text.data and b"\n" not in text.data.replace(b"\r\n", b"")


def test_one_question_is_answered() -> None:
    world = World()
    world.ask("exec", Exec(b"targets").encode())
    assert world.ask("exec", Exec(b"whoami").encode()) == [m.ChannelFailure(7)]
    assert world.ask("shell") == [m.ChannelFailure(7)]


@pytest.mark.parametrize(
    ("name", "body"),
    [("subsystem", string(b"sftp")), ("env", string(b"LANG") + string(b"C")), ("made-up@example.com", b"\1")],
)
def test_what_is_not_served_here_is_refused_and_written_down(name: str, body: bytes) -> None:
    world = World()
    assert world.ask(name, body) == [m.ChannelFailure(7)]
    assert world.lines[0].fields()["name"] == name
    known = "other" if "@" in name else name
    assert world.meters.value(REQUESTS, known, PolicyReason.UNKNOWN_REQUEST) == 1


def test_a_login_that_is_too_old_starts_nothing() -> None:
    world = World()
    world.stale = Refused(PolicyReason.PROOF_REQUIRED, "log in again")
    assert world.ask("shell") == [m.ChannelFailure(7)]
    assert world.lines[0].fields()["reason"] is PolicyReason.PROOF_REQUIRED
    assert world.turn() == []


def test_a_client_that_does_not_wait_is_answered_by_nobody() -> None:
    world = World()
    world.ask("shell")
    world.channel.take_close()
    assert world.turn() == [] and world.lines == []


def test_what_is_typed_goes_nowhere_and_the_end_of_it_is_no_end() -> None:
    world = World()
    world.channel.take_data(m.Data(0, b"typed").encode())
    world.channel.deliver()
    world.channel.take_eof()
    world.ask("shell")
    assert isinstance(world.turn()[0], m.Data)
