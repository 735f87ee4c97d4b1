"""The first key exchange of both roles, by hand on the other side."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from bastion.errors import LimitReason, Refused, UpstreamReason
from bastion.transport.settings import CERT_SUFFIX, ClosedBy, HostKey
from bastion.transport.states import State
from bastion.wire.certificates import CertificateKind, issue
from bastion.wire.data import Reader
from bastion.wire.kexinit import STRICT_CLIENT, STRICT_SERVER, KexInit
from bastion.wire.keys import PrivateKey
from bastion.wire.numbers import MSG_EXT_INFO, MSG_SERVICE_ACCEPT
from tests.hostile.rawssh import Closed, ext_info
from tests.unit.transport.parts import (
    COMPAT,
    FAST,
    FRONT,
    HOST_KEY,
    Joined,
    client_and_raw,
    client_settings,
    raw_side,
    server_and_raw,
    server_settings,
    shake,
)

GCM, CHACHA = "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"
OPENSSH_CIPHERS = (CHACHA, "aes128-ctr", "aes256-ctr", "aes128-gcm@openssh.com", GCM)


@pytest.mark.parametrize("kex", COMPAT.kex)
def test_every_method_gives_both_roles_the_same_keys(kex: str) -> None:
    pair = Joined(server_settings(COMPAT), client_settings(replace(COMPAT, kex=(kex,))))
    pair.pump()
    assert pair.server.secured == pair.client.secured == 1
    assert pair.server.transport.keys.session_id == pair.client.transport.keys.session_id != b""
    assert pair.client.transport.keys.host_key_blob == HOST_KEY.public.blob
    assert pair.server.transport.keys.agreed.strict and pair.client.transport.keys.agreed.strict


@pytest.mark.parametrize("mac", COMPAT.macs)
@pytest.mark.parametrize("cipher", COMPAT.ciphers)
def test_every_suite_carries_messages_both_ways(cipher: str, mac: str) -> None:
    only = replace(FAST, ciphers=(cipher,), macs=(mac,))
    pair = Joined(server_settings(COMPAT), client_settings(only))
    pair.log_in()
    pair.server.transport.send([b"\x5eto the client", b"\x5e" + bytes(30000)])
    pair.client.transport.send([b"\x5eto the server"])
    pair.pump()
    assert pair.client.receiver.payloads == [b"\x5eto the client", b"\x5e" + bytes(30000)]
    assert pair.server.receiver.payloads == [b"\x5eto the server"]


def test_a_handshake_in_single_bytes_is_the_same() -> None:
    pair = Joined(piece=1)
    pair.log_in()
    pair.client.transport.send([b"\x5ehello"])
    pair.pump()
    assert pair.server.receiver.payloads == [b"\x5ehello"]


# -- who says KEXINIT when ---------------------------------------------------------------------------------


def test_server_holds_its_kexinit_until_the_clients_has_come() -> None:
    bench, raw = server_and_raw(server_settings(FRONT))
    raw.send_version()
    raw.read_version()
    with pytest.raises(Closed):
        raw.read()
    raw.send_kexinit(ciphers_c2s=OPENSSH_CIPHERS, ciphers_s2c=OPENSSH_CIPHERS)
    offered = raw.read_kexinit()
    assert offered.ciphers_s2c == offered.ciphers_c2s == (GCM, "aes128-gcm@openssh.com")
    agreed = raw.settle()
    assert agreed.cipher_c2s == agreed.cipher_s2c == "aes128-gcm@openssh.com"
    assert not bench.closed


def test_client_without_gcm_is_offered_the_full_list() -> None:
    _, raw = server_and_raw(server_settings(FRONT))
    raw.send_version()
    raw.read_version()
    raw.send_kexinit(ciphers_c2s=(CHACHA, "aes256-ctr"), ciphers_s2c=(CHACHA, "aes256-ctr"))
    assert CHACHA in raw.read_kexinit().ciphers_s2c
    assert raw.settle().cipher_s2c == CHACHA


def test_server_waits_no_longer_than_the_hold() -> None:
    bench, raw = server_and_raw(server_settings(FRONT))
    raw.send_version()
    raw.read_version()
    bench.clock.advance(0.19)
    with pytest.raises(Closed):
        raw.read()
    bench.clock.advance(0.02)
    assert CHACHA in raw.read_kexinit().ciphers_s2c  # it did not know better
    raw.send_kexinit()
    raw.finish_exchange()
    assert bench.secured == 1


def test_client_says_version_and_kexinit_at_once_and_puts_gcm_first() -> None:
    bench, raw = client_and_raw(client_settings(COMPAT))
    raw.read_version()
    offered = raw.read_kexinit()
    assert offered.ciphers_c2s[0] == GCM
    assert offered.compression_c2s == offered.compression_s2c == ("none",)
    assert STRICT_CLIENT in offered.kex and "ext-info-c" in offered.kex
    assert bench.transport.state is State.VERSION


def test_server_offers_only_algorithms_it_has_keys_for() -> None:
    _, raw = server_and_raw(server_settings(FRONT))
    raw.send_version()
    raw.read_version()
    raw.send_kexinit()
    offered = raw.read_kexinit()
    assert offered.host_keys == ("ssh-ed25519",)
    assert STRICT_SERVER in offered.kex
    assert offered.compression_c2s == ("none",)


# -- host keys ---------------------------------------------------------------------------------------------


def certified() -> HostKey:
    key, ca = PrivateKey.generate_ed25519(), PrivateKey.generate_ed25519()
    certificate = issue(
        ca,
        key.public,
        serial=1,
        kind=CertificateKind.HOST,
        key_id="host",
        principals=("localhost",),
        valid_after=0,
        valid_before=2**63,
    )
    return HostKey(key, certificate.blob)


def test_a_host_certificate_is_shown_to_those_who_ask_for_it() -> None:
    host_key = certified()
    algorithms = replace(FAST, host_keys=("ssh-ed25519" + CERT_SUFFIX, "ssh-ed25519"))
    seen: list[bytes] = []
    pair = Joined(server_settings(FAST, host_keys=(host_key, HostKey(HOST_KEY))), client_settings(algorithms))
    pair.client.transport.keys._first.check_host_key = seen.append
    pair.pump()
    assert pair.client.secured == 1
    assert seen == [host_key.certificate]
    assert pair.client.transport.keys.host_key_blob == host_key.certificate


def test_the_plain_key_is_shown_to_the_others() -> None:
    settings = server_settings(FAST, host_keys=(certified(), HostKey(HOST_KEY)))
    pair = Joined(settings, client_settings(replace(FAST, host_keys=("ssh-ed25519",))))
    pair.pump()
    assert pair.client.transport.keys.host_key_blob == HOST_KEY.public.blob


def test_client_refuses_a_signature_by_another_key() -> None:
    bench, raw = client_and_raw(host_key=PrivateKey.generate_ed25519())
    raw.host_key_blob = HOST_KEY.public.blob
    asked: list[bytes] = []
    bench.transport.keys._first.check_host_key = asked.append
    with pytest.raises(Closed):
        raw.handshake()
    assert bench.reason.reason is UpstreamReason.KEX_FAILED
    assert bench.reason.text == "the host key's signature is not valid"
    assert asked == []  # nobody may learn, pin or accept a key that was not proved


def test_host_key_is_checked_before_newkeys_and_a_refusal_is_named() -> None:
    def refuse(blob: bytes) -> None:
        assert blob == HOST_KEY.public.blob
        raise Refused(UpstreamReason.HOST_KEY_CHANGED, "the host key has changed")

    bench, raw = client_and_raw(check=refuse)
    raw.read_version()
    raw.send_version()
    raw.send_kexinit()
    raw.read_kexinit()
    raw.settle()
    raw.read_method()
    assert raw.read_disconnect() == (9, "the host key has changed")
    assert bench.reason.reason is UpstreamReason.HOST_KEY_CHANGED
    assert bench.reason.by is ClosedBy.US
    assert bench.secured == 0


def test_a_host_key_that_must_be_looked_up_stops_reading_meanwhile() -> None:
    waiting: Deferred[None] = Deferred()
    bench, raw = client_and_raw(check=lambda blob: waiting)
    raw.read_version()
    raw.send_version()
    raw.send_kexinit()
    raw.read_kexinit()
    raw.settle()
    raw.read_method()
    raw.send_newkeys()  # a server sends it right behind its reply
    raw.send(ext_info([(b"server-sig-algs", b"ssh-ed25519")]))
    assert not bench.end.reading
    assert bench.secured == 0 and bench.transport.state is State.FIRST_METHOD
    waiting.callback(None)
    assert bench.end.reading
    assert bench.secured == 1
    assert bench.transport.keys.peer_signature_algorithms == ("ssh-ed25519",)
    raw.read_newkeys()


def test_a_late_refusal_ends_the_connection() -> None:
    waiting: Deferred[None] = Deferred()
    bench, raw = client_and_raw(check=lambda blob: waiting)
    raw.read_version()
    raw.send_version()
    raw.send_kexinit()
    raw.read_kexinit()
    raw.settle()
    raw.read_method()
    waiting.errback(Refused(UpstreamReason.HOST_KEY_UNKNOWN, "not known"))
    assert bench.reason.reason is UpstreamReason.HOST_KEY_UNKNOWN


def test_an_answer_after_the_end_is_ignored() -> None:
    waiting: Deferred[None] = Deferred()
    bench, raw = client_and_raw(check=lambda blob: waiting)
    raw.read_version()
    raw.send_version()
    raw.send_kexinit()
    raw.read_kexinit()
    raw.settle()
    raw.read_method()
    bench.transport.disconnect(11, "enough")
    waiting.callback(None)
    assert bench.secured == 0 and bench.reason.text == "enough"


# -- guesses -----------------------------------------------------------------------------------------------


def test_a_right_guess_is_used() -> None:
    bench, raw = server_and_raw()
    raw.send_version()
    raw.read_version()
    host_keys = ("ssh-ed25519",)
    raw.send_kexinit(first_kex_follows=True, host_keys=host_keys)
    raw.read_kexinit()
    raw.finish_exchange()
    assert bench.secured == 1


def test_a_wrong_guess_is_dropped_unread() -> None:
    bench, raw = server_and_raw()
    raw.send_version()
    raw.read_version()
    raw.send_kexinit(
        first_kex_follows=True, kex=("ecdh-sha2-nistp256", "curve25519-sha256", STRICT_CLIENT, "ext-info-c")
    )
    raw.send(b"\x1egarbage that is no point on any curve")
    raw.read_kexinit()
    raw.finish_exchange()
    assert bench.secured == 1
    with pytest.raises(Closed):  # only one packet is forgiven
        raw.send(b"\x1egarbage")
        raw.read_until(99)
    assert bench.closed


def test_a_wrong_guess_of_a_server_is_dropped_too() -> None:
    bench, raw = client_and_raw()
    raw.read_version()
    raw.send_version()
    raw.send_kexinit(first_kex_follows=True, kex=("ecdh-sha2-nistp256", "curve25519-sha256", STRICT_SERVER))
    raw.send(b"\x1fgarbage")
    raw.read_kexinit()
    raw.finish_exchange()
    assert bench.secured == 1


# -- EXT_INFO ----------------------------------------------------------------------------------------------


def test_server_sends_ext_info_right_behind_newkeys_to_a_client_that_asked() -> None:
    bench, raw = server_and_raw()
    shake(bench, raw)
    payload = raw.read()
    assert payload[0] == MSG_EXT_INFO
    body = Reader(payload, 1)
    found = {body.string(): body.string() for _ in range(body.uint32())}
    body.end()
    assert b"rsa-sha2-512" in found[b"server-sig-algs"].split(b",")
    assert b"ssh-rsa" not in found[b"server-sig-algs"].split(b",")
    assert found[b"ping@openssh.com"] == b"0"


def test_server_sends_no_ext_info_to_a_client_that_did_not() -> None:
    bench, raw = server_and_raw()
    raw.send_version()
    raw.read_version()
    raw.exchange(kex=("curve25519-sha256", STRICT_CLIENT))
    with pytest.raises(Closed):
        raw.read()
    assert bench.secured == 1


def test_markers_stand_in_the_first_kexinit_only() -> None:
    bench, raw = server_and_raw()
    shake(bench, raw)
    raw.send_kexinit()
    offered = raw.read_kexinit()
    assert not {STRICT_SERVER, "ext-info-s"} & set(offered.kex)


def test_ext_info_is_taken_as_the_first_message_and_not_as_the_second() -> None:
    bench, raw = server_and_raw()
    shake(bench, raw)
    raw.send(ext_info([(b"global-requests-ok", b"")]))
    assert bench.transport.keys.peer_extensions == {"global-requests-ok": b""}
    raw.send(ext_info([(b"global-requests-ok", b"")]))
    assert "EXT_INFO is not allowed" in bench.reason.text


def test_a_servers_second_ext_info_stands_right_before_success() -> None:
    bench, raw = client_and_raw()
    bench.service.answers[52] = bench.trust
    shake(bench, raw)
    raw.send(b"\x06\0\0\0\x0cssh-userauth")
    raw.send(ext_info([(b"server-sig-algs", b"rsa-sha2-512")]), b"\x34", b"\x5ehello")
    assert not bench.closed
    assert bench.transport.keys.peer_signature_algorithms == ("rsa-sha2-512",)
    assert bench.receiver.payloads == [b"\x5ehello"]


def test_a_servers_second_ext_info_before_anything_else_is_refused() -> None:
    bench, raw = client_and_raw()
    shake(bench, raw)
    raw.send(b"\x06\0\0\0\x0cssh-userauth")
    raw.send(ext_info([]), b"\x33\0\0\0\x09publickey\0")
    assert "is not allowed in state late_ext_info" in bench.reason.text


def test_too_many_extensions_are_refused() -> None:
    bench, raw = client_and_raw()
    shake(bench, raw)
    raw.send(ext_info([(b"x%d" % number, b"") for number in range(17)]))
    assert bench.reason.text == "EXT_INFO holds too many extensions"


# -- around the handshake ----------------------------------------------------------------------------------


@pytest.mark.parametrize("server", [True, False])
def test_services_wait_for_the_first_newkeys(server: bool) -> None:
    bench, raw = raw_side(server)
    bench.transport.send_any(b"\x05\0\0\0\x01x")
    assert b"\x05\0\0\0\x01x" not in bytes(bench.end.written)
    raw.handshake()
    if server:
        # RFC 8308 section 2.4: EXT_INFO is the very next packet, whatever waited
        assert raw.read()[0] == MSG_EXT_INFO
    assert raw.read() == b"\x05\0\0\0\x01x"


@pytest.mark.parametrize("server", [True, False])
def test_on_secure_is_called_once_and_not_at_a_rekey(server: bool) -> None:
    bench, raw = raw_side(server)
    shake(bench, raw)
    bench.trust()
    raw.exchange()
    assert bench.secured == 1 and bench.transport.keys.count == 2
    assert bench.transport.keys.session_id == raw.session_id != raw.hash


@pytest.mark.parametrize("server", [True, False])
def test_without_strict_kex_sequence_numbers_go_on(server: bool) -> None:
    bench, raw = raw_side(server, markers=False)
    shake(bench, raw)
    assert not bench.transport.keys.agreed.strict
    assert raw.writer.sequence >= 3 and bench.transport._reader.sequence == raw.writer.sequence


@pytest.mark.parametrize("server", [True, False])
def test_with_strict_kex_they_begin_again_at_every_newkeys(server: bool) -> None:
    bench, raw = raw_side(server)
    shake(bench, raw)
    assert bench.transport.keys.agreed.strict and bench.transport._reader.sequence == 0
    bench.trust()
    raw.send(b"\x5ex", b"\x5ex")
    assert bench.transport._reader.sequence == 2
    raw.exchange()
    assert bench.transport._reader.sequence == 0
    raw.send(b"\x5ey")
    assert bench.receiver.payloads[-1] == b"\x5ey"


def test_messages_behind_success_in_the_same_read_reach_the_receiver() -> None:
    bench, raw = client_and_raw()
    bench.service.answers[52] = bench.trust
    shake(bench, raw)
    raw.send(b"\x06\0\0\0\x0cssh-userauth", b"\x34", b"\x50one", b"\x5etwo")
    assert [number for number, _ in bench.service.got] == [MSG_SERVICE_ACCEPT, 52]
    assert bench.receiver.bursts == [[b"\x50one", b"\x5etwo"]]


@pytest.mark.parametrize(
    ("server", "reason"), [(True, LimitReason.HANDSHAKE_FAILED), (False, UpstreamReason.TIMEOUT)]
)
def test_a_handshake_has_its_time(server: bool, reason: Any) -> None:
    settings = (server_settings if server else client_settings)(handshake_timeout=5.0)
    bench, raw = raw_side(server, settings)
    raw.send_version()
    bench.clock.advance(4.9)
    assert not bench.closed
    bench.clock.advance(0.2)
    assert bench.reason.reason is reason


def test_a_login_has_its_time_and_the_last_factor_ends_it() -> None:
    bench, raw = server_and_raw(server_settings(login_grace=60.0))
    shake(bench, raw)
    bench.clock.advance(59)
    assert not bench.closed
    bench.clock.advance(2)
    assert bench.reason.reason is LimitReason.LOGIN_GRACE
    bench, raw = server_and_raw(server_settings(login_grace=60.0))
    shake(bench, raw)
    bench.transport.end_login_grace()
    bench.clock.advance(500)
    assert not bench.closed


def test_no_common_algorithm_is_said() -> None:
    bench, raw = server_and_raw(algorithms=replace(FAST, kex=("sntrup761x25519-sha512@openssh.com",)))
    raw.send_version()
    raw.read_version()
    raw.send_kexinit()
    code, text = raw.read_disconnect()
    assert code == 3 and "no common key exchange method" in text
    assert bench.reason.reason is LimitReason.HANDSHAKE_FAILED
    assert KexInit.parse(raw.ours)
