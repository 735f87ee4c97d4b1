"""The supervisor is small: it loads nothing that speaks SSH, and people ask it for all workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.net import LOOPBACK, free_port
from tests.support.world import World, poll, running

SPEAKS = ("app", "doors", "endpoint", "relay", "session", "transport", "upstream", "userauth")


LIBRARIES = {
    "attr", "attrs", "click", "constantly", "hyperlink", "idna", "incremental", "orjson", "prometheus_client",
    "re2", "twisted", "typing_extensions", "zope",
}  # fmt: skip
"""All that a supervisor may load beside Python's own: Twisted and what it needs, the command line, JSON, the page,
and what checks patterns of secrets (1.4 MiB)."""

OFFICE = """
[process]
workers = 2
[host_keys]
files = ["host_ed25519"]
[directory.ldap]
servers = ["ldaps://ldap1.example.org"]
user_base = "ou=people,dc=example,dc=org"
user_filter = "(cn=*)"
[targets]
file = "targets.toml"
[policy]
file = "policy.toml"
[recording]
directory = "recordings"
[audit]
file = "audit.jsonl"
"""

SECTIONS = """
import sys
from pathlib import Path
import bastion.serving, bastion.supervisor.running
from bastion.config.start import read_sections
from bastion.supervisor.settings import settings_of
sections = read_sections(Path(sys.argv[1]))
assert sections.directory.ldap.user_filter == "(cn=*)", sections
settings_of(sections), sections.state_folder
own = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
print(*sorted(name for name in own if not name.startswith("_")))
print(*sys.modules)
"""


def test_it_loads_nothing_that_speaks_ssh_or_to_a_directory_or_a_database(tmp_path: Path) -> None:
    """Also where it reads the sections of a configuration with a directory."""
    config = tmp_path / "bastion.toml"
    config.write_text(OFFICE)
    command = [sys.executable, "-c", SECTIONS, str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    libraries, modules = map(str.split, done.stdout.splitlines())
    assert set(libraries) - {"bastion", "sitecustomize", "cryptography"} <= LIBRARIES
    only_its_version = {"cryptography", "cryptography.__about__"}
    assert {name for name in modules if name.partition(".")[0] == "cryptography"} <= only_its_version
    rooms = {name.split(".")[1] for name in modules if name.startswith("bastion.")}
    assert "supervisor" in rooms and rooms & set(SPEAKS) == set()


@pytest.mark.parametrize("workers", [1, 2])
def test_live_kill_and_lock_reach_every_worker(workers: int) -> None:
    with running(workers=workers) as world:
        config = ("--config", str(world.config))
        clients = [world.client("cat") for _ in range(4)]
        try:
            for client in clients:
                client.echo(b"here")
            listed = json.loads(world.bastion("live", *config, "--json").stdout)
            rows = listed["rows"] if "rows" in listed else listed["live"]
            assert len(rows) == 4 and len({row["node"] for row in rows}) == workers
            done = world.bastion("kill", rows[0]["id"], *config, "--reason", "one of them")
            assert done.returncode == 0, done.stderr
            poll(lambda: sum(client.running for client in clients) == 3)
            done = world.bastion("lock", *config, "alice", "--reason", "all of them")
            assert done.returncode == 0, done.stderr
            for client in clients:
                client.wait(10)
            assert world.ssh("true").returncode == 255
            for pid in world.worker_pids[:1]:
                Path(f"/proc/{pid}").stat()
            assert world.bastion("unlock", *config, "alice").returncode == 0
            assert world.ssh("true").returncode == 0
        finally:
            for client in clients:
                client.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_penalties_are_shown_and_forgotten(workers: int) -> None:
    with running(workers=workers, limits='penalties = { first_block = "10m" }') as world:
        config = ("--config", str(world.config))
        for _ in range(7):
            world.ask("alice+root+web1", "wrong")
        shown = json.loads(world.bastion("penalties", *config, "--json").stdout)
        assert "alice" in json.dumps(shown)
        assert world.ask("alice+root+web1", "correct horse").returncode == 255
        done = world.bastion("penalties", "clear", *config, "--account", "alice", "--reason", "typed badly")
        assert done.returncode == 0, done.stderr
        assert world.ask("alice+root+web1", "correct horse").returncode == 0


def test_who_is_locked_is_not_let_in_while_the_gateway_starts() -> None:
    world = World(workers=2)
    try:
        text = world.config.read_text()
        world.config.write_text(text.replace(f"{LOOPBACK}:0", f"{LOOPBACK}:{free_port()}", 1))
        world.start()
        done = world.bastion("lock", "alice", "--config", str(world.config), "--reason", "stolen")
        assert done.returncode == 0, done.stderr
        world.kill(signal.SIGTERM)
        seen = len(world.audit("worker_started"))
        starting = threading.Thread(target=world.start)
        starting.start()
        poll(lambda: len(world.audit("worker_started")) > seen, 30)
        done = world.ssh("true")  # by the first worker: the second is not there yet
        assert done.returncode == 255 and b"stolen" in done.stderr, done
        starting.join()
        assert world.audit("session_started") == []
    finally:
        world.close()


@pytest.mark.soak
def test_a_worker_that_is_stuck_is_killed_and_holds_up_nobody() -> None:
    with running(workers=2) as world:
        clients = [world.client("cat") for _ in range(4)]
        try:
            for client in clients:
                client.echo(b"here")
            stuck = world.worker_pids[-1]
            os.kill(stuck, signal.SIGSTOP)
            os.kill(world.pid, signal.SIGHUP)
            assert world.ssh("true").returncode == 0
            poll(lambda: world.audit("worker_died"), 90, "it is still there")
            (died,) = world.audit("worker_died")
            assert died["pid"] == stuck and 0 < died["sessions"] < 4
            poll(lambda: world.audit("reload"), text="the reload waits on")
            poll(lambda: len(world.worker_pids) == 2 and stuck not in world.worker_pids)
            gone = died["sessions"]
            poll(lambda: sum(one["reason"] == "worker_died" for one in world.audit("session_ended")) == gone)
            assert sum(client.running for client in clients) == 4 - gone
        finally:
            for client in clients:
                client.close()
