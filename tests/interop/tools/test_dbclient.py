"""dropbear's dbclient: host keys, commands, a terminal, a forward; through its own multi-hop syntax and others."""

from __future__ import annotations

import io
import shlex
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
    place = f"{door.user}@{door.address}/{door.port}"
    if isinstance(door, JumpDoor):
        place = f"{gateway_of(door)},{place}"
    return [*program(door), "-y", "-y", *options, place]


def program(door: Door) -> list[str]:
    """The client with alice's key. It starts itself again for each hop, by the name that it was started by, and
    looks that up nowhere."""
    key = door.world.folder / "alice.dropbear"
    if not key.exists():
        made = ["dropbearconvert", "openssh", "dropbear", str(door.key), str(key)]
        subprocess.run(made, check=True, capture_output=True, timeout=60)
    return [shutil.which("dbclient") or "dbclient", "-i", str(key)]


def gateway_of(door: Door) -> str:
    return f"alice@{LOOPBACK}/{door.world.port}"


# -- host keys -------------------------------------------------------------------------------------------------

WAYS = {
    "direct": lambda door: [f"{door.user}@{door.address}/{door.port}"],
    "hops": lambda door: [f"{gateway_of(door)},{door.user}@{door.address}/{door.port}"],
    "-J dbclient -B": lambda door: [
        "-J",
        f"{shlex.join(program(door))} -B {door.address}:{door.port} {gateway_of(door)}",
        f"{door.user}@{door.address}/{door.port}",
    ],
    "-J ssh -W": lambda door: [
        "-J",
        shlex.join(door.proxy_command),
        f"{door.user}@{door.address}/{door.port}",
    ],
}


@pytest.fixture(params=WAYS)
def strictly(request: pytest.FixtureRequest, doors: dict[str, Door], tmp_path: Path) -> Strict:
    """dbclient with a home of its own, which trusts nothing that its known_hosts does not say."""
    door = doors["direct" if request.param == "direct" else "jump"]
    return Strict(door, [*program(door), *WAYS[request.param](door)], tmp_path)


class Strict:
    """Without -y it asks about a key that it does not know, and is told no. (At EOF it asks for ever.)"""

    def __init__(self, door: Door, command: list[str], home: Path) -> None:
        self.door = door
        self._command = command
        self._home = home
        self._known = home / ".ssh" / "known_hosts"
        self._known.parent.mkdir()

    def printed(self) -> str:
        """What `bastion client-config` prints for it, for a gateway that engineers reach at 127.0.0.1."""
        world, config = self.door.world, self.door.world.folder / "public.toml"
        public = f'[listen]\npublic = "{LOOPBACK}:{world.port}"'
        config.write_text(world.config.read_text().replace("[listen]", public))
        done = world.bastion("client-config", "--config", str(config), "--for", "dropbear")
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    def run(self, known: str) -> subprocess.CompletedProcess[bytes]:
        self._known.write_text(known)
        done = self.door.run([*self._command, "echo in"], b"n\n", environment={"HOME": str(self._home)})
        assert self._known.read_text() == known
        return done


def test_what_client_config_prints_is_enough_for_strict_checking(strictly: Strict) -> None:
    done = strictly.run(strictly.printed())
    assert (done.returncode, done.stdout) == (0, b"in\n"), done.stderr


def test_another_key_under_that_name_is_refused(strictly: Strict) -> None:
    """On the last hop: of the jump door that is the key that the gateway shows inside."""
    name, right = strictly.door.address, strictly.door.host_key
    other = " ".join((strictly.door.world.keys / "bob.pub").read_text().split()[:2])
    done = strictly.run(strictly.printed().replace(f"{name} {right}", f"{name} {other}"))
    assert done.returncode != 0 and done.stdout == b""
    assert f"host key mismatch for {name}".encode() in done.stderr


def test_a_key_that_is_not_known_is_refused(strictly: Strict) -> None:
    name, right = strictly.door.address, strictly.door.host_key
    done = strictly.run(strictly.printed().replace(f"{name} {right}\n", ""))
    assert done.returncode != 0 and done.stdout == b""
    assert f"Host '{name}' is not in the trusted hosts file".encode() in done.stderr


# -- what it does ----------------------------------------------------------------------------------------------


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
    started, *rest = [*dbclient(door, "-t"), "stty size; exit 3"]
    shown = io.BytesIO()
    terminal = pexpect.spawn(started, rest, env=door.environment(), timeout=20, dimensions=(21, 67))
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
