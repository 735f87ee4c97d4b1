"""The lobby's answers, as text from facts."""

from __future__ import annotations

import json
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.auth.identity import Identity
from bastion.doors.lobby import Answer, LobbyFacts, answer, direct_command, jump_command
from bastion.policy.grant import Reachable
from bastion.policy.targets import Target

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
