"""Many idle sessions in one process: a number on standard input is how many there are to be, 0 ends it.

Each is a connection of its own with a pty and a `cat` in it. What the clients cost is not measured.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import asyncssh

AT_ONCE = 6


async def open_one(where: dict[str, Any], gate: asyncio.Semaphore) -> list[Any]:
    """One session; everything that must stay referenced."""
    common: dict[str, Any] = {"client_keys": [where["key"]], "known_hosts": None, "config": None}
    common |= {"agent_path": None, "username": where["user"], "login_timeout": 120, "connect_timeout": 120}
    async with gate:
        tunnel = None
        if where["jump"]:
            tunnel = await asyncssh.connect(
                "127.0.0.1", where["jump"], **{**common, "username": where["jump_user"]}
            )
        client = await asyncssh.connect("127.0.0.1", where["port"], tunnel=tunnel or (), **common)
        process = await client.create_process("exec cat", term_type="xterm", encoding=None)
        process.stdin.write(b"x\n")
        await process.stdout.read(1)
        return [tunnel, client, process]


async def main(where: dict[str, Any]) -> None:
    loop, gate = asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE)
    held: list[list[Any]] = []
    while True:
        line = await loop.run_in_executor(None, sys.stdin.readline)
        wanted = int(line or 0)
        if wanted == 0:
            break
        held += await asyncio.gather(*(open_one(where, gate) for _ in range(wanted - len(held))))
        print(len(held), flush=True)
    for _, client, _ in held:
        client.abort()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
