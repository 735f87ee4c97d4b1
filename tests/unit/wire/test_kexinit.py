"""The version line, KEXINIT and what comes of two of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.errors import ProtocolError
from bastion.wire import kexinit
from bastion.wire.data import boolean, byte, namelist, string, uint32
from bastion.wire.kexinit import (
    BANNER_BYTES_LIMIT,
    COMPAT,
    FRONT,
    KEXINIT_LIMIT,
    MARKERS,
    NAMES_LIMIT,
    TARGET,
    Algorithms,
    KexInit,
    VersionReader,
    mismatches,
    negotiate,
)
from bastion.wire.legacy import LEGACY_KEX, LEGACY_NAMES

COOKIE = bytes(range(16))


def read_version(client_role: bool, data: bytes, piece: int = 0) -> tuple[bytes | None, bytes]:
    reader, rest = VersionReader(client_role), b""
    for at in range(0, len(data), piece or len(data) or 1):
        got = reader.feed(data[at : at + (piece or len(data))])
        if got is not None:
            rest = got + data[at + (piece or len(data)) :]
            break
    return reader.version, rest


# -- the version line ----------------------------------------------------------------------------------


@pytest.mark.parametrize("client_role", [True, False])
@pytest.mark.parametrize("piece", [0, 1, 3])
@pytest.mark.parametrize(
    ("line", "version"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", b"SSH-2.0-OpenSSH_9.2p1 Debian-2"),
        (b"SSH-2.0-dropbear_2022.83\n", b"SSH-2.0-dropbear_2022.83"),
        (b"SSH-2.0-Cisco-1.25\r\n", b"SSH-2.0-Cisco-1.25"),
        (b"SSH-2.0-" + b"x" * 245 + b"\r\n", b"SSH-2.0-" + b"x" * 245),
    ],
)
def test_a_version_line_is_read_and_what_follows_is_left(
    client_role: bool, piece: int, line: bytes, version: bytes
) -> None:
    """docs/security.md, C21: version and a 6.8 kB KEXINIT in one segment."""
    kexinit = bytes(6800)
    assert read_version(client_role, line + kexinit, piece) == (version, kexinit)


def test_a_second_version_line_is_left_as_bytes_of_a_packet() -> None:
    assert read_version(False, b"SSH-2.0-a\r\nSSH-2.0-b\r\n") == (b"SSH-2.0-a", b"SSH-2.0-b\r\n")


def test_a_memoryview_is_taken_and_not_kept() -> None:
    buffer = bytearray(b"SSH-2.0-x\r\nrest")
    reader = VersionReader(client_role=False)
    assert reader.feed(memoryview(buffer)[:5]) is None
    assert reader.feed(memoryview(buffer)[5:]) == b"rest"
    buffer.clear()  # BufferError if anything held on to it
    assert reader.version == b"SSH-2.0-x"


@pytest.mark.parametrize("client_role", [True, False])
@pytest.mark.parametrize(
    "line",
    [
        b"SSH-1.5-old\r\n",
        b"SSH-2.1-new\r\n",
        b"SSH-2.0\r\n",
        b"SSH-2.0-\r\n",
        b"SSH--x\r\n",
        b"SSH-2.0-ctrl\x1b[31m\r\n",
        b"SSH-2.0-nul\x00\r\n",
        b"SSH-2.0-tab\t\r\n",
        b"SSH-2.0-del\x7f\r\n",
        b"SSH-2.0-\xc3\xa9\r\n",
        b"SSH-2.0-two\r\r\n",
        b"SSH-2.0-in\rside\r\n",
        b"SSH-2.0-" + b"x" * 246 + b"\r\n",
        b"SSH-2.0-" + b"x" * 10_000,
    ],
)
@pytest.mark.parametrize("piece", [0, 1])
def test_bad_version_lines_are_refused(client_role: bool, line: bytes, piece: int) -> None:
    """docs/security.md, C20."""
    with pytest.raises(ProtocolError) as caught:
        read_version(client_role, line, piece)
    assert caught.value.code == 8
    assert caught.value.text == "no SSH 2.0 version line", "nothing of the peer's is in it"


def test_only_a_client_takes_199() -> None:
    assert read_version(True, b"SSH-1.99-Cisco-1.25\r\n")[0] == b"SSH-1.99-Cisco-1.25"
    with pytest.raises(ProtocolError):
        read_version(False, b"SSH-1.99-Cisco-1.25\r\n")


@pytest.mark.parametrize(
    "data", [b"G", b"\r\n", b"\n", b"ssh", b"SSX", b"hello\r\nSSH-2.0-x\r\n", b"\x16\x03\x01"]
)
def test_a_server_refuses_anything_else_at_its_first_wrong_byte(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        VersionReader(client_role=False).feed(data)


@pytest.mark.parametrize("piece", [0, 1, 7])
def test_a_client_reads_lines_before_the_version(piece: int) -> None:
    banner = b"Welcome\r\n\r\n\xffbinary \x00\n SSH-2.0-not at the start\n"
    assert read_version(True, banner + b"SSH-2.0-x\r\ntail", piece) == (b"SSH-2.0-x", b"tail")


@pytest.mark.parametrize("piece", [0, 1000])
def test_lines_before_the_version_are_limited_in_number_and_bytes(piece: int) -> None:
    version = b"SSH-2.0-x\r\n"
    assert read_version(True, b"\n" * 1024 + version, piece)[0] == b"SSH-2.0-x"
    full = b"y" * (BANNER_BYTES_LIMIT - 1) + b"\n"
    assert read_version(True, full + version, piece)[0] == b"SSH-2.0-x"
    for banner in (b"\n" * 1025, b"y" + full, b"y" * (BANNER_BYTES_LIMIT + 1), b"ab\n" * 3000):
        with pytest.raises(ProtocolError):
            read_version(True, banner + version, piece)


@given(st.binary(max_size=400), st.booleans(), st.integers(1, 50))
def test_garbage_before_a_version_line_raises_only_protocol_errors(
    data: bytes, client_role: bool, piece: int
) -> None:
    try:
        version, _ = read_version(client_role, data, piece)
    except ProtocolError:
        return
    assert version is None or version.startswith(b"SSH-")


# -- the codec -----------------------------------------------------------------------------------------

names = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=","), min_size=1, max_size=64
)
name_lists = st.lists(names, max_size=5).map(tuple)


@given(st.binary(min_size=16, max_size=16), st.lists(name_lists, min_size=10, max_size=10), st.booleans())
def test_kexinit_round_trip(cookie: bytes, lists: list[tuple[str, ...]], follows: bool) -> None:
    message = KexInit(cookie, *lists[:10], follows)  # type: ignore[arg-type]
    assert KexInit.parse(message.encode()) == message


def raw_kexinit(*lists: bytes, tail: bytes = b"\x00\x00\x00\x00\x00") -> bytes:
    return byte(20) + COOKIE + b"".join(lists) + tail


EMPTY = string(b"")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x14",
        b"\x15" + raw_kexinit(*[EMPTY] * 10)[1:],
        raw_kexinit(*[EMPTY] * 9),
        raw_kexinit(*[EMPTY] * 11),
        raw_kexinit(*[EMPTY] * 10, tail=b"\x00\x00\x00\x00"),
        raw_kexinit(*[EMPTY] * 10, tail=b"\x00" * 6),
        raw_kexinit(string(b",a"), *[EMPTY] * 9),
        raw_kexinit(string(b"a,"), *[EMPTY] * 9),
        raw_kexinit(string(b"a,,b"), *[EMPTY] * 9),
        raw_kexinit(string(b"a b"), *[EMPTY] * 9),
        raw_kexinit(string(b"a\n"), *[EMPTY] * 9),
        raw_kexinit(string(b"caf\xc3\xa9"), *[EMPTY] * 9),
        raw_kexinit(string(b"x" * 65), *[EMPTY] * 9),
        raw_kexinit(namelist(["x"] * (NAMES_LIMIT + 1)), *[EMPTY] * 9),
        raw_kexinit(
            *[string(b"x," * 200 + b"x")] * 8, string(b"x" * 60 + b"," + b"y" * KEXINIT_LIMIT), EMPTY
        ),
        raw_kexinit(uint32(0xFFFFFFFF), *[EMPTY] * 9),
        raw_kexinit(*[string(b",".join([b"n" * 60] * 60))] * 10),
    ],
)
def test_malformed_kexinits_are_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        KexInit.parse(payload)


def test_the_limits_themselves_are_taken() -> None:
    many = KexInit.parse(raw_kexinit(namelist(["x" * 60] * NAMES_LIMIT), namelist(["y" * 64]), *[EMPTY] * 8))
    assert len(many.kex) == NAMES_LIMIT and many.host_keys == ("y" * 64,)


def test_the_reserved_word_means_nothing() -> None:
    payload = raw_kexinit(*[EMPTY] * 10, tail=boolean(True) + uint32(7))
    assert KexInit.parse(payload).first_kex_follows


@given(st.binary(max_size=200))
def test_garbage_after_the_cookie_raises_only_protocol_errors(data: bytes) -> None:
    try:
        KexInit.parse(byte(20) + COOKIE + data)
    except ProtocolError:
        pass
    else:
        assert data.endswith(b"\x00" * 4) or len(data) >= 45


# -- negotiation ---------------------------------------------------------------------------------------


def client_offer(ours: Algorithms = COMPAT, initial: bool = True) -> KexInit:
    return KexInit.offer(COOKIE, ours, client_role=True, initial=initial)


def server_offer(ours: Algorithms = FRONT, initial: bool = True) -> KexInit:
    return KexInit.offer(COOKIE, ours, client_role=False, initial=initial)


def test_the_clients_order_wins() -> None:
    client = replace(
        client_offer(),
        kex=("unknown", "diffie-hellman-group16-sha512", "curve25519-sha256"),
        host_keys=("ssh-dss", "rsa-sha2-256", "ssh-ed25519"),
        ciphers_c2s=("aes128-ctr", "aes256-gcm@openssh.com"),
        ciphers_s2c=("aes256-gcm@openssh.com", "aes128-ctr"),
        macs_c2s=("umac-64@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com"),
        macs_s2c=("umac-64@openssh.com",),
    )
    agreed = negotiate(client, server_offer())
    assert (agreed.kex, agreed.host_key) == ("diffie-hellman-group16-sha512", "rsa-sha2-256")
    assert (agreed.cipher_c2s, agreed.mac_c2s) == ("aes128-ctr", "hmac-sha2-512-etm@openssh.com")
    assert (agreed.cipher_s2c, agreed.mac_s2c) == ("aes256-gcm@openssh.com", ""), "GCM needs no common MAC"


def test_our_defaults_meet_in_the_best() -> None:
    agreed = negotiate(client_offer(TARGET), server_offer())
    assert (agreed.kex, agreed.cipher_c2s) == ("mlkem768x25519-sha256", "aes256-gcm@openssh.com")
    assert agreed.host_key == "ssh-ed25519-cert-v01@openssh.com"
    assert agreed.strict and agreed.client_ext_info


@pytest.mark.parametrize(
    ("field", "what"),
    [
        ("kex", "key exchange method"),
        ("host_keys", "host key algorithm"),
        ("ciphers_c2s", "cipher"),
        ("ciphers_s2c", "cipher"),
        ("macs_c2s", "MAC"),
        ("macs_s2c", "MAC"),
        ("compression_c2s", "compression"),
        ("compression_s2c", "compression"),
    ],
)
@pytest.mark.parametrize(
    "offer", [(), ("none",), ("\x1bevil",), tuple(MARKERS), ("zlib", "zlib@openssh.com")]
)
def test_every_list_needs_something_common_that_is_not_none(
    field: str, what: str, offer: tuple[str, ...]
) -> None:
    if offer == ("none",) and what == "compression":
        return  # the one list in which "none" is right
    needs_mac = {"ciphers_c2s": ("aes256-ctr",), "ciphers_s2c": ("aes256-ctr",)}
    client, server = replace(client_offer(), **needs_mac), replace(server_offer(), **needs_mac)
    for pair in (
        (replace(client, **{field: offer}), server),
        (client, replace(server, **{field: offer})),
    ):
        with pytest.raises(ProtocolError) as caught:
            negotiate(*pair)
        assert (caught.value.text, caught.value.code) == (f"no common {what}", 3)


@pytest.mark.parametrize("field", ["kex", "host_keys", "ciphers_c2s", "ciphers_s2c", "macs_c2s", "macs_s2c"])
def test_none_is_not_taken_even_when_both_offer_it(field: str) -> None:
    needs_mac = {"ciphers_c2s": ("aes256-ctr",), "ciphers_s2c": ("aes256-ctr",), field: ("none",)}
    with pytest.raises(ProtocolError, match="no common"):
        negotiate(replace(client_offer(), **needs_mac), replace(server_offer(), **needs_mac))


def test_strict_kex_needs_both_sides() -> None:
    assert negotiate(client_offer(), server_offer()).strict
    assert not negotiate(client_offer(initial=False), server_offer()).strict
    assert not negotiate(client_offer(), server_offer(initial=False)).strict
    swapped = replace(client_offer(), kex=("curve25519-sha256", "kex-strict-s-v00@openssh.com"))
    assert not negotiate(swapped, server_offer()).strict, "the other role's marker is no marker"


def test_markers_are_offered_once_and_for_our_role() -> None:
    assert set(client_offer().kex) & MARKERS == {"ext-info-c", "kex-strict-c-v00@openssh.com"}
    assert set(server_offer().kex) & MARKERS == {"ext-info-s", "kex-strict-s-v00@openssh.com"}
    assert not set(client_offer(initial=False).kex) & MARKERS
    assert not set(server_offer(initial=False).kex) & MARKERS


def test_markers_are_never_negotiated() -> None:
    both = ("ext-info-c", "kex-strict-c-v00@openssh.com", "kex-strict-s-v00@openssh.com", "ext-info-s")
    for kex in (both, both[::-1]):
        with pytest.raises(ProtocolError):
            negotiate(replace(client_offer(), kex=kex), replace(server_offer(), kex=kex))
        fine = (*kex, "curve25519-sha256")
        agreed = negotiate(replace(client_offer(), kex=fine), replace(server_offer(), kex=fine))
        assert agreed.kex == "curve25519-sha256"


def test_a_guess_is_right_only_when_both_put_the_same_first() -> None:
    """RFC 4253 section 7.1; a marker in front is no guess."""
    client, server = replace(client_offer(FRONT), first_kex_follows=True), server_offer()
    assert not negotiate(client, server).ignore_client_guess
    marked = replace(client, kex=("ext-info-c", *FRONT.kex))
    assert not negotiate(marked, server).ignore_client_guess
    for wrong in (
        replace(client, kex=FRONT.kex[::-1]),
        replace(client, kex=("unknown", *FRONT.kex)),
        replace(client, host_keys=FRONT.host_keys[::-1]),
    ):
        agreed = negotiate(wrong, server)
        assert agreed.ignore_client_guess and not agreed.ignore_server_guess
        assert not negotiate(replace(wrong, first_kex_follows=False), server).ignore_client_guess
        guessing_server = replace(server, first_kex_follows=True)
        assert negotiate(replace(wrong, first_kex_follows=False), guessing_server).ignore_server_guess
    assert not negotiate(client, replace(server, first_kex_follows=True)).ignore_server_guess


def test_legacy_names_are_added_by_name_and_last() -> None:
    weak = TARGET.with_legacy(["3des-cbc", "diffie-hellman-group14-sha1"])
    assert weak.ciphers == (*TARGET.ciphers, "3des-cbc")
    assert weak.kex == (*TARGET.kex, "diffie-hellman-group14-sha1")
    assert (weak.macs, weak.host_keys) == (TARGET.macs, TARGET.host_keys)
    everything = TARGET.with_legacy(LEGACY_NAMES)
    offered = everything.kex + everything.host_keys + everything.ciphers + everything.macs
    assert set(LEGACY_NAMES) <= set(offered)
    for name in ("none", "aes256-ctr", "arcfour"):
        with pytest.raises(ValueError):
            TARGET.with_legacy([name])


@pytest.mark.parametrize("profile", [FRONT, COMPAT, TARGET])
def test_no_profile_offers_what_was_ruled_out(profile: Algorithms) -> None:
    every = profile.kex + profile.host_keys + profile.ciphers + profile.macs
    assert len(set(every)) == len(every)
    assert not set(every) & {*LEGACY_NAMES, *MARKERS, "none", ""}
    for word in ("sha1", "cbc", "md5", "dss", "arcfour", "zlib"):
        assert not any(word in name for name in every)


def offer_of(algorithms: Algorithms) -> KexInit:
    return KexInit.offer(bytes(16), algorithms, client_role=False, initial=True)


def told(ours: Algorithms, theirs: Algorithms) -> list[tuple[str, tuple[str, ...], str]]:
    return [(one.what, one.offered, one.remedy) for one in mismatches(ours, offer_of(theirs))]


def test_nothing_is_mismatched_where_a_negotiation_succeeds() -> None:
    assert told(TARGET, FRONT) == told(TARGET, COMPAT) == []


def test_every_list_without_a_common_name_is_told_with_what_would_help() -> None:
    old = Algorithms(
        LEGACY_KEX, ("ssh-rsa", "ssh-dss"), ("3des-cbc", "aes128-cbc"), ("hmac-md5", "hmac-sha1")
    )
    assert told(TARGET, old) == [
        ("key exchange method", LEGACY_KEX, "diffie-hellman-group14-sha1"),
        ("host key algorithm", ("ssh-rsa", "ssh-dss"), "ssh-rsa"),
        ("cipher", ("3des-cbc", "aes128-cbc"), "aes128-cbc"),
        ("MAC", ("hmac-md5", "hmac-sha1"), "hmac-sha1"),
    ]
    listed = TARGET.with_legacy(["diffie-hellman-group14-sha1", "ssh-rsa", "aes128-cbc", "hmac-sha1"])
    assert told(listed, old) == []


def test_a_mac_that_an_authenticating_cipher_ignores_is_no_mismatch() -> None:
    theirs = replace(COMPAT, macs=("hmac-md5",))
    assert told(TARGET, theirs) == []
    assert [what for what, _, _ in told(TARGET, replace(theirs, ciphers=("aes128-ctr",)))] == ["MAC"]


def test_where_no_legacy_name_helps_there_is_no_remedy() -> None:
    assert told(TARGET, replace(COMPAT, kex=("diffie-hellman-group1-sha1",))) == [
        ("key exchange method", ("diffie-hellman-group1-sha1",), "")
    ]


def test_legacy_names_are_told_and_taken_out_again() -> None:
    weak = TARGET.with_legacy(LEGACY_NAMES)
    assert weak.legacy == LEGACY_NAMES and TARGET.legacy == FRONT.legacy == ()
    assert weak.without_legacy() == TARGET
    assert weak.without_legacy(keep=["3des-cbc"]).legacy == ("3des-cbc",)
    agreed = negotiate(offer_of(weak), offer_of(replace(COMPAT, ciphers=("3des-cbc",), macs=("hmac-sha1",))))
    assert agreed.legacy == ("3des-cbc", "hmac-sha1")


def test_what_is_remembered_of_an_offer_is_the_same_whatever_the_cookie_and_bounded() -> None:
    first = KexInit.offer(COOKIE, FRONT, client_role=True, initial=True)
    other = replace(first, cookie=bytes(16), first_kex_follows=True)
    for _ in range(2):
        assert KexInit.parse(first.encode()) == first
        assert KexInit.parse(other.encode()) == other
    for number in range(3 * kexinit.REMEMBERED_OFFERS):
        KexInit.parse(raw_kexinit(namelist([f"kex-{number}"]), *[EMPTY] * 9))
    long = KexInit.parse(raw_kexinit(namelist(["x" * 60] * 100), *[EMPTY] * 9))
    assert len(long.encode()) > kexinit.REMEMBERED_SIZE
    known = kexinit._read_known_offer.cache_info()
    assert known.currsize == known.maxsize == kexinit.REMEMBERED_OFFERS
    for _ in range(2):
        with pytest.raises(ProtocolError):
            KexInit.parse(first.encode() + b"\0")
