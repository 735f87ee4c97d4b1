"""The Debian package on a machine of its own with its own systemd: installed, started, upgraded, removed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.machine import Machine, machine_missing
from tests.support.world import poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.soak,
    pytest.mark.skipif(bool(machine_missing()), reason=machine_missing() or "available"),
]
ROOT = Path(__file__).resolve().parents[2]
NEW = "99.0"
RULE = """
[[rule]]
name = "alice"
users = ["alice"]
targets = ["web1"]
logins = ["root"]
verbs = ["exec", "shell"]
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make deb` makes it; BASTION_TEST_DEB names one that is there already."""
    given = os.environ.get("BASTION_TEST_DEB")
    if given:
        return Path(given)
    done = subprocess.run(
        [ROOT / ".ci" / "deb"],
        cwd=ROOT,
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    made = tmp_path_factory.mktemp("deb") / "bastion.deb"
    shutil.move(ROOT / done.stdout.split()[-1], made)
    return made


def another(package: Path, folder: Path) -> Path:
    """The same package with a higher version."""
    tree = folder / "tree"
    subprocess.run(["dpkg-deb", "-R", str(package), str(tree)], check=True)
    (old,) = [path.name for path in (tree / "opt" / "bastion").iterdir()]
    (tree / "opt" / "bastion" / old).rename(tree / "opt" / "bastion" / NEW)
    home = tree / "opt" / "bastion" / NEW
    for path in [*(home / "bin").iterdir(), home / "pyvenv.cfg", *(tree / "DEBIAN").iterdir()]:
        if path.is_file() and not path.is_symlink():
            text = path.read_bytes()
            path.write_bytes(text.replace(old.encode(), NEW.encode()))
    (code,) = home.glob("lib/python3*/site-packages/bastion/__init__.py")
    code.write_text(re.sub(r"(?m)^__version__ = .*$", f'__version__ = "{NEW}"', code.read_text()))
    for compiled in code.parent.glob("__pycache__/__init__.*"):
        compiled.unlink()
    made = folder / "new.deb"
    subprocess.run(
        ["dpkg-deb", "-Zgzip", "-z1", "--build", str(tree), str(made)], check=True, capture_output=True
    )
    return made


@pytest.fixture(scope="module")
def machine(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with Machine() as made:
        shutil.copy(package, made.root / "root" / "old.deb")
        shutil.copy(another(package, tmp_path_factory.mktemp("new")), made.root / "root" / "new.deb")
        yield made


def active(machine: Machine) -> str:
    return machine.run("systemctl", "is-active", "bastion", check=False).stdout.strip()


def main_pid(machine: Machine) -> str:
    return machine.run("systemctl", "show", "-p", "MainPID", "--value", "bastion").stdout.strip()


def session(machine: Machine) -> subprocess.Popen[bytes]:
    """An engineer who runs `cat` on the machine's own sshd."""
    options = ["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes", "-i", "/root/alice"]
    return machine.popen(["ssh", *options, "-p", "2222", "alice+root+web1@127.0.0.1", "cat"])


def echo(client: subprocess.Popen[bytes], text: bytes) -> None:
    assert client.stdin is not None and client.stdout is not None
    client.stdin.write(text + b"\n")
    client.stdin.flush()
    while line := client.stdout.readline():
        if line == text + b"\n":
            return
    raise AssertionError("the session is over")


def test_the_life_of_a_package(machine: Machine) -> None:
    machine.run("dpkg", "-i", "/root/old.deb")
    old = os.readlink(machine.root / "opt" / "bastion" / "current")
    assert machine.run("bastion", "--version").stdout == f"bastion, version {old}\n"
    assert machine.run("id", "-nG", "bastion-console").stdout == "bastion-console\n"
    assert "bastion-console" in machine.run("id", "-nG", "bastion").stdout.split()
    brought = machine.run("dpkg", "-L", "bastion").stdout
    for path in (
        "/lib/systemd/system/bastion-console.service\n",
        "/bastion/data/console/templates/search.html\n",
        "/bastion/data/player/player.js\n",
        "/usr/share/doc/bastion/images/console-player.png\n",
    ):
        assert path in brought
    machine.run("systemctl", "start", "bastion")
    assert active(machine) == "inactive"  # nothing is made yet, and that is no fault
    made = [
        "--system",
        "--yes",
        "--listen",
        "127.0.0.1:2222",
        "--target",
        "web1=127.0.0.1:22",
        "--login",
        "root",
    ]
    machine.run("bastion", "init", "/etc/bastion", *made)

    # A target, which trusts the gateway, and an engineer with a key.
    machine.run("sh", "-c", "ssh-keygen -q -t ed25519 -N '' -f /root/alice")
    machine.run("sh", "-c", "cp /etc/bastion/keys/upstream_ca.pub /etc/ssh/bastion_ca.pub")
    machine.run(
        "sh", "-c", "echo 'TrustedUserCAKeys /etc/ssh/bastion_ca.pub' > /etc/ssh/sshd_config.d/b.conf"
    )
    machine.run("systemctl", "restart", "ssh")
    key = (machine.root / "root" / "alice.pub").read_text().strip()
    users = machine.root / "etc" / "bastion" / "users.toml"
    users.write_text(
        users.read_text() + f'\n[users.alice]\nkeys = ["{key}"]\ngroups = ["operators", "admins", "ops"]\n'
    )
    policy = machine.root / "etc" / "bastion" / "policy.toml"
    policy.write_text(policy.read_text() + RULE)
    host = (machine.root / "etc" / "ssh" / "ssh_host_ed25519_key.pub").read_text().split()
    known = machine.root / "etc" / "bastion" / "known_hosts"
    known.write_text(known.read_text() + f"127.0.0.1 {host[0]} {host[1]}\n")

    machine.run("systemctl", "enable", "--now", "bastion")
    assert active(machine) == "active"
    first = main_pid(machine)
    status = (machine.root / "proc").exists() and machine.run("cat", f"/proc/{first}/status").stdout
    assert status and "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status
    assert "CapEff:\t0000000000000000" in status and "CapBnd:\t0000000000000000" in status
    client = session(machine)
    try:
        echo(client, b"before")

        # An upgrade: the session lives on, systemd knows the new process.
        machine.run("dpkg", "-i", "/root/new.deb")
        assert os.readlink(machine.root / "opt" / "bastion" / "current") == NEW
        poll(lambda: main_pid(machine) != first, 60, "systemd does not know of the new process")
        second = main_pid(machine)
        assert f"/opt/bastion/{NEW}/" in machine.run("cat", f"/proc/{second}/cmdline").stdout
        poll(lambda: active(machine) == "active", 30, "it is not active")
        echo(client, b"between")
        newcomer = session(machine)
        echo(newcomer, b"new")

        # And back, by the link.
        machine.run("ln", "-sfn", old, "/opt/bastion/current")
        machine.run("systemctl", "reload", "bastion")
        poll(lambda: main_pid(machine) not in (first, second), 60, "there is no way back")
        poll(lambda: active(machine) == "active", 30, "it is not active")
        echo(client, b"after")
        for one in (client, newcomer):
            out, _ = one.communicate(timeout=30)
            assert one.returncode == 0, out
        poll(
            lambda: not machine.run("pgrep", "-f", f"/opt/bastion/{NEW}/", check=False).stdout,
            60,
            "an elder stays",
        )
    finally:
        client.kill()

    # Removed: nothing of the program is left, and everything that is evidence.
    machine.run("dpkg", "-r", "bastion")
    assert active(machine) in ("inactive", "failed", "unknown")
    assert not (machine.root / "opt" / "bastion").exists()
    machine.run("dpkg", "-P", "bastion")
    assert not (machine.root / "usr" / "bin" / "bastion").is_symlink()
    assert list((machine.root / "var" / "lib" / "bastion" / "recordings").rglob("*")) != []
    assert (machine.root / "var" / "log" / "bastion" / "audit.jsonl").exists()
