"""What VS Code Remote does, by hand: a bootstrap script on standard input, a server on the target's loopback,
a SOCKS port of the same ssh to reach it, and many more commands beside."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.doors import Door, missing
from tests.support.net import LOOPBACK, free_port
from tests.support.trees import file_sum, make_file

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(missing("curl")), reason=missing("curl") or "there"),
]

# The server prints its port itself, as the real one does; the script goes on reading, so that it ends with ssh.
BOOTSTRAP = """
set -e
mkdir -p {folder}/.vscode-server
cd {folder}
uname -sm
{python} -u -c '
import http.server, socketserver
class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_): pass
with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Quiet) as server:
    print("listeningOn==%d==" % server.server_address[1])
    server.serve_forever()
' &
echo "pid==$!=="
echo "uuid: end"
"""


def test_remote_development(door: Door, tmp_path: Path) -> None:
    file = make_file(tmp_path / "file", (2 << 20) + 1)
    port = free_port()
    watch = door.watch()
    command = door.command(
        "ssh", "-T", "-D", f"{LOOPBACK}:{port}", "-o", "ConnectTimeout=15", door.host, "sh"
    )
    with Client(command, door.environment()) as client:
        script = BOOTSTRAP.format(folder=tmp_path, python=sys.executable)
        client.send(script.encode())
        client.expect(b"uuid: end\n")
        client.expect(b"listeningOn==")
        client.expect(b"==\n", after=client.out.index(b"listeningOn==") + 13)
        server = re.search(rb"listeningOn==(\d+)==", client.out)
        process = re.search(rb"pid==(\d+)==", client.out)
        assert server and process and b"Linux" in client.out
        proxy = ["--noproxy", "", "--proxy", f"socks5h://{LOOPBACK}:{port}"]

        def fetch(number: int) -> str:
            out = tmp_path / f"out-{number}"
            host = (LOOPBACK, "localhost")[number % 2]
            url = f"http://{host}:{int(server[1])}/file"  # type: ignore[index]
            subprocess.run(["curl", "-fsS", "--max-time", "30", *proxy, "-o", str(out), url], check=True)
            return file_sum(out)

        with ThreadPoolExecutor(10) as pool:
            sums = pool.map(fetch, range(20))
            beside = [*pool.map(lambda number: door.ssh(f"echo {number}; exit {number}"), range(10))]
            assert [*sums] == [file_sum(file)] * 20
        assert [(one.returncode, one.stdout) for one in beside] == [(n, b"%d\n" % n) for n in range(10)]
        client.send(b"kill %s\n" % process[1])
        client.end_input()
        assert client.wait() == 0
        shown, typed = client.out, script.encode() + b"kill %s\n" % process[1]
    sessions = watch.sessions(11)
    (main,) = [one for one in sessions if len(one.channels()) > 1]
    assert [channel.kind for channel in main.channels().values()] == ["session"] + ["direct-tcpip"] * 20
    assert main.exported("stdout", 1) == shown and main.exported("stdin", 1) == typed
    assert all(out.endswith(file.read_bytes()) for number, out in main.streams().items() if number > 1)
    # Nobody can replay what went through the forward, and the session says so.
    assert main.audit("session_opaque") and not any(
        one.audit("session_opaque") for one in sessions if one is not main
    )
