"""Key exchange methods, both roles, as pure message exchanges (RFC 4253 section 8, 5656, 8731, 4419).

`client_kex(name)` and `server_kex(name)` make the object for one exchange; it is used once and thrown away.
The client side: `start()` gives the first message, `receive()` takes the server's and gives either the next
message to send or a `Reply`. The server side: `receive()` gives either a message to send or an `Agreed`,
whose `reply(host_key, signature)` is the last message. Both carry `shared` (K as it goes into the hash and
the key derivation) and `transcript` (the part of the hash that depends on the method), for `exchange_hash`.

Invariants: every public value is checked before it is used; a message out of order, a second one, or one of
the other role raises `ProtocolError`, so one KEXINIT never costs more than one agreement and one signature.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec

from bastion.errors import ProtocolError
from bastion.wire.ciphers import DirectionKeys, key_sizes
from bastion.wire.data import Reader, byte, mpint, string, uint32
from bastion.wire.key_agreement import (
    MODP_GROUPS,
    X25519,
    Agreement,
    MlKemX25519,
    NamedModP,
    NistCurve,
    bad_value,
    modp_group,
    modp_prime,
)
from bastion.wire.numbers import (
    MSG_KEX_DH_GEX_GROUP,
    MSG_KEX_DH_GEX_INIT,
    MSG_KEX_DH_GEX_REPLY,
    MSG_KEX_DH_GEX_REQUEST,
    MSG_KEXDH_INIT,
    MSG_KEXDH_REPLY,
    Disconnect,
)

HOST_KEY_LIMIT = 32 * 1024
"""Bytes of a host key or certificate in a reply. A certificate for 256 names of 64 bytes has about 18 KiB."""

SIGNATURE_LIMIT = 4 * 1024
"""Bytes of a signature in a reply: RSA with 16384 bits gives 2 KiB and a name."""

GEX_MIN, GEX_PREFERRED, GEX_MAX = 2048, 3072, 4096
"""Group sizes in bits that the client asks for and takes (RFC 4419 section 3; 2048: RFC 8270). The target chooses the
group, and one that OpenSSL does not know costs 30 ms of the reactor with 4096 bits and 155 ms with 8192 (measured), at
every key exchange."""


def _unexpected() -> ProtocolError:
    return ProtocolError("unexpected message in the key exchange", Disconnect.KEY_EXCHANGE_FAILED)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the client has when the server's last message has come. Nothing of it is verified yet: the host
    key must be checked, and `signature` verified over the exchange hash."""

    host_key: bytes
    signature: bytes
    transcript: bytes
    shared: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Agreed:
    """What the server has before it signs."""

    transcript: bytes
    shared: bytes = field(repr=False)
    _number: int
    _public: bytes

    def reply(self, host_key: bytes, signature: bytes) -> bytes:
        """The last message: K_S, the server's public value and the signature of the exchange hash."""
        return byte(self._number) + string(host_key) + self._public + string(signature)


def _read_reply(payload: bytes, number: int, agreement: Agreement, prefix: bytes) -> Reply:
    reader = Reader(payload)
    if reader.byte() != number:
        raise _unexpected()
    host_key = reader.string(HOST_KEY_LIMIT)
    public, shared = agreement.finish(reader)
    signature = reader.string(SIGNATURE_LIMIT)
    reader.end()
    return Reply(host_key, signature, prefix + public, shared)


class _DirectClient:
    """INIT and REPLY, numbers 30 and 31 (RFC 4253 section 8, RFC 5656 section 4)."""

    def __init__(self, make: Callable[[], Agreement]) -> None:
        self._agreement: Agreement | None = make()
        self._offer = self._agreement.offer()

    def start(self) -> bytes:
        return byte(MSG_KEXDH_INIT) + self._offer

    def receive(self, payload: bytes) -> bytes | Reply:
        agreement, self._agreement = self._agreement, None
        if agreement is None:
            raise _unexpected()
        return _read_reply(payload, MSG_KEXDH_REPLY, agreement, self._offer)


class _DirectServer:
    def __init__(self, make: Callable[[], Agreement]) -> None:
        self._make: Callable[[], Agreement] | None = make

    def receive(self, payload: bytes) -> bytes | Agreed:
        make, self._make = self._make, None
        reader = Reader(payload)
        if make is None or reader.byte() != MSG_KEXDH_INIT:
            raise _unexpected()
        theirs, ours, shared = make().answer(reader)
        reader.end()
        return Agreed(theirs + ours, shared, MSG_KEXDH_REPLY, ours)


class _GexClient:
    """Group exchange: the server names the group (RFC 4419 section 3)."""

    def __init__(self) -> None:
        self._request = uint32(GEX_MIN) + uint32(GEX_PREFERRED) + uint32(GEX_MAX)
        self._agreement: Agreement | None = None
        self._prefix = b""
        self._done = False

    def start(self) -> bytes:
        return byte(MSG_KEX_DH_GEX_REQUEST) + self._request

    def receive(self, payload: bytes) -> bytes | Reply:
        if self._done:
            raise _unexpected()
        if self._agreement is None:
            return self._take_group(payload)
        self._done = True
        return _read_reply(payload, MSG_KEX_DH_GEX_REPLY, self._agreement, self._prefix)

    def _take_group(self, payload: bytes) -> bytes:
        reader = Reader(payload)
        if reader.byte() != MSG_KEX_DH_GEX_GROUP:
            raise _unexpected()
        p, g = reader.mpint(), reader.mpint()
        reader.end()
        # RFC 4419 section 3: groups outside our limits are refused. No primality test, as in OpenSSH: a
        # server that names a bad group betrays only its own session
        if not GEX_MIN <= p.bit_length() <= GEX_MAX or not p & 1 or p < 0 or not 1 < g < p - 1:
            raise bad_value()
        self._agreement = modp_group(p, g)
        offer = self._agreement.offer()
        self._prefix = self._request + mpint(p) + mpint(g) + offer
        return byte(MSG_KEX_DH_GEX_INIT) + offer


class _GexServer:
    """Group exchange with the groups of RFC 3526. The old request (message 30) is not taken."""

    def __init__(self) -> None:
        self._agreement: Agreement | None = None
        self._prefix = b""
        self._done = False

    def receive(self, payload: bytes) -> bytes | Agreed:
        reader = Reader(payload)
        number = reader.byte()
        if self._agreement is None and number == MSG_KEX_DH_GEX_REQUEST and not self._done:
            return self._name_group(reader)
        if self._agreement is None or number != MSG_KEX_DH_GEX_INIT:
            self._done, self._agreement = True, None
            raise _unexpected()
        agreement, self._agreement = self._agreement, None
        self._done = True
        theirs, ours, shared = agreement.answer(reader)
        reader.end()
        return Agreed(self._prefix + theirs + ours, shared, MSG_KEX_DH_GEX_REPLY, ours)

    def _name_group(self, reader: Reader) -> bytes:
        least, preferred, most = reader.uint32(), reader.uint32(), reader.uint32()
        reader.end()
        bits = _choose_group(least, preferred, most)
        p, g = modp_prime(bits), 2
        self._agreement = NamedModP(bits)
        self._prefix = uint32(least) + uint32(preferred) + uint32(most) + mpint(p) + mpint(g)
        return byte(MSG_KEX_DH_GEX_GROUP) + mpint(p) + mpint(g)


ClientKex = _DirectClient | _GexClient
"""One exchange seen from the client. `start` gives the first message, sent after our KEXINIT; `receive` takes a message
30-49 from the server and gives the next one to send, or the end."""

ServerKex = _DirectServer | _GexServer
"""The same seen from the server, which is never the first to speak."""


def _choose_group(least: int, preferred: int, most: int) -> int:
    """RFC 4419 section 3: the smallest group of the preferred size or more, else the largest allowed."""
    fitting = [bits for bits in MODP_GROUPS if least <= bits <= most]
    if not least <= preferred <= most or not fitting:
        raise ProtocolError("no group of the size asked for", Disconnect.KEY_EXCHANGE_FAILED)
    return next((bits for bits in fitting if bits >= preferred), fitting[-1])


@dataclass(frozen=True, slots=True)
class KexMethod:
    """A method by name. `hash_name` (hashlib's) makes the exchange hash and derives the keys."""

    name: str
    hash_name: str
    make: Callable[[], Agreement] | None
    """None: group exchange."""


def _modp(bits: int) -> Callable[[], Agreement]:
    return lambda: NamedModP(bits)


_METHODS = {
    method.name: method
    for method in (
        KexMethod("mlkem768x25519-sha256", "sha256", MlKemX25519),
        KexMethod("curve25519-sha256", "sha256", X25519),
        KexMethod("curve25519-sha256@libssh.org", "sha256", X25519),
        KexMethod("ecdh-sha2-nistp256", "sha256", lambda: NistCurve(ec.SECP256R1())),
        KexMethod("ecdh-sha2-nistp384", "sha384", lambda: NistCurve(ec.SECP384R1())),
        KexMethod("ecdh-sha2-nistp521", "sha512", lambda: NistCurve(ec.SECP521R1())),
        KexMethod("diffie-hellman-group14-sha256", "sha256", _modp(2048)),
        KexMethod("diffie-hellman-group16-sha512", "sha512", _modp(4096)),
        KexMethod("diffie-hellman-group18-sha512", "sha512", _modp(8192)),
        KexMethod("diffie-hellman-group-exchange-sha256", "sha256", None),
        KexMethod("diffie-hellman-group14-sha1", "sha1", _modp(2048)),
        KexMethod("diffie-hellman-group-exchange-sha1", "sha1", None),
    )
}

FRONT_KEX = (
    "mlkem768x25519-sha256",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
)
COMPAT_KEX = (
    *FRONT_KEX,
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group14-sha256",
)


def kex_method(name: str) -> KexMethod:
    """The method called `name`. KeyError for an unknown one: negotiation gives only ours."""
    return _METHODS[name]


def client_kex(name: str) -> ClientKex:
    """The client's side of a new exchange."""
    make = _METHODS[name].make
    return _GexClient() if make is None else _DirectClient(make)


def server_kex(name: str) -> ServerKex:
    """The server's side of a new exchange; costs nothing until the client's message has come."""
    make = _METHODS[name].make
    return _GexServer() if make is None else _DirectServer(make)


_HASHES = {"sha1": hashlib.sha1, "sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}


def exchange_hash(
    hash_name: str,
    client_version: bytes,
    server_version: bytes,
    client_kexinit: bytes,
    server_kexinit: bytes,
    host_key: bytes,
    transcript: bytes,
    shared: bytes,
) -> bytes:
    """H (RFC 4253 section 8). Versions without CR LF, KEXINITs as whole payloads with their number byte."""
    parts = (client_version, server_version, client_kexinit, server_kexinit, host_key)
    return _HASHES[hash_name](b"".join(map(string, parts)) + transcript + shared).digest()


def derive_key(
    hash_name: str, shared: bytes, exchange: bytes, letter: bytes, session_id: bytes, length: int
) -> bytes:
    """`length` bytes of key for `letter` A-F (RFC 4253 section 7.2). `exchange` is H, `shared` K encoded."""
    if not length:  # a cipher that authenticates needs no key for a MAC
        return b""
    digest = _HASHES[hash_name]
    key = digest(shared + exchange + letter + session_id).digest()
    while len(key) < length:
        key += digest(shared + exchange + key).digest()
    return key[:length]


def direction_keys(
    method: str, shared: bytes, exchange: bytes, session_id: bytes, cipher: str, mac: str, *, to_server: bool
) -> DirectionKeys:
    """What `PacketWriter.switch` or `PacketReader.switch` takes, for the direction to the server or to the
    client, after an exchange by `method`."""
    hash_name = _METHODS[method].hash_name
    letters = (b"A", b"C", b"E") if to_server else (b"B", b"D", b"F")
    iv, key, mac_key = (
        derive_key(hash_name, shared, exchange, letter, session_id, length)
        for letter, length in zip(letters, key_sizes(cipher, mac), strict=True)
    )
    return DirectionKeys(cipher, mac, iv, key, mac_key)
