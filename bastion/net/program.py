"""A program whose standard input and output are a connection: what `proxy_command` runs.

It is run without a shell, with nothing in its environment and no descriptor of ours but the three, in a session and
process group of its own. Its input and output are one socket, so reading, writing and back-pressure are those of every
connection (`net.socket`). Invariant: when the connection is over the program and what it started in its group end, and
when the program ends the connection is over; its number is kept from others until its group was told.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from bastion.net.socket import DirectConnection

KILL_AFTER: Final = 2.0
"""Seconds from SIGTERM, which comes when the connection is over, to SIGKILL."""

ERRORS_KEPT: Final = 2048
"""Bytes of its standard error that are shown to the operator: the first ones, where tools say what is wrong."""

ERRORS_AT_ONCE: Final = 64 * 1024
"""Bytes of it that are read at once, and dropped beyond that."""


_NOTHING: Final[dict[str, str]] = {}


class Program:
    """One run. `start` it, then `connect` a protocol to it."""

    def __init__(self, reactor: Any, words: Sequence[str], told: Callable[[str, bytes, int], None]) -> None:
        """`told` hears once how it ended (`exit status 1`), the first of its standard error, and how many more bytes
        of that there were."""
        self._reactor = reactor
        self._words = tuple(words)
        self._told: Callable[[str, bytes, int], None] | None = told
        self._process: subprocess.Popen[bytes] | None = None
        self._ours: socket.socket | None = None
        self._watched: list[_Watched] = []
        self._errors, self._more = bytearray(), 0
        self._kill: Any = None
        self._conversation: _Conversation | None = None
        self.how = ""
        """How it ended, "" while it runs."""
        self.ended: Deferred[str] = Deferred()

    def start(self) -> None:
        """Run it. Raises OSError when it cannot be run."""
        ours, theirs = socket.socketpair()
        errors, written = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        process = None
        try:
            os.set_blocking(written, True)
            process = subprocess.Popen(
                self._words,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=written,
                env=_NOTHING,
                cwd="/",
                start_new_session=True,
            )
            end = os.pidfd_open(process.pid)
        except (OSError, ValueError) as error:
            ours.close()
            os.close(errors)
            if process is not None:
                process.kill()
                process.wait()
            raise error if isinstance(error, OSError) else OSError(0, "bad arguments") from None
        finally:
            theirs.close()
            os.close(written)
        self._ours, self._process = ours, process
        self._watched = [
            _Watched(self._reactor, errors, self._read_errors),
            _Watched(self._reactor, end, self._has_ended),
        ]

    def connect(self, protocol: Any) -> None:
        """`protocol` has the program's input and output from now on."""
        ours, self._ours = self._ours, None
        assert ours is not None
        self._conversation = _Conversation(ours, protocol, self._reactor, self.stop)
        protocol.makeConnection(self._conversation)

    def stop(self) -> None:
        """The connection is over."""
        self._conversation = None
        ours, self._ours = self._ours, None
        if ours is not None:
            ours.close()
        if not self.how and self._kill is None:
            self._signal(signal.SIGTERM)
            self._kill = self._reactor.callLater(KILL_AFTER, self._signal, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        process = self._process
        if process is not None:  # and was not waited for, so that its number is its own
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)

    def _read_errors(self, watched: _Watched) -> None:
        try:
            piece = os.read(watched.descriptor, ERRORS_AT_ONCE)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        room = ERRORS_KEPT - len(self._errors)
        self._errors += piece[:room]
        self._more += len(piece) - min(len(piece), room)
        if not piece:
            watched.close()

    def _has_ended(self, watched: _Watched) -> None:
        """End what it has left in its group, and only then take notice of its end."""
        self._signal(signal.SIGKILL)
        process, self._process = self._process, None
        assert process is not None
        code = process.wait()  # it has ended already
        self.how = f"signal {-code}" if code < 0 else f"exit status {code}"
        if self._kill is not None and self._kill.active():
            self._kill.cancel()
        errors, end = self._watched
        if not errors.closed:
            self._read_errors(errors)  # its last words
            errors.close()
        end.close()
        if self._conversation is not None:
            self._conversation.has_ended()
        told, self._told = self._told, None
        if told is not None:
            told(self.how, bytes(self._errors), self._more)
        self.ended.callback(self.how)


class _Watched:
    """A descriptor that the reactor looks at; `ready` is called when there is something to read."""

    def __init__(self, reactor: Any, descriptor: int, ready: Callable[[_Watched], None]) -> None:
        self._reactor = reactor
        self._ready = ready
        self.descriptor = descriptor
        self.closed = False
        reactor.addReader(self)

    def fileno(self) -> int:
        return -1 if self.closed else self.descriptor

    def logPrefix(self) -> str:
        return "program"

    def doRead(self) -> None:
        self._ready(self)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor gives it up."""
        self.close()

    def close(self) -> None:
        if not self.closed:
            self._reactor.removeReader(self)
            self.closed = True
            os.close(self.descriptor)


class _Conversation(DirectConnection, tcp.Connection):  # type: ignore[misc]
    """Our end of the program's input and output."""

    gathers = True

    def __init__(self, ours: socket.socket, protocol: Any, reactor: Any, over: Callable[[], None]) -> None:
        super().__init__(ours, protocol, reactor)
        self.logstr = "program"
        self._over = over
        self.connected = 1
        self.startReading()  # type: ignore[no-untyped-call]

    def has_ended(self) -> None:
        """What it has said is still read, then comes the end, also when somebody outside its group has it."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RD)

    def connectionLost(self, reason: Failure) -> None:
        over, self._over = self._over, lambda: None
        super().connectionLost(reason)
        over()
