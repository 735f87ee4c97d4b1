"""Each kind of key rotated with a real ssh, a real sshd and a gateway that runs: no login fails on the way."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.jump import JumpWorld
from tests.support.net import LOOPBACK
from tests.support.sshd import keygen, make_key
from tests.support.world import World, poll

pytestmark = pytest.mark.interop


@pytest.fixture
def world() -> Iterator[JumpWorld]:
    made = JumpWorld()
    try:
        made.start()
        yield made
    finally:
        made.close()


def keys(world: World, *words: str) -> Any:
    """What `bastion keys ...` says."""
    name, *more = words
    done = world.bastion("keys", name, "--config", str(world.config), "--json", *more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def configured(world: World, command: str, *words: str) -> str:
    done = world.bastion(command, "--config", str(world.config), *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def sound(world: World, warnings: int = 0) -> None:
    """`bastion check` finds no fault, and so many warnings of an overlap that has ended."""
    done = world.bastion("check", "--config", str(world.config), "--json")
    found = json.loads(done.stdout)
    assert found["errors"] == []
    ended = [one for one in found["warnings"] if "the overlap of" in one["problem"]]
    assert len(ended) == warnings, found


def fingerprint(path: Path) -> str:
    return keygen("-l", "-f", str(path)).split()[1]


# -- host keys ----------------------------------------------------------------------------------------------------


def lines_for(known: Path, place: str) -> set[str]:
    """The keys that a known_hosts file has for a place; ssh may hash nothing here."""
    found = [line.split() for line in known.read_text().splitlines()]
    return {words[2] for words in found if words[0] == place}


@pytest.mark.parametrize("door", ["outer", "direct", "inner"])
def test_a_client_learns_the_new_host_key_and_forgets_the_old_one(world: JumpWorld, door: str) -> None:
    """UpdateHostKeys of a stock ssh, on the outer connection, in the direct door, and inside a jump."""
    known = world.folder / ("inner_known_hosts" if door == "inner" else "client_known_hosts")
    old = (world.keys / "gateway_host.pub").read_text().split()[1]
    gateway, inside = f"[{LOOPBACK}]:{world.port}", f"[web1]:{world.sshd.port}"
    place = inside if door == "inner" else gateway
    # OpenSSH updates nothing when the same key stands in the file under another name too.
    known.write_text(f"{place} ssh-ed25519 {old}\n")

    def follow_outer() -> None:
        """The gateway's own line is kept by hand here: what is looked at is the file for web1."""
        shown = subprocess.run(
            ["ssh-keyscan", "-p", str(world.port), LOOPBACK], capture_output=True, timeout=30
        )
        (world.folder / "client_known_hosts").write_bytes(shown.stdout)

    def login(*expected: str) -> None:
        """Stay until the client knows these keys for the place, and then be told that it is still in."""
        learning = ["Host *", "UpdateHostKeys yes"]
        learning += ["Host web1", f"UserKnownHostsFile {known}"] if door == "inner" else []
        before = len(world.audit("outer_started"))
        if door == "direct":
            client = world.client("cat", options=["-o", "UpdateHostKeys=yes"])
        else:
            config = world.jump_config(*learning, name="learning_config")
            to, options = ("bastion", ["-N"]) if door == "outer" else ("root@web1", ["-J", "bastion"])
            if door == "inner":
                follow_outer()
            client = world.jumping(
                *(["cat"] if door == "inner" else []), to=to, options=options, config=config
            )
        try:
            if door == "outer":
                world.new_audit("outer_started", before)
            else:
                client.echo(b"in")
            poll(lambda: lines_for(known, place) == set(expected), text=f"{client.err!r} {known.read_text()}")
        finally:
            client.close()

    login(old)
    new = keys(world, "rotate", "host_ed25519")["public"].split()[1]
    world.reload()
    for _ in range(2):
        login(old, new)
    assert keys(world, "rotate", "host_ed25519", "--switch")["public"].split()[1] == new
    world.reload()
    sound(world, warnings=1)
    login(new)
    keys(world, "retire", "host_ed25519")
    world.reload()
    sound(world)
    login(new)


def test_a_client_that_knows_only_the_new_host_key_waits_for_it_to_sign(world: JumpWorld) -> None:
    """And what `client-config` prints during the overlap is right before and after."""
    public = f'[listen]\npublic = "{LOOPBACK}:{world.port}"'
    world.config.write_text(world.config.read_text().replace("[listen]", public))
    keys(world, "rotate", "host_ed25519")
    world.reload()
    both = world.folder / "client_known_hosts"
    both.write_text(configured(world, "client-config", "--for", "plain"))
    records = configured(world, "client-config", "--for", "sshfp").splitlines()
    assert len(records) == 2

    def login() -> subprocess.CompletedProcess[bytes]:
        return world.ssh("echo in")

    assert login().stdout == b"in\n"
    keys(world, "rotate", "host_ed25519", "--switch")
    world.reload()
    assert login().stdout == b"in\n"
    assert (
        keygen("-r", f"{LOOPBACK}.", "-f", str(world.keys / "gateway_host.next.pub")).splitlines()[1]
        in records
    )


def test_the_new_key_signs_by_itself_when_the_overlap_ends(world: JumpWorld) -> None:
    """No reload: the running gateway changes over by the clock."""
    new = keys(world, "rotate", "host_ed25519", "--overlap", "3s")["fingerprint"]
    world.reload()

    def shown() -> bool:
        scan = subprocess.run(
            ["ssh-keyscan", "-T", "5", "-p", str(world.port), LOOPBACK], capture_output=True, timeout=30
        )
        path = world.folder / "scan"
        path.write_bytes(scan.stdout)
        return fingerprint(path) == new

    poll(shown, 30, "the new host key was never shown")
    world.reload()
    assert shown()


# -- upstream CA --------------------------------------------------------------------------------------------------


def test_targets_trust_both_upstream_cas_and_no_login_fails(world: JumpWorld) -> None:
    trusted = world.folder / "trusted_user_ca_keys"
    shutil.copy(world.keys / "upstream_ca.pub", trusted)
    web2 = world.add_sshd("web2", user_ca=trusted)
    policy = world.policy_file.read_text().replace('targets = ["web1"]', 'targets = ["web1", "web2"]')
    world.policy_file.write_text(policy)
    world.reload()
    old = fingerprint(trusted)

    def login(by: str) -> None:
        done = world.ssh("echo in", user="alice+root+web2")
        assert done.stdout == b"in\n", done.stderr
        lines = [line for line in web2.log.read_text().splitlines() if "Accepted publickey" in line]
        assert by in lines[-1]

    login(old)
    new = keys(world, "rotate", "upstream_ca")
    world.reload()
    login(old)
    text = configured(world, "target-config")
    lines = [line.removeprefix("#    ") for line in text.splitlines() if "ssh-ed25519 " in line]
    assert len(lines) == 2 and new["public"] in lines[1]
    trusted.write_text("\n".join(lines) + "\n")
    login(old)
    keys(world, "rotate", "upstream_ca", "--switch")
    login(old)
    world.reload()
    login(new["fingerprint"])
    keys(world, "retire", "upstream_ca")
    login(new["fingerprint"])
    world.reload()
    trusted.write_text(lines[1] + "\n")
    login(new["fingerprint"])
    sound(world)
    assert configured(world, "target-config").count("ssh-ed25519 ") == 1
    states = {row["fingerprint"]: row["state"] for row in keys(world, "list") if row["key"] == "upstream_ca"}
    assert states == {new["fingerprint"]: "active", old: "retired"}
    world.start()  # again, from the files as they are now
    login(new["fingerprint"])


# -- front host CA ------------------------------------------------------------------------------------------------


def test_both_front_host_cas_are_in_known_hosts_and_no_jump_fails(world: JumpWorld) -> None:
    old = (world.keys / "front_host_ca.pub").read_text().split()[1]
    known = world.folder / "client_known_hosts"
    gateway, line = known.read_text().splitlines()

    def jump() -> None:
        done = world.jump("echo in", options=["-v", "-J", "bastion"])
        assert done.stdout == b"in\n", done.stderr
        assert b"ED25519-CERT host certificate" in done.stderr

    jump()
    new = keys(world, "rotate", "front_host_ca")["public"].split()[1]
    world.reload()
    jump()
    setup = world.jump("setup openssh", to="bastion", options=[]).stdout.decode()
    assert sum(old in one for one in setup.splitlines()) == sum(new in one for one in setup.splitlines()) == 1
    known.write_text("\n".join([gateway, line, line.replace(old, new)]) + "\n")
    jump()
    keys(world, "rotate", "front_host_ca", "--switch")
    world.reload()
    jump()
    known.write_text("\n".join([gateway, line.replace(old, new)]) + "\n")
    jump()
    keys(world, "retire", "front_host_ca")
    world.reload()
    jump()
    sound(world)


# -- login CA -----------------------------------------------------------------------------------------------------


def test_certificates_by_both_login_cas_count_until_the_old_one_is_retired(world: JumpWorld) -> None:
    make_key(world.keys / "login_ca2")

    def login(ca: str) -> bool:
        certificate = world.certify("bob", ["alice"], ca=ca)
        done = world.ssh("echo in", key="bob", options=["-o", f"CertificateFile={certificate}"])
        return done.stdout == b"in\n"

    assert login("login_ca") and not login("login_ca2")
    keys(world, "rotate", "login_ca", "--public", str(world.keys / "login_ca2.pub"))
    world.reload()
    assert login("login_ca") and login("login_ca2")
    sound(world)
    keys(world, "retire", "login_ca")
    world.reload()
    assert login("login_ca2") and not login("login_ca")
    sound(world)


# -- all of them, under logins ------------------------------------------------------------------------------------


class Logins:
    """Logins through both doors, one after the other, until `stop`; every one must succeed."""

    def __init__(self, world: JumpWorld) -> None:
        self._world = world
        self._config = world.jump_config(name="busy")
        self._stopping = threading.Event()
        self.done = 0
        self.failed: list[str] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set() and not self.failed:
            for done in (self._world.ssh("echo in"), self._world.jump("echo in", config=self._config)):
                if done.stdout != b"in\n":
                    self.failed.append(done.stderr.decode())
                self.done += 1

    def more(self, count: int = 2) -> None:
        """Wait for some more of them."""
        wanted = self.done + count
        poll(lambda: self.failed or self.done >= wanted, 60, "the logins hang")
        assert not self.failed, self.failed[0]

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(60)
        assert not self.failed, self.failed[0]


def test_no_login_fails_while_every_key_is_rotated(world: JumpWorld) -> None:
    """Both doors all the time; targets and clients learn the new keys during the overlap, as the documents say."""
    public = f'[listen]\npublic = "{LOOPBACK}:{world.port}"'
    world.config.write_text(world.config.read_text().replace("[listen]", public))
    trusted, known = world.keys / "upstream_ca.pub", world.folder / "client_known_hosts"
    names = ("host_ed25519", "upstream_ca", "front_host_ca")
    logins = Logins(world)
    try:
        logins.more()
        for step in ([], ["--switch"]):
            for name in names:
                keys(world, "rotate", name, *step)
            world.reload()
            if not step:
                lines = configured(world, "target-config").splitlines()
                replace(trusted, "".join(f"{line[5:]}\n" for line in lines if line.startswith("#    ssh-")))
                script = configured(world, "client-config", "--for", "openssh")
                replace(known, script.partition("<<'END'\n")[2].partition("END\n")[0])
            logins.more(4)
        # The public half of the old one is where this sshd looks: it goes with `retire`.
        for name in names:
            keys(world, "retire", name)
            logins.more(1)
        world.reload()
        logins.more(4)
    finally:
        logins.stop()
    sound(world)
    assert {row["state"] for row in keys(world, "list")} == {"active", "active, not in the ledger", "retired"}


def replace(path: Path, text: str) -> None:
    """In one step: somebody reads it all the time."""
    beside = path.with_name(f"{path.name}.beside")
    beside.write_text(text)
    beside.replace(path)


# -- what may not be ----------------------------------------------------------------------------------------------


def test_a_gateway_does_not_start_or_reload_with_a_key_that_was_retired(world: JumpWorld) -> None:
    saved = (world.keys / "upstream_ca").read_bytes()
    keys(world, "rotate", "upstream_ca", "--overlap", "0")
    keys(world, "retire", "upstream_ca")
    world.reload()
    (world.keys / "upstream_ca").write_bytes(saved)
    world.reload()
    assert world.audit("reload")[-1]["result"] == "refused"
    assert "was retired as upstream CA" in world.audit("reload")[-1]["text"]
