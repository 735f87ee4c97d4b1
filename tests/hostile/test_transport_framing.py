"""Rows of the known failures in docs/security.md about version lines, frames and what is offered.

Each test is named by its row; the other rows of the transport are in `test_transport_rows.py`.
"""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from bastion.errors import LimitReason, UpstreamReason
from bastion.transport.settings import TransportSettings
from bastion.transport.states import State
from bastion.wire.data import string
from bastion.wire.kexinit import FRONT, TARGET
from bastion.wire.legacy import LEGACY_NAMES
from tests.hostile.rawssh import RawSsh
from tests.unit.transport.parts import FAST, client_and_raw, raw_side, server_and_raw, server_settings, shake

BOTH = pytest.mark.parametrize("server", [True, False], ids=["server", "client"])


def hello(raw: RawSsh) -> None:
    raw.send_version()
    raw.read_version()


# -- C16, C23: framing -----------------------------------------------------------------------------------------

BAD_FRAMES = {
    "empty payload": struct.pack(">IB", 12, 11) + bytes(11),
    "padding longer than the packet": struct.pack(">IB", 28, 255) + bytes(27),
    "padding of 3": struct.pack(">IB", 12, 3) + bytes(11),
    "length 0": bytes(16),
    "length of 2^32-1": b"\xff\xff\xff\xff" + bytes(28),
    "length over the limit": struct.pack(">IB", 256 * 1024 + 8, 4) + bytes(27),
    "length not a multiple": struct.pack(">IB", 13, 4) + bytes(27),
}


@BOTH
@pytest.mark.parametrize("frame", BAD_FRAMES)
def test_c16_c23_bad_frames_in_plaintext_all_get_the_same_answer(server: bool, frame: str) -> None:
    bench, raw = raw_side(server)
    hello(raw)
    raw.send_raw(BAD_FRAMES[frame])
    assert raw.read_disconnect() == (2, "packet is corrupt")
    assert bench.closed


@pytest.mark.parametrize("cipher", TARGET.ciphers)
@pytest.mark.parametrize("at", ["length", "body", "tag"])
def test_c23_every_changed_bit_gets_the_same_answer(cipher: str, at: str) -> None:
    bench, raw = server_and_raw(server_settings(TARGET), algorithms=replace(FAST, ciphers=(cipher,)))
    shake(bench, raw)
    raw.read_all()
    wire = bytearray(raw.writer.seal([b"\x02" + string(bytes(600))]))
    wire[{"length": 2, "body": 100, "tag": -1}[at]] ^= 1
    raw.send_raw(bytes(wire))
    for _ in range(300):  # a larger length may have to be waited for
        if bench.closed:
            break
        raw.send_raw(bytes(1024))
    assert raw.read_disconnect() == (2, "packet is corrupt")


@pytest.mark.parametrize("server", [True, False])
def test_c23_nothing_weak_is_offered(server: bool) -> None:
    settings = server_settings(FRONT) if server else TransportSettings(TARGET)
    _, raw = raw_side(server, settings)
    hello(raw)
    raw.send_kexinit()
    offered = raw.read_kexinit()
    names = {*offered.kex, *offered.host_keys, *offered.ciphers_c2s, *offered.ciphers_s2c}
    names |= {*offered.macs_c2s, *offered.macs_s2c}
    assert not names & set(LEGACY_NAMES)
    weak = ("cbc", "3des", "arcfour", "md5", "dss", "hmac-sha1", "none", "-sha1")
    assert not [name for name in names if any(part in name for part in weak)]
    assert "ssh-rsa" not in names


@pytest.mark.parametrize("field", ["ciphers_c2s", "ciphers_s2c", "kex", "host_keys"])
@pytest.mark.parametrize("names", [("none",), (), ("aes256-cbc", "3des-cbc")])
def test_c23_none_and_nothing_are_never_negotiated(field: str, names: tuple[str, ...]) -> None:
    bench, raw = server_and_raw()
    hello(raw)
    raw.send_kexinit(**{field: names})
    assert bench.closed and bench.reason.code == 3


# -- C20, C21: the version line --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b"SSH-1.99-old\r\n",
        b"SSH-1.5-old\r\n",
        b"SSH-2.0-\x1b]0;owned\x07\r\n",
        b"SSH-2.0-nul\x00\r\n",
        b"SSH-2.0\r\n",
        b"SSH-2.0-" + b"x" * 300 + b"\r\n",
        b"GET / HTTP/1.1\r\n",
        b"hello\r\nSSH-2.0-late\r\n",
        b"\xff" * 5000,
    ],
)
def test_c20_bad_version_lines(line: bytes) -> None:
    bench, raw = server_and_raw()
    raw.send_raw(line)
    assert bench.reason.reason is LimitReason.HANDSHAKE_FAILED
    assert bench.reason.text == "no SSH 2.0 version line"
    assert bench.transport.keys.peer_version == b""


def test_c20_a_second_version_line_is_a_broken_packet() -> None:
    bench, raw = server_and_raw()
    raw.send_raw(b"SSH-2.0-one\r\nSSH-2.0-two\r\n" + bytes(300))
    assert bench.closed and bench.transport.keys.peer_version == b"SSH-2.0-one"


def test_c20_a_server_may_talk_before_its_line_but_not_without_end() -> None:
    bench, raw = client_and_raw()
    raw.send_raw(b"welcome\r\nto this machine\r\nSSH-2.0-x\r\n")
    assert bench.transport.state is State.FIRST_KEXINIT
    bench, raw = client_and_raw()
    for _ in range(2000):
        raw.send_raw(b"x" * 100 + b"\r\n")
    assert bench.reason.reason is UpstreamReason.NOT_SSH


@BOTH
def test_c21_version_and_a_large_kexinit_in_one_segment(server: bool) -> None:
    bench, raw = raw_side(server)
    raw.read_version()
    filler = tuple(f"filler-{number}@example.com" for number in range(200))
    markers = raw.make_kexinit().kex
    raw.ours = raw.make_kexinit(kex=markers + filler).encode()
    assert len(raw.ours) > 4096
    raw.send_raw(raw.version + b"\r\n" + raw.writer.seal([raw.ours]))
    raw.read_kexinit()
    raw.finish_exchange()
    assert bench.secured == 1


def test_c21_a_whole_first_flight_in_one_segment() -> None:
    bench, raw = server_and_raw()
    raw.ours = raw.make_kexinit(first_kex_follows=True, host_keys=("ssh-ed25519",)).encode()
    raw.theirs = raw.ours
    raw.settle()
    raw.send_raw(raw.version + b"\r\n" + raw.writer.seal([raw.ours, raw._method.start()]))
    raw.read_version()
    raw.read_kexinit()
    raw.read_method()
    raw.send_newkeys()
    raw.read_newkeys()
    assert bench.secured == 1
