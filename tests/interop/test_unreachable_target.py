"""Targets that cannot be reached: every failure in bounded time, one line that names it, exit code 255."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.net import LOOPBACK, free_port
from tests.support.sshd import sshd_missing
from tests.support.talkers import Stranger
from tests.support.world import World, poll, refusal

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

DIAL_TIMEOUT = 2.0
# What a login costs besides the dial, on a busy machine.
SLACK = 6.0


@dataclass(frozen=True)
class Failure:
    """A target's fault: the reason in log and metric, the line for the engineer, a word of the advice."""

    reason: str
    text: str
    advice: str = "bastion target test"


FAILURES = {
    "dead": Failure("connection_refused", "connection refused"),
    "web-server": Failure("not_ssh", "it does not speak SSH", "check host and port"),
    "hangs-up": Failure("not_ssh", "it does not speak SSH", "check host and port"),
    "half-ssh": Failure("timeout", "not ready within 2 s (step: kex)"),
    "silent": Failure("timeout", "not ready within 2 s (step: kex)"),
    "nowhere": Failure("name_not_found", "the name no-such-host.invalid does not resolve", "does not resolve"),
    "distrustful": Failure("login_refused", "", "bastion target-config"),
}  # fmt: skip


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World(limits=f'dial_timeout = "{DIAL_TIMEOUT:g}s"\nkeepalive_interval = "off"')
    strangers = {
        "web-server": Stranger(b"HTTP/1.1 400 Bad Request\r\n\r\n", hang_up=True),
        "hangs-up": Stranger(b"", hang_up=True),
        "half-ssh": Stranger(b"SSH-2.0-OpenSSH_9.2\r\n"),
        "silent": Stranger(),
    }
    for name, stranger in strangers.items():
        made.add_target(name, LOOPBACK, stranger.port)
    made.add_target("dead", LOOPBACK, free_port())
    made.add_target("nowhere", "no-such-host.invalid", 22)
    made.add_sshd("distrustful", user_ca=made.keys / "login_ca.pub")
    yield made.start()
    made.close()
    for stranger in strangers.values():
        stranger.close()


@pytest.mark.parametrize("target", FAILURES)
def test_one_line_says_what_and_where(world: World, target: str) -> None:
    failure = FAILURES[target]
    began = time.monotonic()
    with world.moves(f'bastion_upstream_dials_total{{reason="{failure.reason}"}}'):
        text, reference = refusal(world.ssh("true", user=f"alice+root+{target}"))
    took = time.monotonic() - began
    assert text.startswith(f"{target}: ") and failure.text in text
    assert took < DIAL_TIMEOUT + SLACK
    lines = [line for line in world.audit("refused") if line["ref"] == reference]
    assert [(line["what"], line["reason"], line["text"]) for line in lines] == [
        ("session", failure.reason, text)
    ]
    story = world.explain(reference)
    assert text in story and failure.advice in story and "policy let alice go" in story
    assert world.sessions() == [] or world.sessions()[-1]["target"] != target


def test_the_target_that_refuses_the_login_says_who_was_refused(world: World) -> None:
    text, _ = refusal(world.ssh("true", user="alice+root+distrustful"))
    assert text == "distrustful: login root was refused with the gateway's key"


def test_a_waiting_engineer_gets_signs_of_life_and_others_are_not_held_up(world: World) -> None:
    """While one login waits for a silent target, another one goes through at once."""
    with world.client("true", user="alice+root+silent") as waiting:
        began = time.monotonic()
        assert world.ssh("true").returncode == 0
        assert time.monotonic() - began < DIAL_TIMEOUT + SLACK
        assert waiting.wait() == 255
    assert b"silent: not ready within 2 s" in waiting.err


def test_an_engineer_who_gives_up_ends_the_dial(world: World) -> None:
    with Stranger() as deaf:
        world.add_target("deaf", LOOPBACK, deaf.port)
        world.reload()
        with world.client("true", user="alice+root+deaf") as waiting:
            poll(lambda: deaf.accepted, text="the target was never dialled")
            waiting.close()
        live = poll(lambda: world.metric("bastion_connections_live") == 0, text="the connection stays")
    assert live and world.ssh("true").returncode == 0
