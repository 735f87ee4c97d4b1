"""Names and addresses: every spelling of a target is that target, and nothing tells what is not one's own."""

from __future__ import annotations

import pytest

from tests.support.jump import JumpWorld
from tests.support.net import LOOPBACK

pytestmark = pytest.mark.interop


def through(world: JumpWorld, host: str, port: int | None = None) -> list[str]:
    """Options that ask the gateway for exactly `host`, whatever ssh would make of it."""
    where = f"[{host}]:{port or world.sshd.port}"
    proxy = f"ProxyCommand=ssh -F {world.jump_config()} -W {where} bastion"
    return ["-o", proxy, "-o", "HostKeyAlias=web1"]


@pytest.mark.parametrize(
    "spelling",
    ["web1", "WEB1", "web1.", "www", "WWW.", LOOPBACK, "127.1", "0x7f000001", "2130706433", "0177.0.0.1",
     "::ffff:127.0.0.1", "::FFFF:7f00:1"],
)  # fmt: skip
def test_every_spelling_is_the_target(world: JumpWorld, spelling: str) -> None:
    done = world.jump("echo in", options=through(world, spelling))
    assert done.stdout == b"in\n", done.stderr
    assert world.audit("session_started")[-1]["target"] == "web1"


@pytest.mark.parametrize("spelling", ["we\tb1", "web1\u0130", "web1%eth0", "web1/", "*", ".", "xn--web1-"])
def test_what_is_no_name_of_a_target_is_refused(world: JumpWorld, spelling: str) -> None:
    done = world.jump("echo in", options=through(world, spelling))
    assert (done.returncode, done.stdout) == (255, b"")


def refusal(world: JumpWorld, host: str, port: int = 22) -> str:
    done = world.jump("true", options=through(world, host, port))
    assert done.returncode == 255
    (line,) = [line for line in done.stderr.decode().splitlines() if "open failed" in line]
    return line.rpartition(" (ref ")[0]


def test_what_exists_and_what_does_not_are_refused_in_the_same_words(world: JumpWorld) -> None:
    known, unknown = refusal(world, "web2"), refusal(world, "web9")
    assert known.replace("web2", "web9") == unknown
    assert "you may reach: web1" in unknown
    assert refusal(world, "192.0.2.7") == refusal(world, "192.0.2.8").replace("192.0.2.8", "192.0.2.7")
    reasons = [line["reason"] for line in world.audit("refused") if line["what"] == "channel"][-4:]
    assert set(reasons) == {"no_rule", "unknown_target"} or "destination_not_allowed" in reasons


def test_a_login_that_is_not_ones_own_is_told_which_is(world: JumpWorld) -> None:
    done = world.jump("true", to="asmith@web1")
    assert done.returncode == 255
    said = done.stderr.decode()
    assert 'bastion: login "asmith" is not yours on web1; use: ssh -J bastion root@web1 (ref ' in said
    refused = world.audit("refused")[-1]
    assert (refused["reason"], refused["session"][:6]) == (
        "login_not_allowed",
        said.partition("(ref ")[2][:6],
    )


def test_a_name_needs_no_port_wherever_its_server_listens(world: JumpWorld) -> None:
    done = world.jump("echo here", options=["-J", "bastion", "-p", "22"])
    assert (done.returncode, done.stdout) == (0, b"here\n")


def test_a_wrong_port_is_told_the_right_one(world: JumpWorld) -> None:
    done = world.jump("true", options=["-J", "bastion", "-p", "2200"])
    assert (
        f"web1 is reached at port {world.sshd.port}: ssh -J bastion -p {world.sshd.port} web1"
        in done.stderr.decode()
    )


def test_the_lobby_answers_on_the_same_door(world: JumpWorld) -> None:
    done = world.jump(to="bastion", options=["-T"])
    assert done.returncode == 0
    assert b"web1" in done.stdout
    assert b"web2" not in done.stdout
