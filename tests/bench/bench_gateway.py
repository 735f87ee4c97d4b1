"""`make bench`: the gateway against a jump host, a library's relay and a plain proxy, in interleaved rounds.

Memory first, each on a process started for it; then logins, keystrokes and bulk in rounds whose order turns, so
that a noisy minute of the machine is no contender's own. Prints one table, the ratios with their bars, and
writes bench-results/TIME.json, also of what it has when it is interrupted. Exit status 1 with --strict when a bar
is missed, 130 when it was interrupted.
"""

from __future__ import annotations

import argparse
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench import measurements
from tests.bench.contenders import NAMES, Arena, Contender, Foreign
from tests.bench.measurements import GIB, MIB, Masters
from tests.bench.other_gateways import OTHERS, missing
from tests.bench.report import CLIENTS, TOGETHER, Results, verdict_lines
from tests.support.sshd import sshd_missing

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("memory", "growth", "logins", "together", "keys", "bulk")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two to three minutes, noisier")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--size", type=int, default=0, help="MiB of one bulk transfer")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, of {','.join(PARTS)}")
    parser.add_argument("--contenders", default=",".join(NAMES))
    parser.add_argument(
        "--contender",
        action="append",
        default=[],
        help="another gateway, NAME[:PID]=COMMAND: 'piper:1234=ssh -p 2222 {} me@127.0.0.1'; {} is where options go; "
        f"or names of those that the bench sets up itself: {','.join(OTHERS)}",
    )
    parser.add_argument(
        "--workers", type=int, default=1, help="each gateway once more with so many workers, as gateway-...@N"
    )
    parser.add_argument("--strict", action="store_true")
    found = parser.parse_args()
    found.contenders = found.contenders.split(",")
    _take_others(parser, found)
    found.rounds = found.rounds or (2 if found.quick else 5)
    found.size = found.size or (384 if found.quick else 640)
    found.only = found.only.split(",")
    if found.workers > 1:
        gateways = [name for name in found.contenders if name.startswith("gateway") and "@" not in name]
        found.contenders += [f"{name}@{found.workers}" for name in gateways]
    return found


def _take_others(parser: argparse.ArgumentParser, found: argparse.Namespace) -> None:
    """Those of `--contender` that the bench starts itself join `contenders`; the rest must be commands."""
    commands = []
    for text in found.contender:
        if "=" in text:
            try:
                Foreign.parse(text, Path())
            except ValueError as error:
                parser.error(f"--contender {error}")
            commands.append(text)
            continue
        for name in text.split(","):
            if name not in OTHERS:
                parser.error(f"--contender {name}: write NAME=COMMAND, or names of {','.join(OTHERS)}")
            if why := missing(name):
                parser.error(f"--contender {name}: {why}")
            found.contenders.append(name)
    found.contender = commands


def turning(what: str, contenders: Sequence[Contender], rounds: int) -> Iterator[list[Contender]]:
    """The contenders once per round, each round beginning with another."""
    for number in range(rounds):
        at = number % len(contenders)
        say(f"{what}, round {number + 1} of {rounds}")
        yield [*contenders[at:], *contenders[:at]]


def say(text: str) -> None:
    print(f"  {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def memory(arena: Arena, results: Results, options: argparse.Namespace) -> None:
    """Fresh processes, one contender at a time."""
    for name in options.contenders:
        if name == "direct":
            continue
        counts = [200]
        if name in ("gateway-default", "gateway-jump") and not options.quick:
            counts.append(2000)
        with arena.running(name) as contender:
            say(f"memory of {name}")
            results.add("idle sessions", name, measurements.idle_sessions(contender, counts))
        if name.startswith("gateway") or name == "asyncssh":
            with arena.running(name) as contender:
                size = GIB if options.quick else 3 * GIB
                results.add("stopped reader", name, measurements.stopped_reader(contender, size))


def growth(arena: Arena, results: Results, options: argparse.Namespace, work: Path) -> None:
    """How cost grows with sessions and with bytes, on one gateway: it should not."""
    name = "gateway-default"
    if name not in options.contenders:
        return
    with arena.running(name) as contender, measurements.idle(contender) as grow:
        for count in (1, 200) if options.quick else (1, 200, 2000):
            say(f"growth: {count} idle sessions")
            grow(count)
            results.add(f"beside {count} idle sessions", name, measurements.beside_sessions(contender, count))
    with arena.running(name) as contender:
        masters, sparse = Masters(work), work / "sparse"
        sparse.touch()
        try:
            for size in (64, 512) if options.quick else (64, 512, 4096):
                say(f"growth: {size} MiB")
                for _ in range(3):
                    figures = measurements.bulk(contender, masters, "gcm", False, 1, size * MIB, sparse)
                    results.add(f"one download of {size} MiB", name, figures)
        finally:
            masters.close()


def logins(contenders: Sequence[Contender], results: Results, options: argparse.Namespace) -> None:
    count = 8 if options.quick else 20
    for order in turning("logins", contenders, options.rounds):
        for contender in order:
            results.add("logins, default", contender.name, measurements.logins(contender, "default", count))


def together(contenders: Sequence[Contender], results: Results, options: argparse.Namespace) -> None:
    """Clients that log in at the same time, again and again."""
    for order in turning("logins together", contenders, options.rounds):
        for contender in order:
            figures = measurements.logins_together(contender, "default", CLIENTS, 3 if options.quick else 8)
            results.add(f"logins, {TOGETHER}", contender.name, figures)


def keys(contenders: Sequence[Contender], results: Results, options: argparse.Namespace, work: Path) -> None:
    count = 200 if options.quick else 500
    masters = Masters(work)
    try:
        for order in turning("keystrokes", contenders, options.rounds):
            for contender in order:
                figures = measurements.keystrokes(contender, "gcm", count)
                results.add("keystroke alone", contender.name, figures)
                figures = measurements.keystrokes_beside_bulk(contender, masters, "gcm", count)
                results.add("keystroke beside bulk", contender.name, figures)
    finally:
        masters.close()


def bulk(contenders: Sequence[Contender], results: Results, options: argparse.Namespace, work: Path) -> None:
    sparse, masters = work / "sparse", Masters(work)
    sparse.touch()
    try:
        for order in turning("bulk", contenders, (options.rounds + 1) // 2):  # a round of it takes minutes
            for cipher, streams in (("default", 1), ("gcm", 1), ("default", 6), ("gcm", 6)):
                for upward in (False, True):
                    group = (
                        f"bulk {'up' if upward else 'down'}, {cipher}, {streams} stream{'s' * (streams > 1)}"
                    )
                    for contender in order:
                        figures = measurements.bulk(
                            contender, masters, cipher, upward, streams, options.size * MIB, sparse
                        )
                        results.add(group, contender.name, figures)
    finally:
        masters.close()


def measure(options: argparse.Namespace, results: Results) -> None:
    """Every part that was asked for, into `results` as it comes."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        work = Path(folder)
        arena = Arena(work)
        try:
            if "memory" in options.only:
                memory(arena, results, options)
            if "growth" in options.only:
                growth(arena, results, options, work)
            contenders = [arena.start(name) for name in options.contenders]
            contenders += [Foreign.parse(text, work) for text in options.contender]
            try:
                if "logins" in options.only:
                    logins(contenders, results, options)
                if "together" in options.only:
                    together(contenders, results, options)
                if "keys" in options.only:
                    keys(contenders, results, options, work)
                if "bulk" in options.only:
                    bulk(contenders, results, options, work)
            finally:
                for contender in contenders:
                    contender.measured.stop()
        finally:
            arena.close()


def main() -> int:
    missing = sshd_missing()
    if missing:
        print(f"bench: {missing}", file=sys.stderr)
        return 2
    options, began, results = arguments(), time.monotonic(), Results(say)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # 2,000 sessions are 6,000 open files
    interrupted = False
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # as Ctrl-C: what there is by then is told and written
    try:
        measure(options, results)
    except KeyboardInterrupt:
        interrupted = True
    verdicts, seconds = results.verdicts(), time.monotonic() - began
    path = ROOT / "bench-results" / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    results.write(path, {key: str(value) for key, value in vars(options).items()}, seconds)
    print(results.table(), verdict_lines(verdicts), sep="\n\n")
    print(f"\n{seconds:.0f} s; written to {path.relative_to(ROOT)}")
    if interrupted:
        return 130
    return int(options.strict and any(verdict["result"] == "missed" for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
