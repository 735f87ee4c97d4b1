"""TLS between nodes of one kind: both prove by a certificate which of them they are (L2), with Python's own `ssl`.

Invariants: TLS 1.3 and nothing before it; the only authority is the file that was named, never the system's; nothing of
what is inside is there before the far end has proved a name that is wanted; a handshake has HANDSHAKE seconds; a
connection ends with the certificate that it was opened with. Certificates that are replaced on disk are used from the
next connection on, and ones that cannot be read leave the old ones in use.
"""

from __future__ import annotations

import ssl
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from twisted.internet.protocol import Protocol as Connection
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from bastion.clock import Clock, DelayedCall
from bastion.errors import ConfigError

HANDSHAKE: Final = 5.0
"""Seconds from the connection on, until the far end is known."""

READ: Final = 64 << 10

LOOK: Final = 3600.0
"""Seconds between two looks whether the far end's certificate has ended."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM: our certificate with its chain, its key, and the authorities that sign the nodes'."""

    certificate: Path
    key: Path
    authority: Path


def context_of(files: TlsFiles, server: bool) -> ssl.SSLContext:
    """For one end. Raises ConfigError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # a node is its name, wherever it is: `_Proved`
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
    if server:
        context.num_tickets = 0  # no session is taken up again: each connection proves its name
    try:
        mode = stat.S_IMODE(files.key.stat().st_mode)
        if mode & 0o027:
            raise ConfigError(str(files.key), 0, "", f"mode {mode:04o} lets others in", "0600 or 0640")
        # Without a passphrase of ours, OpenSSL would ask for it at the terminal.
        context.load_cert_chain(files.certificate, files.key, password="")
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        why = getattr(error, "strerror", None) or type(error).__name__
        problem = f"and {files.key} cannot be used together: {why}"
        allowed = "a PEM certificate and its key without a passphrase"
        raise ConfigError(str(files.certificate), 0, "", problem, allowed) from None
    try:
        context.load_verify_locations(files.authority)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise ConfigError(str(files.authority), 0, "", f"cannot be used: {why}", "PEM certificates") from None
    return context


class NodeTls:
    """The certificates in use. `on_fault` hears why new ones are not taken."""

    def __init__(self, files: TlsFiles, on_fault: Callable[[str], object]) -> None:
        """Raises ConfigError."""
        self._files, self._on_fault = files, on_fault
        self._stamp = self._look()
        self._contexts = {server: context_of(files, server) for server in (True, False)}

    def context(self, server: bool) -> ssl.SSLContext:
        """For the next connection. Looks at the files: three stat(2)."""
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._contexts = {end: context_of(self._files, end) for end in (True, False)}
            except ConfigError as error:
                self._on_fault(str(error))
        return self._contexts[server]

    def _look(self) -> tuple[tuple[int, int], ...]:
        files = self._files
        try:
            found = [path.stat() for path in (files.certificate, files.key, files.authority)]
        except OSError:
            return ()
        return tuple((one.st_mtime_ns, one.st_ino) for one in found)


@dataclass(frozen=True, slots=True)
class Proved:
    """What the far end's certificate says: its DNS names, and when it ends, in seconds since the epoch."""

    names: frozenset[str]
    ends_at: float


Admit = Callable[[Proved], Any]
"""The protocol that speaks inside, for who has proved that; None: nobody does, and the connection ends."""


class MutualTls(Connection):
    """One connection. To what speaks inside it is a transport."""

    def __init__(
        self,
        reactor: Any,
        clock: Clock,
        context: ssl.SSLContext,
        server: bool,
        admit: Admit,
        on_over: Callable[[MutualTls, str], None],
    ) -> None:
        """`on_over` is called once, with what was wrong before somebody was admitted, or ""."""
        self._reactor, self._clock = reactor, clock
        self._admit, self._on_over = admit, on_over
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=server)
        self._inner: Any = None
        self._over = False
        self._timer: DelayedCall | None = None
        self._ends_at = 0.0

    # -- from the network ----------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        self._timer = self._reactor.callLater(HANDSHAKE, self._fail, "no handshake in time")
        self._pump()

    def dataReceived(self, data: bytes) -> None:
        if not self._over:
            self._in.write(data)
            self._pump()

    def _pump(self) -> None:
        """Everything that has come."""
        try:
            if self._inner is None:
                self._tls.do_handshake()
                self._known()
            while not self._over:
                data = self._tls.read(READ)
                if not data:  # close_notify
                    self._fail("")
                    return
                self._flush()
                self._inner.dataReceived(data)
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self._flush()  # the alert that says why
            self._fail(f"TLS: {error.reason or 'broken'}".replace("_", " ").lower())
        except ValueError:  # a read after the far end's goodbye
            self._fail("")

    def _known(self) -> None:
        self._flush()
        self._cancel()
        certificate: Any = self._tls.getpeercert() or {}
        if "notAfter" not in certificate:
            self._fail("it has shown no certificate")
            return
        names = frozenset(name for kind, name in certificate.get("subjectAltName", ()) if kind == "DNS")
        self._ends_at = float(ssl.cert_time_to_seconds(certificate["notAfter"]))
        inner = self._admit(Proved(names, self._ends_at))
        if inner is None:
            self._fail("")  # who has not admitted it has said why
            return
        self._inner = inner
        self._look_at_end()
        inner.makeConnection(self)

    def _look_at_end(self) -> None:
        left = self._ends_at - self._clock.time()
        if left <= 0:
            self._fail("its certificate has ended")
            return
        self._timer = self._reactor.callLater(min(left, LOOK), self._look_at_end)

    def _fail(self, why: str) -> None:
        self._end(why)
        transport: Any = self.transport
        transport.abortConnection()

    def _end(self, why: str) -> None:
        if self._over:
            return
        self._over = True
        self._cancel()
        inner, self._inner = self._inner, None
        self._on_over(self, why)
        if inner is not None:
            inner.connectionLost(connectionDone)

    def _cancel(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._end("" if self._inner is not None else "it left in the middle of the handshake")

    # -- from what speaks inside -----------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if not self._over and data:
            self._tls.write(data)
            self._flush()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        transport: Any = self.transport
        transport.registerProducer(producer, streaming)

    def abortConnection(self) -> None:
        """End it now."""
        self._fail("")

    def _flush(self) -> None:
        data = self._out.read()
        if data:
            transport: Any = self.transport
            transport.write(data)
