"""Every known way round a recorder, against the widest policy that can be written: each is refused or recorded.

The engineer may do everything, everywhere; what is refused is refused by what no rule can give away. SSH that is
tunnelled to a target becomes a session of its own, SSH to anywhere else is cut off before its banner has passed.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Client
from tests.support.doors import DOORS, Door, missing, opened_doors
from tests.support.jump import JumpWorld, listens
from tests.support.net import LOOPBACK, free_port
from tests.support.recorded import Watch
from tests.support.sshd import Sshd, sshd_missing
from tests.support.talkers import Echo, socks, talk
from tests.support.world import poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]
ANYWHERE = '["*:1-65535", "0.0.0.0/0:1-65535", "[::/0]:1-65535"]'
WIDEST = f"""
[[rule]]
name = "widest"
groups = ["*"]
targets = ["*"]
logins = ["root"]
verbs = ["shell", "pty", "exec", "sftp", "subsystem", "env", "forward-local", "forward", "forward-remote",
         "streamlocal", "agent", "x11"]
env = ["*"]
subsystems = ["*"]
forward = {ANYWHERE}
trust_forwards = true
[[rule]]
name = "widest-tunnels"
groups = ["*"]
verbs = ["tunnel"]
tunnel = ["127.0.0.1:1-65535", "*:1-65535", "0.0.0.0/0:1-65535", "[::/0]:1-65535"]
tunnel_by_address = true
"""
BANNER = b"SSH-2.0-"


class BypassWorld(JumpWorld):
    """web1 and web2 in the inventory, and beside them an SSH server that is not."""

    def __init__(self) -> None:
        super().__init__(
            policy=WIDEST, sshd_options=("AcceptEnv *", "PermitUserRC no"), recording="input = true"
        )
        self.second = self.add_sshd("web2")
        self.hidden = Sshd(self.folder / "hidden", user_ca=self.keys / "upstream_ca.pub").start()
        self.hidden.authorize(self.keys / "alice.pub")

    def close(self) -> None:
        super().close()
        self.hidden.stop()


@pytest.fixture(scope="module")
def world() -> Iterator[BypassWorld]:
    made = BypassWorld()
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def doors(world: BypassWorld) -> dict[str, Door]:
    return opened_doors(world)


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest, doors: dict[str, Door]) -> Door:
    found: Door = doors[request.param]
    return found


@contextmanager
def forwarding(door: Door, option: str, value: str) -> Iterator[tuple[int, Client]]:
    """`ssh -N -L` or `-D` in a session; the local port, whose number replaces PORT in `value`."""
    port = free_port()
    flags = ("-o", "ExitOnForwardFailure=yes", "-N", option, value.replace("PORT", str(port)))
    with door.client(options=flags) as client:
        poll(lambda: listens(port), text=f"ssh {option} does not listen")
        yield port, client


@contextmanager
def outer(world: BypassWorld, option: str, value: str) -> Iterator[int]:
    """The same on the outer connection."""
    port = free_port()
    flags = ("-o", "ExitOnForwardFailure=yes", "-N", option, value.replace("PORT", str(port)))
    with world.jumping(to="bastion", options=flags):
        poll(lambda: listens(port), text=f"ssh {option} does not listen")
        yield port


def banner_at(port: int) -> bytes:
    """What an SSH client gets from there."""
    with socket.create_connection((LOOPBACK, port), timeout=20) as connection, suppress(ConnectionError):
        connection.sendall(b"SSH-2.0-client\r\n")
        return connection.recv(8)
    return b""


def ssh_to(
    world: BypassWorld, port: int, *command: str, proxy: str = ""
) -> subprocess.CompletedProcess[bytes]:
    """A stock ssh to a port, as root, with alice's key, whatever host key it meets; through `proxy` to web2."""
    trusting = (
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "LogLevel=ERROR",
    )
    way = ("-o", f"ProxyCommand={proxy}", "root@web2") if proxy else (f"root@{LOOPBACK}",)
    arguments = ["ssh", *trusting, *world.ssh_options("alice"), "-p", str(port), *way, *command]
    return subprocess.run(arguments, capture_output=True, timeout=60, env=world.environment())


def nested(world: BypassWorld, seen: int) -> dict[str, Any]:
    """The audit line of what was refused since because it is SSH."""
    lines = poll(
        lambda: [one for one in world.audit("refused")[seen:] if one["reason"] == "nested_ssh"],
        text="nothing was refused",
    )
    found: dict[str, Any] = lines[0]
    return found


# -- forwards in a session to the SSH server of a target ---------------------------------------------------


@pytest.mark.parametrize("place", ["127.0.0.1:{web2}", "web2:{web2}", "WEB2.:{web2}", "0x7f.1:{web2}",
                                   "[::ffff:127.0.0.1]:{web2}", "localhost:{web1}", "127.0.0.1:22"])  # fmt: skip
def test_a_forward_to_a_targets_ssh_port(world: BypassWorld, door: Door, place: str) -> None:
    seen = len(world.audit("refused"))
    where = place.format(web1=world.sshd.port, web2=world.second.port)
    with forwarding(door, "-L", f"{LOOPBACK}:PORT:{where}") as (port, _):
        assert not banner_at(port).startswith(BANNER)
        line = nested(world, seen)
    assert (line["what"], line["kind"], line["rule"]) == ("channel", "direct-tcpip", "builtin:nested-ssh")


def test_a_socks_proxy_to_port_22_of_a_target(world: BypassWorld, door: Door) -> None:
    seen = len(world.audit("refused"))
    with forwarding(door, "-D", f"{LOOPBACK}:PORT") as (port, _):
        with socks(port, "web2", world.second.port) as connection, suppress(ConnectionError):
            assert connection.recv(10)[1:2] != b"\0"
        assert nested(world, seen)["what"] == "channel"


def test_a_jump_over_a_target_to_the_next(world: BypassWorld, door: Door) -> None:
    """`ssh -J bastion,web1 web2`: the way from web1 to web2 would be nobody's session."""
    seen = len(world.audit("refused"))
    done = door.ssh(options=("-o", "LogLevel=INFO", "-W", f"web2:{world.second.port}"))
    assert done.returncode != 0 and BANNER not in done.stdout
    assert b"reach it through the gateway" in done.stderr
    assert nested(world, seen)["kind"] == "direct-tcpip"


# -- forwards in a session to an SSH server that nobody knows ----------------------------------------------


def test_a_forward_to_an_ssh_server_that_no_inventory_knows(world: BypassWorld, door: Door) -> None:
    seen = len(world.audit("refused"))
    with forwarding(door, "-L", f"{LOOPBACK}:PORT:{LOOPBACK}:{world.hidden.port}") as (port, _):
        assert banner_at(port) == b""
        line = nested(world, seen)
    assert (line["what"], line["kind"]) == ("stream", "direct-tcpip")


def test_the_session_lives_on_after_a_cut(world: BypassWorld, door: Door) -> None:
    watch, port = door.watch(), free_port()
    forward = f"{LOOPBACK}:{port}:{LOOPBACK}:{world.hidden.port}"
    with door.client("cat", options=("-o", "ExitOnForwardFailure=yes", "-L", forward)) as client:
        client.echo(b"before")
        for _ in range(3):
            assert banner_at(port) == b""
        client.echo(b"after")
        client.end_input()
        assert client.wait() == 0
    assert watch.session().exported("stdout", 1) == b"before\nafter\n"


def test_ssh_that_comes_back_over_a_remote_forward(world: BypassWorld, door: Door) -> None:
    """`-R`: a port on the target that leads to the engineer's own sshd, used from inside the session."""
    seen, remote = len(world.audit("refused")), free_port()
    back = f"localhost:{remote}:{LOOPBACK}:{world.hidden.port}"
    probe = f"exec 3<>/dev/tcp/127.0.0.1/{remote}; head -c 8 <&3"
    watch = door.watch()
    done = door.ssh(f"bash -c '{probe}'", options=("-o", "ExitOnForwardFailure=yes", "-R", back))
    assert BANNER not in done.stdout
    line = nested(world, seen)
    assert (line["what"], line["kind"]) == ("stream", "forwarded-tcpip")
    recorded = watch.session()
    assert recorded.events("stream_refused") and recorded.totals["opaque"] == 1


def test_ssh_through_a_unix_socket(world: BypassWorld, door: Door) -> None:
    seen, path = len(world.audit("refused")), world.folder / f"echo-{door.name}"
    with Echo(BANNER + b"hidden\r\n", path), forwarding(door, "-L", f"{LOOPBACK}:PORT:{path}") as (port, _):
        assert banner_at(port) == b""
        assert nested(world, seen)["kind"] == "streamlocal"


def test_what_is_forwarded_and_is_no_ssh_marks_the_session(world: BypassWorld, door: Door) -> None:
    watch = door.watch()
    with Echo() as echo, forwarding(door, "-L", f"{LOOPBACK}:PORT:{LOOPBACK}:{echo.port}") as (port, _):
        assert talk(port, b"x" * 100_000) == b"x" * 100_000
    recorded = watch.session()
    assert recorded.totals["opaque"] == 1
    assert [note["channel"] for note in recorded.events("session_opaque")] == [1]
    line = recorded.audit("channel_closed")[-1]
    assert (line["bytes_in"], line["bytes_out"]) == (100_000, 100_000)
    assert recorded.audit("session_ended")[0]["opaque"] == 1


# -- the outer connection ----------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["web1:{web1}", "127.0.0.1:{web1}", "0x7f000001:{web1}", "WEB1.:{web1}"])
def test_a_tunnel_to_a_targets_ssh_port_is_a_session(world: BypassWorld, place: str) -> None:
    watch = Watch(world)
    with outer(world, "-L", f"{LOOPBACK}:PORT:{place.format(web1=world.sshd.port)}") as port:
        done = ssh_to(world, port, "echo seen by the recorder")
    assert done.stdout == b"seen by the recorder\n", done.stderr
    recorded = watch.session()
    assert recorded.exported() == b"seen by the recorder\n"
    assert world.audit("session_started")[-1]["door"] == "jump"


def test_a_socks_proxy_on_the_outer_connection_to_port_22_is_a_session(world: BypassWorld) -> None:
    watch = Watch(world)
    with outer(world, "-D", f"{LOOPBACK}:PORT") as port:
        proxy = f"{sys.executable} -m tests.support.socks_client {port} %h %p"
        done = ssh_to(world, world.second.port, "echo over socks", proxy=proxy)
    assert done.stdout == b"over socks\n", done.stderr
    assert watch.session().exported() == b"over socks\n"


def test_a_tunnel_to_an_ssh_server_that_no_inventory_knows(world: BypassWorld) -> None:
    seen = len(world.audit("tunnel_closed"))
    with outer(world, "-L", f"{LOOPBACK}:PORT:{LOOPBACK}:{world.hidden.port}") as port:
        assert banner_at(port) == b""
        assert ssh_to(world, port, "true").returncode == 255
        lines = world.new_audit("tunnel_closed", seen)
    assert {line["reason"] for line in lines} == {"nested_ssh"}
    assert "Accepted" not in world.hidden.log_text()


def test_a_tunnel_to_the_gateway_itself(world: BypassWorld) -> None:
    """Round and round: its own SSH port and its metrics page are refused, also by name."""
    for host in (LOOPBACK, "localhost", "127.0.0.2", "::ffff:127.0.0.1"):
        for port in (world.port, world.metrics_port):
            done = world.jump(
                to="bastion", options=("-W", f"[{host}]:{port}"), stdin=b"GET / HTTP/1.0\r\n\r\n"
            )
            assert done.returncode != 0 and done.stdout == b"", (host, port, done)


def test_the_gateway_runs_nothing_itself(world: BypassWorld) -> None:
    for command in ("bash", "bash -c id", "scp -t /tmp/x; bash", "cat /etc/passwd"):
        done = world.jump(command, to="bastion", options=(), stdin=b"id\n")
        assert b"uid=" not in done.stdout and b"root:" not in done.stdout and done.returncode != 0
    assert world.jump("sftp", to="bastion", options=("-s",)).returncode != 0


# -- inside a session: whatever is run is recorded ---------------------------------------------------------

SECRET = "the-recorder-must-see-this"
RUN = {
    "exec": ("echo {secret}", b""),
    "scp-then-bash": ("scp -t /tmp; bash -c 'echo {secret}'", b""),
    "bash-without-a-terminal": ("bash", b"echo {secret}\nexit\n"),
    "bash-that-reads-no-file": ("bash --norc --noprofile -s", b"echo {secret}\n"),
    "exec-replacing-the-shell": ("exec -a sftp-server sh -c 'echo {secret}'", b""),
    "sh-in-the-background": ("(sleep 0.2; echo {secret}) & wait", b""),
    "stderr-only": ("echo {secret} >&2", b""),
    "named-like-a-transfer": ("rsync --server --version | true; git-upload-pack /none; echo {secret}", b""),
}


@pytest.mark.parametrize("name", RUN)
def test_whatever_is_run_is_recorded(world: BypassWorld, door: Door, name: str) -> None:
    command, stdin = RUN[name]
    watch = door.watch()
    done = door.ssh(command.format(secret=SECRET), stdin=stdin.replace(b"{secret}", SECRET.encode()))
    assert SECRET.encode() in done.stdout + done.stderr
    recorded = watch.session()
    assert recorded.exported() == done.stdout and recorded.exported("stderr") in done.stderr
    assert recorded.programs() == [f"exec {command.format(secret=SECRET)}"]


def test_a_shell_on_a_terminal_is_recorded(world: BypassWorld, door: Door) -> None:
    watch = door.watch()
    with door.client(options=("-tt",)) as client:
        client.send(f"stty -echo; echo {SECRET[:5]}''{SECRET[5:]}; exit\n".encode())
        client.expect(SECRET.encode())
        client.wait()
    assert watch.session().exported() == client.out


def test_an_ssh_from_inside_the_session_is_part_of_it(world: BypassWorld, door: Door) -> None:
    """What the target connects to on its own is beyond the gateway; what the engineer sees of it is not."""
    key = world.keys / "alice"
    hop = f"ssh -F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -i {key} -p {world.hidden.port}"
    watch = door.watch()
    done = door.ssh(f"{hop} root@{LOOPBACK} echo {SECRET}")
    assert done.stdout == SECRET.encode() + b"\n", done.stderr
    assert watch.session().exported() == done.stdout


def test_a_second_session_on_a_shared_connection_is_recorded(world: BypassWorld, door: Door) -> None:
    watch = door.watch()
    with door.master() as shared:
        door.ssh("echo first", options=shared)
        door.ssh(f"echo {SECRET}", options=shared)
    assert list(watch.session().streams().values()) == [b"first\n", SECRET.encode() + b"\n"]


@pytest.mark.skipif(bool(missing("tmux")), reason=missing("tmux") or "available")
def test_what_tmux_keeps_running_is_recorded_when_it_is_looked_at(world: BypassWorld, door: Door) -> None:
    socket_path = world.folder / f"tmux-{door.name}"
    tmux = f"tmux -S {socket_path} -f /dev/null"
    try:
        door.ssh(f"{tmux} new-session -d 'echo {SECRET}; cat'", options=("-tt",))
        watch = door.watch()
        with door.client(f"TERM=xterm {tmux} attach", options=("-tt",)) as client:
            client.expect(SECRET.encode())
            door.ssh(f"{tmux} kill-server")
            client.wait()
        attached = next(one for one in watch.sessions(2) if "attach" in one.programs()[0])
        assert SECRET.encode() in attached.exported()
    finally:
        subprocess.run(["tmux", "-S", str(socket_path), "kill-server"], capture_output=True, timeout=20)


@pytest.mark.skipif(bool(missing("rsync")), reason=missing("rsync") or "available")
def test_rsync_is_recorded_as_what_it_is(world: BypassWorld, door: Door, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(SECRET)
    watch = door.watch()
    done = door.run(["rsync", "-e", door.rsh, str(tmp_path / "file"), f"{door.host}:{tmp_path}/copy"])
    assert done.returncode == 0, done.stderr
    recorded = watch.session()
    assert recorded.programs()[0].startswith("exec rsync --server")
    assert SECRET.encode() in recorded.exported("stdin", 1)


def test_sftp_is_recorded_file_by_file(world: BypassWorld, door: Door, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(SECRET)
    watch = door.watch()
    batch = f"put {tmp_path}/file {tmp_path}/copy\n".encode()
    done = door.run(door.command("sftp", "-b", "-", door.host), batch)
    assert done.returncode == 0, done.stderr
    recorded = watch.session()
    assert recorded.programs() == ["subsystem sftp"]
    (file,) = recorded.events("sftp_file")
    assert file["path"] == f"{tmp_path}/copy" and file["bytes_written"] == len(SECRET)


@pytest.mark.parametrize("variable", ["LD_PRELOAD=/tmp/x.so", "BASH_ENV=/tmp/x", "PATH=/tmp"])
def test_a_variable_that_runs_code_before_the_shell_is_never_sent(
    world: BypassWorld, door: Door, variable: str
) -> None:
    seen = len(world.audit("refused"))
    done = door.ssh("env", options=("-o", f"SetEnv={variable}"))
    assert variable.encode() not in done.stdout.split(b"\n")
    line = world.new_audit("refused", seen)[-1]
    assert (line["name"], line["reason"], line["rule"]) == ("env", "env_not_allowed", "builtin:never-sent")
