"""What engineers notice of a reload of a large inventory: `python -m tests.bench.reload_lag [TARGETS]`.

A real gateway, one engineer's `cat` over ssh: a keystroke is sent every 5 ms and its echo timed, first with nothing
else, then while a SIGHUP is served. In a process of its own the turn that swaps is timed, and the turns that let the
old inventory go. Figures for docs/performance.md; nothing is judged.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from bastion.app import Program
from bastion.assembly import reloading
from tests.support.client import Client
from tests.support.world import World, running
from tests.unit.auth.threads import StillReactor
from tests.unit.config.site import Site

IDLE_ECHOES = 400
TURNS = 20_000


class Still(StillReactor):
    """A reactor that nobody asks for host names; `turns` has the CPU time of each call that it made."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: list[float] = []

    def callLater(self, delay: float, call: Callable[..., object], *args: Any, **more: Any) -> Any:
        def timed() -> None:
            began = time.thread_time()
            call(*args, **more)
            self.turns.append(time.thread_time() - began)

        return super().callLater(delay, timed)

    def suggestThreadPoolSize(self, size: int) -> None: ...


def inventory(count: int) -> str:
    return "".join(
        f'[targets.host{n}]\nhost = "host{n}.example.com"\naliases = ["h{n}"]\n'
        f'labels = {{ env = "prod", role = "r{n % 50}" }}\n'
        for n in range(count)
    )


def pins(count: int, key: str) -> str:
    return "".join(f"host{n}.example.com {key}\n" for n in range(count))


def rules(count: int = 200) -> str:
    return "".join(
        f'[[rule]]\nname = "r{n}"\ngroups = ["g{n}"]\nlabels = {{ role = "r{n % 50}" }}\nlogins = ["deploy"]\n'
        'verbs = ["shell", "exec"]\n'
        for n in range(count)
    )


def echo(client: Client) -> float:
    began = time.perf_counter()
    client.echo(b"x\n")
    return time.perf_counter() - began


def shown(values: list[float]) -> str:
    values = sorted(values)
    picks = {name: values[min(int(len(values) * part), len(values) - 1)] for name, part in PARTS.items()}
    return f"n {len(values)}: " + ", ".join(f"{name} {value * 1e3:.2f} ms" for name, value in picks.items())


PARTS = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


def reloads(world: World) -> int:
    log = (world.folder / "audit.jsonl").read_text()
    return log.count('"event":"reload"')


def beside_an_engineer(count: int) -> None:
    with running() as world, world.client("cat") as client:
        key = (world.keys / "bob.pub").read_text().rsplit(" ", 1)[0]
        echo(client)
        print("idle     ", shown([echo(client) for _ in range(IDLE_ECHOES)]))
        with world.targets_file.open("a") as file:
            file.write("\n" + inventory(count))
        with world.known_hosts.open("a") as file:
            file.write(pins(count, key))
        with world.policy_file.open("a") as file:
            file.write(rules())
        for name in ("grows", "same"):
            before, took = reloads(world), time.perf_counter()
            os.kill(world.pid, signal.SIGHUP)
            found: list[float] = []
            while reloads(world) == before:
                found.append(echo(client))
            took = time.perf_counter() - took
            said = json.loads((world.folder / "audit.jsonl").read_text().splitlines()[-1])
            print(f"{name:9}", shown(found), f"; the reload took {took:.1f} s: {said.get('result', said)}")


def the_turns(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder))
        site.write("targets.toml", inventory(count))
        site.write("policy.toml", rules())
        site.write("known_hosts", pins(count, site.keys["login_ca"].public.line()))
        reactor = Still()
        program = Program(site.config, reactor)
        gc.collect()
        gc.freeze()  # as the start does
        program._resolved._resolve = lambda host: Deferred()
        prepared = reloading.unhurried(program.reloading._prepare)
        program.reloading.on_applied = program._applied
        began, worked = time.perf_counter(), time.thread_time()
        program.reloading._swap(prepared)
        swap, worked = time.perf_counter() - began, time.thread_time() - worked
        del prepared
        for _ in range(TURNS):
            wait = min(call.getTime() for call in reactor.getDelayedCalls()) - reactor.seconds()
            reactor.advance(max(0.0, wait))
        print(
            f"swapped in {swap * 1e3:.2f} ms, {worked * 1e3:.2f} ms of CPU; calls after it:",
            shown(reactor.turns),
        )
        program.gateway.audit.close()


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    print(f"reload of {count} targets, {count} pinned keys, 200 rules; load {os.getloadavg()[0]:.1f}")
    the_turns(count)
    if "turns" in sys.argv:
        return
    beside_an_engineer(count)


if __name__ == "__main__":
    main()
