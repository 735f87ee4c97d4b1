"""A relay as one would write it with asyncssh: end the client's SSH, open one's own, pass the data on.

Two glued SSH stacks with the library's low-level sessions (its stream redirection costs more than twice as
much), no recording and no policy.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import asyncssh

WINDOW = 2 * 1024 * 1024  # what OpenSSH announces
_UPSTREAM: dict[str, Any] = {}


class TargetSession(asyncssh.SSHClientSession[bytes]):
    """The target's end: what comes from it goes to the engineer's channel."""

    def __init__(self, near: EngineerSession) -> None:
        self.near = near
        self.channel: Any = None
        self.status = 255

    def connection_made(self, chan: Any) -> None:
        self.channel = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self.near.channel.write(data, datatype)

    def exit_status_received(self, status: int) -> None:
        self.status = status  # data that waits for a slow reader comes after it

    def eof_received(self) -> bool:
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.near.channel.exit(self.status)

    def pause_writing(self) -> None:
        self.near.channel.pause_reading()

    def resume_writing(self) -> None:
        self.near.channel.resume_reading()


class EngineerSession(asyncssh.SSHServerSession[bytes]):
    """The engineer's end: opens its own connection to the target when it is asked for a program."""

    def __init__(self) -> None:
        self.channel: Any = None
        self.far: Any = None
        self.early: list[bytes] = []
        self.ended = False
        self.connection: asyncssh.SSHClientConnection | None = None
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, chan: Any) -> None:
        self.channel = chan

    def pty_requested(self, *_: Any) -> bool:
        return True

    def shell_requested(self) -> bool:
        return True

    def exec_requested(self, command: str) -> bool:
        return True

    def session_started(self) -> None:
        self.task = asyncio.create_task(self.dial())

    async def dial(self) -> None:
        self.connection = await asyncssh.connect("127.0.0.1", **_UPSTREAM)
        channel = self.channel
        size = channel.get_terminal_size() if channel.get_terminal_type() else ()
        self.far, _ = await self.connection.create_session(
            lambda: TargetSession(self),
            channel.get_command(),
            term_type=channel.get_terminal_type(),
            term_size=size,
            encoding=None,
            window=WINDOW,
        )
        for data in self.early:
            self.far.write(data)
        if self.ended:
            self.far.write_eof()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if self.far is None:
            self.early.append(data)  # at most a window
        else:
            self.far.write(data, datatype)

    def eof_received(self) -> bool:
        self.ended = True
        if self.far is not None:
            self.far.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self.connection is not None:
            self.connection.close()

    def pause_writing(self) -> None:
        if self.far is not None:
            self.far.pause_reading()

    def resume_writing(self) -> None:
        if self.far is not None:
            self.far.resume_reading()


class Server(asyncssh.SSHServer):
    """One engineer's connection."""

    def __init__(self) -> None:
        self.connection: Any = None

    def connection_made(self, conn: Any) -> None:
        self.connection = conn

    def session_requested(self) -> Any:
        channel = self.connection.create_server_channel(encoding=None, window=WINDOW)
        return channel, EngineerSession()


async def main(port: int, key: str, host_key: str) -> None:
    _UPSTREAM.update(
        port=port,
        username="root",
        client_keys=[key],
        known_hosts=None,
        encryption_algs=["aes256-gcm@openssh.com"],
        config=None,
        agent_path=None,
    )
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Server,
        server_host_keys=[host_key],
        authorized_client_keys=key + ".pub",
        encoding=None,
        line_editor=False,
    )
    print(server.get_port(), flush=True)
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
