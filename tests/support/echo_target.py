"""A target that echoes, in one process however many sessions it has: sshd would be two processes for each.

`python -m tests.support.echo_target HOST_KEY USER_CA` prints its port. It believes certificates of USER_CA, and
runs until its standard input ends.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import asyncssh


class Echoing(asyncssh.SSHServerSession[bytes]):
    """Sends back what it gets."""

    _channel: Any

    def connection_made(self, chan: Any) -> None:
        self._channel = chan

    def pty_requested(self, *_: object) -> bool:
        return True

    def shell_requested(self) -> bool:
        return True

    def exec_requested(self, command: str) -> bool:
        return True

    def data_received(self, data: bytes, datatype: object) -> None:
        self._channel.write(data)


class Server(asyncssh.SSHServer):
    def session_requested(self) -> Any:
        return Echoing()


async def main(host_key: str, user_ca: str) -> None:
    with open(user_ca) as file:
        trusted = asyncssh.import_authorized_keys("cert-authority " + file.read())
    listening = await asyncssh.create_server(
        Server,
        "127.0.0.1",
        0,
        server_host_keys=[host_key],
        authorized_client_keys=trusted,
        encoding=None,
        line_editor=False,
        login_timeout=120,
        backlog=4096,
    )
    print(listening.get_port(), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    listening.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
