"""One conversation with one LDAP server, through ldap3, in a thread (L2).

ldap3 is blocking and trusting by default (referrals followed with the user's password, certificates
unchecked, answers of any size, timeouts per recv). This is the one place that uses it, and where each of
these is closed:

* `Line.cut`, called by the reactor, shuts the socket down in whatever state it is, so the thread comes back;
* TLS is ours (`ldap_config.tls_context`): certificate required, name checked by OpenSSL, StartTLS before
  bind;
* `auto_referrals` is off, referral results are failures, search references are ignored;
* an answer is read up to MAX_ANSWERS bytes.

Nothing but `ServerFailed` leaves, with a text of ours: ldap3's may quote what a server sent.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ldap3
from ldap3.core.exceptions import LDAPException, LDAPStartTLSError

from bastion.auth.ldap_config import LdapConfig, ServerAddress
from bastion.auth.ldap_entry import Entry
from bastion.errors import BastionError

# Bytes that one conversation may receive in all; on a connection that waited for it, it starts again. The largest
# honest one: 1,024 groups of 200 bytes and 64 keys of 8 KiB is about 0.7 MiB. Times the threads (8) this is 32 MiB
# at worst.
MAX_ANSWERS = 4 << 20

# Bytes taken per recv, as much as a socket usually has.
RECEIVE_SIZE = 128 << 10

# LDAP result codes (RFC 4511 section 4.1.9) that mean something of their own here.
SUCCESS = 0
TIME_LIMIT = 3
SIZE_LIMIT = 4
REFERRAL = 10
CONSTRAINT_VIOLATION = 19
NO_SUCH_OBJECT = 32
INAPPROPRIATE_AUTHENTICATION = 48
INVALID_CREDENTIALS = 49
INSUFFICIENT_ACCESS = 50
BUSY = 51
SERVER_UNAVAILABLE = 52
UNWILLING = 53


class ServerFailed(BastionError):
    """The server gave no usable answer. `operation` and `error` are from the closed sets of the meters."""

    def __init__(self, operation: str, error: str, text: str) -> None:
        super().__init__(text)
        self.operation, self.error, self.text = operation, error, text


@dataclass(frozen=True, slots=True)
class Answer:
    """A result: its code, and the server's text, which is only ever searched for known words."""

    code: int
    message: str


class Line:
    """The sockets of one link. Thread-safe: a thread adds them, the reactor may cut them at any time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handles: list[socket.socket] = []
        self.was_cut = False

    def hold(self, connection: socket.socket) -> None:
        """Hold a socket from before it is connected, by a duplicate that stays when TLS takes the other."""
        with self._lock:
            self._handles.append(connection.dup())
            if self.was_cut:
                self._shut()

    def cut(self) -> None:
        """Shut every socket down; whatever waits in recv, send, connect or a handshake fails at once."""
        with self._lock:
            self.was_cut = True
            self._shut()

    def close(self) -> None:
        """Let go of the duplicates, without which the peer never sees the end."""
        with self._lock:
            for handle in self._handles:
                handle.close()
            self._handles.clear()

    def _shut(self) -> None:
        for handle in self._handles:
            with contextlib.suppress(OSError):  # not connected yet: the flag stops its next use
                handle.shutdown(socket.SHUT_RDWR)


class _CountedSocket:
    """What ldap3 sees as its socket: counts what is received, and fails once the line is cut."""

    def __init__(self, inner: socket.socket, line: Line) -> None:
        self.inner = inner
        self._line = line
        self.left = MAX_ANSWERS

    def recv(self, size: int) -> bytes:
        self._check()
        # ldap3 asks for 4 KiB and joins all pieces each time: a long answer would cost seconds of CPU.
        data = self.inner.recv(max(size, RECEIVE_SIZE))
        self.left -= len(data)
        if self.left < 0:
            raise OSError("the server's answers are too long")
        return data

    def connect(self, address: Any) -> None:
        self._check()
        self.inner.connect(address)

    def sendall(self, data: bytes) -> None:
        self._check()
        self.inner.sendall(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def _check(self) -> None:
        if self._line.was_cut:
            raise OSError("the line was cut")


class _Connection(ldap3.Connection):
    """ldap3's connection, whose socket is held by a `Line` from the moment it exists."""

    def __init__(self, line: Line, *args: Any, **kwargs: Any) -> None:
        self._line = line
        self._socket: _CountedSocket | None = None
        self.tls_fault: str | None = None
        super().__init__(*args, **kwargs)

    @property
    def socket(self) -> Any:
        return self._socket

    @socket.setter
    def socket(self, made: socket.socket | None) -> None:
        before, self._socket = self._socket, None
        if before is not None:
            before.inner.close()  # an address that did not work, or a number that TLS has taken over
        if made is not None:
            if not isinstance(made, ssl.SSLSocket):
                self._line.hold(made)
                # Request and answer in turn: Nagle would wait for the peer's delayed ACK, 40 ms each time.
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = _CountedSocket(made, self._line)


class _VerifiedTls(ldap3.Tls):
    """ldap3's TLS with a context of ours. The handshake runs on a socket that can be cut."""

    def __init__(self, context: ssl.SSLContext, name: str) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        self._context, self._name = context, name

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
        try:
            wrapped = self._context.wrap_socket(
                connection.socket.inner, server_hostname=self._name, do_handshake_on_connect=False
            )
            connection.socket = wrapped
            wrapped.do_handshake()
        except ssl.SSLCertVerificationError as error:
            connection.tls_fault = f"its certificate is not accepted: {error.verify_message}"
            raise
        except (OSError, ValueError) as error:
            connection.tls_fault = f"TLS failed ({type(error).__name__})"
            raise


class Link:
    """An open conversation. With TLS, unless the configuration allows none. `line` may be cut at any time."""

    def __init__(self, config: LdapConfig, context: ssl.SSLContext, server: ServerAddress) -> None:
        self._config = config
        self._server = server
        self.line = Line()
        self._clear = config.allow_plaintext and not server.tls
        name = config.certificate_name or server.host
        self._server_options = ldap3.Server(
            server.host,
            server.port,
            use_ssl=server.tls,
            get_info=ldap3.NONE,
            tls=None if self._clear else _VerifiedTls(context, name),
            connect_timeout=config.connect_timeout,
            allowed_referral_hosts=[],
        )
        self._connection = self._made(None, None)

    def _made(self, dn: str | None, password: bytes | None) -> _Connection:
        return _Connection(
            self.line,
            self._server_options,
            user=dn,
            password=password,
            authentication=ldap3.SIMPLE if dn else ldap3.ANONYMOUS,
            auto_bind="NONE",
            auto_referrals=False,
            auto_range=False,
            auto_escape=False,
            check_names=False,
            raise_exceptions=False,
            return_empty_attributes=False,
            # The second line of defence behind the reactor's deadline; ldap3 wants whole seconds here.
            receive_timeout=int(self._config.timeout) + 1,
        )

    def open(self) -> None:
        """Connect, and have TLS before anything else is said (RFC 4513 section 3.1). Raises ServerFailed."""
        with self._failures("connect"):
            self._connection.open(read_server_info=False)
            if self._server.tls or self._clear:
                return
            if self._connection.start_tls(read_server_info=False) is not True:
                raise LDAPStartTLSError("not started")
            if not isinstance(self._connection.socket.inner, ssl.SSLSocket):
                raise LDAPStartTLSError("not started")

    def bind(self, operation: str, dn: str | None, password: bytes | None) -> Answer:
        """Simple bind (RFC 4513 section 5.1.3), or an anonymous one without a DN. The answer, whatever it
        says.

        The password is sent as it was typed: directories store what other clients sent, and these do not
        prepare it (RFC 4013) either. Raises ServerFailed when there is no answer.
        """
        connection = self._connection
        if dn is not None and (not dn or not password):
            raise AssertionError("a simple bind needs a name and a password")
        with self._failures(operation):
            connection.authentication = ldap3.SIMPLE if dn else ldap3.ANONYMOUS
            connection.user, connection.password = dn, password
            try:
                connection.bind(read_server_info=False)
            finally:
                connection.password = None
            return self._usable(operation)

    def bind_service(self, password: str) -> Answer:
        """Bind as whoever searches: by the certificate that TLS has shown, with `password`, or as nobody. The answer,
        whatever it says; raises ServerFailed when there is none."""
        dn = self._config.bind_dn
        if self._config.client_certificate is None:
            return self.bind("service_bind", dn, password.encode() if dn else None)
        connection = self._connection
        with self._failures("service_bind"):
            # RFC 4422 appendix A: an empty authorisation identity asks for the one that the certificate has. Left out,
            # the server would ask for it.
            connection.authentication, connection.sasl_mechanism = ldap3.SASL, ldap3.EXTERNAL
            connection.sasl_credentials = b""
            connection.bind(read_server_info=False)
            return self._usable("service_bind")

    def search(
        self, base: str, filter: str, attributes: Sequence[str], limit: int, *, whole_tree: bool = True
    ) -> tuple[list[Entry], bool]:
        """At most `limit` entries, and whether more exist. References are ignored. Raises ServerFailed."""
        connection = self._connection
        with self._failures("search"):
            connection.search(
                base,
                filter,
                ldap3.SUBTREE if whole_tree else ldap3.BASE,
                ldap3.DEREF_NEVER,
                list(attributes),
                size_limit=limit,
                time_limit=int(self._config.timeout) + 1,
            )
            answer = self._answer()
            if answer.code == NO_SUCH_OBJECT and not whole_tree:
                return [], False
            if answer.code not in (SUCCESS, SIZE_LIMIT):
                raise _no_answer("search", answer)
            found = [_entry(item) for item in connection.response or () if item["type"] == "searchResEntry"]
            return found[:limit], answer.code == SIZE_LIMIT or len(found) > limit

    def is_quiet(self) -> bool:
        """Nothing has come since the last answer: neither the end nor a notice of it (RFC 4511 section 4.4.1)."""
        held: _CountedSocket | None = self._connection.socket
        if held is None or self.line.was_cut:
            return False
        if isinstance(held.inner, ssl.SSLSocket) and held.inner.pending():
            return False
        asked = select.poll()
        asked.register(held.inner, select.POLLIN)
        return not asked.poll(0)

    def certificate_ends(self) -> float | None:
        """Until when the server's certificate is valid, in seconds since the epoch; None without TLS."""
        held: _CountedSocket | None = self._connection.socket
        if held is None or not isinstance(held.inner, ssl.SSLSocket):
            return None
        ends = (held.inner.getpeercert() or {}).get("notAfter")
        return float(ssl.cert_time_to_seconds(ends)) if isinstance(ends, str) else None

    def renew(self) -> None:
        """The next conversation begins: it may receive as much as the first."""
        held: _CountedSocket | None = self._connection.socket
        if held is not None:
            held.left = MAX_ANSWERS

    def close(self) -> None:
        """Say goodbye when the line still stands, and close the socket. Never fails, never waits."""
        connection = self._connection
        if not self.line.was_cut:
            with contextlib.suppress(Exception):
                if connection.socket is not None:
                    connection.socket.inner.settimeout(0)
                connection.unbind()
        connection.socket = None
        self.line.close()

    def _usable(self, operation: str) -> Answer:
        """The answer to a bind, unless it says that somebody else should be asked. Raises ServerFailed."""
        answer = self._answer()
        if answer.code in (REFERRAL, BUSY, SERVER_UNAVAILABLE):
            raise _no_answer(operation, answer)
        return answer

    def _answer(self) -> Answer:
        result = self._connection.result
        return Answer(int(result["result"]), str(result.get("message") or ""))

    @contextlib.contextmanager
    def _failures(self, operation: str) -> Iterator[None]:
        """Turn whatever ldap3 raises into ServerFailed; on hostile bytes that can be any exception."""
        try:
            yield
        except ServerFailed:
            raise
        except Exception as error:
            raise self._explained(operation, error) from None

    def _explained(self, operation: str, error: Exception) -> ServerFailed:
        if self.line.was_cut:
            return ServerFailed(operation, "timeout", "it did not answer in time")
        if self._connection.tls_fault is not None:
            return ServerFailed(operation, "tls", self._connection.tls_fault)
        if isinstance(error, LDAPStartTLSError):
            return ServerFailed(operation, "tls", "it does not start TLS")
        if isinstance(error, (LDAPException, OSError)):
            if "timed out" in str(error):
                return ServerFailed(operation, "timeout", "it did not answer in time")
            return ServerFailed(operation, "unavailable", f"the connection failed ({type(error).__name__})")
        return ServerFailed(operation, "malformed", f"its answer cannot be read ({type(error).__name__})")


def _no_answer(operation: str, answer: Answer) -> ServerFailed:
    """The failure that a result code stands for."""
    if answer.code == REFERRAL:
        return ServerFailed(
            operation, "referral", "it refers to another server, and referrals are not followed"
        )
    if answer.code in (BUSY, SERVER_UNAVAILABLE):
        return ServerFailed(operation, "unavailable", f"it is busy or going down (result code {answer.code})")
    if answer.code == TIME_LIMIT:
        return ServerFailed(operation, "timeout", "it gave the search up (time limit)")
    return ServerFailed(operation, "other", f"it answered with result code {answer.code}")


def _entry(item: Any) -> Entry:
    """ldap3's search result with lower-cased names; `attribute;range=0-1499` counts as the attribute."""
    values: dict[str, list[bytes]] = {}
    for name, found in item["raw_attributes"].items():
        values.setdefault(name.lower().split(";range=", 1)[0], []).extend(bytes(value) for value in found)
    return Entry(item["dn"], values)
