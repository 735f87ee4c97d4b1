"""A connection to a sink, with TLS where that is wanted (L2). Blocks: call it in a thread.

Invariants: the server has shown a certificate for its name, of a CA that is trusted for it; all that is done on a
connection is done by its deadline, however slowly bytes come; what a server says beyond what is wanted is not kept.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from bastion.observe.labels import SinkReason
from bastion.sinks.fault import SinkFault, fault_of
from bastion.sinks.section import Sink

_PIECE: Final = 16 << 10

IGNORED_MAX: Final = 64 << 10
"""Bytes that a server of syslog may say, which nobody reads."""


class Trust:
    """What a sink's server is believed by, and what it is shown. Read again when a file is another one."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._stamp: object = None
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """Raises SinkFault."""
        sink = self._sink
        try:
            stamp = [_stamp(file) for file in (sink.ca_file, sink.client_certificate, sink.client_key)]
            if self._context is None or stamp != self._stamp:
                self._context, self._stamp = make_context(sink), stamp
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            why = getattr(error, "strerror", None) or getattr(error, "reason", None) or str(error)
            raise SinkFault(SinkReason.SETTINGS, f"certificates: {why}") from None
        return self._context


def _stamp(file: Path | None) -> tuple[int, int] | None:
    if file is None:
        return None
    found = os.stat(file)
    return found.st_mtime_ns, found.st_ino


def make_context(sink: Sink) -> ssl.SSLContext:
    """TLS 1.2 or later, towards servers that the sink's CAs have certified. Raises OSError, ValueError."""
    context = ssl.create_default_context(
        ssl.Purpose.SERVER_AUTH, cafile=None if sink.ca_file is None else str(sink.ca_file)
    )
    context.check_hostname = True
    context.hostname_checks_common_name = False  # RFC 6125 section 6.4.4
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if sink.client_certificate is not None and sink.client_key is not None:
        mode = os.stat(sink.client_key).st_mode & 0o777
        if mode & 0o027:
            raise ValueError(f"{sink.client_key} lets others in (mode {mode:04o})")
        # Without a passphrase of ours, OpenSSL would ask for it at the terminal.
        context.load_cert_chain(sink.client_certificate, sink.client_key, password="")
    return context


@contextmanager
def connected(host: str, port: int, seconds: float, place: str) -> Iterator[socket.socket]:
    """A TCP connection, which is cut after so many seconds. Raises SinkFault for whatever goes wrong with it."""
    late = threading.Event()
    opened: socket.socket | None = None
    try:
        opened = socket.create_connection((host, port), seconds)
        held = opened.dup()  # stays when TLS takes the other

        def cut() -> None:
            late.set()
            with suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(seconds, cut)
        timer.daemon = True
        timer.start()
        try:
            yield opened
        finally:
            timer.cancel()
            timer.join()
            held.close()
        if late.is_set():  # what was read as an end was ours
            raise TimeoutError
    except OSError as error:
        if late.is_set():
            raise SinkFault(SinkReason.TIMEOUT, f"{place}: not done within {seconds:g} s") from None
        raise fault_of(error, place) from None
    except Exception:
        if late.is_set():  # whatever was made of it
            raise SinkFault(SinkReason.TIMEOUT, f"{place}: not done within {seconds:g} s") from None
        raise
    finally:
        if opened is not None:
            opened.close()


class PlainLink:
    """Bytes to a server that says nothing; `settle` waits until it has read them all."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened

    def send(self, data: bytes) -> None:
        """Raises OSError."""
        self._socket.sendall(data)

    def settle(self) -> None:
        """The server has closed its side, which it does when it has read ours to the end. Raises OSError."""
        self._socket.shutdown(socket.SHUT_WR)
        ignored = 0
        while data := self._socket.recv(_PIECE):
            ignored = _bounded(ignored, data)


class TlsLink:
    """The same through TLS, by hand: who ends a connection must see how the other side ends it, and why."""

    def __init__(self, opened: socket.socket, context: ssl.SSLContext, name: str) -> None:
        """Raises OSError."""
        self._socket = opened
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=name)
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                if not self._fill():
                    raise ConnectionResetError("closed in the middle of the handshake") from None
        self._flush()

    def send(self, data: bytes) -> None:
        """Raises OSError."""
        view = memoryview(data)
        for start in range(0, len(view), _PIECE):
            self._tls.write(view[start : start + _PIECE])
            self._flush()

    def settle(self) -> None:
        """RFC 5425 section 4.4: whoever closes says so first, and the other side closes when it has read that. A server
        that refuses our certificate says so here (TLS 1.3); a connection that breaks is no answer. Raises OSError."""
        with suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        self._flush()
        self._socket.shutdown(socket.SHUT_WR)
        ignored = 0
        while True:
            try:
                data = self._tls.read(_PIECE)
            except ssl.SSLWantReadError:
                if not self._fill():
                    return  # closed, and everything before that was in order
                continue
            except ssl.SSLZeroReturnError:
                return
            if not data:
                return
            ignored = _bounded(ignored, data)

    def _flush(self) -> None:
        data = self._out.read()
        if data:
            self._socket.sendall(data)

    def _fill(self) -> bool:
        """False at the end."""
        data = self._socket.recv(_PIECE)
        self._in.write(data)
        return bool(data)


def _bounded(sofar: int, data: bytes) -> int:
    sofar += len(data)
    if sofar > IGNORED_MAX:
        raise ConnectionAbortedError("it says more than a server of syslog does")
    return sofar
