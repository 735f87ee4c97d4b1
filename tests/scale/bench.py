"""The bench of logins, simulated: the case that was measured, to see what the simulation is worth.

`make bench-scaling` lets 12 clients log in again and again, through gateways of 1 to 4 workers, on a machine with two
processors that clients, gateway and the target's sshd share. What goes in is another measurement: what one login takes
when nothing else runs, and what of it is the gateway's.
"""

from __future__ import annotations

from typing import Final

from tests.scale.machine import Loop, Process, Processors

PROCESSORS: Final = 2
CLIENTS: Final = 12
PIECES: Final = 8
"""Turns between client, gateway and target in a login, each waiting for the one before."""

ALONE: Final = 1 / 15.2
"""Seconds of a login, one after the other: docs/performance.md, "logins per second"."""

ALONE_GATEWAY: Final = 8.0e-3
"""Of it the gateway's: "CPU ms of a login" there."""

WORKERS: Final = (1, 2, 3, 4)
OF_A_LOGIN: Final = (10.7e-3, 11.9e-3, 12.6e-3, 13.4e-3)
MEASURED: Final = (28.0, 30.7, 31.8, 30.7)
"""docs/scaling.md: "CPU ms of a login, 12 clients" and "logins per second, 12 clients"."""


def logins_per_second(
    workers: int, gateway: float, others: float = ALONE - ALONE_GATEWAY, clients: int = CLIENTS
) -> float:
    """With `gateway` and `others` seconds of processor for each login."""
    loop = Loop()
    machine = Processors(loop, PROCESSORS)
    processes = [Process(machine) for _ in range(workers)]
    done = 0

    def client(number: int) -> None:
        own = Process(machine)  # the client, and then the sshd that serves it: one at a time

        def turn(left: int) -> None:
            nonlocal done
            if not left:
                done += 1
                turn(PIECES)
                return
            own.work(others / PIECES, lambda: relay(left))

        def relay(left: int) -> None:
            processes[number % workers].work(gateway / PIECES, lambda: turn(left - 1))

        turn(PIECES)

    for number in range(clients):
        client(number)
    seconds = 60.0
    loop.run(seconds)
    return done / seconds


def table() -> list[str]:
    found = [
        "| 12 clients, two processors | 1 worker | 2 workers | 3 workers | 4 workers |",
        "|---|---|---|---|---|",
    ]
    simulated = [logins_per_second(*case) for case in zip(WORKERS, OF_A_LOGIN, strict=True)]
    rows = {"logins a second, measured": MEASURED, "simulated": simulated}
    for title, figures in rows.items():
        found.append(f"| {title} | " + " | ".join(f"{figure:.1f}" for figure in figures) + " |")
    ratios = [one / other for one, other in zip(simulated, MEASURED, strict=True)]
    found.append("| simulated / measured | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |")
    return found
