"""`make bench-scaling`: does a gateway of several workers do the same work for the CPU time of one worker?

If it does, a machine does as many times what one processor does as it has processors, and a machine with two can say
so: what is compared is CPU-seconds, not speed. All gateways run at once and are measured one after the other, in
rounds whose order turns. Prints a table for docs/scaling.md and the ratios to the first number of workers with their
bar, and writes bench-results/scaling-TIME.json. Exit status 1 with --strict when the bar is missed.

The bar holds for a load that grows with the workers, as it does on a machine that has a processor for each: so many
clients and so many streams at a pace for each worker. A fixed load is shown beside it, without a bar: the more workers
there are the less each finds to do in one turn of its loop, and the sooner one of them runs beside the clients and
sshd's on its own processors, the less each of its reads brings.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench import measurements
from tests.bench.bench_gateway import ROOT, say
from tests.bench.contenders import Arena, Contender
from tests.bench.measurements import GIB, MIB, Figures, Masters
from tests.bench.process_cost import pss
from tests.bench.report import CLIENTS, Results, machine
from tests.support.sshd import sshd_missing

BAR = 0.10
"""By how much the CPU-seconds of a login or of a GiB may differ from those of the first number of workers."""

PER_WORKER = 3
"""Clients that log in, and streams at a pace, for each worker: 12 with four."""

PIECE = 256 * 1024
"""Bytes that a target sends at a time when it keeps a pace."""

SENDER = (
    "import os,sys,time;size,count=map(int,sys.argv[1:3]);pause=float(sys.argv[3]);at=time.monotonic()\n"
    "for n in range(count):\n"
    " left=bytes(size);at+=pause\n"
    " while left:left=left[os.write(1,left):]\n"
    " time.sleep(max(0,at-time.monotonic()))\n"
)
"""What a target runs: SIZE COUNT PAUSE, that many pieces, one every so many seconds."""


@dataclass(frozen=True)
class Row:
    """One figure of the table."""

    title: str
    figure: str
    barred: bool = False

    def cells(self, results: Results, workers: list[int]) -> list[float] | None:
        found = [results.median(self.figure, _name(count)) for count in workers]
        return None if None in found else [value for value in found if value is not None]


def rows(modes: list[str]) -> list[Row]:
    paced, free = ("CPU s/GiB, {}, paced streams for each", "CPU s/GiB, {}, 12 streams as fast as they go")
    found = [Row("CPU ms of a login, clients for each", "logins, each | CPU ms each", True)]
    found += [Row(paced.format(mode), f"paced {mode} | CPU s/GiB", True) for mode in modes]
    found.append(Row(f"CPU ms of a login, {CLIENTS} clients", "logins, fixed | CPU ms each"))
    found += [Row(free.format(mode), f"free {mode} | CPU s/GiB") for mode in modes]
    found.append(Row(f"logins per second, {CLIENTS} clients", "logins, fixed | per s"))
    found += [
        Row(f"MiB/s, {mode}, {CLIENTS} streams as fast as they go", f"free {mode} | MiB/s") for mode in modes
    ]
    return [
        *found,
        Row("MiB of PSS, whole gateway at rest", "memory | whole MiB"),
        Row("MiB of PSS, one worker at rest", "memory | worker MiB"),
        Row("KiB of PSS, one idle session", "memory | session KiB"),
    ]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", default="1,2,3,4", help="numbers of workers, compared with the first")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--modes", default="default,full", help="recording modes of the bulk")
    parser.add_argument("--size", type=int, default=432, help=f"MiB of {CLIENTS} downloads together")
    parser.add_argument("--rate", type=int, default=144, help=f"MiB/s of {CLIENTS} of those that keep a pace")
    parser.add_argument("--logins", type=int, default=8, help="of each client in a round")
    parser.add_argument(
        "--sessions", type=int, default=120, help="idle ones, for the memory; 0: leave it out"
    )
    parser.add_argument("--quick", action="store_true", help="one small round, noisier")
    parser.add_argument("--strict", action="store_true")
    found = parser.parse_args()
    if found.quick:
        found.rounds, found.size, found.logins, found.sessions = 1, 144, 4, 24
    found.workers = [int(count) for count in found.workers.split(",")]
    found.modes = found.modes.split(",")
    return found


def _name(workers: int) -> str:
    return f"{workers} worker{'s' * (workers > 1)}"


def paced(contender: Contender, masters: Masters, streams: int, size: int, rate: int) -> Figures:
    """CPU-seconds per GiB of `streams` downloads of `size` bytes each, each sent at `rate` bytes per second."""
    count = size // PIECE
    remote = f"{sys.executable} -c '{SENDER}' {PIECE} {count} {PIECE / rate:.6f}"
    commands = [masters.command(contender, "default", index, remote) for index in range(streams)]
    cost, began = contender.measured.cpu(), time.perf_counter()
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    running = [subprocess.Popen(command, **quiet) for command in commands]
    codes = [process.wait(measurements.RUN_TIMEOUT) for process in running]
    seconds, cost = time.perf_counter() - began, contender.measured.cpu() - cost
    if any(codes):
        raise RuntimeError(f"a transfer through {contender.name} ended with {codes}")
    contender.drop_recordings()
    moved = count * PIECE * streams
    return {"CPU s/GiB": cost * GIB / moved, "MiB/s": moved / MIB / seconds}


def memory(contender: Contender, sessions: int) -> Figures:
    """PSS of a gateway that has served a few logins, of one of its workers, of one idle session more."""
    for _ in range(8):
        subprocess.run(contender.command("gcm", "target", "true"), stdin=subprocess.DEVNULL, check=True)
    assert contender.world is not None
    every = contender.world.pids
    workers = every[1:] or every
    whole, each = pss(every), pss(workers) / len(workers)
    with measurements.idle(contender) as grow:
        grow(sessions)
        more = pss(every) - whole
    contender.drop_recordings()
    return {"whole MiB": whole / MIB, "worker MiB": each / MIB, "session KiB": more / 1024 / sessions}


def measure(options: argparse.Namespace, results: Results) -> None:
    """Start every gateway and measure them in turn, into `results` as it comes."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, contextlib.ExitStack() as stack:
        arena, masters, sparse = Arena(Path(folder)), Masters(Path(folder)), Path(folder) / "sparse"
        sparse.touch()
        stack.callback(arena.close)
        gateways = {}
        for mode in options.modes:
            for count in options.workers:
                gateways[mode, count] = arena.start(f"gateway-{mode}@{count}")
                stack.callback(gateways[mode, count].measured.stop)
        stack.callback(masters.close)
        first = options.modes[0]
        for count in options.workers if options.sessions else ():
            say(f"memory of {_name(count)}")
            results.add("memory", _name(count), memory(gateways[first, count], options.sessions))
        for number in range(options.rounds):
            say(f"round {number + 1} of {options.rounds}")
            turn = number % len(options.workers)
            for count in options.workers[turn:] + options.workers[:turn]:
                one, name, each = gateways[first, count], _name(count), PER_WORKER * count
                for what, clients in (("each", each), ("fixed", CLIENTS)):
                    found = measurements.logins_together(one, "default", clients, options.logins)
                    results.add(f"logins, {what}", name, found)
                for mode in options.modes:
                    one, size, rate = gateways[mode, count], options.size * MIB, options.rate * MIB
                    found = paced(one, masters, each, size // CLIENTS, rate // CLIENTS)
                    results.add(f"paced {mode}", name, found)
                    found = measurements.bulk(one, masters, "default", False, CLIENTS, size, sparse)
                    results.add(f"free {mode}", name, found)


def table(results: Results, options: argparse.Namespace) -> str:
    """Markdown, for docs/scaling.md."""
    names = [_name(count) for count in options.workers]
    lines = [
        "| figure | " + " | ".join(names) + f" | most / {names[0]} |",
        "|---|" + "---|" * (len(names) + 1),
    ]
    for row in rows(options.modes):
        cells = row.cells(results, options.workers)
        if cells:
            ratio = max(cells) / cells[0] if cells[0] else 0.0
            lines.append(f"| {row.title} | " + " | ".join(map(_shown, cells)) + f" | {ratio:.2f} |")
    return "\n".join(lines)


def _shown(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def verdicts(results: Results, options: argparse.Namespace) -> list[tuple[bool, str]]:
    """Each barred row for each number of workers but the first: whether it holds, and a line that says so."""
    found = []
    for row in rows(options.modes):
        cells = row.cells(results, options.workers) if row.barred else None
        for count, cell in zip(options.workers[1:], cells[1:] if cells else (), strict=False):
            ratio = cell / cells[0] if cells else 0.0
            holds = ratio <= 1 + BAR
            word = "ok" if holds else "missed"
            found.append((holds, f"{word:6} {row.title}: {_name(count)} {ratio:.2f}  (bar <= {1 + BAR:.2f})"))
    return found


def main() -> int:
    missing = sshd_missing()
    if missing:
        print(f"bench-scaling: {missing}", file=sys.stderr)
        return 2
    options, began, results = arguments(), time.monotonic(), Results()
    interrupted = False
    try:
        measure(options, results)
    except KeyboardInterrupt:
        interrupted = True
    seconds, judged, host = time.monotonic() - began, verdicts(results, options), machine()
    path = ROOT / "bench-results" / f"scaling-{time.strftime('%Y%m%d-%H%M%S')}.json"
    results.write(path, {key: str(value) for key, value in vars(options).items()}, seconds)
    print(table(results, options), "\n".join(line for _, line in judged), sep="\n\n")
    print(
        f"\n{host['processors']} processors, {host['processor']}, load at the end {host['load_at_end']:.1f}"
    )
    print(f"{seconds:.0f} s; written to {path.relative_to(ROOT)}")
    if interrupted:
        return 130
    return int(options.strict and not all(holds for holds, _ in judged))


if __name__ == "__main__":
    sys.exit(main())
