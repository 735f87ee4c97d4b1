"""Many sessions whose output is a count, so that a byte too few, too many or another is seen at once."""

from __future__ import annotations

import os
import selectors
import subprocess
import threading
import time

from tests.support.world import World, poll

AT_ONCE = 8
LINE = 1000
PROGRAM = (
    "import os,sys,time\n"
    "i=0\n"
    "while not os.path.exists(sys.argv[1]):\n"
    "    sys.stdout.write('%08d ' % i + 'x' * 990 + '\\n'); sys.stdout.flush(); i += 1; time.sleep(0.1)\n"
)


class Transfers:
    """Many ssh clients whose output is a count: each line is the next, or something is wrong."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._script = world.folder / "count.py"
        self._script.write_text(PROGRAM)
        self._over = world.folder / "over"
        self._selector = selectors.DefaultSelector()
        self._rest: dict[int, bytes] = {}
        self._next: dict[int, int] = {}
        self._clients: dict[int, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self.wrong: list[str] = []
        self.cut = 0
        self.finished = 0  # came to the end of their program, and the last line was whole
        self.lines = 0
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def add(self, count: int) -> None:
        for _ in range(count):
            command = self._world.ssh_command(f"exec python3 -u {self._script} {self._over}")
            made = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=self._world.environment(),
            )
            assert made.stdout is not None
            with self._lock:
                descriptor = made.stdout.fileno()
                self._clients[descriptor], self._rest[descriptor], self._next[descriptor] = made, b"", 0
                self._selector.register(descriptor, selectors.EVENT_READ)

    def fill(self, sessions: int) -> None:
        """Until so many run. A few at a time: the target lets no more begin at once."""
        until = time.monotonic() + 600.0
        while self.running < sessions:
            self.add(min(AT_ONCE, sessions - self.running))
            poll(lambda: self.running == self._alive, 120.0, "a session neither began nor was refused")
            assert time.monotonic() < until, "not all sessions began"

    @property
    def _alive(self) -> int:
        with self._lock:
            return len(self._clients)

    @property
    def running(self) -> int:
        """Those whose first line has come."""
        with self._lock:
            return sum(number > 0 for number in self._next.values())

    def _read(self) -> None:
        while not self._stopping.is_set():
            for key, _ in self._selector.select(0.2):
                self._take(key.fd)

    def _take(self, descriptor: int) -> None:
        data = os.read(descriptor, 65536)
        with self._lock:
            if not data:
                self._selector.unregister(descriptor)
                client = self._clients.pop(descriptor)
                started = self._next.pop(descriptor) > 0
                rest = self._rest.pop(descriptor)
                assert client.stdout is not None
                client.stdout.close()
                whole_end = client.wait() == 0 and not rest
                self.finished += whole_end
                self.cut += started and not whole_end
                return
            whole = self._rest[descriptor] + data
            while len(whole) >= LINE:
                wanted = b"%08d " % self._next[descriptor] + b"x" * 990 + b"\n"
                line, whole = whole[:LINE], whole[LINE:]
                if line != wanted:
                    self.wrong.append(f"{line[:20]!r} where {wanted[:20]!r} should stand")
                self._next[descriptor] += 1
                self.lines += 1
            self._rest[descriptor] = whole

    def finish(self) -> None:
        """Let every program come to its end. Those that do are counted in `finished`, the others in `cut`."""
        self._over.touch()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(10)
        for client in self._clients.values():
            client.kill()
            client.wait()
            assert client.stdout is not None
            client.stdout.close()
        self._selector.close()
