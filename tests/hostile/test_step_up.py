"""Rules that want more factors than the login gave: who is asked, who is not, and whoever tries to get round it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pexpect
import pyotp
import pytest

from bastion.wire.data import string, uint32
from bastion.wire.kexinit import FRONT
from bastion.wire.userauth import InfoRequest, UserauthFailure
from tests.hostile import memory_gateway as gate
from tests.hostile.rawssh import Closed, RawSsh, SocketWire
from tests.hostile.test_gateway_attempts import question
from tests.hostile.test_half_logins import BEHIND, signed
from tests.support.jump import JumpWorld, listens
from tests.support.net import LOOPBACK, free_port
from tests.support.sshd import sshd_missing
from tests.support.unbroken import unbroken
from tests.support.world import World, poll

pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing())]

CONFIG = """[totp]
key_file = "totp.key"
"""
NAMES = ("alice", "bert", "carol", "dora", "erik", "fred", "gina", "hilda")
RULE = """
[[rule]]
name = "{name}"
groups = ["ops"]
targets = ["web1"]
logins = ["{login}"]
verbs = ["shell", "exec", "pty"]
{more}
"""
POLICY = (
    RULE.format(name="operators", login="root", more='factors = ["totp"]')
    + RULE.format(name="certified", login="admin", more='factors = ["certificate", "totp"]')
    + '[[rule]]\nname = "database"\ngroups = ["ops"]\nverbs = ["tunnel"]\ntunnel = ["{place}"]\nfactors = ["totp"]\n'
)


class Asking(JumpWorld):
    def enroll(self, name: str) -> pyotp.TOTP:
        done = self.bastion("totp", "enroll", name, "--config", str(self.config), "--json")
        assert done.returncode == 0, done.stderr
        (secret,) = parse_qs(urlsplit(json.loads(done.stdout)["uri"]).query)["secret"]
        return pyotp.TOTP(secret)

    def heard(self, name: str) -> list[tuple[str, str]]:
        """The attempts and decisions about somebody, in order."""
        lines = [line for line in self.audit() if line["event"] in ("auth", "authorise")]
        return [
            (line.get("method", "authorise"), line["reason"])
            for line in lines
            if line["user"].split("+")[0] == name and line["reason"] != "method_not_offered"
        ]

    def run(self, command: list[str], code: str) -> str:
        """A client that is asked for a code, to its end; what it prints after it."""
        client = pexpect.spawn(command[0], command[1:], env=self.environment(), timeout=20, encoding="utf-8")
        client.expect_exact("One-time code of ")
        client.sendline(code)
        client.expect(pexpect.EOF)
        client.close()
        assert client.exitstatus == 0, client.before
        return str(client.before)


@pytest.fixture(scope="module")
def listener() -> Iterator[socket.socket]:
    """What is behind the tunnel."""
    with socket.create_server((LOOPBACK, 0)) as made:
        made.settimeout(20)
        yield made


@pytest.fixture(scope="module")
def world(listener: socket.socket) -> Iterator[Asking]:
    place = f"{LOOPBACK}:{listener.getsockname()[1]}"
    made = Asking(
        config=CONFIG,
        policy=POLICY.replace("{place}", place),
        limits="penalties = { free = 20, accounts = 1000 }",
    )
    (made.folder / "totp.key").write_text("k" * 44 + "\n")
    (made.folder / "totp.key").chmod(0o600)
    keys = json.dumps([gate.ALICE.public.line(), (made.keys / "alice.pub").read_text().strip()])
    made.users.write_text(
        "".join(f'[users.{name}]\nid = "u-{name}"\nkeys = {keys}\ngroups = ["ops"]\n' for name in NAMES)
    )
    with unbroken(made):
        yield made


def proved(world: World, user: str) -> RawSsh:
    """One connection whose key is proved, and which has been told that more is wanted."""
    peer = RawSsh(SocketWire.connect(world.port), algorithms=FRONT).handshake()
    peer.request_service()
    peer.read_until(6)
    peer.send(signed(peer, user))
    assert UserauthFailure.parse(peer.read_until(51)) == UserauthFailure(
        ("keyboard-interactive",), partial=True
    )
    return peer


def reply(text: str) -> bytes:
    return b"\x3d" + uint32(1) + string(text.encode())


def asked(peer: RawSsh, user: str) -> InfoRequest:
    peer.send(question(user.encode()))
    return InfoRequest.parse(peer.read_until(60))


def wrong(totp: pyotp.TOTP) -> str:
    return "000000" if totp.now() != "000000" else "000001"


def next_of(peer: RawSsh, *numbers: int) -> bytes:
    while (payload := peer.read())[0] not in numbers:
        pass
    return payload


def close(*peers: RawSsh) -> None:
    for peer in peers:
        peer.wire.close()  # type: ignore[attr-defined]


def test_openssh_is_asked_in_the_direct_door_and_the_recording_says_so(world: Asking) -> None:
    totp = world.enroll("alice")
    command = [word.replace("BatchMode=yes", "BatchMode=no") for word in world.ssh_command("echo in")]
    assert "in" in world.run(command, totp.now())
    assert world.heard("alice") == [
        ("publickey", "ok"), ("authorise", "factor_needed"), ("totp", "ok"), ("authorise", "allowed"),
    ]  # fmt: skip
    shown = world.bastion("export", world.last_session(), "--config", str(world.config), "--format", "json")
    assert json.loads(shown.stdout.splitlines()[0])["header"]["auth_methods"] == ["publickey", "totp"]


def test_openssh_is_asked_once_for_one_outer_connection(world: Asking) -> None:
    totp = world.enroll("bert")
    master = ("User bert", "ControlMaster auto", f"ControlPath {world.folder}/%C", "ControlPersist 20s")
    config = world.jump_config("Host bastion", *master, "Host *", "BatchMode no", name="asking")
    command = ["ssh", "-F", str(config), "-J", "bastion", "root@web1", "echo in"]
    client = pexpect.spawn(command[0], command[1:], env=world.environment(), timeout=20, encoding="utf-8")
    client.expect_exact("One-time code of bert: ")
    client.sendline(totp.now())
    client.expect_exact("in")
    client.expect(pexpect.EOF)
    again = world.jump("echo again", config=config)
    assert (again.returncode, again.stdout) == (0, b"again\n"), again.stderr
    assert [one for one in world.heard("bert") if one[0] == "totp"] == [("totp", "ok")]
    assert world.heard("bert")[-1] == ("authorise", "allowed")
    world.jump(to="bastion", options=("-O", "exit"), config=config)


def test_batch_mode_is_turned_away(world: Asking) -> None:
    done = world.ssh("true", user="bert+root+web1")
    assert done.returncode == 255 and b"Permission denied (keyboard-interactive)" in done.stderr


def test_what_cannot_be_asked_is_refused_at_once(world: Asking) -> None:
    done = world.ssh("true", user="bert+admin+web1")
    assert (
        b"admin on web1 needs a certificate and a one-time code, which this login has not given"
        in done.stderr
    )
    assert world.heard("bert")[-1] == ("authorise", "factor_needed")


def test_three_wrong_answers_end_it_and_open_nothing(world: Asking) -> None:
    totp = world.enroll("carol")
    sessions = len(world.audit("session_started"))
    peer = proved(world, "carol+root+web1")
    request = asked(peer, "carol+root+web1")
    assert request.prompts[0].text == "One-time code of carol: " and not request.prompts[0].echo
    assert request.instruction == "root on web1 needs a one-time code, which this login has not given"
    for _ in range(2):
        peer.send(reply(wrong(totp)))
        assert InfoRequest.parse(peer.read_until(60)).instruction == "that code was not right"
    peer.send(reply(wrong(totp)))
    assert b"that code was not right" in next_of(peer, 1)
    assert [one for one in world.heard("carol") if one[0] == "totp"] == [("totp", "bad_code")] * 3
    assert len(world.audit("session_started")) == sessions


def test_a_code_of_somebody_else_and_one_that_was_used_are_wrong(world: Asking) -> None:
    mine, other = world.enroll("dora"), world.enroll("erik")
    first, second = proved(world, "dora+root+web1"), proved(world, "dora+root+web1")
    asked(first, "dora+root+web1")
    asked(second, "dora+root+web1")
    first.send(reply(other.now()))
    assert next_of(first, 60, 52)[0] == 60
    code = mine.now()
    first.send(reply(code))
    assert next_of(first, 60, 52)[0] == 52
    second.send(reply(code))
    assert b"used already" in next_of(second, 60, 52)
    close(first, second)


def test_nothing_but_the_answer_leads_on(world: Asking) -> None:
    """A query, the same key again, another method, the service once more: each is answered and proves nothing."""
    totp = world.enroll("fred")
    user = "fred+root+web1"
    peer = proved(world, user)
    password = b"\x32" + string(user) + string("ssh-connection") + string("password") + b"\0" + string("x")
    for message in (signed(peer, user, known=False), signed(peer, user), password):
        peer.send(message)
        assert UserauthFailure.parse(next_of(peer, 51, 52, 60)).partial is False
    peer.send(b"\x05" + string("ssh-userauth"))
    peer.read_until(6)
    asked(peer, user)
    peer.send(b"\x3d" + uint32(0))  # an answer to no prompt: RFC 4256 wants a failure, and the question stays
    assert not UserauthFailure.parse(next_of(peer, 51, 52)).partial
    asked(peer, user)
    peer.send(reply(totp.now()))
    assert next_of(peer, 51, 52, 60)[0] == 52
    close(peer)


@pytest.mark.parametrize("user", ["fred+root+web1", "gina", "gina+admin+web1", "GINA+root+web1"])
def test_another_name_ends_it(world: Asking, user: str) -> None:
    peer = proved(world, "gina+root+web1")
    peer.send(question(user.encode()))
    assert b"may not change" in next_of(peer, 1, 51, 52, 60)


@pytest.mark.parametrize("what", BEHIND)
def test_what_belongs_behind_a_login_ends_it(world: Asking, what: str) -> None:
    peer = proved(world, "gina+root+web1")
    peer.send(BEHIND[what])
    with pytest.raises(Closed):
        while peer.read()[0] != 52:
            pass
        pytest.fail("a success")


def test_an_answer_before_its_question_ends_it(world: Asking) -> None:
    peer = proved(world, "gina+root+web1")
    peer.send(reply("123456"))
    assert b"not asked" in next_of(peer, 1, 52, 60)


def test_a_pipelined_login_is_asked_all_the_same(world: Asking) -> None:
    """Proof, question and answer in one flight: what came before the question was open is for nobody."""
    totp = world.enroll("hilda")
    user = "hilda+root+web1"
    peer = RawSsh(SocketWire.connect(world.port), algorithms=FRONT).handshake()
    peer.request_service()
    peer.read_until(6)
    code = totp.now()
    peer.send(signed(peer, user), question(user.encode()))
    assert UserauthFailure.parse(next_of(peer, 51, 52, 60)).partial
    asked(peer, user)
    peer.send(reply(code), reply(code), reply(code))
    assert next_of(peer, 51, 52, 1)[0] == 52, "the answers after it are nobody's"
    close(peer)
    assert [one for one in world.heard("hilda") if one[0] == "totp"] == [("totp", "ok")]


def test_a_tunnel_is_told_the_command_and_the_lobby_takes_the_code(
    world: Asking, listener: socket.socket
) -> None:
    totp = world.enroll("gina")
    there = listener.getsockname()[1]
    config = world.jump_config("Host bastion", "User gina", "Host *", "BatchMode no", name="gina")
    refused = world.jump(to="bastion", options=("-W", f"{LOOPBACK}:{there}"), config=config)
    told = refused.stderr.decode()
    assert "needs a one-time code, which this login has not given; a tunnel cannot ask: ssh -t" in told
    assert f"-L {there}:{LOOPBACK}:{there} gina@" in told and "factor totp wait" in told
    local = free_port()
    options = ["-t", "-L", f"{LOOPBACK}:{local}:{LOOPBACK}:{there}"]
    client: Any = pexpect.spawn(
        "ssh", ["-F", str(config), *options, "bastion", "factor", "totp", "wait"],
        env=world.environment(), timeout=20, encoding="utf-8",
    )  # fmt: skip
    client.expect_exact("One-time code of gina: ")
    client.sendline(wrong(totp))
    client.expect_exact("that code was not right")
    client.expect_exact("One-time code of gina: ")
    client.sendline(totp.now())
    client.expect_exact("Ctrl-C ends it")
    assert totp.now() not in client.before
    poll(lambda: listens(local), text="ssh -L does not listen")
    with socket.create_connection((LOOPBACK, local), timeout=20) as near:
        far, _ = listener.accept()
        with far:
            near.sendall(b"through")
            assert far.recv(7) == b"through"
    client.sendcontrol("c")
    client.expect(pexpect.EOF)
    client.close()
    assert client.exitstatus == 0
    assert world.audit("lobby")[-1]["command"] == "factor"
