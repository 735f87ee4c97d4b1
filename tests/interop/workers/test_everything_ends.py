"""Whatever takes somebody's rights away ends what he has open, at either worker, and nothing new opens after it."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.net import LOOPBACK, free_port
from tests.support.slapd import PEOPLE, Slapd, group, person, slapd_missing
from tests.support.sshd import keygen, sshd_missing
from tests.support.world import DEFAULT_POLICY, World, poll

MISSING = sshd_missing() or slapd_missing()
pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(MISSING), reason=MISSING or "available")]

RECHECK, TTL = 1.0, 1.0
"""Seconds, as configured below: what the directory says ends what runs after these two and the answer."""

WITHIN = 2.0
"""Seconds that the gateway promises for what somebody types; the directory's word comes later."""

SLOW = 8.0
"""Beside that, what a busy machine and four clients' own endings take here."""


class Office:
    """alice in slapd; the place where her tunnel leads; and what she has open, of each kind twice."""

    def __init__(self, folder: Path) -> None:
        self.world = World(
            workers=2,
            config='[login]\nrevoked_keys = "krl"\n',
            limits="penalties = { free = 1000, accounts = 1000 }",
        )
        self.far = socket.create_server((LOOPBACK, 0))
        self.policy = (
            f'{DEFAULT_POLICY}end_withdrawn = true\n[[rule]]\nname = "db"\ngroups = ["ops"]\nverbs = ["tunnel"]\n'
            f'tunnel = ["{LOOPBACK}:{self.far.getsockname()[1]}"]\nend_withdrawn = true\n'
        )
        self.world.policy_file.write_text(self.policy)
        key = (self.world.keys / "alice.pub").read_text().strip()
        self.slapd = Slapd([person("alice", f"sshPublicKey: {key}"), group("ops", "alice")], tls=False)
        self.slapd.start()
        ldap = f"lookup_ttl = {TTL}\ngroup_ttl = {TTL}\n"
        self.world.use_slapd(self.slapd, ldap=ldap, users="[users]\n")
        text = self.world.config.read_text()
        self.world.config.write_text(
            text.replace("[directory]\n", f'[directory]\nrecheck = "{RECHECK:.0f}s"\n')
        )
        self.world.policy_file.write_text(self.policy)
        (self.world.folder / "krl").touch()
        self.folder = folder
        self.world.start()

    def close(self) -> None:
        self.world.close()
        self.slapd.close()
        self.far.close()

    @contextlib.contextmanager
    def at_work(self) -> Iterator[list[Client]]:
        """A shell, a busy transfer, a tunnel that is connected and a ControlMaster; two of each, as there are two
        workers and each takes who comes when it has fewer."""
        with contextlib.ExitStack() as open_now:
            clients, masters = [], []
            for number in range(2):
                port, control = free_port(), self.folder / f"m{number}-{time.monotonic_ns()}"
                shell = self.world.client("cat")
                transfer = self.world.client("cat /dev/zero")
                forward = ("-o", "ExitOnForwardFailure=yes")
                far = f"{port}:{LOOPBACK}:{self.far.getsockname()[1]}"
                tunnel = self.world.client("-N", "-L", far, user="alice", options=forward)
                options = ("-o", "ControlMaster=yes", "-o", f"ControlPath={control}")
                master = self.world.client("-N", user="alice", options=options)
                for client in (shell, transfer, tunnel, master):
                    clients.append(open_now.enter_context(client))
                shell.echo(b"here")
                transfer.expect_bytes(1 << 20)
                near = open_now.enter_context(poll(lambda port=port: _connected(port), text="no tunnel"))
                open_now.enter_context(self.far.accept()[0])
                near.sendall(b"x")
                masters.append(control)
            poll(lambda: all(one.exists() for one in masters), text="no master connection")
            yield clients


def _connected(port: int) -> socket.socket | None:
    with contextlib.suppress(ConnectionRefusedError):
        return socket.create_connection((LOOPBACK, port), 5)
    return None


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    made = Office(tmp_path_factory.mktemp("m"))
    yield made
    made.close()


def _lock(office: Office) -> Callable[[], object]:
    config = str(office.world.config)
    assert office.world.bastion("lock", "alice", "--reason", "x", "-c", config).returncode == 0
    return lambda: office.world.bastion("unlock", "alice", "-c", config)


def _revoke(office: Office) -> Callable[[], object]:
    world = office.world
    spec, krl = world.folder / "spec", world.folder / "krl"
    spec.write_text(f"key: {(world.keys / 'alice.pub').read_text().strip()}\n")
    krl.unlink()
    keygen("-q", "-k", "-f", str(krl), str(spec))
    world.reload()

    def back() -> None:
        krl.write_text("")
        world.reload()

    return back


def _disable(office: Office) -> Callable[[], object]:
    entry = f"dn: uid=alice,{PEOPLE}\nchangetype: modify\n"
    office.slapd.change(f"{entry}add: nsAccountLock\nnsAccountLock: TRUE\n")
    return lambda: office.slapd.change(f"{entry}delete: nsAccountLock\n")


def _remove_rules(office: Office) -> Callable[[], object]:
    office.world.policy_file.write_text(office.policy.replace('"ops"', '"nobody"'))
    office.world.reload()

    def back() -> None:
        office.world.policy_file.write_text(office.policy)
        office.world.reload()

    return back


@pytest.mark.parametrize(
    ("take", "promised", "leaves"),
    [
        (_lock, WITHIN, 0),
        (_revoke, WITHIN, 0),
        (_disable, RECHECK + TTL + WITHIN, 0),
        (
            _remove_rules,
            WITHIN,
            4,
        ),  # connections that lead nowhere: the account is one, and may get other rules
    ],
    ids=["lock", "krl", "ldap", "rule"],
)
def test_it_ends_what_is_open_and_lets_nothing_new(
    office: Office, take: Callable[[Office], Callable[[], object]], promised: float, leaves: int
) -> None:
    world = office.world
    with office.at_work() as clients:
        live = json.loads(world.bastion("live", "--all", "--json", "-c", str(world.config)).stdout)["live"]
        assert len({row["node"] for row in live}) == 2, "something is open at either worker"
        closed = len(world.audit("tunnel_closed")), len(world.audit("session_ended"))
        back = take(office)
        began = time.monotonic()
        poll(
            lambda: sum(not one.running for one in clients) >= len(clients) - leaves,
            promised + SLOW,
            "something goes on",
        )
        poll(lambda: len(world.audit("tunnel_closed")) == closed[0] + 2, text="a tunnel goes on")
        poll(lambda: len(world.audit("session_ended")) == closed[1] + 4, text="a session goes on")
        took = time.monotonic() - began
        assert took < promised + SLOW
        print(f"ended after {took:.1f} s")
        done = world.ssh("true")
        assert done.returncode == 255, done
        new = world.audit("session_started")
        assert len(new) == len(world.audit("session_ended"))
    back()
    poll(lambda: world.ssh("true").returncode == 0, 20, "it does not come back")
