"""Every suite against asyncssh's implementation of it in both directions, and against corruption."""

from __future__ import annotations

import struct

import pytest
from asyncssh.encryption import Encryption, get_encryption, get_encryption_params
from asyncssh.mac import get_mac_params
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from hypothesis import given
from hypothesis import strategies as st

from bastion.errors import ProtocolError
from bastion.wire import ciphers
from bastion.wire.ciphers import (
    CHACHA20,
    COMPAT_CIPHERS,
    COMPAT_MACS,
    CORRUPT_TEXT,
    FRONT_CIPHERS,
    FRONT_MACS,
    PACKET_LIMIT,
    DirectionKeys,
    authenticates,
    key_sizes,
    make_opener,
    make_sealer,
)
from bastion.wire.legacy import LEGACY_CIPHERS, LEGACY_MACS
from bastion.wire.packets import PacketReader, PacketWriter

ALL_CIPHERS = COMPAT_CIPHERS + LEGACY_CIPHERS
SUITES = [
    (cipher, mac)
    for cipher in ALL_CIPHERS
    for mac in (("",) if authenticates(cipher) else COMPAT_MACS + LEGACY_MACS)
]
suites = pytest.mark.parametrize(("cipher", "mac"), SUITES)


def keys_for(cipher: str, mac: str) -> DirectionKeys:
    """Fixed, distinct key bytes of the right sizes."""
    sizes = key_sizes(cipher, mac)
    iv, key, mac_key = (
        bytes((start + i) & 255 for i in range(size))
        for start, size in zip((1, 100, 200), sizes, strict=True)
    )
    return DirectionKeys(cipher, mac, iv, key, mac_key)


def writer_for(keys: DirectionKeys, sequence: int = 0) -> PacketWriter:
    writer = PacketWriter()
    writer.switch(keys)
    writer.sequence = sequence
    return writer


def reader_for(keys: DirectionKeys, sequence: int = 0) -> PacketReader:
    reader = PacketReader()
    reader.switch(keys)
    reader.sequence = sequence
    return reader


def drown(reader: PacketReader) -> list[bytes]:
    """Zeros for as long as the longest packet: a corrupt cbc packet is answered only then."""
    for _ in range(5):
        reader.feed(bytes(64 * 1024))
        reader.packets()
    return []


class Foreign:
    """asyncssh's packet format over its own encryption classes, as its connection uses them."""

    def __init__(self, keys: DirectionKeys, sequence: int = 0) -> None:
        cipher, mac = keys.cipher.encode(), keys.mac.encode()
        _, _, block, _, self.mac_size, etm = get_encryption_params(cipher, mac)
        plain_etm = get_mac_params(mac)[2] if mac else False
        self.block = max(8, block)
        self.length_counts = 0 if etm else 4
        self.sequence = sequence
        self.box: Encryption = get_encryption(cipher, keys.key, keys.iv, mac, keys.mac_key, plain_etm)

    def seal(self, payload: bytes) -> bytes:
        padding = -(1 + self.length_counts + len(payload)) % self.block
        padding += self.block if padding < 4 else 0
        packet = bytes([padding]) + payload + b"p" * padding
        sealed, mac = self.box.encrypt_packet(self.sequence, struct.pack(">I", len(packet)), packet)
        self.sequence = (self.sequence + 1) & 0xFFFFFFFF
        return sealed + mac

    def open(self, wire: bytes) -> bytes:
        first, header = self.box.decrypt_header(self.sequence, wire[: self.block], 4)
        (length,) = struct.unpack(">I", header)
        end = 4 + length
        assert len(wire) == end + self.mac_size
        packet = self.box.decrypt_packet(self.sequence, first, wire[self.block : end], 4, wire[end:])
        assert packet is not None, "asyncssh refuses our MAC or tag"
        self.sequence = (self.sequence + 1) & 0xFFFFFFFF
        return packet[1 : -packet[0]]


PAYLOADS = [b"\x02" * size for size in (1, 2, 3, 4, 5, 7, 8, 10, 11, 12, 15, 16, 17, 255, 32777)]


@suites
def test_asyncssh_opens_what_we_seal(cipher: str, mac: str) -> None:
    keys = keys_for(cipher, mac)
    writer, foreign = writer_for(keys), Foreign(keys)
    assert [foreign.open(writer.seal([payload])) for payload in PAYLOADS] == PAYLOADS


@suites
def test_we_open_what_asyncssh_seals(cipher: str, mac: str) -> None:
    keys = keys_for(cipher, mac)
    reader, foreign = reader_for(keys), Foreign(keys)
    reader.feed(b"".join(map(foreign.seal, PAYLOADS)))
    assert reader.packets() == PAYLOADS
    assert reader.buffered == 0


@suites
def test_sequence_numbers_wrap_as_asyncssh_wraps_them(cipher: str, mac: str) -> None:
    keys = keys_for(cipher, mac)
    writer, reader = writer_for(keys, 0xFFFFFFFE), reader_for(keys, 0xFFFFFFFE)
    foreign = Foreign(keys, 0xFFFFFFFE)
    for payload in PAYLOADS[:5]:
        wire = writer.seal([payload])
        assert foreign.open(wire) == payload
        reader.feed(wire)
        assert reader.packets() == [payload]
    assert writer.sequence == reader.sequence == 3


@pytest.mark.parametrize("cipher", ["aes256-gcm@openssh.com", "aes128-gcm@openssh.com"])
def test_the_gcm_counter_has_64_bits_and_leaves_the_fixed_part_alone(cipher: str) -> None:
    keys = keys_for(cipher, "")
    keys = DirectionKeys(cipher, "", b"\xff" * 12, keys.key, b"")
    sealer, foreign, opener = make_sealer(keys), Foreign(keys), make_opener(keys)
    for _ in range(3):
        wire = sealer.seal(0, b"\x0b\x05 hi" + bytes(11))
        assert foreign.open(wire) == b"\x05 hi"
        assert opener.open(0, memoryview(wire), 0, len(wire)) == b"\x05 hi"


def test_chacha20_is_built_as_the_openssh_document_says() -> None:
    """From PROTOCOL.chacha20poly1305 directly: K_2 first, then K_1; nonce = sequence number; counters 0 and 1."""
    keys = keys_for(CHACHA20, "")
    wire = writer_for(keys, 7).seal([b"\x05hello"])

    def chacha(key: bytes, counter: int, data: bytes) -> bytes:
        nonce = counter.to_bytes(8, "little") + (7).to_bytes(8, "big")
        return Cipher(algorithms.ChaCha20(key, nonce), None).encryptor().update(data)

    main, header = keys.key[:32], keys.key[32:]
    assert chacha(header, 0, wire[:4]) == b"\x00\x00\x00\x10"
    plain = chacha(main, 1, wire[4:-16])
    assert plain == b"\x09\x05hello" + bytes(9)


@suites
def test_every_flipped_byte_of_a_packet_gives_the_same_error(cipher: str, mac: str) -> None:
    keys = keys_for(cipher, mac)
    good = writer_for(keys).seal([b"\x5e" + b"payload" * 5])
    tail = b"\x00" * 64  # more of the stream: a longer length must not look different
    seen = set()
    for at in range(len(good)):
        for flip in (0x01, 0x80):
            reader = reader_for(keys)
            bad = bytearray(good)
            bad[at] ^= flip
            with pytest.raises(ProtocolError) as caught:
                reader.feed(bytes(bad) + tail)
                assert reader.packets() == []
                drown(reader)
            seen.add((type(caught.value), caught.value.text, caught.value.code, str(caught.value)))
            assert caught.value.__cause__ is None
            with pytest.raises(ProtocolError, match=CORRUPT_TEXT):
                reader.packets()  # final
    assert seen == {(ProtocolError, CORRUPT_TEXT, 2, CORRUPT_TEXT)}


def raw_packet(keys: DirectionKeys, padding_length: int, body: bytes) -> bytes:
    """A genuinely sealed packet with whatever stands in it."""
    return make_sealer(keys).seal(0, bytes([padding_length]) + body)


@suites
def test_genuine_packets_with_bad_padding_give_that_error_too(cipher: str, mac: str) -> None:
    keys = keys_for(cipher, mac)
    sealer = make_sealer(keys)
    size = 48 - sealer.covers_length - 1
    for padding in (0, 3, size, size + 1, 128, 255):
        reader = reader_for(keys)
        reader.feed(raw_packet(keys, padding, bytes(size)))
        with pytest.raises(ProtocolError) as caught:
            reader.packets()
        assert (caught.value.text, caught.value.code) == (CORRUPT_TEXT, 2)
    reader = reader_for(keys)
    reader.feed(raw_packet(keys, size - 1, bytes(size)))
    assert reader.packets() == [b"\x00"], "one byte of payload is enough"


@suites
def test_lengths_are_refused_before_anything_waits_for_them(cipher: str, mac: str) -> None:
    """0, too small, not a multiple of the block, beyond the limit: as soon as the length can be read."""
    keys = keys_for(cipher, mac)
    sealer = make_sealer(keys)
    block, covers = sealer.block_size, sealer.covers_length
    bad = [0, 1, block - covers - 4, 2 * block - covers + 1, PACKET_LIMIT + block - covers, 0xFFFFFFFF - 3]
    for length in bad:
        reader = reader_for(keys)
        reader.feed(sealed_length(keys, length))
        if keys.cipher.endswith("-cbc") and not keys.mac.endswith("-etm@openssh.com"):
            assert reader.packets() == []
            assert reader.buffered == 0, "what is thrown away is not kept"
            with pytest.raises(ProtocolError, match=CORRUPT_TEXT):
                drown(reader)
        else:
            with pytest.raises(ProtocolError, match=CORRUPT_TEXT):
                reader.packets()


def sealed_length(keys: DirectionKeys, length: int) -> bytes:
    """The first bytes of a packet that claims `length`: as many as the reader needs to see it, no more."""
    field = struct.pack(">I", length)
    if keys.cipher == CHACHA20:
        nonce = bytes(16)
        return Cipher(algorithms.ChaCha20(keys.key[32:], nonce), None).encryptor().update(field)
    if authenticates(keys.cipher) or keys.mac.endswith("-etm@openssh.com"):
        return field
    opener = make_opener(keys)
    suite = ciphers._BlockSuite(keys)
    return suite._cipher.encryptor().update(field + bytes(opener.header_size - 4))


@pytest.mark.parametrize("cut", [8, 16, 17, 1000, 100_000])
def test_a_corrupt_cbc_packet_is_answered_after_the_same_number_of_bytes(cut: int) -> None:
    """Bad length, bad MAC and anything else: always when the longest packet would have come."""
    keys = keys_for("aes256-cbc", "hmac-sha1")
    good = bytearray(writer_for(keys).seal([b"\x5e" + bytes(200)]))
    taken = set()
    for at in (0, 1, 3, 20, 60, len(good) - 1):
        bad = bytearray(good)
        bad[at] ^= 0x10
        stream, reader, fed = bytes(bad) + bytes(PACKET_LIMIT + 64), reader_for(keys), 0
        with pytest.raises(ProtocolError, match=CORRUPT_TEXT):
            while fed < len(stream):
                reader.feed(stream[fed : fed + cut])
                fed += cut
                reader.packets()
        taken.add(fed)
    assert len(taken) == 1 and min(taken) >= PACKET_LIMIT


@given(st.sampled_from(SUITES), st.binary(max_size=300))
def test_garbage_raises_nothing_but_the_protocol_error(suite: tuple[str, str], garbage: bytes) -> None:
    reader = reader_for(keys_for(*suite))
    reader.feed(garbage)
    try:
        assert reader.packets() == []
    except ProtocolError as error:
        assert error.text == CORRUPT_TEXT


@suites
def test_keys_of_the_wrong_size_are_refused(cipher: str, mac: str) -> None:
    keys = keys_for(cipher, mac)
    short = DirectionKeys(cipher, mac, keys.iv, keys.key[:-1], keys.mac_key)
    with pytest.raises(ValueError):
        make_sealer(short)
    with pytest.raises(ValueError):
        make_opener(short)


def test_names_that_are_not_ours_make_no_suite() -> None:
    for name in ("none", "", "arcfour", "aes256-ctr@example"):
        with pytest.raises(KeyError):
            make_sealer(DirectionKeys(name, "hmac-sha2-256", b"", b"", b""))
        with pytest.raises(KeyError):
            make_opener(DirectionKeys("aes256-ctr", name, bytes(16), bytes(32), b""))


def test_the_front_door_offers_no_weak_name() -> None:
    for name in FRONT_CIPHERS + FRONT_MACS + COMPAT_CIPHERS + COMPAT_MACS:
        assert "cbc" not in name and "sha1" not in name and "md5" not in name and name != "none"
    assert not {*LEGACY_CIPHERS, *LEGACY_MACS} & {*COMPAT_CIPHERS, *COMPAT_MACS}
    assert FRONT_CIPHERS[0] == "aes256-gcm@openssh.com"


def test_secrets_are_in_no_repr() -> None:
    keys = DirectionKeys("aes256-ctr", "hmac-sha2-256", b"I" * 16, b"K" * 32, b"M" * 32)
    text = repr(keys) + repr(make_sealer(keys)) + repr(make_opener(keys))
    assert "IIII" not in text and "KKKK" not in text and "MMMM" not in text
