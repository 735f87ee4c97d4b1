"""The direct reactor, in a process of its own: it can be installed only once."""

import math
import select
import subprocess
import sys
from typing import Any

import pytest

from bastion.net.epoll import DirectReactor

pytestmark = pytest.mark.slow

INSTALL = "from bastion.net import reactor; reactor.install(); from twisted.internet import reactor as r\n"

ECHO = """
import socket
from twisted.internet.protocol import Factory, Protocol
from bastion.net import socket as io

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


@pytest.mark.parametrize(
    ("timeout", "milliseconds", "exactly"),
    [
        (None, -1000, []),
        (0.0, 0, []),
        (1.5, 1500, []),
        (0.0249, 24, []),
        (0.025, 25, []),
        (0.0006, 0, [0.0006]),
    ],
)
def test_no_timer_is_late_by_the_rest_of_a_millisecond(
    monkeypatch: pytest.MonkeyPatch, timeout: float | None, milliseconds: int, exactly: list[float]
) -> None:
    """What epoll makes of the seconds that it is given are whole milliseconds, rounded up."""
    waited: list[float] = []

    class Waiting:
        def __init__(self) -> None:
            self._poller = self

        def poll(self, seconds: float, most: int) -> list[tuple[int, int]]:
            waited.append(math.ceil(seconds * 1000))
            return [(7, most)]

    slept: list[float] = []
    monkeypatch.setattr(select, "select", lambda *arguments: slept.append(arguments[3]))
    reactor: Any = Waiting()
    assert DirectReactor._poll(reactor, timeout, 8) == [(7, 8)]
    assert (waited, slept) == ([milliseconds], exactly)


STRANGERS = """
import socket, time
from twisted.internet.protocol import Factory, Protocol
from bastion.net import socket as io

class Slow(Protocol):
    # A stranger's word costs 3 ms, more than strangers have in one turn; who says "hi" has logged in.
    def dataReceived(self, data):
        if bytes(data) == b"hi":
            self.transport.leave_background()
            known.append(self)
        elif not self.transport.background:
            order.append("engineer")
        else:
            order.append("stranger")
            until = time.thread_time() + 0.003
            while time.thread_time() < until:
                pass
        if len(order) == WORDS:
            r.stop()

order, peers, known = [], [], []
port = io.listen(r, 0, Factory.forProtocol(Slow), interface="127.0.0.1")

def connect():
    for _ in range(STRANGERS + 1):
        peers.append(socket.create_connection(("127.0.0.1", port.getHost().port), 10))
    peers[-1].sendall(b"hi")

def speak():
    # All of them are readable before the next poll, the engineer last of all.
    for peer in peers:
        peer.sendall(b"work")

def connected():
    if not known or len(r.getReaders()) < STRANGERS + 3:  # with the port and the waker
        r.callLater(0.01, connected)
    else:
        r.callLater(0, speak)

WORDS = STRANGERS + 1
r.callInThread(connect)
r.callWhenRunning(connected)
r.callLater(20, r.stop)
r.run()
"""


def test_who_has_logged_in_waits_behind_no_stranger() -> None:
    said = run(INSTALL + "STRANGERS = 40\n" + STRANGERS + "print(order.index('engineer') <= 1, len(order))")
    assert said == "True 41"


PAUSED = """
from twisted.internet.protocol import Factory, Protocol
from bastion.net import socket as io
import socket

class Sends(Protocol):
    # The first that is read pauses the second and ends the third, whose events have come in the same poll.
    def connectionMade(self):
        made.append(self)
    def dataReceived(self, data):
        read.append(made.index(self))
        if len(read) == 1:
            others = [one for one in made if one is not self]
            others[0].transport.pauseProducing()
            others[1].transport.abortConnection()
            r.callLater(0.05, others[0].transport.resumeProducing)
        else:
            r.stop()

made, read = [], []
port = io.listen(r, 0, Factory.forProtocol(Sends), interface="127.0.0.1")
peers = [socket.create_connection(("127.0.0.1", port.getHost().port), 10) for _ in range(3)]

def begin():
    if len(made) < 3:
        r.callLater(0.01, begin)
        return
    for peer in peers:
        peer.sendall(b"word")

r.callWhenRunning(begin)
r.callLater(20, r.stop)
r.run()
print(len(read), len(r._background))
"""


def test_an_event_that_waits_is_dropped_when_its_connection_is_paused_or_gone() -> None:
    assert run(INSTALL + PAUSED) == "2 0"


MANY = """
from twisted.internet.protocol import Factory, Protocol
from bastion.net import socket as io
import socket

turns, made = [], []
poll = r.doPoll

def counted(timeout):
    before = len(made)
    poll(timeout)
    turns.append(len(made) - before)

class Comes(Protocol):
    def connectionMade(self):
        made.append(self)
        if len(made) == 60:
            r.stop()

port = io.listen(r, 0, Factory.forProtocol(Comes), interface="127.0.0.1")
peers = [socket.create_connection(("127.0.0.1", port.getHost().port), 10) for _ in range(60)]
r.doPoll = r.doIteration = counted
r.callLater(20, r.stop)
r.run()
print(max(turns) <= io.MAX_ACCEPTS, sum(turns))
"""


def test_a_turn_accepts_few() -> None:
    assert run(INSTALL + MANY) == "True 60"


PRIORITY = """
import socket, time

class Ready:
    # One that stays readable when it is a stranger's, and is read out when it is an engineer's.
    direct = True

    def __init__(self, background):
        self.background = background
        self.mine, self.peer = socket.socketpair()
        self.mine.setblocking(False)
        self.peer.send(b"x")

    def fileno(self):
        return self.mine.fileno()

    def doRead(self):
        if self.background:
            until = time.thread_time() + 0.0002
            while time.thread_time() < until:
                pass
        else:
            self.mine.recv(1)
            waited.append(turns[0] - sent[-1])

    def logPrefix(self):
        return "ready"

    def connectionLost(self, why):
        pass

turns, sent, waited = [0], [0], []
poll = r.doPoll

def counted(timeout):
    turns[0] += 1
    poll(timeout)

r.doPoll = r.doIteration = counted
strangers, engineer = [Ready(True) for _ in range(STRANGERS)], Ready(False)
for one in (*strangers, engineer):
    r.addReader(one)

def key():
    if len(waited) >= 10:
        r.stop()
        return
    sent.append(turns[0])
    engineer.peer.send(b"k")
    r.callLater(0.02, key)

r.callLater(0.1, key)
r.callLater(60, r.stop)
r.run()
"""


@pytest.mark.slow
@pytest.mark.parametrize("strangers", [100, 1000])
def test_an_engineer_waits_for_one_turn_however_many_strangers_are_ready(strangers: int) -> None:
    program = INSTALL + f"STRANGERS = {strangers}\n" + PRIORITY + "print(len(waited), max(waited[1:]) <= 2)"
    assert run(program) == "10 True"


NEWCOMERS = """
from twisted.internet.protocol import Factory, Protocol
from bastion.net import socket as io

class Comes(Protocol):
    def connectionMade(self):
        accepted.append(turns[0])
        if len(accepted) == 24:
            r.stop()

accepted, began = [], []
port = io.listen(r, 0, Factory.forProtocol(Comes), interface="127.0.0.1")

def come():
    began.append(turns[0])
    came.extend(socket.create_connection(("127.0.0.1", port.getHost().port), 10) for _ in range(24))

came = []
r.callLater(0.05, come)
"""


@pytest.mark.slow
def test_newcomers_are_accepted_in_each_turn_however_many_strangers_are_ready() -> None:
    """A flood of strangers' bytes must not keep the kernel's backlog full, where nobody shares fairly."""
    strangers, _, rest = PRIORITY.partition("def key():")
    end = "r.callLater(60, r.stop)\nr.run()\nprint(len(accepted), max(accepted) - began[0] <= 5)"
    assert rest and run(INSTALL + "STRANGERS = 1000\n" + strangers + NEWCOMERS + end) == "24 True"


BULK = """
import socket, threading, time
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from bastion.net import socket as io
from bastion.net.read_size import FIRST_READ, GATHER

class Sink(Protocol):
    def dataReceived(self, data):
        sizes.append(len(data))
        if sum(sizes) >= FIRST_READ + 5:
            self.transport.loseConnection()
    def connectionLost(self, reason):
        r.callLater(0, r.stop)

sizes, naps = [], []
sleep = time.sleep
time.sleep = lambda seconds: naps.append((seconds, list(sizes))) or sleep(seconds)
listener = socket.create_server(("127.0.0.1", 0))
here = listener.getsockname()[1]
if DOWN:
    io.connect(r, "127.0.0.1", here, type("F", (ClientFactory,), {"protocol": Sink})(), 10)
    threading.Thread(target=lambda: listener.accept()[0].sendall(bytes(FIRST_READ + 5))).start()
else:
    port = io.listen(r, 0, Factory.forProtocol(Sink), interface="127.0.0.1")
    peer = socket.create_connection(("127.0.0.1", port.getHost().port), 10)
    peer.sendall(bytes(FIRST_READ + 5))
r.callLater(20, r.stop)
r.run()
print(sizes[0], naps == [(GATHER, [FIRST_READ])], naps == [])
"""


@pytest.mark.parametrize(("down", "said"), [("True", "True False"), ("False", "False True")])
def test_after_a_small_read_of_a_download_it_looks_a_moment_later(down: str, said: str) -> None:
    assert run(INSTALL + BULK.replace("DOWN", down)) == f"16384 {said}"
