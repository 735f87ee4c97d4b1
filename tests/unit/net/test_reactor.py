"""Which reactor a process gets, in a process of its own: one can be installed only once."""

import pytest

from tests.unit.net.test_epoll import INSTALL, run

pytestmark = pytest.mark.slow


def test_the_program_runs_on_it() -> None:
    assert (
        run("from bastion.reactor import the_reactor; print(type(the_reactor()).__name__)") == "DirectReactor"
    )


WALL = """
import time
wall, fired = time.time, []
r.callLater(0.05, fired.append, "due")
time.time = lambda: wall() - 3600
r.callLater(0.1, r.stop)
r.run()
print(type(r).__name__, fired, r.seconds is time.monotonic)
"""
WITHOUT_EPOLL = "import select; del select.epoll\n"
WITHOUT_POLL = "del select.poll\n"


@pytest.mark.parametrize(
    ("before", "name"),
    [
        ("", "DirectReactor"),
        (WITHOUT_EPOLL, "MonotonicReactor"),
        (WITHOUT_EPOLL + WITHOUT_POLL, "MonotonicReactor"),
    ],
    ids=["epoll", "poll", "select"],
)
def test_every_reactor_counts_monotonic_seconds(before: str, name: str) -> None:
    assert run(before + INSTALL + WALL) == f"{name} ['due'] True"
