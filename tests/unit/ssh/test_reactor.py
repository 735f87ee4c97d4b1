"""The direct reactor, in a process of its own: it can be installed only once."""

import subprocess
import sys

import pytest

INSTALL = "from bastion.ssh import reactor; reactor.install(); from twisted.internet import reactor as r\n"

ECHO = """
import socket
from twisted.internet.protocol import Factory, Protocol
from bastion.ssh import io

class Echo(Protocol):
    def dataReceived(self, data):
        if bytes(data) == b"break":
            raise ValueError("broken")
        self.transport.write(bytes(data))
    def connectionLost(self, reason):
        ends.append(reason.type.__name__)
        if len(ends) == 2:
            r.stop()

def talk():
    for word, answer in ((b"hello", b"hello"), (b"break", b"")):
        with socket.create_connection(("127.0.0.1", port.getHost().port), 10) as peer:
            peer.sendall(word)
            assert peer.recv(100) == answer

ends = []
port = io.listen(r, 0, Factory.forProtocol(Echo), interface="127.0.0.1")
r.callInThread(talk)
r.callLater(20, r.stop)
r.run()
print(type(r).__name__, ends)
"""


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_it_reads_and_a_connection_that_raises_is_closed_alone() -> None:
    assert run(INSTALL + ECHO) == "DirectReactor ['ConnectionDone', 'ValueError']"


TIMERS = """
polls, fired = [], []
poll = r.doPoll
r.doPoll = lambda timeout: (polls.append(timeout), poll(timeout))
gone = [r.callLater(0.01 * n, fired.append, "cancelled") for n in range(1, 11)]
r.callLater(0.05, fired.append, "due")
moved = r.callLater(0.02, fired.append, "moved")
moved.reset(0.1)
for timer in gone:
    timer.cancel()
r.callLater(0.2, r.stop)
r.run()
print(len(polls) < 10, fired, r._cancellations, len(r.getDelayedCalls()))
"""


def test_no_cancelled_timer_wakes_it_up() -> None:
    assert run(INSTALL + TIMERS) == "True ['due', 'moved'] 0 0"


def test_the_program_runs_on_it() -> None:
    assert run("from bastion import app; print(type(app._reactor()).__name__)") == "DirectReactor"


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
