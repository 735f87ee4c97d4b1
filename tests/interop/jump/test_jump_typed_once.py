"""`ssh -J` with a certificate, a key or a password of an LDAP directory: one proof, one prompt at most, no agent.

The keys are in an agent, so that it would be there to forward: nobody asks for it, and what is asked is refused.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.jump import JumpWorld
from tests.support.slapd import PASSWORD, PEOPLE, Slapd, group, person, slapd_missing
from tests.support.world import poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(slapd_missing()), reason=slapd_missing() or "available"),
]

SHOW = "echo in; ssh-add -l 2>&1; echo agent=$SSH_AUTH_SOCK"
ALICE = f"uid=alice,{PEOPLE}"


class Office:
    """alice in LDAP with a key of hers, and an agent with that key and with one that has a certificate."""

    def __init__(self) -> None:
        self.world = JumpWorld()
        keys = self.world.keys
        mine = (keys / "alice.pub").read_text().strip()
        self.slapd = Slapd([person("alice", f"sshPublicKey: {mine}"), group("ops", "alice")], tls=False)
        self.slapd.start()
        self.world.use_slapd(self.slapd, users="[users]\n")
        self.world.start()
        self.certificate = self.world.certify("bob", ("alice",))
        self.socket = self.world.folder / "agent"
        self.agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(self.socket)], stdout=subprocess.DEVNULL)
        poll(self.socket.exists, text="no agent")
        self.environment = {**self.world.environment(), "SSH_AUTH_SOCK": str(self.socket)}
        for name in ("alice", "bob"):
            add = ["ssh-add", "-q", str(keys / name)]
            subprocess.run(add, env=self.environment, check=True, capture_output=True)

    def close(self) -> None:
        self.agent.terminate()
        self.agent.wait(10)
        self.world.close()
        self.slapd.close()

    def config(self, proof: str) -> Path:
        """An ssh_config whose first hop proves with `proof`; private keys are in the agent alone."""
        keys = self.world.keys
        lines = {
            "password": ["PubkeyAuthentication no"],
            "key": [
                "PubkeyAuthentication yes",
                f"IdentityAgent {self.socket}",
                f"IdentityFile {self._public('alice')}",
                "IdentitiesOnly yes",
            ],
            "certificate": [
                "PubkeyAuthentication yes",
                f"IdentityAgent {self.socket}",
                f"IdentityFile {self._public('bob')}",
                f"CertificateFile {keys / 'bob-cert.pub'}",
                "IdentitiesOnly yes",
            ],
        }[proof]
        return self.world.jump_config("Host *", *lines, name=f"once_{proof}", key=None)

    def _public(self, name: str) -> Path:
        """The public key alone, where no private one lies beside it."""
        path = self.world.folder / f"only_{name}.pub"
        path.write_text((self.world.keys / f"{name}.pub").read_text())
        return path

    def jump(self, proof: str, *options: str) -> tuple[subprocess.CompletedProcess[bytes], list[str]]:
        """Run it; what it did, and the prompts that somebody had to answer."""
        asked, ask = self.world.folder / "asked", self.world.folder / "counting-askpass"
        asked.write_text("")
        ask.write_text(f'#!/bin/sh\necho "$1" >>{asked}\nprintf "%s\\n" "{PASSWORD}"\n')
        ask.chmod(0o755)
        environment = {**self.environment, "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
        command = ["ssh", "-v", "-F", str(self.config(proof)), *options, "-J", "bastion", "root@web1", SHOW]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, env=environment
        )
        return done, asked.read_text().splitlines()


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    made = Office()
    yield made
    made.close()


@pytest.mark.parametrize(("proof", "prompts"), [("certificate", 0), ("key", 0), ("password", 1)])
def test_one_proof_at_the_gateway_is_all(office: Office, proof: str, prompts: int) -> None:
    seen, binds = len(office.world.audit()), office.slapd.binds(ALICE)
    done, asked = office.jump(proof)
    assert done.stdout.startswith(b"in\n") and done.stdout.endswith(b"agent=\n"), done.stderr
    assert len(asked) == prompts, asked
    assert b'Authenticated to web1 (via proxy) using "none"' in done.stderr
    assert office.slapd.binds(ALICE) - binds == prompts
    assert b"Requesting authentication agent forwarding" not in done.stderr
    lines = office.world.audit()[seen:]
    (login,) = [
        line
        for line in lines
        if line["event"] == "auth" and line["result"] == "ok" and line["user"] == "alice"
    ]
    assert login["method"] in {"key": ("publickey",), "certificate": ("publickey", "certificate")}.get(
        proof, ("password", "keyboard-interactive")
    )
    assert not [line for line in lines if "agent" in str(line)]


def test_an_agent_that_is_forwarded_all_the_same_is_refused(office: Office) -> None:
    """-A concerns the last hop; without the verb there is no agent on the target, and the rest works."""
    seen = len(office.world.audit("refused"))
    done, _ = office.jump("key", "-A")
    assert done.stdout.startswith(b"in\n") and done.stdout.endswith(b"agent=\n"), done.stderr
    assert b"ED25519" not in done.stdout
    (line,) = office.world.new_audit("refused", seen)
    assert (line["name"], line["reason"]) == ("auth-agent-req@openssh.com", "verb_not_allowed")


def test_the_gateway_itself_takes_no_agent(office: Office) -> None:
    command = ["ssh", "-v", "-A", "-F", str(office.config("key")), "bastion", "whoami"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, env=office.environment
    )
    assert done.returncode == 0 and b"alice" in done.stdout, done.stderr
    assert b"Requesting authentication agent forwarding" in done.stderr
    assert "auth-agent-req@openssh.com" in str(office.world.audit("refused")[-1])
