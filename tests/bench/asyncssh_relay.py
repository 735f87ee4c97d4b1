"""A relay as one would write it with asyncssh: end the client's SSH, open one's own, redirect the streams.

Two glued SSH stacks, no recording and no policy: what the library costs when it is used as its manual shows.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import asyncssh

_UPSTREAM: dict[str, Any] = {}
READ_SIZE = 256 * 1024


async def relay(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """One client session: log in to the target, run the same there, join the streams both ways."""
    async with asyncssh.connect("127.0.0.1", **_UPSTREAM) as target:
        size = process.get_terminal_size() if process.get_terminal_type() else None
        remote: asyncssh.SSHClientProcess[bytes] = await target.create_process(
            process.command,
            term_type=process.get_terminal_type(),
            term_size=size or (),
            encoding=None,
            stdin=process.stdin,
            stdout=process.stdout,
            stderr=process.stderr,
            bufsize=READ_SIZE,
        )
        done = await remote.wait()
    process.exit(done.exit_status or 0)


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
        server_host_keys=[host_key],
        authorized_client_keys=key + ".pub",
        process_factory=relay,
        encoding=None,
        line_editor=False,
    )
    print(server.get_port(), flush=True)
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
