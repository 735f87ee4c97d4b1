"""Rows of the known failures in docs/security.md that the transport closes, by hand-made packets.

Each test is named by its row. Rows about authentication and channels are tested where those live.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from bastion.auth.budget import LIMITS, Budget, Payer, Work
from bastion.clock import FixedClock
from bastion.errors import LimitReason, ProtocolError
from bastion.transport.rekeys import COSTS
from bastion.transport.settings import (
    NOISE_BURST,
    NOISE_SIZE,
    OPENED_BEFORE_AUTH,
    OUTPUT_LIMIT_BEFORE_AUTH,
    PACKET_LIMIT_BEFORE_AUTH,
    ClosedBy,
    HostKey,
    TransportSettings,
)
from bastion.wire.ciphers import CHACHA20
from bastion.wire.data import string, uint32
from bastion.wire.kexinit import STRICT_CLIENT, STRICT_SERVER
from bastion.wire.keys import PrivateKey
from bastion.wire.numbers import MSG_SERVICE_REQUEST, MSG_USERAUTH_REQUEST
from tests.hostile.rawssh import Closed, RawSsh, debug, ext_info, ignore
from tests.unit.transport.parts import (
    FAST,
    HOST_KEY,
    Bench,
    client_and_raw,
    log_in,
    raw_side,
    server_and_raw,
    server_settings,
    shake,
)

BOTH = pytest.mark.parametrize("server", [True, False], ids=["server", "client"])
LOGIN = bytes([MSG_USERAUTH_REQUEST]) + string(b"mallory") + string(b"ssh-connection") + string(b"none")
PLAINTEXT = {
    "ignore": ignore(5),
    "debug": debug(),
    "unimplemented": b"\x03\0\0\0\0",
    "ext_info": ext_info([(b"server-sig-algs", b"ssh-rsa")]),
    "service_request": bytes([MSG_SERVICE_REQUEST]) + string(b"ssh-userauth"),
    "service_accept": b"\x06" + string(b"ssh-userauth"),
    "userauth_request": LOGIN,
    "userauth_success": b"\x34",
    "info_response": b"\x3d" + uint32(1) + string(b"password"),
    "channel_open": b"\x5a" + string(b"session") + uint32(0) * 3,
    "global_request": b"\x50" + string(b"keepalive@openssh.com") + b"\1",
    "ping": b"\xc0" + string(b"x"),
    "second kexinit": b"",
    "newkeys": b"\x15",
}


def hello(raw: RawSsh) -> None:
    raw.send_version()
    raw.read_version()


def both_offered(raw: RawSsh) -> None:
    hello(raw)
    raw.send_kexinit()
    raw.read_kexinit()
    raw.settle()


# -- C1: Terrapin (CVE-2023-48795) ------------------------------------------------------------------------


@BOTH
def test_c1_strict_kex_is_offered_and_resets_sequence_numbers(server: bool) -> None:
    bench, raw = raw_side(server)
    hello(raw)
    raw.send_kexinit()
    assert (STRICT_SERVER if server else STRICT_CLIENT) in raw.read_kexinit().kex
    raw.finish_exchange()
    assert bench.transport.keys.agreed.strict and bench.secured == 1
    assert bench.transport._reader.sequence == 0


@BOTH
def test_c1_a_packet_injected_before_and_one_cut_after_newkeys_is_noticed(server: bool) -> None:
    """The attack itself: an IGNORE slipped in in plaintext to make up for a dropped encrypted one."""
    bench, raw = raw_side(server)
    hello(raw)
    raw.send(ignore())
    with pytest.raises(Closed):
        raw.exchange()
    assert bench.secured == 0 and bench.reason.by is ClosedBy.US


def test_c1_a_cut_packet_after_newkeys_breaks_the_next() -> None:
    bench, raw = server_and_raw(algorithms=replace(FAST, ciphers=(CHACHA20,)))
    shake(bench, raw)
    raw.writer.seal([ext_info([])])  # sealed, and cut out on the way
    raw.request_service()
    assert bench.reason.text == "packet is corrupt"


# -- C2, C3: nothing but the key exchange before NEWKEYS ----------------------------------------------------


@BOTH
@pytest.mark.parametrize("what", [name for name in PLAINTEXT if name != "second kexinit"])
def test_c2_c3_c22_in_plaintext_before_kexinit(server: bool, what: str) -> None:
    bench, raw = raw_side(server)
    hello(raw)
    raw.send(PLAINTEXT[what])
    assert "is not allowed in state first_kexinit" in bench.reason.text
    assert bench.service.got == [] and bench.receiver.payloads == []
    assert raw.read_disconnect()[0] == 2


@BOTH
@pytest.mark.parametrize("what", PLAINTEXT)
def test_c2_c3_c22_in_plaintext_within_the_exchange(server: bool, what: str) -> None:
    bench, raw = raw_side(server)
    both_offered(raw)
    raw.send(PLAINTEXT[what] or raw.make_kexinit().encode())
    assert "is not allowed in state first_method" in bench.reason.text
    assert bench.service.got == [] and bench.receiver.payloads == []


@BOTH
@pytest.mark.parametrize("what", [name for name in PLAINTEXT if name != "newkeys"])
def test_c2_c3_c22_in_plaintext_before_newkeys(server: bool, what: str) -> None:
    bench, raw = raw_side(server)
    both_offered(raw)
    if not raw.server:
        raw.send_method()
    raw.read_method()
    raw.send(PLAINTEXT[what] or raw.make_kexinit().encode())
    assert "is not allowed in state first_newkeys" in bench.reason.text
    assert bench.service.got == [] and bench.receiver.payloads == []


def test_c3_rogue_session_nothing_of_the_plaintext_survives_into_the_encrypted_part() -> None:
    bench, raw = server_and_raw()
    hello(raw)
    raw.send(PLAINTEXT["service_request"], LOGIN, PLAINTEXT["info_response"])
    with pytest.raises(Closed):
        raw.exchange()
    assert bench.service.got == [] and bench.transport.keys.session_id == b""


def test_c3_in_one_segment_with_the_version_line() -> None:
    bench, raw = server_and_raw()
    raw.send_raw(raw.version + b"\r\n" + raw.writer.seal([LOGIN]))
    assert bench.closed and bench.service.got == []


def test_c2_ext_info_cannot_be_replaced_later() -> None:
    bench, raw = client_and_raw()
    shake(bench, raw)
    raw.send(ext_info([(b"server-sig-algs", b"rsa-sha2-512")]))
    raw.send(b"\x06" + string(b"ssh-userauth"))
    bench.trust()
    raw.send(ext_info([(b"server-sig-algs", b"ssh-rsa")]))
    assert bench.closed and bench.transport.keys.peer_signature_algorithms == ("rsa-sha2-512",)


# -- C6: compression ---------------------------------------------------------------------------------------


@BOTH
def test_c6_no_compression_is_offered(server: bool) -> None:
    _, raw = raw_side(server)
    hello(raw)
    raw.send_kexinit()
    offered = raw.read_kexinit()
    assert offered.compression_c2s == offered.compression_s2c == ("none",)


@BOTH
@pytest.mark.parametrize("names", [("zlib",), ("zlib@openssh.com", "zlib")])
def test_c6_a_peer_that_insists_on_compression_is_refused(server: bool, names: tuple[str, ...]) -> None:
    bench, raw = raw_side(server)
    hello(raw)
    raw.send_kexinit(compression_c2s=names, compression_s2c=names)
    assert "no common compression" in bench.reason.text


def test_c6_a_zlib_bomb_is_just_bytes() -> None:
    bench, raw = server_and_raw()
    hello(raw)
    raw.exchange(compression_c2s=("zlib", "none"), compression_s2c=("zlib", "none"))
    raw.send(b"\x02" + zlib.compress(bytes(400_000)))
    assert not bench.closed


# -- C11, C12: queues (the limits themselves: tests/unit/transport) ----------------------------------------------


def test_c11_a_peer_in_a_rekey_cannot_ask_for_answers() -> None:
    bench, raw = server_and_raw()
    log_in(bench, raw)
    raw.send_kexinit()
    raw.send(b"\xc0" + string(b"x"))
    assert "PING is not allowed in state rekey_method" in bench.reason.text


def test_c11_a_peer_that_holds_back_its_kexinit_and_asks_for_answers() -> None:
    bench, raw = server_and_raw()
    log_in(bench, raw)
    bench.transport.keys.rekey()
    sent = 0
    while not bench.closed:
        raw.send(*[b"\xc0" + string(bytes(1000))] * 100)
        sent += 100
        assert sent < 5000
    assert bench.reason.reason is LimitReason.KEX_QUEUE


@BOTH
def test_a_read_full_of_padding_is_not_opened_to_its_end_for_a_stranger(server: bool) -> None:
    bench, raw = raw_side(server)
    shake(bench, raw)
    raw.send(ignore(1))  # whatever had to come first has come
    begun = bench.transport._reader.sequence
    bench.transport.dataReceived(memoryview(raw.writer.seal([b"\x02"] * 10_000)))
    assert "padding traffic" in bench.reason.text
    assert bench.transport._reader.sequence - begun <= NOISE_BURST + OPENED_BEFORE_AUTH


@BOTH
def test_what_a_login_brings_in_one_read_is_looked_at_to_its_end(server: bool) -> None:
    bench, raw = raw_side(server)
    shake(bench, raw)
    number = 50 if server else 53
    messages = [bytes([number]) + bytes(size) for size in (1, 700, 20_000, 3, 300, 1) * 5]
    bench.transport.dataReceived(memoryview(raw.writer.seal(messages)))
    assert bench.service.got == [(number, message[1:]) for message in messages]


def test_c12_unknown_messages_before_authentication_get_no_answers() -> None:
    bench, raw = server_and_raw()
    shake(bench, raw)
    bench.end.jam()
    raw.send(b"\x8c")
    assert bench.closed and len(bench.end.queue) < 200


def test_c12_a_client_that_never_reads_its_failures() -> None:
    bench, raw = server_and_raw()
    shake(bench, raw)
    raw.read_all()
    bench.service.answers[50] = lambda: bench.transport.send_any(b"\x33" + string(b"publickey") + b"\0")
    bench.end.jam()
    asked = 0
    while not bench.closed:
        raw.send(*[LOGIN] * 50)
        asked += 50
        assert asked < 10_000
    assert bench.end.aborted and len(bench.end.queue) <= OUTPUT_LIMIT_BEFORE_AUTH


def test_c12_unknown_messages_after_authentication_are_bounded_too() -> None:
    bench, raw = server_and_raw()
    log_in(bench, raw)
    bench.end.jam()
    sent = 0
    while not bench.closed:
        raw.send(*[b"\x8c"] * 5000)
        sent += 5000
        assert sent < 400_000
    assert bench.end.aborted


# -- C13: one signature per KEXINIT -------------------------------------------------------------------------


class CountingKey:
    """A host key that counts its signatures."""

    public = HOST_KEY.public

    def __init__(self) -> None:
        self.count = 0

    def sign(self, data: bytes, algorithm: str = "") -> bytes:
        self.count += 1
        return HOST_KEY.sign(data, algorithm)


def counting_server() -> tuple[CountingKey, Bench, RawSsh]:
    key = CountingKey()
    bench, raw = server_and_raw(TransportSettings(FAST, (HostKey(key),)))
    return key, bench, raw


def test_c13_400_inits_in_one_exchange_give_one_signature() -> None:
    key, bench, raw = counting_server()
    both_offered(raw)
    first = raw._method.start()
    raw.send(*[first] * 400)
    assert key.count == 1 and bench.closed


def test_c13_400_inits_in_as_many_reads_give_one_signature() -> None:
    key, bench, raw = counting_server()
    both_offered(raw)
    first = raw._method.start()
    for _ in range(400):
        raw.send(first)
    assert key.count == 1 and bench.closed


def test_c13_key_exchanges_before_authentication_are_counted() -> None:
    key, bench, raw = counting_server()
    shake(bench, raw)
    with pytest.raises(Closed):
        for _ in range(10):
            raw.exchange()
    assert key.count == 2
    assert bench.reason.text == "too many key exchanges before authentication"


def test_c13_a_bad_public_value_costs_no_signature() -> None:
    key, bench, raw = counting_server()
    both_offered(raw)
    raw.send(b"\x1e" + string(bytes(32)))  # the point of order one
    assert key.count == 0 and bench.closed


def group14(settings: TransportSettings, pay: Callable[[int], None]) -> Bench:
    """A stranger who asks for an exchange in a finite field, and whose source pays by `pay(microseconds)`."""
    offered = replace(FAST, kex=("diffie-hellman-group14-sha256",))
    bench, raw = server_and_raw(settings, algorithms=offered)
    bench.transport.keys.charge(pay)
    with contextlib.suppress(Closed):
        raw.handshake()
    return bench


def test_c13_a_stranger_pays_before_anything_is_computed() -> None:
    """DHEat, CVE-2002-20001: the exponentiations of the large groups are what costs most."""
    settings, purse = server_settings(), Budget(FixedClock()).source("192.0.2.1")
    limit = LIMITS[Payer.SOURCE, Work.KEY_EXCHANGE]
    many = limit.each // COSTS["diffie-hellman-group14-sha256"]
    purse.spend(Work.KEY_EXCHANGE, COSTS["diffie-hellman-group14-sha256"] * (many - 3))
    pay = partial(purse.spend, Work.KEY_EXCHANGE)
    benches = [group14(settings, pay) for _ in range(5)]
    assert [bench.secured for bench in benches] == [1, 1, 1, 0, 0]
    assert "try again in a moment" in benches[-1].reason.text
    assert benches[-1].reason.reason is LimitReason.BUDGET_KEY_EXCHANGE


def test_c13_who_is_logged_in_may_use_any() -> None:
    bench, raw = server_and_raw(algorithms=replace(FAST, kex=("diffie-hellman-group14-sha256",)))
    log_in(bench, raw)
    for _ in range(23):
        raw.exchange()
    assert bench.transport.keys.count == 24


# -- C15: timers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", range(5))
def test_c15_a_peer_that_stops_anywhere_in_the_handshake_is_dropped(steps: int) -> None:
    bench, raw = server_and_raw(server_settings(handshake_timeout=30.0, login_grace=60.0))
    for step in (raw.send_version, raw.read_version, raw.send_kexinit, raw.read_kexinit, raw.settle)[:steps]:
        step()
    bench.clock.advance(31)
    assert bench.reason.reason is LimitReason.HANDSHAKE_FAILED
    bench.clock.advance(2)
    assert bench.end.aborted


def test_c15_trickling_does_not_extend_the_time() -> None:
    bench, raw = server_and_raw(server_settings(handshake_timeout=30.0))
    for byte in b"SSH-2.0-slow" * 3:
        raw.send_raw(bytes([byte]) if byte != 10 else b"x")
        bench.clock.advance(1)
    assert bench.closed


def test_c15_login_grace_runs_from_accept() -> None:
    bench, raw = server_and_raw(server_settings(login_grace=60.0))
    bench.clock.advance(20)
    shake(bench, raw)
    bench.clock.advance(39)
    raw.send(LOGIN)
    assert not bench.closed
    bench.clock.advance(2)
    assert bench.reason.reason is LimitReason.LOGIN_GRACE


# -- C22: messages of the other role, and before their time -------------------------------------------------


@pytest.mark.parametrize("number", [6, 51, 52, 53, 60, 193])
def test_c22_what_only_a_server_says_disconnects_a_client(number: int) -> None:
    bench, raw = server_and_raw()
    shake(bench, raw)
    raw.send(bytes([number]) + bytes(20))
    assert raw.read_disconnect()[0] == 2
    assert bench.service.got == []


@pytest.mark.parametrize("number", [80, 81, 82, 90, 91, 93, 94, 98, 100])
def test_c22_connection_messages_before_authentication_disconnect(number: int) -> None:
    bench, raw = server_and_raw()
    shake(bench, raw)
    raw.request_service()
    raw.send(bytes([number]) + bytes(20))
    assert raw.read_disconnect()[0] == 2
    assert bench.receiver.payloads == []


@pytest.mark.parametrize("number", [31, 32, 33])
def test_c22_kex_messages_of_the_other_role(number: int) -> None:
    bench, raw = server_and_raw()
    both_offered(raw)
    raw.send(bytes([number]) + bytes(40))
    assert bench.closed and bench.secured == 0


def test_c22_newkeys_without_a_key_exchange() -> None:
    bench, raw = server_and_raw()
    log_in(bench, raw)
    raw.send(b"\x15")
    assert "NEWKEYS is not allowed in state authenticated" in bench.reason.text


def test_c22_newkeys_with_a_body() -> None:
    bench, raw = server_and_raw()
    both_offered(raw)
    raw.send_method()
    raw.read_method()
    raw.send(b"\x15x")
    assert bench.reason.text == "NEWKEYS takes no data"


# -- C24 and the rest ------------------------------------------------------------------------------------------


def test_c24_sequence_numbers_wrap() -> None:
    bench, raw = server_and_raw(algorithms=replace(FAST, ciphers=("aes256-ctr",)), markers=False)
    log_in(bench, raw)
    raw.read_all()
    for codec in (raw.writer, raw.reader, bench.transport._reader, bench.transport._output.writer):
        codec.sequence = 0xFFFFFFFE
    for _ in range(4):
        raw.send(b"\x5ehello")
        bench.transport.send([b"\x5ehello"])
        assert raw.read() == b"\x5ehello"
    assert len(bench.receiver.payloads) == 4


def test_c24_a_peer_that_leaves_while_we_wait_is_gone() -> None:
    bench, raw = server_and_raw()
    shake(bench, raw)
    bench.transport.connectionLost(Failure(ConnectionDone()))
    assert bench.clock.getDelayedCalls() == []


@BOTH
def test_noise_before_authentication_is_limited_in_number(server: bool) -> None:
    bench, raw = raw_side(server)
    shake(bench, raw)
    for _ in range(NOISE_BURST):
        raw.send(ignore())
    assert not bench.closed
    raw.send(ignore())
    assert "too much padding traffic" in bench.reason.text


@BOTH
def test_noise_that_comes_slowly_is_taken(server: bool) -> None:
    bench, raw = raw_side(
        server, TransportSettings(FAST, (HostKey(HOST_KEY),) if server else (), login_grace=0)
    )
    shake(bench, raw)
    for _ in range(3 * NOISE_BURST):
        bench.clock.advance(5)
        raw.send(ignore())
    assert not bench.closed


@pytest.mark.parametrize(
    "message", [ignore(NOISE_SIZE), debug(b"x" * NOISE_SIZE), b"\xc0" + string(bytes(NOISE_SIZE))]
)
def test_noise_before_authentication_is_limited_in_size(message: bytes) -> None:
    bench, raw = server_and_raw()
    shake(bench, raw)
    raw.send(message)
    assert bench.closed


def test_a_ping_longer_than_the_limit_is_not_answered() -> None:
    bench, raw = server_and_raw()
    log_in(bench, raw)
    raw.send(b"\xc0" + string(bytes(2000)))
    assert bench.reason.text == "PING is too long"


def test_packets_before_authentication_are_limited() -> None:
    bench, raw = server_and_raw()
    shake(bench, raw)
    raw.send(b"\x32" + bytes(PACKET_LIMIT_BEFORE_AUTH - 1))
    assert not bench.closed
    raw.send(b"\x32" + bytes(PACKET_LIMIT_BEFORE_AUTH))
    assert bench.reason.text == "packet is too long before authentication"


def test_packets_before_authentication_are_limited_while_they_come() -> None:
    bench, raw = server_and_raw()
    shake(bench, raw)
    wire = raw.writer.seal([b"\x32" + bytes(200_000)])
    for at in range(0, 100_000, 1000):
        raw.send_raw(wire[at : at + 1000])
    assert bench.reason.text == "packet is too long before authentication"


def test_a_target_may_not_change_roles() -> None:
    bench, raw = client_and_raw(host_key=PrivateKey.generate_ed25519())
    shake(bench, raw)
    raw.send(LOGIN)
    assert "USERAUTH_REQUEST is not allowed" in bench.reason.text


def test_errors_of_peers_are_never_ours() -> None:
    assert issubclass(ProtocolError, Exception)
    bench, raw = server_and_raw()
    hello(raw)
    raw.send(b"\x14" + bytes(5))
    assert bench.reason.by is ClosedBy.US and bench.reason.text != "internal error"
