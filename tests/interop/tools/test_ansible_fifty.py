"""A playbook on fifty hosts with fifty forks, through two workers, in every way that Ansible moves its modules.

The hosts are fifty names of one sshd. Everything else is as it is by default: Ansible's shared connections and time
limits, the gateway's limits and penalties. `docs/performance.md` has the figures that it prints.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.process_cost import own_cpu
from tests.support.ansible import ansible_missing, controlling
from tests.support.doors import Door, JumpDoor, missing, shared_world
from tests.support.net import LOOPBACK
from tests.support.office import accounts, check_nobody_else_was_refused, log_in
from tests.support.trees import file_sum, make_file
from tests.support.world import World

pytestmark = [
    pytest.mark.interop,
    pytest.mark.soak,
    pytest.mark.skipif(bool(ansible_missing()), reason=ansible_missing() or "available"),
]

HOSTS = tuple(f"node{number}" for number in range(1, 51))
SUDO = not missing("sudo")
PLAYBOOK = """
- hosts: all
  gather_subset: [min]
  tasks:
    - ping:
    - copy: {{ src: "{source}", dest: "{folder}/{{{{ inventory_hostname }}}}", mode: "0640" }}
    - command: sha256sum {folder}/{{{{ inventory_hostname }}}}
      register: sum
    - debug: {{ msg: "SUM {{{{ inventory_hostname }}}} {{{{ sum.stdout.split()[0] }}}}" }}
    - fetch: {{ src: "{folder}/{{{{ inventory_hostname }}}}", dest: "{fetched}/", flat: true }}
    - command: printenv SUDO_USER
      become: true
      when: {sudo}
      register: whose
      failed_when: whose.stdout != "root"
"""
PATIENCE = 1200.0
LOGINS, TYPOS, AT_ONCE = 500, 25, 4


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = shared_world(workers=2)
    for host in HOSTS[5:]:  # the first five are there already
        made.add_target(host, LOOPBACK, made.sshd.port)
    with made.users.open("a") as users:
        users.write(accounts())
    made.sshd.authorize(made.keys / "alice.pub")
    try:
        yield made.start()
        assert "Traceback" not in made.log.read_text()
    finally:
        made.close()


class Straight(Door):
    """No gateway: what the same playbook takes without one."""

    name = "straight"

    def _way_to(self, host: str) -> list[str]:
        return [f"HostName {LOOPBACK}", f"Port {self.world.sshd.port}", "User root"]

    def _known(self) -> list[str]:
        return [self.world.sshd.known_hosts_line.strip()]


@pytest.fixture(scope="module")
def ways(world: World) -> dict[str, Door]:
    return {kind.name: kind(world, fleet=HOSTS) for kind in (Straight, Door, JumpDoor)}


def played(door: Door, folder: Path, pipelining: bool, transfer: str) -> float:
    """Seconds of one run, in which everything arrives everywhere whole."""
    source = make_file(folder / "source", 300_000)
    for name in ("target", "fetched"):
        (folder / name).mkdir()
    play = folder / "play.yml"
    play.write_text(
        PLAYBOOK.format(source=source, folder=folder / "target", fetched=folder / "fetched", sudo=SUDO)
    )
    with controlling(door.world.folder, door.config, HOSTS, door.environment(), forks=len(HOSTS),
                     pipelining=pipelining, transfer=transfer) as controller:  # fmt: skip
        began = time.monotonic()
        done = controller.play(play, PATIENCE)
        took = time.monotonic() - began
    assert done.returncode == 0, done.stdout + done.stderr
    whole = file_sum(source)
    for host in HOSTS:
        assert f"SUM {host} {whole}" in done.stdout
        assert file_sum(folder / "target" / host) == file_sum(folder / "fetched" / host) == whole
    return took


@pytest.mark.parametrize(
    "name, pipelining, transfer",
    [
        ("straight", True, "sftp"),
        ("direct", True, "sftp"),
        ("jump", True, "sftp"),
        ("straight", False, "sftp"),
        ("direct", False, "sftp"),
        ("jump", False, "sftp"),
        ("direct", False, "scp"),
        ("direct", False, "piped"),
        ("jump", False, "scp"),
    ],
)
def test_fifty_forks(
    ways: dict[str, Door], tmp_path: Path, name: str, pipelining: bool, transfer: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    door = ways[name]
    world, watch = door.world, door.watch()
    cost = sum(map(own_cpu, world.pids))
    took = played(door, tmp_path, pipelining, transfer)
    cost = sum(map(own_cpu, world.pids)) - cost
    with capsys.disabled():
        way = f"{name}, {transfer}{', pipelining' if pipelining else ''}"
        print(f"\nfifty forks, {way}: {took:.1f} s, {cost:.2f} s of CPU in the gateway")
    check_nobody_else_was_refused(world, 0)
    if name != "straight":  # one connection to each host carried everything
        recorded = watch.sessions(len(HOSTS), PATIENCE)
        assert sorted(one.header.target for one in recorded) == sorted(HOSTS)


def test_fifty_forks_beside_an_office_with_typos_behind_one_address(
    ways: dict[str, Door], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """500 logins, 25 of them after a wrong password, from the address that the playbook comes from, too."""
    door, ended = ways["direct"], Counter[str]()
    office = threading.Thread(target=lambda: ended.update(log_in(door.world, LOGINS, TYPOS, AT_ONCE)))
    office.start()
    try:
        took = played(door, tmp_path, False, "sftp")
        beside = ended.total()
    finally:
        office.join()
    with capsys.disabled():
        print(f"\nfifty forks: {took:.1f} s, {beside} of {LOGINS} logins meanwhile")
    assert ended == {"in": LOGINS} and beside >= 50
    check_nobody_else_was_refused(door.world, TYPOS)
