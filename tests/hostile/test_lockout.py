"""Guesses through the gateway and the directory's own lockout: a real slapd that locks an account at the fifth one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from bastion.wire.data import string, uint32
from bastion.wire.kexinit import FRONT
from tests.hostile.rawssh import RawSsh, SocketWire
from tests.hostile.test_gateway_attempts import question
from tests.hostile.test_gateway_rows import password
from tests.support.slapd import (
    PASSWORD,
    PEOPLE,
    ROOT,
    ROOT_PASSWORD,
    SUFFIX,
    Slapd,
    group,
    person,
    slapd_missing,
)
from tests.support.sshd import sshd_missing
from tests.support.world import World

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
    pytest.mark.skipif(bool(slapd_missing()), reason=slapd_missing() or "available"),
]

LOCKS_AT = 5
PATIENCE = 60.0
DN = f"cn=policy,{SUFFIX}"
POLICY = f"""dn: {DN}
objectClass: organizationalRole
objectClass: pwdPolicy
cn: policy
pwdAttribute: userPassword
pwdLockout: TRUE
pwdMaxFailure: {LOCKS_AT}
pwdFailureCountInterval: 600
"""
NAMES = ("alice", "Alice", "ALICE+root+web1", "alice+web1")


@contextmanager
def site(most: int) -> Iterator[tuple[Slapd, World]]:
    slapd = Slapd([POLICY, person("alice"), group("ops", "alice")], f'ppolicy_default "{DN}"', tls=False)
    world = None
    try:
        slapd.start()
        limits = f'penalties = {{ account_failures = {most}, account_window = "10m" }}'
        world = World(slapd=slapd, limits=limits, workers=2)
        # who has nothing of alice's: an embedded account of that name would hide the directory's
        world.users.write_text("")
        yield slapd, world.start()
    finally:
        if world is not None:
            world.close()
        slapd.close()


def guess(world: World, number: int, secret: str) -> list[bytes]:
    """From an address of its own, under one of the names that lead to alice; what was answered."""
    wire = SocketWire.connect(world.port, source=f"127.0.{number}.7")
    wire.sock.settimeout(PATIENCE)
    peer = RawSsh(wire, algorithms=FRONT).handshake()
    peer.request_service()
    peer.read_until(6)
    name = NAMES[number % len(NAMES)].encode()
    if number % 2:
        peer.send(question(name))
        peer.read_until(60)
        peer.send(b"\x3d" + uint32(1) + string(secret.encode()))
    else:
        peer.send(password(name, secret))
    heard = []
    while not heard or heard[-1][0] not in (51, 52):
        heard.append(peer.read())
    wire.close()
    return heard


def failures(slapd: Slapd) -> tuple[int, bool]:
    """What the directory has counted, and whether it has locked the account."""
    asked = ("ldapsearch", "-x", "-LLL", "-H", slapd.url, "-D", ROOT, "-w", ROOT_PASSWORD)
    about = ("-b", f"uid=alice,{PEOPLE}", "-s", "base", "pwdFailureTime", "pwdAccountLockedTime")
    shown = subprocess.run([*asked, *about], capture_output=True, text=True, timeout=60, check=True).stdout
    return shown.count("pwdFailureTime:"), "pwdAccountLockedTime:" in shown


def guess_much(world: World) -> list[list[bytes]]:
    with ThreadPoolExecutor(6) as threads:
        return list(threads.map(lambda number: guess(world, number, "wrong horse"), range(24)))


def test_guesses_from_everywhere_end_before_the_directory_locks_the_account() -> None:
    with site(LOCKS_AT - 1) as (slapd, world):
        answers = guess_much(world)
        assert failures(slapd) == (LOCKS_AT - 1, False)
        reasons = [line["reason"] for line in world.audit("auth")]
        assert sorted(reasons) == ["bad_password"] * (LOCKS_AT - 1) + ["throttled"] * (24 - LOCKS_AT + 1)
        # A right password is not tried any more either, and reads like a wrong one then; the directory would take it.
        answers.append(guess(world, 30, PASSWORD))
        refused = [heard[-1] for heard in answers]
        assert set(refused) == {refused[0]} and refused[0][0] == 51
        said = [heard[0] for heard in answers if len(heard) > 1]
        assert len(said) == 24 - LOCKS_AT + 2 and all(b"too many failed logins" in banner for banner in said)
        asked = ("ldapwhoami", "-x", "-H", slapd.url, "-D", f"uid=alice,{PEOPLE}", "-w", PASSWORD)
        assert subprocess.run(asked, capture_output=True, timeout=60).returncode == 0


def test_without_the_limit_the_directory_locks_it() -> None:
    """What the limit is for, and that the test before would see it."""
    with site(0) as (slapd, world):
        guess_much(world)
        assert failures(slapd)[1]
