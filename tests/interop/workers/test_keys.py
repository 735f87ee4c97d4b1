"""Keys of a gateway of two workers: each step of a rotation is in force in both, and in one that is started again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.support.jump import JumpWorld
from tests.support.net import LOOPBACK
from tests.support.sshd import keygen, make_key
from tests.support.world import World, poll

Answer = TypeVar("Answer")

AT_ONCE = 8
"""Connections at the same time, of which each worker gets half."""


@pytest.fixture
def world() -> Iterator[JumpWorld]:
    made = JumpWorld(workers=2, limits="penalties = { free = 1000 }")
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


def fingerprint(path: Path) -> str:
    return keygen("-l", "-f", str(path)).split()[1]


def at_once(ask: Callable[[int], Answer]) -> list[Answer]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(ask, range(AT_ONCE)))


def shown(world: World) -> set[str]:
    """The host keys that so many connections at once are shown."""

    def scan(number: int) -> str:
        found = subprocess.run(
            ["ssh-keyscan", "-T", "20", "-t", "ed25519", "-p", str(world.port), LOOPBACK],
            capture_output=True,
            timeout=60,
        )
        path = world.folder / f"scan{number}"
        path.write_bytes(found.stdout)
        return fingerprint(path)

    return set(at_once(scan))


def kill_one(world: World) -> None:
    """And wait until another has taken its place."""
    gone = world.worker_pids[0]
    os.kill(gone, signal.SIGKILL)
    serving = 'bastion_workers{state="serving"}'
    poll(lambda: gone not in world.worker_pids and world.metric(serving) == 2, 60.0)


def test_a_new_host_key_is_shown_by_both_from_one_moment_on(world: JumpWorld) -> None:
    old = fingerprint(world.keys / "gateway_host.pub")
    assert shown(world) == {old}
    new = keys(world, "rotate", "host_ed25519")["fingerprint"]
    world.reload()
    assert shown(world) == {old}, "it is announced, and not used yet"
    keys(world, "rotate", "host_ed25519", "--switch")
    world.reload()
    assert shown(world) == {new}
    kill_one(world)
    assert shown(world) == {new}
    keys(world, "retire", "host_ed25519")
    world.reload()
    assert shown(world) == {new}


def test_both_change_over_by_the_clock_without_a_reload(world: JumpWorld) -> None:
    new = keys(world, "rotate", "host_ed25519", "--overlap", "3s")["fingerprint"]
    world.reload()
    poll(lambda: shown(world) == {new}, 60.0, "one of them shows the old one for ever")


def test_targets_that_trust_only_the_new_ca_let_in_whoever_comes_through_either(world: JumpWorld) -> None:
    trusted = world.folder / "trusted_user_ca_keys"
    shutil.copy(world.keys / "upstream_ca.pub", trusted)
    web2 = world.add_sshd("web2", user_ca=trusted)
    policy = world.policy_file.read_text().replace('targets = ["web1"]', 'targets = ["web1", "web2"]')
    world.policy_file.write_text(policy)
    new = keys(world, "rotate", "upstream_ca")
    keys(world, "rotate", "upstream_ca", "--switch")
    world.reload()
    trusted.write_text(new["public"] + "\n")

    def login(_: int) -> bytes:
        return world.ssh("echo in", user="alice+root+web2").stdout

    assert at_once(login) == [b"in\n"] * AT_ONCE
    kill_one(world)
    assert at_once(login) == [b"in\n"] * AT_ONCE
    accepted = [line for line in web2.log.read_text().splitlines() if "Accepted publickey" in line]
    assert len(accepted) == 2 * AT_ONCE and all(new["fingerprint"] in line for line in accepted)


def test_a_login_ca_that_is_retired_counts_in_neither(world: JumpWorld) -> None:
    make_key(world.keys / "login_ca2")
    kept = world.folder / "by_the_old_one-cert.pub"
    shutil.copy(world.certify("bob", ["alice"], ca="login_ca"), kept)
    fresh = world.certify("bob", ["alice"], ca="login_ca2")

    def let_in(certificate: Path) -> set[bool]:
        options = ["-o", f"CertificateFile={certificate}"]
        done = at_once(lambda _: world.ssh("echo in", key="bob", options=options))
        return {one.stdout == b"in\n" for one in done}

    assert let_in(kept) == {True} and let_in(fresh) == {False}
    keys(world, "rotate", "login_ca", "--public", str(world.keys / "login_ca2.pub"))
    world.reload()
    assert let_in(kept) == {True} and let_in(fresh) == {True}
    keys(world, "retire", "login_ca")
    world.reload()
    assert let_in(kept) == {False} and let_in(fresh) == {True}
