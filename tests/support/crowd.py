"""Many sessions in one process, some of which type: `python -m tests.support.crowd {"port": ..., ...}`.

On standard input: `open N` (how many sessions there are to be), `type N` (how many of them send a line once a second
from now on), `look` (what was seen since the last look). Each is answered by a line of JSON. A line that does not come
back whole, and in its turn, is counted as wrong; one that takes LATE seconds too.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import asyncssh

AT_ONCE = 16
LATE = 30.0


class One(asyncssh.SSHClientSession[bytes]):
    """A session that is idle, or types."""

    channel: Any

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._waiting: asyncio.Future[None] | None = None
        self._expected = b""

    def data_received(self, data: bytes, datatype: object) -> None:
        if not self._expected.startswith(data):
            self._crowd.wrong += 1
            return
        self._expected = self._expected[len(data) :]
        if not self._expected and self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.lost += 1

    async def say(self, line: bytes) -> float:
        """Seconds until the whole line has come back."""
        self._waiting = asyncio.get_running_loop().create_future()
        self._expected += line
        begun = time.perf_counter()
        self.channel.write(line)
        await asyncio.wait_for(self._waiting, LATE)
        return time.perf_counter() - begun

    async def type(self, place: float) -> None:
        """A line each second for ever, the first after `place` seconds."""
        due = asyncio.get_running_loop().time() + place
        number = 0
        while True:
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            due += 1.0
            number += 1
            try:
                self._crowd.took.append(await self.say(b"line %d\n" % number))
            except TimeoutError:
                self._crowd.wrong += 1


class Crowd:
    def __init__(self, where: dict[str, Any]) -> None:
        self._where = where
        self._gate = asyncio.Semaphore(AT_ONCE)
        self.held: list[tuple[Any, One]] = []
        self._typing: list[asyncio.Task[None]] = []
        self.took: list[float] = []
        self.wrong = self.lost = 0

    async def _open(self) -> None:
        async with self._gate:
            client = await asyncssh.connect(
                "127.0.0.1",
                self._where["port"],
                username=self._where["user"],
                client_keys=[self._where["key"]],
                known_hosts=None,
                config=None,
                agent_path=None,
                login_timeout=120,
                connect_timeout=120,
            )
            channel, one = await client.create_session(lambda: One(self), term_type="xterm", encoding=None)
            one.channel = channel
            await one.say(b"hello\n")
            self.held.append((client, one))

    async def answer(self, words: list[str]) -> dict[str, Any]:
        match words:
            case ["open", count]:
                await asyncio.gather(*(self._open() for _ in range(int(count) - len(self.held))))
            case ["type", count]:
                for place in range(int(count)):
                    one = self.held[place][1]
                    self._typing.append(asyncio.create_task(one.type(place / int(count))))
        took, self.took = sorted(self.took), []
        return {
            "open": len(self.held),
            "lost": self.lost,
            "wrong": self.wrong,
            "lines": len(took),
            "p50": took[len(took) // 2] if took else 0.0,
            "p99": took[len(took) * 99 // 100] if took else 0.0,
            "most": took[-1] if took else 0.0,
        }


async def main(where: dict[str, Any]) -> None:
    loop, crowd = asyncio.get_running_loop(), Crowd(where)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await crowd.answer(line.split())), flush=True)
    for client, _ in crowd.held:
        client.abort()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
