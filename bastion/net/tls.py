"""TLS in front of a protocol, with Python's own `ssl` (L2): for pages of some 100 KB, not for sessions.

Twisted's own would bring pyOpenSSL and two libraries more into the supervisor, which is kept small. Invariants: nothing
of the wrapped protocol leaves in the clear; what a peer sends before its handshake is done reaches nobody; a peer that
breaks TLS is cut off; a certificate that is replaced on disk is used from the next connection on, and one that cannot
be read leaves the old one in use.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure

from bastion.errors import ConfigError

READ: Final = 64 << 10

HELD_MAX: Final = 16 << 10
"""Bytes that may wait for a handshake to end: an answer cannot be there before its question."""


def context_of(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or later, with that certificate and its chain. Raises ConfigError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET
    try:
        mode = key.stat().st_mode & 0o777
        if mode & 0o027:
            raise ConfigError(str(key), 0, "", f"mode {mode:04o} lets others in", "0600 or 0640")
        # Without a passphrase of ours, OpenSSL would ask for it at the terminal.
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        why = getattr(error, "strerror", None) or type(error).__name__
        problem = f"and {key} cannot be used together: {why}"
        raise ConfigError(
            str(certificate), 0, "", problem, "a PEM certificate and its key without a passphrase"
        ) from None
    return context


class ServerTls:
    """The certificate in use. `on_fault` hears why a new one is not taken."""

    def __init__(self, certificate: Path, key: Path, on_fault: Callable[[str], object]) -> None:
        """Raises ConfigError."""
        self._files = certificate, key
        self._on_fault = on_fault
        self._stamp = self._look()
        self._context = context_of(certificate, key)

    def context(self) -> ssl.SSLContext:
        """For the next connection. Looks at the files: two stat(2)."""
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._context = context_of(*self._files)
            except ConfigError as error:
                self._on_fault(str(error))
        return self._context

    def _look(self) -> tuple[tuple[int, int], ...]:
        try:
            found = [path.stat() for path in self._files]
        except OSError:
            return ()
        return tuple((one.st_mtime_ns, one.st_ino) for one in found)


class TlsFactory(WrappingFactory):
    """`wrapped` behind TLS; None from its `buildProtocol` is a connection that is closed at once."""

    noisy = False

    def __init__(self, wrapped: Any, tls: ServerTls) -> None:
        super().__init__(wrapped)  # type: ignore[no-untyped-call]
        self.tls = tls

    def buildProtocol(self, addr: Any) -> Any:
        inner = self.wrappedFactory.buildProtocol(addr)
        return None if inner is None else TlsProtocol(self, inner, self.tls.context())


class TlsProtocol(ProtocolWrapper):
    """One connection: bytes of the network on one side, of the wrapped protocol on the other."""

    def __init__(self, factory: TlsFactory, inner: Any, context: ssl.SSLContext) -> None:
        made_by: Any = factory
        super().__init__(made_by, inner)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self._held: list[bytes] | None = []  # written before the handshake was done; None once it is
        self._over = False

    # -- from the network ----------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        if self._over:
            return
        self._in.write(data)
        try:
            self._pump()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self._flush()  # the alert that says why
            self._cut()
            return
        self._flush()

    def _pump(self) -> None:
        """Everything that has come. Raises SSLWantReadError when there is no more, SSLError for a broken peer."""
        if self._held is not None:
            self._tls.do_handshake()
            held, self._held = self._held, None
            for data in held:
                self._tls.write(data)
        while not self._over:
            data = self._tls.read(READ)
            if not data:  # close_notify
                self.loseConnection()
                return
            self._flush()
            inner: Any = self.wrappedProtocol
            inner.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._over = True
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    # -- from the wrapped protocol ---------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if self._over or not data:
            return
        if self._held is None:
            self._tls.write(data)
            self._flush()
        elif sum(map(len, self._held)) + len(data) <= HELD_MAX:
            self._held.append(bytes(data))
        else:
            self._cut()

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Say goodbye in TLS, behind what was written, and close."""
        if self._over:
            return
        self._over = True
        try:
            self._tls.unwrap()
        except (ssl.SSLError, ValueError):
            pass  # it waits for the peer's goodbye; ours has been written
        self._flush()
        transport: Any = self.transport
        transport.loseConnection()

    def abortConnection(self) -> None:
        self._cut()

    def _cut(self) -> None:
        self._over = True
        transport: Any = self.transport
        transport.abortConnection()

    def _flush(self) -> None:
        data = self._out.read()
        if data:
            transport: Any = self.transport
            transport.write(data)
