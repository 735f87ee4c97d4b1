"""Every key exchange method against asyncssh's in both roles, and against hostile values."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asyncssh.kex import get_kex
from asyncssh.logging import logger as asyncssh_logger
from asyncssh.packet import SSHPacket
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bastion.errors import ProtocolError
from bastion.wire import kex
from bastion.wire.data import byte, mpint, string, uint32
from bastion.wire.kex import (
    COMPAT_KEX,
    FRONT_KEX,
    Agreed,
    Reply,
    client_kex,
    exchange_hash,
    kex_method,
    server_kex,
)
from bastion.wire.key_agreement import modp_prime
from bastion.wire.legacy import LEGACY_KEX

METHODS = COMPAT_KEX + LEGACY_KEX
ECDH_LIKE = [name for name in METHODS if not name.startswith("diffie")]
GEX = [name for name in METHODS if "exchange" in name]
DIRECT = [name for name in METHODS if name not in GEX]
CHEAP = ["mlkem768x25519-sha256", "curve25519-sha256", "ecdh-sha2-nistp256", "diffie-hellman-group14-sha256"]
methods = pytest.mark.parametrize("name", METHODS)

pytestmark = pytest.mark.filterwarnings("ignore:Diffie-Hellman over finite fields")

CONTEXT = (b"SSH-2.0-client", b"SSH-2.0-server", b"\x14client init", b"\x14server init")
HOST_KEY = b"host key blob"


class ForeignKey:
    """Stands in for a host key of asyncssh's: the signature is the hash itself."""

    public_data = HOST_KEY

    def sign(self, data: bytes) -> bytes:
        return b"signed " + data

    def verify(self, data: bytes, signature: bytes) -> bool:
        return signature == b"signed " + data


class ForeignConnection:
    """As much of asyncssh's connection as its key exchange classes touch."""

    logger = asyncssh_logger

    def __init__(self, client: bool) -> None:
        self.client = client
        self.sent: list[bytes] = []
        self.keys: tuple[bytes, bytes] | None = None

    def is_client(self) -> bool:
        return self.client

    def is_server(self) -> bool:
        return not self.client

    def get_hash_prefix(self) -> bytes:
        return b"".join(map(string, CONTEXT))

    def get_server_host_key(self) -> ForeignKey:
        return ForeignKey()

    def validate_server_host_key(self, data: bytes) -> ForeignKey:
        assert data == HOST_KEY
        return ForeignKey()

    def send_packet(self, number: int, *args: bytes, handler: object = None) -> None:
        self.sent.append(byte(number) + b"".join(args))

    def send_newkeys(self, shared: bytes, exchange: bytes) -> None:
        self.keys = (shared, exchange)


class Foreign:
    """One exchange by asyncssh."""

    def __init__(self, name: str, client: bool) -> None:
        self.connection = ForeignConnection(client)
        self.kex: Any = get_kex(self.connection, name.encode())  # type: ignore[arg-type]

    def start(self) -> bytes:
        asyncio.run(self.kex.start())
        return self.connection.sent.pop(0)

    def receive(self, payload: bytes) -> bytes:
        packet = SSHPacket(payload)
        packet.get_byte()
        assert self.kex.process_packet(payload[0], 0, packet)
        return self.connection.sent.pop(0) if self.connection.sent else b""


def hash_of(name: str, outcome: Agreed | Reply) -> bytes:
    return exchange_hash(kex_method(name).hash_name, *CONTEXT, HOST_KEY, outcome.transcript, outcome.shared)


def last_message(name: str, agreed: Agreed) -> bytes:
    return agreed.reply(HOST_KEY, b"signed " + hash_of(name, agreed))


@methods
def test_our_client_agrees_with_asyncssh(name: str) -> None:
    ours, theirs = client_kex(name), Foreign(name, client=False)
    outcome: bytes | Reply = ours.start()
    while isinstance(outcome, bytes):
        outcome = ours.receive(theirs.receive(outcome))
    assert outcome.host_key == HOST_KEY
    assert outcome.signature == b"signed " + hash_of(name, outcome)
    assert theirs.connection.keys == (outcome.shared, hash_of(name, outcome))


@methods
def test_our_server_agrees_with_asyncssh(name: str) -> None:
    ours, theirs = server_kex(name), Foreign(name, client=True)
    outcome: bytes | Agreed = ours.receive(theirs.start())
    while isinstance(outcome, bytes):
        outcome = ours.receive(theirs.receive(outcome))
    theirs.receive(last_message(name, outcome))
    assert theirs.connection.keys == (outcome.shared, hash_of(name, outcome))


def run(name: str) -> tuple[Agreed, Reply]:
    client, server = client_kex(name), server_kex(name)
    message = client.start()
    while isinstance(agreed := server.receive(message), bytes):
        answer = client.receive(agreed)
        assert isinstance(answer, bytes)
        message = answer
    reply = client.receive(last_message(name, agreed))
    assert isinstance(reply, Reply)
    return agreed, reply


@methods
def test_both_roles_agree_and_never_twice_on_the_same(name: str) -> None:
    first_server, first_client = run(name)
    assert (first_server.shared, first_server.transcript) == (first_client.shared, first_client.transcript)
    second, _ = run(name)
    assert second.shared != first_server.shared and second.transcript != first_server.transcript


def test_k_is_a_string_for_mlkem_and_an_mpint_elsewhere() -> None:
    agreed, _ = run("mlkem768x25519-sha256")
    assert len(agreed.shared) == 4 + 32 and agreed.shared[:4] == uint32(32)
    for _ in range(40):  # about half of all secrets have the high bit set
        agreed, _ = run("curve25519-sha256")
        assert agreed.shared == mpint(int.from_bytes(agreed.shared[4:], "big"))


# -- order -----------------------------------------------------------------------------------------------


@methods
def test_a_server_answers_one_exchange_only(name: str) -> None:
    """docs/security.md, C13: no second agreement and so no second signature, for one KEXINIT."""
    client, server = client_kex(name), server_kex(name)
    message = client.start()
    while isinstance(outcome := server.receive(message), bytes):
        answer = client.receive(outcome)
        assert isinstance(answer, bytes)
        message = answer
    for again in (message, client_kex(name).start(), message):
        with pytest.raises(ProtocolError, match="unexpected message"):
            server.receive(again)


@methods
def test_a_client_reads_one_reply_only(name: str) -> None:
    client, server = client_kex(name), server_kex(name)
    message = client.start()
    while isinstance(agreed := server.receive(message), bytes):
        answer = client.receive(agreed)
        assert isinstance(answer, bytes)
        message = answer
    last = last_message(name, agreed)
    assert isinstance(client.receive(last), Reply)
    with pytest.raises(ProtocolError, match="unexpected message"):
        client.receive(last)


@pytest.mark.slow
@methods
@pytest.mark.parametrize("number", [0, 20, 21, 30, 31, 32, 33, 34, 40, 49, 255])
def test_messages_of_the_wrong_number_end_the_exchange(name: str, number: int) -> None:
    """The other role's messages too: wolfSSH's server took GROUP and computed in its client's group."""
    good = client_kex(name).start()
    if number != good[0]:
        server = server_kex(name)
        with pytest.raises(ProtocolError):
            server.receive(bytes([number]) + good[1:])
        with pytest.raises(ProtocolError):
            server.receive(good)
    client, server = client_kex(name), server_kex(name)
    step = server.receive(client.start())
    reply = step if isinstance(step, bytes) else last_message(name, step)
    if number != reply[0]:
        with pytest.raises(ProtocolError):
            client.receive(bytes([number]) + reply[1:])


@pytest.mark.parametrize("name", GEX)
def test_group_exchange_out_of_order(name: str) -> None:
    server, client = server_kex(name), client_kex(name)
    with pytest.raises(ProtocolError):
        server.receive(byte(32) + mpint(5))
    with pytest.raises(ProtocolError):
        server.receive(client.start())
    server = server_kex(name)
    assert isinstance(server.receive(client.start()), bytes)
    with pytest.raises(ProtocolError):
        server.receive(client.start())  # a second group is not made
    with pytest.raises(ProtocolError):
        server.receive(byte(32) + mpint(5))
    client = client_kex(name)
    client.start()
    with pytest.raises(ProtocolError):
        client.receive(byte(33) + string(HOST_KEY) + mpint(5) + string(b"s"))


@methods
def test_truncated_and_padded_messages_are_refused(name: str) -> None:
    good = client_kex(name).start()
    for bad in (good[:-1], good + b"\x00", good[:1], b""):
        with pytest.raises(ProtocolError):
            server_kex(name).receive(bad)
    for cut in ("short", "long", "number only", "empty"):
        client, server = client_kex(name), server_kex(name)
        step = server.receive(client.start())
        reply = step if isinstance(step, bytes) else last_message(name, step)
        bad = {"short": reply[:-1], "long": reply + b"\x00", "number only": reply[:1], "empty": b""}[cut]
        with pytest.raises(ProtocolError):
            client.receive(bad)


# -- values ----------------------------------------------------------------------------------------------

LOW_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]


@pytest.mark.parametrize("point", LOW_ORDER)
def test_points_of_low_order_are_refused(point: bytes) -> None:
    """RFC 8731 section 3: an all-zero result aborts, in both roles and inside the hybrid."""
    assert refused_by_server("curve25519-sha256", point)
    assert refused_by_client("curve25519-sha256", point)
    hybrid = client_kex("mlkem768x25519-sha256").start()[5:]
    assert refused_by_server("mlkem768x25519-sha256", hybrid[:1184] + point)
    assert refused_by_client("mlkem768x25519-sha256", bytes(1088) + point)


def refused_by_server(name: str, value: bytes, encode: Any = string) -> bool:
    with pytest.raises(ProtocolError) as caught:
        server_kex(name).receive(byte(30) + encode(value))
    return caught.value.code == 3 and caught.value.text == "bad public value in the key exchange"


def refused_by_client(name: str, value: bytes, encode: Any = string) -> bool:
    client = client_kex(name)
    client.start()
    with pytest.raises(ProtocolError) as caught:
        client.receive(byte(31) + string(HOST_KEY) + encode(value) + string(b"sig"))
    return caught.value.code == 3 and caught.value.text == "bad public value in the key exchange"


@pytest.mark.parametrize("name", ["curve25519-sha256", "curve25519-sha256@libssh.org"])
@pytest.mark.parametrize("size", [0, 1, 31])
def test_x25519_values_have_32_bytes(name: str, size: int) -> None:
    assert refused_by_server(name, b"\x09" * size) and refused_by_client(name, b"\x09" * size)


@pytest.mark.parametrize("size", [0, 32, 1184, 1215])
def test_hybrid_values_have_the_exact_size(size: int) -> None:
    good = client_kex("mlkem768x25519-sha256").start()[5:]
    assert refused_by_server("mlkem768x25519-sha256", good[:size])
    assert refused_by_client("mlkem768x25519-sha256", good[: min(size, 1119)])


def test_a_hybrid_key_outside_the_modulus_is_refused() -> None:
    """FIPS 203 section 7.2: coefficients of 12 bits must be below 3329."""
    good = client_kex("mlkem768x25519-sha256").start()[5:]
    assert refused_by_server("mlkem768x25519-sha256", b"\xff" * 1152 + good[1152:])


def test_a_wrong_ciphertext_gives_another_secret_not_an_error() -> None:
    """ML-KEM rejects implicitly; the signature then does not fit."""
    client, server = client_kex("mlkem768x25519-sha256"), server_kex("mlkem768x25519-sha256")
    agreed = server.receive(client.start())
    assert isinstance(agreed, Agreed)
    message = bytearray(last_message("mlkem768x25519-sha256", agreed))
    message[40] ^= 1
    reply = client.receive(bytes(message))
    assert isinstance(reply, Reply) and reply.shared != agreed.shared


@pytest.mark.parametrize("name", [name for name in METHODS if "nistp" in name])
def test_points_must_be_uncompressed_and_on_their_curve(name: str) -> None:
    good = client_kex(name).start()[5:]
    width = (len(good) - 1) // 2
    odd = bytes([2 + (good[-1] & 1)])
    for bad in (
        b"",
        b"\x00",
        good[:-1],
        odd + good[1 : 1 + width],
        b"\x06" + good[1:],
        b"\x04" + bytes(2 * width),
        good[:-1] + bytes([good[-1] ^ 1]),
        b"\x04" + b"\xff" * (2 * width),
        b"\x00" + bytes(2 * width),
    ):
        assert refused_by_server(name, bad) and refused_by_client(name, bad)


@pytest.mark.parametrize("name", [name for name in DIRECT if name.startswith("diffie")])
def test_values_outside_the_group_are_refused(name: str) -> None:
    bits = {"14": 2048, "16": 4096, "18": 8192}[name.split("group")[1][:2]]
    p = modp_prime(bits)
    for value in (-1, 0, 1, p - 1, p, p + 1, -p, 2 * p):
        assert refused_by_server(name, value, mpint) and refused_by_client(name, value, mpint)  # type: ignore[arg-type]


def gex_group(p: int, g: int) -> bytes:
    return byte(31) + mpint(p) + mpint(g)


GROUP_2048 = modp_prime(2048)


def str_of_bits(value: int) -> str:
    """A test id that fits on a line."""
    return f"{value.bit_length()}bits" if abs(value) > 9999 else str(value)


@pytest.mark.parametrize(
    ("p", "g"),
    [
        ((1 << 2046) + 1, 2),
        (modp_prime(2048) >> 1, 2),
        ((1 << 4096) + 1, 2),
        (modp_prime(8192), 2),
        (GROUP_2048 - 1, 2),
        (-GROUP_2048, 2),
        (0, 2),
        (GROUP_2048, 0),
        (GROUP_2048, 1),
        (GROUP_2048, -2),
        (GROUP_2048, GROUP_2048 - 1),
        (GROUP_2048, GROUP_2048),
    ],
    ids=str_of_bits,
)
def test_a_client_refuses_groups_outside_its_limits(p: int, g: int) -> None:
    client = client_kex("diffie-hellman-group-exchange-sha256")
    assert client.start() == byte(34) + uint32(2048) + uint32(3072) + uint32(4096)
    with pytest.raises(ProtocolError):
        client.receive(gex_group(p, g))


@pytest.mark.parametrize(
    "p", [(1 << 2047) + 1, (1 << 2048) - 1, (1 << 4095) + 9, 3 * 5 * (1 << 3000) + 1], ids=str_of_bits
)
def test_a_bad_modulus_ends_quietly(p: int) -> None:
    """No primality test; whatever comes of it is a value or the one error, and soon."""
    client = client_kex("diffie-hellman-group-exchange-sha256")
    client.start()
    step = client.receive(gex_group(p, 2))
    assert isinstance(step, bytes) and step[0] == 32
    try:
        outcome = client.receive(byte(33) + string(HOST_KEY) + mpint(p // 3) + string(b"s"))
    except ProtocolError as error:
        assert error.code == 3
    else:
        assert isinstance(outcome, Reply)


@pytest.mark.parametrize("value", [0, 1, GROUP_2048 - 1, GROUP_2048, -5], ids=str_of_bits)
def test_group_exchange_checks_values_in_both_roles(value: int) -> None:
    client = client_kex("diffie-hellman-group-exchange-sha256")
    client.start()
    client.receive(gex_group(GROUP_2048, 2))
    with pytest.raises(ProtocolError, match="bad public value"):
        client.receive(byte(33) + string(HOST_KEY) + mpint(value) + string(b"s"))
    server = server_kex("diffie-hellman-group-exchange-sha256")
    server.receive(byte(34) + uint32(2048) + uint32(2048) + uint32(2048))
    with pytest.raises(ProtocolError, match="bad public value"):
        server.receive(byte(32) + mpint(value))


@pytest.mark.parametrize(
    ("least", "preferred", "most", "bits"),
    [
        (2048, 3072, 8192, 3072),
        (1024, 1024, 8192, 2048),
        (2048, 2049, 8192, 3072),
        (2048, 7680, 8192, 8192),
        (2048, 8192, 8192, 8192),
        (1024, 4000, 4000, 3072),
        (0, 0, 0xFFFFFFFF, 2048),
        (0, 0xFFFFFFFF, 0xFFFFFFFF, 8192),
        (3000, 3072, 4095, 3072),
    ],
)
def test_the_server_names_the_group_that_fits_best(least: int, preferred: int, most: int, bits: int) -> None:
    server = server_kex("diffie-hellman-group-exchange-sha256")
    answer = server.receive(byte(34) + uint32(least) + uint32(preferred) + uint32(most))
    assert answer == gex_group(modp_prime(bits), 2)


@pytest.mark.parametrize(
    ("least", "preferred", "most"),
    [(1024, 1024, 1024), (8193, 9000, 9999), (2049, 2050, 3071), (4096, 3072, 8192), (2048, 8192, 4096)],
)
def test_the_server_names_no_group_where_none_fits(least: int, preferred: int, most: int) -> None:
    server = server_kex("diffie-hellman-group-exchange-sha256")
    with pytest.raises(ProtocolError, match="no group"):
        server.receive(byte(34) + uint32(least) + uint32(preferred) + uint32(most))


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(CHEAP + GEX[:1]), st.integers(0, 255), st.binary(max_size=80))
def test_garbage_raises_only_protocol_errors(name: str, number: int, data: bytes) -> None:
    for payload in (data, bytes([number]) + data, b"\x1e" + string(data), b"\x22" + data):
        try:
            outcome = server_kex(name).receive(payload)
        except ProtocolError:
            continue
        assert isinstance(outcome, (bytes, Agreed))


def test_unknown_methods_are_our_fault() -> None:
    for name in ("", "none", "ext-info-c", "kex-strict-s-v00@openssh.com", "diffie-hellman-group1-sha1"):
        for make in (client_kex, server_kex, kex_method):
            with pytest.raises(KeyError):
                make(name)


def test_the_front_door_prefers_the_hybrid_and_offers_no_sha1() -> None:
    assert FRONT_KEX[0] == "mlkem768x25519-sha256"
    assert not any(name.endswith("sha1") for name in COMPAT_KEX)
    assert not set(LEGACY_KEX) & set(COMPAT_KEX)
    assert set(METHODS) == set(kex._METHODS)
