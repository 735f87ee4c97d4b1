"""`bastion sessions` over a store of 100,000 sessions: what a listing costs (docs/state.md has the figures).

`python -m tests.bench.many_sessions [--rows N]` makes the state store and the folder of recordings, asks a dozen
questions and prints the processor time of each, user and system, the smallest of several: the machine may have other
work.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path

from bastion.recording.format import Header
from bastion.recording.listing import SUFFIX, day_of
from bastion.recording.ran import Asked
from bastion.state.changes import Change, apply
from bastion.state.database import Database, Place
from bastion.state.rows import (
    ENDED,
    Moved,
    TunnelStart,
    Writer,
    session_ended,
    session_started,
    tunnel_ended,
    tunnel_started,
)
from bastion.state.schema_version import check_schema

NODE = "bench"
NOW = 1_800_000_000.0
EVERY = 300.0  # seconds between two sessions: 100,000 are a year
AT_ONCE = 5000
TUNNELS = 20  # one of so many is a tunnel
ROUNDS = 5

QUESTIONS = (
    (),
    ("--json",),
    ("--limit", "50"),
    ("--user", "user7"),
    ("--since", "2026-12-01", "--until", "2026-12-31"),
    ("--kind", "exec", "--exit", "1"),
    ("--target", "web3", "--login", "root"),
    ("--live",),
)


def made(place: int) -> list[Change]:
    """The rows of one session or tunnel; the newest first."""
    name = "".join(islice(_letters(place), 16))
    started = NOW - EVERY * (place + 1)
    user, target = f"user{place % 97}", f"web{place % 53}"
    writer = Writer(NODE, "bench.1", "c" * 16)
    moved = Moved(200, 10_000 + place, 2, int(place % 11 == 0), {"exec": 2, "shell": 1}, _asked(place))
    if place % TUNNELS == 0:
        start = TunnelStart(name, "c1", user, "u", target, 5432, "10.0.0.1", "10.1.1.1", "db", started)
        return [
            tunnel_started(start, writer),
            tunnel_ended(name, ENDED, started + 60, "client_closed", moved),
        ]
    header = Header(name, user, "u" * 20, target, ("deploy", "root")[place % 2], started, rules=("ops",))
    path = f"{day_of(started)}/{name}{SUFFIX}"
    rows = session_started(header, path, writer)
    return rows + session_ended(name, ENDED, started + 45 + place % 4000, "client_closed", moved, 5000)


def _asked(place: int) -> tuple[Asked, ...]:
    return Asked("exec", f"exit {place % 3}", 1 + place % 2), Asked("shell", "exit 0")


def _letters(number: int) -> Iterator[str]:
    for _ in range(4):
        yield "abcdefghijklmnop"[number % 16]
        number //= 16
    yield from "abcdefghijklmnop"[number % 16] * 12


def make(folder: Path, rows: int) -> Path:
    """The store, its recordings (names alone: a listing does not open them) and the configuration that names both."""
    recordings = folder / "recordings"
    database = Database(Place(recordings / "state"))
    check_schema(database)
    for begin in range(0, rows, AT_ONCE):
        changes = [change for place in range(begin, min(begin + AT_ONCE, rows)) for change in made(place)]
        changes.sort(key=lambda change: (change.verb, change.table, len(change.values)))
        with database.write() as connection:
            apply(connection, changes)
        for change in changes:
            if change.table == "recordings" and change.verb == "add":
                path = recordings / str(change.values["path"])
                path.parent.mkdir(exist_ok=True)
                path.touch()
    database.close()
    config = folder / "bastion.toml"
    config.write_text(f'[recording]\ndirectory = "{recordings}"\n[state]\nnode = "{NODE}"\n')
    return config


def cost(arguments: list[str]) -> tuple[float, int]:
    """(processor seconds of `bastion sessions ...`, lines that it printed)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "bastion", "sessions", *arguments],
        stdout=subprocess.PIPE,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode in (0, 1), done.returncode
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout.count(b"\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        config = make(Path(folder), rows)
        print(
            f"{rows} rows, {(config.parent / 'recordings/state/state.db').stat().st_size >> 20} MiB of SQLite"
        )
        found: dict[tuple[str, ...], list[tuple[float, int]]] = {}
        for _, question in product(range(ROUNDS), QUESTIONS):
            found.setdefault(question, []).append(cost(["--config", str(config), *question]))
        for question, costs in found.items():
            seconds, lines = min(costs)
            print(f"{seconds:6.2f} s  {lines:7} lines  sessions {' '.join(question)}")


if __name__ == "__main__":
    main()
