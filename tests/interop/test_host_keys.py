"""A target's host key: known, unknown, changed, revoked, certified, and what the engineer reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.net import LOOPBACK
from tests.support.sshd import Sshd, keygen, make_key, sshd_missing
from tests.support.world import World, refusal

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]


def metrics_of(outcome: str) -> tuple[str, str]:
    """The two counters that an outcome of a refusing check moves."""
    return (
        f'bastion_host_key_checks_total{{outcome="{outcome}"}}',
        f'bastion_upstream_dials_total{{reason="host_key_{outcome}"}}',
    )


def public_half(key: Path) -> str:
    return " ".join(key.with_suffix(".pub").read_text().split()[:2])


class Machines:
    """web1 pinned, and one sshd for each other state of a host key."""

    def __init__(self) -> None:
        self.world = world = World()
        self.old = make_key(world.keys / "old_host")
        ca = world.keys / "target_host_ca"
        self.moved = world.add_sshd("moved", known=public_half(self.old))
        self.new = world.add_sshd("new", known="")
        self.revoked = world.add_sshd("revoked")
        self.certified = world.add_sshd("certified", known="", host_ca=ca)
        self.misnamed = world.add_sshd("misnamed", known="", host_ca=ca, host_names=("elsewhere",))
        with world.known_hosts.open("a") as file:
            file.write(f"@revoked * {self.revoked.host_public}\n")
            for sshd in (self.certified, self.misnamed):
                file.write(f"@cert-authority [{LOOPBACK}]:{sshd.port} {public_half(ca)}\n")
        world.start()


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    made = Machines()
    yield made
    made.world.close()


@pytest.fixture(scope="module")
def world(machines: Machines) -> World:
    return machines.world


def go(world: World, target: str) -> tuple[str, str]:
    return refusal(world.ssh("true", user=f"alice+root+{target}"))


def assert_no_login(sshd: Sshd) -> None:
    assert "Connection from" in sshd.log_text() and "Accepted" not in sshd.log_text()


def test_a_pinned_key_lets_in(world: World) -> None:
    with world.moves('bastion_host_key_checks_total{outcome="pinned_ok"}'):
        assert world.ssh("true").returncode == 0
    assert world.audit("session_started")[-1]["host_key"] == world.sshd.host_fingerprint


def test_a_certified_key_lets_in(world: World) -> None:
    with world.moves('bastion_host_key_checks_total{outcome="ca_ok"}'):
        done = world.ssh("true", user="alice+root+certified")
    assert done.returncode == 0, done.stderr


def test_a_changed_key_is_refused_with_old_new_and_the_command_that_accepts_it(machines: Machines) -> None:
    world = machines.world
    with world.moves(*metrics_of("changed")):
        text, reference = go(world, "moved")
    old, new = keygen("-l", "-f", f"{machines.old}.pub").split()[1], machines.moved.host_fingerprint
    assert text == (
        f"moved: the host key has changed: known {old} (ssh-ed25519), shown {new}; "
        f"if that is right: bastion target pin moved {new}"
    )
    story = world.explain(reference)
    assert old in story and new in story and "reinstalled" in story
    assert_no_login(machines.moved)


def test_an_unknown_key_is_refused_with_the_command_that_accepts_it(machines: Machines) -> None:
    world, new = machines.world, machines.new.host_fingerprint
    with world.moves(*metrics_of("unknown")):
        text, reference = go(world, "new")
    assert text == f"new: the host key {new} is not known; if it is right: bastion target pin new {new}"
    assert "bastion target scan new" in world.explain(reference)
    assert_no_login(machines.new)


def test_a_revoked_key_is_refused(machines: Machines) -> None:
    with machines.world.moves(*metrics_of("revoked")):
        text, reference = go(machines.world, "revoked")
    assert text == f"revoked: the host key {machines.revoked.host_fingerprint} is revoked"
    assert "@revoked" in machines.world.explain(reference)
    assert_no_login(machines.revoked)


def test_a_certificate_for_another_host_is_refused(machines: Machines) -> None:
    world = machines.world
    with world.moves(
        'bastion_host_key_checks_total{outcome="cert_invalid"}',
        'bastion_upstream_dials_total{reason="host_cert_invalid"}',
    ):
        text, reference = go(world, "misnamed")
    assert text == "misnamed: its host certificate is not good: the host certificate is for another host"
    assert "sign a new one" in world.explain(reference)
    assert_no_login(machines.misnamed)


@pytest.mark.parametrize("target", ["moved", "new"])
def test_the_printed_command_accepts_the_key_from_the_next_reload_on(world: World, target: str) -> None:
    text, _ = go(world, target)
    command = text.rpartition("bastion ")[2].split()
    done = world.bastion(*command, "--config", str(world.config))
    assert done.returncode == 0, done.stderr
    go(world, target)
    world.reload()
    done = world.ssh("true", user=f"alice+root+{target}")
    assert done.returncode == 0, done.stderr


def test_a_known_hosts_file_that_is_gone_stops_a_reload_not_the_gateway(world: World) -> None:
    kept = world.known_hosts.read_text()
    world.known_hosts.unlink()
    try:
        world.reload()
        line = world.audit("reload")[-1]
        assert line["result"] == "refused" and f"`touch {world.known_hosts}`" in line["text"]
        assert world.ssh("true").returncode == 0
    finally:
        world.known_hosts.write_text(kept)
        world.reload()
