"""Watching in the review console with a real Chromium, ssh and sshd: how late a watcher sees what the engineer saw, and
what that takes of the gateway and of the console; figures for docs/console.md.

`python -m tests.bench.console_live [MARKS]`: a shell that prints MARKS lines, one at a time; each is timed from the
moment in which ssh has printed it to the one in which it stands in the page. Then processor time of shells that print
ten lines a second, one and nine of them on one page, and of one that prints without end: not watched, and watched.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import ExitStack

from bastion.clock import SystemClock
from tests.interop.test_console_browser import Chromium
from tests.interop.test_console_browser_live import OBSERVE, signed_in
from tests.interop.test_console_live import CONFIG, POLICY
from tests.support.client import Client
from tests.support.reviewed import Reviewed
from tests.support.slapd import Slapd, group, person
from tests.support.world import poll

SECONDS = 15.0
CLOCK, PAUSE = SystemClock(), threading.Event()
TICK = os.sysconf("SC_CLK_TCK")
LINES = "i=0; while :; do i=$((i+1)); echo line $i of many; sleep 0.1; done"
FLOOD = "yes 'this is written without end and without a pause'"
KINDS = (("ten lines a second", LINES, 1), ("nine of these", LINES, 9), ("without end", FLOOD, 1))


def processor(pid: int) -> float:
    """Seconds of processor time of one process so far."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def shell(world: Reviewed, command: str) -> Client:
    return world.client("-tt", command, user="alice+root+web1")


def watch(world: Reviewed, browser: Chromium, count: int) -> None:
    browser.go(f"{world.origin}/live/watch")
    poll(lambda: browser.run("return document.querySelectorAll('.tile').length") == count)
    browser.click("#start")
    poll(
        lambda: browser.run(
            "return [...document.querySelectorAll('.screen')].every((one) => one.textContent)"
        )
    )


def latency(world: Reviewed, browser: Chromium, marks: int) -> None:
    with shell(world, "PS1='# ' sh -i") as engineer:
        engineer.expect(b"# ")
        watch(world, browser, 1)
        browser.run(OBSERVE)
        printed: dict[str, float] = {}
        for number in range(marks):
            mark = f"mark-{number}-made"
            engineer.send(f"echo mark-{number}-'made'\n".encode())
            engineer.expect(f"\n{mark}".encode())
            printed[mark] = CLOCK.time() * 1000
            PAUSE.wait(0.05 + number % 7 * 0.05)
        poll(lambda: browser.run("return Object.keys(window.seen).length") == marks)
        seen = browser.run("return window.seen")
        late = sorted(seen[mark] - at for mark, at in printed.items())
        p50, p90, p99 = (late[min(marks - 1, marks * percent // 100)] for percent in (50, 90, 99))
        text = f"p50 {p50:.0f} ms, p90 {p90:.0f} ms, p99 {p99:.0f} ms, worst {late[-1]:.0f} ms"
        print(f"{marks} lines: {text}", flush=True)
        engineer.send(b"exit\n")
        engineer.wait()


def cost(world: Reviewed, browser: Chromium, what: str, command: str, shells: int, watched: bool) -> None:
    with ExitStack() as stack:
        engineers = [stack.enter_context(shell(world, command)) for _ in range(shells)]
        for engineer in engineers:
            engineer.expect_bytes(10)
        if watched:
            watch(world, browser, shells)
        pids = world.pid, world.console_pid
        before, began = [processor(pid) for pid in pids], CLOCK.monotonic()
        printed = sum(len(one.out) for one in engineers)
        PAUSE.wait(SECONDS)
        took = CLOCK.monotonic() - began
        gateway, console = (
            (processor(pid) - was) / took * 100 for pid, was in zip(pids, before, strict=True)
        )
        rate = (sum(len(one.out) for one in engineers) - printed) / took / 1024
        text = f"{rate:.0f} KiB/s, gateway {gateway:.1f} %, console {console:.1f} %"
        print(f"{what}{', watched' if watched else ''}: {text}", flush=True)
        browser.go(f"{world.origin}/live")
    poll(lambda: nobody_is_there(world, browser))


def nobody_is_there(world: Reviewed, browser: Chromium) -> bool:
    browser.go(f"{world.origin}/live")
    return "Nothing is open" in browser.text("main")


def main(marks: int) -> None:
    people = [person("rex"), person("lena"), group("responders", "rex")]
    slapd = Slapd(people)
    slapd.start()
    world = Reviewed(slapd=slapd, config=CONFIG, policy=POLICY)
    for name in ("quiet", "private", "guarded"):
        world.add_target(name, "127.0.0.1", world.sshd.port)
    try:
        world.begin("rex", "lena")
        browser = signed_in(world, "rex", "/live")
        try:
            print(f"load {os.getloadavg()[0]:.1f}")
            latency(world, browser, marks)
            for what, command, shells in (
                ("ten lines a second", LINES, 1),
                ("nine of these", LINES, 9),
                ("without end", FLOOD, 1),
            ):
                for watched in (False, True):
                    cost(world, browser, what, command, shells, watched)
            print(f"load {os.getloadavg()[0]:.1f}")
        finally:
            browser.close()
    finally:
        world.close()
        slapd.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
