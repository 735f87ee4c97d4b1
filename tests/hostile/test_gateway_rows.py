"""The known failures of docs/security.md, row by row (C1 to C24), against the process as an operator starts it.

By hand-made packets over TCP; each test is named by its row, and that table lists which test closes which row.
After all of them the gateway still serves, holds nothing, and its log has no traceback.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher
from cryptography.hazmat.primitives.asymmetric import rsa

from bastion.relay.limits import MAX_CHANNELS
from bastion.transport.settings import LINGER
from bastion.userauth.server import MAX_REQUESTS
from bastion.wire.ciphers import GCM_CIPHERS
from bastion.wire.data import boolean, string, uint32
from bastion.wire.kexinit import FRONT, STRICT_SERVER, KexInit
from bastion.wire.keys import PrivateKey
from bastion.wire.userauth import signed_data
from tests.hostile.memory_gateway import ask_channel, data, open_session, prove
from tests.hostile.rawssh import Closed, RawSsh, SocketWire, debug, ext_info, ignore
from tests.support.authenticator import SoftKey
from tests.support.sshd import sshd_missing
from tests.support.world import PASSWORD, World, poll

pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing())]

ALICE = PrivateKey.generate_ed25519()
TOKEN = SoftKey()
RSA = PrivateKey(rsa.generate_private_key(65537, 2048))
MIB = 1 << 20
PATIENCE = 20.0  # seconds for what takes 3 on a quiet machine; the defaults of these timers are longer still
OPEN: list[RawSsh] = []  # everybody who connected in this test
DIRECT = b"alice+root+web1"


def users() -> str:
    """alice with two keys, mallory without one, both with a password."""
    hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    keys = ", ".join(f'"{key.public.line()}"' for key in (ALICE, RSA, TOKEN))
    return (
        f'[users.alice]\nid = "u-1"\npassword = "{hashed}"\nkeys = [{keys}]\ngroups = ["ops"]\n'
        f'[users.mallory]\nid = "u-2"\npassword = "{hashed}"\nkeys = []\ngroups = ["guests"]\n'
    )


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    limits = 'login_grace = "3s"\nkex_timeout = "3s"\nstartups_per_source = 1000\n'
    limits += "penalties = { free = 1000, accounts = 200 }\n"
    made = World(users=users(), limits=limits)
    try:
        yield made.start()
    finally:
        made.close()


@pytest.fixture(autouse=True)
def unharmed(world: World) -> Iterator[None]:
    """Whatever was done: the gateway serves, is left by everybody, and has no fault of its own to report."""
    yield
    log_in(world)
    while OPEN:
        OPEN.pop().wire.close()  # type: ignore[attr-defined]

    def quiet() -> bool:
        live = {name: value for name, value in world.metrics().items() if "_live" in name and value}
        return not live

    poll(quiet, text="something is still live")
    log = world.log.read_text()
    faults = [word for word in ("Traceback", "Unhandled", "ResourceWarning", "never awaited") if word in log]
    assert not faults, log[-3000:]


def connect(world: World) -> RawSsh:
    OPEN.append(RawSsh(SocketWire.connect(world.port), algorithms=FRONT))
    return OPEN[-1]


def at_userauth(world: World) -> RawSsh:
    peer = connect(world).handshake()
    peer.request_service()
    peer.read_until(6)
    return peer


def log_in(world: World) -> RawSsh:
    """A session with web1, no channel yet."""
    peer = at_userauth(world)
    peer.send(prove(peer, DIRECT, ALICE))
    peer.read_until(52)
    return peer


def with_channel(world: World, command: bytes = b"", window: int = 1 << 20) -> tuple[RawSsh, int]:
    """... and a channel of it, running `command` when there is one; the target's number."""
    peer = log_in(world)
    peer.send(open_session(0, window))
    number = int.from_bytes(peer.read_until(91)[5:9], "big")
    if command:
        peer.send(ask_channel(number, b"exec", string(command)))
        peer.read_until(99)
    return peer, number


def password(user: bytes, secret: str) -> bytes:
    body = string(b"password") + boolean(False) + string(secret.encode())
    return b"\x32" + string(user) + string(b"ssh-connection") + body


def refused(peer: RawSsh) -> str:
    """It is disconnected for breaking the protocol; the text."""
    code, text = peer.read_disconnect()
    assert code in (2, 3), (code, text)
    return text


def auth_lines(world: World, user: str) -> list[dict[str, str]]:
    return [line for line in world.audit("auth") if line["user"].startswith(user)]


def hello(peer: RawSsh) -> RawSsh:
    peer.send_version()
    peer.read_version()
    return peer


def ended_within(peer: RawSsh, seconds: float) -> float:
    """Seconds until the gateway has closed the connection; fails when it takes longer than `seconds`."""
    began = time.monotonic()
    sock = peer.wire.sock  # type: ignore[attr-defined]
    sock.settimeout(seconds)
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return time.monotonic() - began


# -- C1, C2, C3: the handshake -----------------------------------------------------------------------------


def test_c01_strict_kex_is_offered_and_kept(world: World) -> None:
    peer = hello(connect(world))
    peer.send_kexinit()
    assert STRICT_SERVER in peer.read_kexinit().kex
    peer.finish_exchange()
    assert peer.strict and peer.reader.sequence <= 1
    peer.request_service()
    assert peer.read_until(6)
    peer = hello(connect(world))
    peer.send(ignore())  # Terrapin's first half
    assert "is not allowed" in refused(peer)


@pytest.mark.parametrize("noise", [ignore(), debug(), ext_info([(b"server-sig-algs", b"ssh-rsa")])])
def test_c02_nothing_else_in_plaintext(world: World, noise: bytes) -> None:
    for within in (False, True):
        peer = hello(connect(world))
        if within:
            peer.send_kexinit()
            peer.read_kexinit()
        peer.send(noise)
        assert "is not allowed" in refused(peer)


def test_c03_rogue_session_in_plaintext(world: World) -> None:
    seen = len(world.audit())
    question = b"\x32" + string(b"mallory+root+web1") + string(b"ssh-connection")
    question += string(b"keyboard-interactive") + string(b"") * 2
    peer = hello(connect(world))
    peer.send(b"\x05" + string(b"ssh-userauth"), question, b"\x3d" + uint32(1) + string(PASSWORD.encode()))
    with contextlib.suppress(Closed, OSError):
        peer.exchange()
        raise AssertionError("the key exchange went on")
    assert [line for line in world.audit()[seen:] if line["event"] in ("auth", "authorise")] == []


# -- C4, C5: identity confusion ----------------------------------------------------------------------------


def test_c04_a_pipelined_second_name_is_never_the_one_that_succeeds(world: World) -> None:
    seen = len(world.audit())
    peer = at_userauth(world)
    peer.send(password(b"mallory+root+web1", PASSWORD), password(DIRECT, "wrong"))
    peer.read_all()
    lines = world.audit()[seen:]
    names = {
        line.get("user", "") for line in lines if line["event"] in ("auth", "authorise", "session_started")
    }
    assert names == {"mallory+root+web1", "mallory"}
    assert [line["result"] for line in lines if line["event"] == "auth"] == ["ok"]
    assert [line["result"] for line in lines if line["event"] == "authorise"] == ["refused"]


def test_c04_a_wrong_one_first_then_another_name(world: World) -> None:
    """Two attempts of two names: each is judged and written down under its own."""
    seen = len(world.audit())
    peer = at_userauth(world)
    peer.send(password(b"mallory+root+web1", "wrong"), password(DIRECT, PASSWORD))
    peer.read_until(51)
    peer.read_until(52)
    lines = [line for line in world.audit()[seen:] if line["event"] in ("auth", "session_started")]
    assert [(line["user"].partition("+")[0], line.get("result")) for line in lines] == [
        ("mallory", "refused"), ("alice", "ok"), ("alice", None),
    ]  # fmt: skip
    peer.wire.close()  # type: ignore[attr-defined]
    poll(lambda: [line for line in world.audit()[seen:] if line["event"] == "session_ended"])


def test_c05_two_valid_logins_give_one_success_and_one_identity(world: World) -> None:
    seen = len(world.audit())
    peer = at_userauth(world)
    peer.send(password(DIRECT, PASSWORD), password(b"mallory+root+web1", PASSWORD))
    peer.read_until(52)
    peer.send(open_session())
    assert peer.read_until(91)
    peer.wire.close()  # type: ignore[attr-defined]
    poll(lambda: [line for line in world.audit()[seen:] if line["event"] == "session_ended"])
    lines = [line for line in world.audit()[seen:] if line["event"] in ("auth", "session_started")]
    assert [line["user"].partition("+")[0] for line in lines] == ["alice", "alice"]


# -- C6: compression ---------------------------------------------------------------------------------------


def test_c06_a_zlib_bomb_stays_small(world: World) -> None:
    peer = hello(connect(world))
    peer.send_kexinit(compression_c2s=("zlib", "zlib@openssh.com"))
    assert peer.read_kexinit().compression_c2s == ("none",)
    assert "compression" in refused(peer)
    before = world.memory()
    small, bomb = (
        zlib.compress(bytes(400 * 1024)),
        zlib.compress(bytes(60 * MIB)),
    )  # the login grace runs later
    peer = connect(world).handshake()
    peer.send(b"\x02" + string(small))
    peer.send(b"\x02" + bomb)
    refused(peer)
    assert world.memory() - before < 4 * MIB


# -- C7, C8, C9, C10: channels -----------------------------------------------------------------------------


@pytest.mark.parametrize("row", ["c07 stderr", "c08 stdout"])
def test_c07_c08_a_maximum_packet_of_0_is_refused(world: World, row: str) -> None:
    peer = log_in(world)
    peer.send(open_session(0, 1 << 20, 0))
    seen = peer.read()
    assert seen[0] in (1, 92), "the open was confirmed"
    began = time.monotonic()
    other, _ = with_channel(world, b"echo out; echo err >&2")
    assert other.read_until(94 if row.endswith("out") else 95)
    assert time.monotonic() - began < PATIENCE


def test_c09_20_000_opens(world: World) -> None:
    peer = log_in(world)
    before = world.memory()
    confirmed = 0
    with contextlib.suppress(OSError, Closed):
        for first in range(0, 20_000, 500):
            peer.send(*[open_session(number) for number in range(first, first + 500)])
        for _ in range(20_000):
            confirmed += peer.read()[0] == 91
    assert confirmed <= MAX_CHANNELS
    assert world.memory() - before < 16 * MIB


def test_c10_a_target_that_consumes_nothing(world: World) -> None:
    peer, channel = with_channel(world, b"sleep 20")
    before = world.memory()
    sent = 0
    try:
        while sent < 64 * MIB:
            peer.send(data(channel, bytes(32000)))
            sent += 32000
    except OSError:
        pass
    assert "overruns the window" in refused(peer)
    assert world.memory() - before < 8 * MIB


def test_c10_an_engineer_who_reads_nothing(world: World) -> None:
    peer, _ = with_channel(world, b"cat /dev/zero", window=1 << 31)
    pause = threading.Event()
    pause.wait(0.5)
    before = world.memory()
    pause.wait(1.0)
    assert world.memory() - before < 2 * MIB
    peer.wire.close()  # type: ignore[attr-defined]


# -- C11, C12, C13: queues and work ------------------------------------------------------------------------


def test_c11_a_rekey_that_never_ends(world: World) -> None:
    peer, channel = with_channel(world, b"cat /dev/zero", window=1 << 31)
    before = world.memory()
    peer.send_kexinit()
    with contextlib.suppress(OSError):
        for _ in range(2000):
            peer.send(ask_channel(channel, b"keepalive@openssh.com"))
    assert ended_within(peer, PATIENCE) < PATIENCE
    assert world.memory() - before < 8 * MIB


def test_c11_a_rekey_in_silence_ends_by_its_timer(world: World) -> None:
    peer = log_in(world)
    peer.send_kexinit()
    assert 2 < ended_within(peer, PATIENCE) < PATIENCE


@pytest.mark.parametrize("trusted", [False, True])
def test_c12_a_client_that_never_reads(world: World, trusted: bool) -> None:
    peer = log_in(world) if trusted else at_userauth(world)
    before = world.memory()
    unknown = peer.writer.seal([b"\x8c"] * 1000)
    sent = 0
    with contextlib.suppress(OSError):
        peer.wire.sock.settimeout(5)  # type: ignore[attr-defined]
        while sent < 1_000_000:
            peer.send_raw(unknown)
            sent += 1000
            unknown = peer.writer.seal([b"\x8c"] * 1000)
    assert sent < 1_000_000
    assert world.memory() - before < 8 * MIB
    peer.wire.close()  # type: ignore[attr-defined]


def test_c13_400_inits_give_one_signature(world: World) -> None:
    peer = hello(connect(world))
    peer.send_kexinit()
    peer.read_kexinit()
    peer.settle()
    first = peer._method.start()
    with contextlib.suppress(OSError):
        peer.send(*[first] * 400)
    said = peer.read_all()
    assert sum(payload[0] == 31 for payload in said) <= 1


# -- C14, C15: unending logins -----------------------------------------------------------------------------


def test_c14_3000_names(world: World) -> None:
    peer = at_userauth(world)
    with contextlib.suppress(OSError):
        for number in range(3000):
            peer.request_login(b"user%d" % number)
    said = peer.read_all()
    assert sum(payload[0] == 51 for payload in said) <= MAX_REQUESTS
    assert said[-1][0] == 1


@pytest.mark.parametrize("method", [b"none", b"gssapi-with-mic", b"publickey"])
def test_c14_3000_requests_for_one_name(world: World, method: bytes) -> None:
    peer = at_userauth(world)
    more = b""
    if method == b"publickey":  # a query, without a signature
        other = PrivateKey.generate_ed25519().public
        more = boolean(False) + string(b"ssh-ed25519") + string(other.blob)
    answered = 0
    with contextlib.suppress(OSError, Closed):
        for _ in range(3000):
            peer.request_login(DIRECT, method, more)
            answered += peer.read()[0] == 51
    assert answered <= MAX_REQUESTS


@pytest.mark.parametrize("steps", range(5))
def test_c15_a_login_that_stops_anywhere_ends(world: World, steps: int) -> None:
    peer = connect(world)
    begun = time.monotonic()
    if steps == 1:
        peer.send_version()
    if steps == 2:
        hello(peer).send_kexinit()
    if steps == 3:
        peer.handshake()
    if steps == 4:
        peer.handshake()
        peer.request_service()
        peer.request_login(DIRECT)
    ended_within(peer, PATIENCE)
    assert 2 < time.monotonic() - begun < PATIENCE


# -- C16: frames -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [struct.pack(">IB", 12, 11) + bytes(11), struct.pack(">IB", 28, 255) + bytes(27)],
    ids=["empty payload", "padding of 255 in 32 bytes"],
)
def test_c16_bad_frames_are_answered_at_once(world: World, frame: bytes) -> None:
    peer = hello(connect(world))
    peer.send_raw(frame)
    assert refused(peer) == "packet is corrupt"  # and no timer's words


# -- C17, C18, C19: keys and signatures --------------------------------------------------------------------


def public_key(peer: RawSsh, algorithm: bytes, blob: bytes, signature: bytes, user: bytes = DIRECT) -> bytes:
    body = boolean(True) + string(algorithm) + string(blob) + string(signature)
    return b"\x32" + string(user) + string(b"ssh-connection") + string(b"publickey") + body


def test_c17_a_security_key_that_nobody_touched(world: World) -> None:
    """Its flags say so; and flags that say otherwise are not those that were signed."""
    name, blob = TOKEN.kind, TOKEN.public.blob

    def offer(answer: int, flags: int, **how: int) -> None:
        peer = at_userauth(world)
        signed = signed_data(peer.session_id, DIRECT.decode(), "ssh-connection", name, blob)
        peer.send(public_key(peer, name.encode(), blob, TOKEN.sign(signed, flags, **how)))
        assert peer.read_until(answer)
        peer.wire.close()  # type: ignore[attr-defined]

    for flags in (0, 4):
        with world.refuses("publickey", "sk_not_touched"):
            offer(51, flags)
    with world.refuses("publickey", "bad_signature"):
        offer(51, 0, said_flags=1)
    offer(52, 1)


def test_c18_a_sha1_signature(world: World) -> None:
    blob = RSA.public.blob
    for algorithm in (b"ssh-rsa", b"rsa-sha2-512"):  # asked for by its name, and under another
        peer = at_userauth(world)
        signed = signed_data(peer.session_id, DIRECT.decode(), "ssh-connection", algorithm.decode(), blob)
        peer.send(public_key(peer, algorithm, blob, RSA.sign(signed, "ssh-rsa")))
        assert peer.read_until(51)
        peer.wire.close()  # type: ignore[attr-defined]


def test_c18_the_same_key_with_sha2_is_let_in(world: World) -> None:
    peer = at_userauth(world)
    peer.send(prove(peer, DIRECT, RSA))
    assert peer.read_until(52)
    peer.wire.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("where", ["signature", "inner signature", "blob"])
def test_c18_trailing_bytes(world: World, where: str) -> None:
    peer = at_userauth(world)
    blob = ALICE.public.blob + (b"x" if where == "blob" else b"")
    signed = signed_data(peer.session_id, DIRECT.decode(), "ssh-connection", "ssh-ed25519", blob)
    signature = ALICE.sign(signed)
    if where == "signature":
        signature += b"x"
    elif where == "inner signature":
        signature = string(b"ssh-ed25519") + string(signature[-64:] + b"x")
    peer.send(public_key(peer, b"ssh-ed25519", blob, signature))
    assert peer.read_until(51)
    peer.wire.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "payload",
    [
        b"\x32\xff\xff\xff\xffabc",
        b"\x32" + string(b"alice") + string(b"ssh-connection") + string(b"password") + b"\0\0\0\0\xffx",
        b"\x32" + string(b"alice") + string(b"ssh-connection") + string(b"publickey") + b"\1\0\0\0\x10short",
        b"\x32" + string(b"\xff\xfe") + string(b"ssh-connection") + string(b"none"),
    ],
)
def test_c19_truncated_strings_before_the_login(world: World, payload: bytes) -> None:
    peer = at_userauth(world)
    peer.send(payload)
    refused(peer)


@pytest.mark.parametrize(
    "payload",
    [
        b"\x5a\xff\xff\xff\xffsession",
        b"\x5a" + string(b"session") + uint32(0) + uint32(0),
        b"\x50\0\0\1\0tcpip-forward",
        b"\x5a" + string(b"session") + uint32(0) * 2 + uint32(9) + b"more",
    ],
)
def test_c19_truncated_strings_in_a_session(world: World, payload: bytes) -> None:
    peer = log_in(world)
    peer.send(payload)
    assert peer.read_disconnect()[0] == 2


# -- C20, C21: the version line ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [b"SSH-1.99-x\r\n", b"SSH-2.0-\x1b]0;owned\x07\r\n", b"x\r\nSSH-2.0-x\r\n", b"SSH-2.0-" + b"x" * 300],
)
def test_c20_bad_version_lines(world: World, line: bytes) -> None:
    peer = connect(world)
    peer.send_raw(line)
    ended_within(peer, PATIENCE)
    assert b"\x1b" not in world.log.read_bytes()
    assert "\x1b" not in (world.folder / "audit.jsonl").read_text()


def test_c20_a_second_version_line(world: World) -> None:
    peer = connect(world)
    peer.send_raw(b"SSH-2.0-one\r\nSSH-2.0-two\r\n" + bytes(300))
    peer.read_version()
    assert refused(peer)


def test_c21_version_and_a_large_kexinit_in_one_segment(world: World) -> None:
    peer = connect(world)
    offer = peer.make_kexinit()
    peer.ours = peer.make_kexinit(
        kex=offer.kex + tuple(f"filler-of-some-length-{number}@openssh.example.com" for number in range(150))
    ).encode()
    assert len(peer.ours) > 6800
    peer.send_raw(peer.version + b"\r\n" + peer.writer.seal([peer.ours]))
    peer.read_version()
    peer.read_kexinit()
    peer.finish_exchange()
    peer.request_service()
    assert peer.read_until(6)
    peer.wire.close()  # type: ignore[attr-defined]


# -- C22, C23 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [b"\x15", open_session(), b"\x34", b"\x33" + string(b"") + b"\0", b"\x50" + string(b"x") + b"\1"],
    ids=["newkeys", "channel open", "success", "failure", "global request"],
)
def test_c22_out_of_state_disconnects(world: World, payload: bytes) -> None:
    peer = connect(world).handshake()
    peer.send(payload)
    assert "is not allowed in state" in refused(peer)


def test_c22_another_service(world: World) -> None:
    peer = connect(world).handshake()
    peer.request_service(b"ssh-connection")
    assert peer.read_disconnect()[0] == 7


def test_c22_the_same_service_again(world: World) -> None:
    """As paramiko asks, and as sshd answers: accepted again, counted, and nothing begins again."""
    peer = at_userauth(world)
    for _ in range(3):
        peer.request_service()
        peer.read_until(6)
        peer.send(password(DIRECT, "wrong"))
        peer.read_until(51)
    peer.request_service(b"ssh-connection")
    assert peer.read_disconnect()[0] == 7
    peer = at_userauth(world)
    for _ in range(MAX_REQUESTS):
        peer.request_service()
        peer.read_until(6)
    peer.request_service()
    assert "too many authentication requests" in peer.read_disconnect()[1]


def test_c23_what_the_front_door_offers(world: World) -> None:
    peer = hello(connect(world))
    peer.send_kexinit(ciphers_c2s=("aes256-ctr",), ciphers_s2c=("aes256-ctr",))
    offered: KexInit = peer.read_kexinit()
    assert set(offered.kex) <= {*FRONT.kex, STRICT_SERVER, "ext-info-s"}
    assert set(offered.host_keys) <= set(FRONT.host_keys)
    assert set(offered.ciphers_c2s) | set(offered.ciphers_s2c) <= set(FRONT.ciphers)
    assert offered.macs_c2s == offered.macs_s2c == FRONT.macs
    assert set(GCM_CIPHERS) <= set(FRONT.ciphers)


# -- C24 ---------------------------------------------------------------------------------------------------

BREACHES = {
    "window overflow": lambda number: [b"\x5d" + uint32(number) + uint32(0xFFFFFFFF)],
    "confirmation that nobody asked for": lambda number: [b"\x5b" + uint32(0) * 2 + uint32(9) * 2],
    "failure that nobody asked for": lambda number: [b"\x5c" + uint32(0) * 2 + string(b"") * 2],
    "data after EOF": lambda number: [b"\x60" + uint32(number), data(number, b"more")],
    "data for an unknown channel": lambda number: [data(4711, b"more")],
    "a channel number twice": lambda number: [open_session(0)],
}


@pytest.mark.parametrize("breach", BREACHES)
def test_c24_channel_rules(world: World, breach: str) -> None:
    peer, number = with_channel(world, b"cat")
    peer.send(*BREACHES[breach](number))
    assert peer.read_disconnect()[0] == 2


def test_c24_a_peer_that_never_reads_our_goodbye_cannot_keep_us(world: World) -> None:
    peer, _ = with_channel(world, b"cat /dev/zero", window=1 << 31)
    threading.Event().wait(0.3)
    before = world.metric("bastion_connections_live")
    peer.send(b"\x5e")
    poll(lambda: world.metric("bastion_connections_live") < before, 10)
    poll(lambda: _reset(peer), 2 * LINGER + 3, "the connection was never closed")


def _reset(peer: RawSsh) -> bool:
    """Whether the kernel knows that the other side has aborted (without reading what is queued)."""
    sock = peer.wire.sock  # type: ignore[attr-defined]
    state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    return bool(state == 7)  # TCP_CLOSE
