"""OpenSSH's ssh: fifty sessions over one ControlMaster, -N -L, -R allowed and refused, -D with curl through it.

Terminals, commands, streams and endings are in `sessions/`.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.doors import STRICT, Door, missing
from tests.support.jump import listens
from tests.support.net import LOOPBACK, free_port
from tests.support.trees import file_sum, make_file
from tests.support.web import Web
from tests.support.world import poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(missing("curl")), reason=missing("curl") or "there"),
]

MASTERED = 50
SIZE = (2 << 20) + 5


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """What only the target can reach, as far as the engineer knows."""
    folder = tmp_path / "web"
    make_file(folder / "file", SIZE)
    with Web(folder) as server:
        yield server


def fetch(tmp_path: Path, number: int, url: str, *options: str) -> str:
    """SHA-256 of what curl brings."""
    out = tmp_path / f"fetched-{number}"
    subprocess.run(
        ["curl", "-fsS", "--max-time", "30", *options, "-o", str(out), url], check=True, timeout=60
    )
    return file_sum(out)


def test_fifty_sessions_over_one_master(door: Door) -> None:
    watch = door.watch()
    with door.master() as shared, ThreadPoolExecutor(MASTERED) as pool:
        done = [
            pool.submit(
                door.ssh, f"echo {number}; cat; exit {number}", options=shared, stdin=b"in %d" % number
            )
            for number in range(MASTERED)
        ]
        seen = [one.result() for one in done]
    assert [one.returncode for one in seen] == [*range(MASTERED)]
    assert [one.stdout for one in seen] == [b"%d\nin %d" % (n, n) for n in range(MASTERED)]
    recorded = watch.session()
    assert sorted(recorded.streams().values()) == sorted(one.stdout for one in seen)


def test_a_local_forward(door: Door, web: Web, tmp_path: Path) -> None:
    port = free_port()
    watch = door.watch()
    forward = ["-L", f"{LOOPBACK}:{port}:localhost:{web.port}"]
    with door.running(*forward, ready=lambda: listens(port)), ThreadPoolExecutor(8) as pool:
        sums = [*pool.map(lambda n: fetch(tmp_path, n, web.url("file", LOOPBACK, port)), range(8))]
    assert sums == [file_sum(tmp_path / "web" / "file")] * 8
    recorded = watch.session()
    assert [channel.kind for channel in recorded.channels().values()] == ["direct-tcpip"] * 8
    whole = (tmp_path / "web" / "file").read_bytes()
    assert all(out.endswith(whole) for out in recorded.streams().values())
    assert recorded.audit("session_opaque")


def test_a_local_forward_that_no_rule_allows(door: Door, web: Web) -> None:
    """The channel is refused, the connection lives on, the audit line names who decided."""
    port = free_port()
    forward = ["-o", "LogLevel=INFO", "-L", f"{LOOPBACK}:{port}:localhost:{web.port}"]
    with door.running(*forward, host=STRICT, ready=lambda: listens(port)) as ssh:
        for _ in range(3):
            done = subprocess.run(
                ["curl", "-sS", web.url("file", LOOPBACK, port)], capture_output=True, timeout=30
            )
            assert done.returncode != 0 and done.stdout == b""
        poll(lambda: ssh.err.count(b"administratively prohibited") == 3)
        assert ssh.running
    refused = [line for line in door.world.audit("refused") if line.get("kind") == "direct-tcpip"][-3:]
    assert [line["reason"] for line in refused] == ["verb_not_allowed"] * 3
    assert {(line["port"], line["rule"]) for line in refused} == {(web.port, "builtin:default-refuse")}


def test_a_remote_forward(door: Door, web: Web, tmp_path: Path) -> None:
    """A port on the target's loopback that leads back to the engineer's side.

    It listens before its number is told, by IPv4, IPv6 or both: sshd takes what of `localhost` is free.
    """
    watch = door.watch()
    command = door.command("ssh", "-R", f"0:{LOOPBACK}:{web.port}", "-o", "LogLevel=INFO", door.host, "cat")
    ssh = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=door.environment(),
    )
    with ssh:
        assert ssh.stderr is not None and ssh.stdin is not None
        found = re.search(rb"Allocated port (\d+) for remote forward", ssh.stderr.readline())
        assert found
        port = int(found[1])
        for number in range(3):
            assert fetch(tmp_path, number, web.url("file", "localhost", port)) == file_sum(
                tmp_path / "web" / "file"
            )
        ssh.stdin.close()
    assert ssh.returncode == 0
    channels = watch.session().channels().values()
    assert sorted(channel.kind for channel in channels) == ["forwarded-tcpip"] * 3 + ["session"]


def test_a_remote_forward_that_no_rule_allows(door: Door) -> None:
    command = door.command("ssh", "-R", "0:localhost:80", "-o", "ExitOnForwardFailure=yes", STRICT, "echo in")
    done = door.run(command)
    assert done.returncode == 255 and b"remote port forwarding failed" in done.stderr and done.stdout == b""
    refused = door.world.audit("refused")[-1]
    assert (refused["name"], refused["reason"]) == ("tcpip-forward", "verb_not_allowed")
    # Without that option ssh only warns, and the rest works.
    done = door.run(door.command("ssh", "-R", "0:localhost:80", STRICT, "echo in"))
    assert (done.returncode, done.stdout) == (0, b"in\n")


def test_a_remote_forward_beyond_the_targets_loopback(door: Door) -> None:
    done = door.ssh("echo in", options=["-R", "*:0:localhost:80", "-o", "ExitOnForwardFailure=yes"])
    assert done.returncode == 255
    refused = door.world.audit("refused")[-1]
    assert (refused["name"], refused["reason"]) == ("tcpip-forward", "destination_not_allowed")


def test_a_dynamic_forward_with_curl_through_it(door: Door, web: Web, tmp_path: Path) -> None:
    port = free_port()
    watch = door.watch()
    with door.running("-D", f"{LOOPBACK}:{port}", ready=lambda: listens(port)):
        proxy = ["--noproxy", "", "--proxy", f"socks5h://{LOOPBACK}:{port}"]
        for number in range(4):
            assert fetch(tmp_path, number, web.url("file"), *proxy) == file_sum(tmp_path / "web" / "file")
        beyond = subprocess.run(["curl", "-sS", *proxy, "http://192.0.2.1/"], capture_output=True, timeout=30)
        assert beyond.returncode != 0
    recorded = watch.session()
    assert [channel.kind for channel in recorded.channels().values()] == ["direct-tcpip"] * 4
    assert [line["host"] for line in recorded.audit("refused")] == ["192.0.2.1"]
