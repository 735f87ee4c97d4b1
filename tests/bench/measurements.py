"""What is measured of one contender: bulk, logins, keystrokes, growth, memory. Each returns figures of one round."""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bench.contenders import Contender
from tests.support.world import poll

MIB, GIB = 1 << 20, 1 << 30
START_TIMEOUT = 60.0
RUN_TIMEOUT = 600.0

Figures = dict[str, float]


class Masters:
    """Authenticated connections that transfers are run on, so that no login is part of a transfer's figures."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[tuple[str, str, int], tuple[subprocess.Popen[bytes], Path]] = {}

    def command(self, contender: Contender, cipher: str, index: int, remote: str) -> list[str]:
        """The command line of a transfer on connection `index` of this contender with these ciphers."""
        key = (contender.name, cipher, index)
        if key not in self._open:
            path = self._folder / f"m{len(self._open)}"
            process = subprocess.Popen(
                contender.command(cipher, "-M", "-S", str(path), "-N", "target"), stdin=subprocess.DEVNULL
            )
            poll(path.exists, START_TIMEOUT, f"{contender.name} did not let ssh in")
            self._open[key] = process, path
        return contender.command(cipher, "-S", str(self._open[key][1]), "target", remote)

    def close(self) -> None:
        for process, _ in self._open.values():
            process.terminate()
            process.wait()
        self._open.clear()


def bulk(
    contender: Contender, masters: Masters, cipher: str, upward: bool, streams: int, size: int, sparse: Path
) -> Figures:
    """MiB/s of `streams` transfers of `size / streams` bytes each at once, and CPU-seconds per GiB."""
    part = size // streams
    remote = "cat >/dev/null" if upward else f"head -c {part} /dev/zero"
    os.truncate(sparse, part)
    commands = [masters.command(contender, cipher, index, remote) for index in range(streams)]
    cost, began = contender.measured.cpu(), time.perf_counter()
    with contextlib.ExitStack() as stack:
        running = []
        for command in commands:
            source = stack.enter_context(sparse.open("rb")) if upward else subprocess.DEVNULL
            running.append(subprocess.Popen(command, stdin=source, stdout=subprocess.DEVNULL))
        codes = [process.wait(RUN_TIMEOUT) for process in running]
    seconds = time.perf_counter() - began
    cost = contender.measured.cpu() - cost
    if any(codes):
        raise RuntimeError(f"a transfer through {contender.name} ended with {codes}")
    contender.drop_recordings()
    return {"MiB/s": part * streams / MIB / seconds, "CPU s/GiB": cost * GIB / (part * streams)}


def logins(contender: Contender, cipher: str, count: int) -> Figures:
    """Whole sequential `ssh target true`s per second, and CPU milliseconds of each."""
    command = contender.command(cipher, "target", "true")
    cost, began = contender.measured.cpu(), time.perf_counter()
    for _ in range(count):
        subprocess.run(command, stdin=subprocess.DEVNULL, check=True, timeout=START_TIMEOUT)
    seconds = time.perf_counter() - began
    _until_quiet(contender)
    cost = contender.measured.cpu() - cost
    return {"per s": count / seconds, "CPU ms each": cost * 1000 / count}


def logins_together(contender: Contender, cipher: str, clients: int, count: int) -> Figures:
    """The same by `clients` at once, `count` one after the other in each."""
    command = contender.command(cipher, "target", "true")

    def one(_: int) -> None:
        for _ in range(count):
            subprocess.run(command, stdin=subprocess.DEVNULL, check=True, timeout=START_TIMEOUT)

    cost, began = contender.measured.cpu(), time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(one, range(clients)))
    seconds = time.perf_counter() - began
    _until_quiet(contender)
    cost = contender.measured.cpu() - cost
    return {"per s": clients * count / seconds, "CPU ms each": cost * 1000 / (clients * count)}


def _until_quiet(contender: Contender) -> None:
    """What the last connection leaves behind is still at work for a moment."""
    threading.Event().wait(0.15)


# -- keystrokes ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def typist(contender: Contender, cipher: str) -> Iterator[subprocess.Popen[bytes]]:
    """A client with a pty and a `cat` that echoes single bytes."""
    process = subprocess.Popen(
        contender.command(cipher, "-tt", "-S", "none", "target", "stty raw -echo; printf R; exec cat"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    try:
        assert process.stdout is not None
        if process.stdout.read(1) != b"R":
            raise RuntimeError(f"no shell through {contender.name}")
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def keystrokes(contender: Contender, cipher: str, count: int) -> Figures:
    """Microseconds from a byte typed to its echo: percentiles of `count`, a few milliseconds apart."""
    with typist(contender, cipher) as process:
        assert process.stdin is not None and process.stdout is not None
        typed, shown = process.stdin.fileno(), process.stdout.fileno()
        chance, pause, taken = random.Random(1), threading.Event(), []
        for number in range(count + 20):
            pause.wait(chance.uniform(0.002, 0.006))
            began = time.perf_counter_ns()
            os.write(typed, b"k")
            if not select.select([shown], [], [], 30)[0] or os.read(shown, 1) != b"k":
                raise RuntimeError(f"no echo through {contender.name}")
            if number >= 20:  # the first ones warm up caches on all sides
                taken.append((time.perf_counter_ns() - began) / 1000)
    taken.sort()
    return {f"p{part} us": taken[min(len(taken) - 1, len(taken) * part // 100)] for part in (50, 90, 99)}


def keystrokes_beside_bulk(contender: Contender, masters: Masters, cipher: str, count: int) -> Figures:
    """The same while another connection through the same contender downloads without an end."""
    command = masters.command(contender, cipher, 0, "cat /dev/zero")
    load = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        threading.Event().wait(0.3)
        return keystrokes(contender, cipher, count)
    finally:
        load.terminate()
        load.wait()
        contender.drop_recordings()


# -- growth --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def idle(contender: Contender) -> Iterator[Callable[[int], None]]:
    """A crowd of idle sessions with a pty each; call what it gives with how many there are to be."""
    clients = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.idle_clients", json.dumps(contender.where)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert clients.stdin is not None and clients.stdout is not None
    asked, answers = clients.stdin, clients.stdout

    def grow(count: int) -> None:
        asked.write(f"{count}\n")
        asked.flush()
        if answers.readline().strip() != str(count):
            raise RuntimeError(f"{contender.name} did not open {count} sessions")
        threading.Event().wait(1.0)

    try:
        yield grow
    finally:
        asked.close()
        clients.wait(60)
        answers.close()


def beside_sessions(contender: Contender, count: int) -> Figures:
    """What a login, a keystroke and doing nothing cost while `count` sessions are open."""
    watched = 5.0
    cost = contender.measured.cpu()
    threading.Event().wait(watched)
    resting = (contender.measured.cpu() - cost) / watched * 1000
    login = logins(contender, "default", 20)["CPU ms each"]
    keys = keystrokes(contender, "gcm", 300)
    return {"resting CPU ms/s": resting, "login CPU ms": login, "key p50 us": keys["p50 us"]}


# -- memory --------------------------------------------------------------------------------------------------


def idle_sessions(contender: Contender, counts: list[int]) -> Figures:
    """KiB of PSS per idle session with a pty, for each of `counts` sessions at once; on a fresh contender."""
    for _ in range(8):  # what is made once at the first logins is no cost of a session
        subprocess.run(contender.command("gcm", "target", "true"), stdin=subprocess.DEVNULL, check=True)
    base = contender.measured.pss()
    figures: Figures = {"base MiB": base / MIB}
    with idle(contender) as grow:
        for count in counts:
            grow(count)
            figures[f"KiB each of {count}"] = (contender.measured.pss() - base) / 1024 / count
    contender.drop_recordings()
    return figures


def stopped_reader(contender: Contender, size: int) -> Figures:
    """MiB of growth while a client in a download of `size` bytes stands still for 3 s, and to its end."""
    warm = contender.command("gcm", "-S", "none", "target", f"head -c {128 * MIB} /dev/zero")
    subprocess.run(warm, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    threading.Event().wait(0.5)
    before = contender.measured.pss()
    process = subprocess.Popen(
        contender.command("gcm", "-S", "none", "target", f"head -c {size} /dev/zero"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    shown, seen, most = process.stdout.fileno(), 0, 0
    stop_at = [size // 4, size // 2]
    while data := os.read(shown, MIB):
        seen += len(data)
        if stop_at and seen >= stop_at[0]:
            del stop_at[0]
            os.killpg(process.pid, signal.SIGSTOP)
            for _ in range(15):
                threading.Event().wait(0.1)
                most = max(most, contender.measured.pss())
            os.killpg(process.pid, signal.SIGCONT)
    process.stdout.close()
    if process.wait() or seen != size:
        raise RuntimeError(f"the download through {contender.name} did not come through: {seen} bytes")
    most = max(most, contender.measured.pss())
    contender.drop_recordings()
    return {"MiB grown": (most - before) / MIB}
