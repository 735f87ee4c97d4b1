"""dropbear's dbclient: commands, a terminal, a forward; through its own multi-hop syntax."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import pexpect
import pytest

from tests.support.client import Client
from tests.support.doors import Door, JumpDoor, missing
from tests.support.jump import listens
from tests.support.net import LOOPBACK, free_port
from tests.support.patterns import pattern
from tests.support.trees import file_sum, make_file
from tests.support.web import Web
from tests.support.world import poll

NEEDED = missing("dbclient", "dropbearconvert", "curl")
pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(NEEDED), reason=NEEDED or "there")]


def dbclient(door: Door, *options: str) -> list[str]:
    """The client up to its command. -y -y: it knows no known_hosts but the one of its user's home folder."""
    key = door.world.folder / "alice.dropbear"
    if not key.exists():
        made = ["dropbearconvert", "openssh", "dropbear", str(door.key), str(key)]
        subprocess.run(made, check=True, capture_output=True, timeout=60)
    place = f"{door.user}@{door.address}/{door.port}"
    if isinstance(door, JumpDoor):
        place = f"alice@{LOOPBACK}/{door.world.port},{place}"
    # It starts itself again for each hop, by the name that it was started by, and looks that up nowhere.
    program = shutil.which("dbclient") or "dbclient"
    return [program, "-y", "-y", "-i", str(key), *options, place]


def test_commands(door: Door) -> None:
    watch = door.watch()
    done = door.run([*dbclient(door, "-T"), "cat; echo err >&2; exit 7"], stdin=pattern(4 << 20))
    assert (done.returncode, done.stdout) == (7, pattern(4 << 20))
    assert done.stderr.endswith(b"err\n")
    recorded = watch.session()
    assert recorded.exported("stdout") == recorded.exported("stdin") == done.stdout
    assert recorded.exported("stderr") == b"err\n"


def test_a_terminal(door: Door) -> None:
    watch = door.watch()
    program, *rest = [*dbclient(door, "-t"), "stty size; exit 3"]
    shown = io.BytesIO()
    terminal = pexpect.spawn(program, rest, env=door.environment(), timeout=20, dimensions=(21, 67))
    terminal.logfile_read = shown
    terminal.expect_exact("21 67\r\n")
    terminal.expect(pexpect.EOF)
    terminal.wait()
    terminal.close()
    assert terminal.exitstatus == 3
    assert watch.session().exported() == b"21 67\r\n" and shown.getvalue().endswith(b"21 67\r\n")


def test_a_command_killed_by_a_signal(door: Door) -> None:
    watch = door.watch()
    door.run([*dbclient(door, "-T"), "echo alive; kill -TERM $$"])
    recorded = watch.session()
    assert recorded.exported() == b"alive\n"
    assert [event["signal"] for event in recorded.events("exit_signal")] == ["TERM"]


def test_a_local_forward(door: Door, tmp_path: Path) -> None:
    file = make_file(tmp_path / "web" / "file", 1 << 20)
    port = free_port()
    watch = door.watch()
    with Web(tmp_path / "web") as web:
        command = dbclient(door, "-N", "-L", f"{LOOPBACK}:{port}:localhost:{web.port}")
        with Client(command, door.environment()):
            poll(lambda: listens(port))
            fetch = [
                "curl",
                "-fsS",
                "--max-time",
                "30",
                "-o",
                str(tmp_path / "out"),
                web.url("file", LOOPBACK, port),
            ]
            subprocess.run(fetch, check=True)
    assert file_sum(tmp_path / "out") == file_sum(file)
    assert [channel.kind for channel in watch.session().channels().values()] == ["direct-tcpip"]
