"""What is fuzzed: each target takes bytes, and whatever they are raises nothing but what the parser promises.

Where a codec can write what it has read, it must read the same again. Used by `fuzz_all.py` (atheris, coverage
guided) and by `test_seeds.py`, which replays the kept inputs in `make test`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from bastion.auth.credentials import Credential, read_credential, verify_possession
from bastion.auth.identity import parse_destination
from bastion.ca.known_hosts import KnownHosts
from bastion.errors import AuthReason, ConfigError, PolicyReason, ProtocolError, Refused
from bastion.policy.verdict import Verdict
from bastion.relay.relay import Actions, LegError, Relay, RelayLimits, Unimplemented
from bastion.sides import Side
from bastion.transport.settings import HostKey, TransportSettings
from bastion.transport.transport import client_transport, server_transport
from bastion.userauth.server import UserauthService
from bastion.wire import requests, userauth
from bastion.wire.certificates import Certificate
from bastion.wire.ciphers import DirectionKeys, key_sizes
from bastion.wire.data import Reader, string
from bastion.wire.kexinit import FRONT, TARGET, KexInit, VersionReader, negotiate
from bastion.wire.keys import BadSignature, PrivateKey, PublicKey, parse_authorized_key
from bastion.wire.krl import MAGIC, parse_krl
from bastion.wire.numbers import MSG_NEWKEYS
from bastion.wire.packets import PacketReader
from bastion.wire.proxy_header import LONGEST, SIGNATURE, HeaderFault, HeaderReader
from bastion.wire.security_keys import WEBAUTHN_ECDSA, verify_assertion
from tests.fuzz.readers import recordings, rsync, typed
from tests.hostile.rawssh import PipeEnd
from tests.support.conns import MemoryConn
from tests.support.declared import parse_message
from tests.support.unseen import play

try:
    from bastion.policy import sftp as sftp_policy
    from bastion.wire import sftp as sftp_codec
except ImportError:  # not built yet
    sftp_policy = sftp_codec = None  # type: ignore[assignment]

NOW = 1_800_000_000.0
KEY = PrivateKey.from_bytes(
    b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
    b"-----END PRIVATE KEY-----\n"
)
SECURITY_KEYS = {
    "sk-ssh-ed25519@openssh.com": PublicKey.parse(
        string("sk-ssh-ed25519@openssh.com") + KEY.public.fields + string("ssh:")
    ),
    "sk-ecdsa-sha2-nistp256@openssh.com": PublicKey.parse(
        string("sk-ecdsa-sha2-nistp256@openssh.com")
        + string("nistp256")
        + string(
            bytes.fromhex(
                "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
                "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
            )
        )
        + string("ssh:")
    ),
}
YES = Verdict(True, PolicyReason.ALLOWED, "fuzz")
NO = Verdict(False, PolicyReason.VERB_NOT_ALLOWED, "fuzz", "no")


def wire_data(data: bytes) -> None:
    """The primitive reader: the first bytes say what is read next."""
    reader = Reader(data[16:])
    steps: tuple[Callable[[], Any], ...] = (
        reader.byte,
        reader.boolean,
        reader.uint32,
        reader.uint64,
        reader.string,
        lambda: reader.string(16),
        reader.text,
        reader.name,
        reader.namelist,
        reader.mpint,
        reader.end,
    )
    try:
        for step in data[:16]:
            before = reader.remaining
            steps[step % len(steps)]()
            assert reader.remaining <= before
    except ProtocolError:
        pass


def same_again(kind: Any, payload: bytes) -> None:
    """Parse; what was parsed is written and read the same again."""
    try:
        value = kind.parse(payload)
    except ProtocolError:
        return
    assert kind.parse(value.encode()) == value
    if hasattr(value, "detail"):
        value.detail()


def wire_messages(data: bytes) -> None:
    try:
        value = parse_message(data)
    except ProtocolError:
        return
    assert parse_message(value.encode()) == value
    assert value.encode()[0] == data[0]


BODIES = list(
    dict.fromkeys(
        (
            *requests.CHANNEL_REQUESTS.values(),
            *requests.CHANNEL_OPENS.values(),
            *requests.GLOBAL_REQUESTS.values(),
        )
    )
)


def wire_requests(data: bytes) -> None:
    if data:
        same_again(BODIES[data[0] % len(BODIES)], data[1:])


USERAUTH = [
    userauth.ServiceRequest,
    userauth.UserauthRequest,
    userauth.PublicKeyBody,
    userauth.PasswordBody,
    userauth.KeyboardInteractiveBody,
    userauth.UserauthFailure,
    userauth.UserauthBanner,
    userauth.PkOk,
    userauth.InfoRequest,
    userauth.InfoResponse,
]


def wire_userauth(data: bytes) -> None:
    if data:
        same_again(USERAUTH[data[0] % len(USERAUTH)], data[1:])


def wire_keys(data: bytes) -> None:
    """A key blob, then a signature blob over b"data"."""
    size = int.from_bytes(data[:2], "big")
    blob, signature = data[2 : 2 + size], data[2 + size :]
    try:
        key = PublicKey.parse(blob)
    except ProtocolError:
        return
    assert key.blob == blob and key.fingerprint().startswith("SHA256:")
    for algorithm in (*key.algorithms, "ssh-rsa"):
        try:
            key.verify(signature, b"data", algorithm)
        except ProtocolError:
            continue
        assert algorithm != "ssh-rsa"


def wire_certificates(data: bytes) -> None:
    try:
        certificate = Certificate.parse(data)
    except ProtocolError:
        return
    assert certificate.blob == data


def wire_kexinit(data: bytes) -> None:
    """An identification line in two pieces, then a KEXINIT negotiated in both roles."""
    for client in (False, True):
        reader = VersionReader(client_role=client)
        try:
            if reader.feed(data[:20]) is None:
                reader.feed(data[20:])
        except ProtocolError:
            pass
    try:
        theirs = KexInit.parse(data)
    except ProtocolError:
        return
    assert KexInit.parse(theirs.encode()) == theirs
    server = KexInit.offer(bytes(16), FRONT, client_role=False, initial=True)
    client_offer = KexInit.offer(bytes(16), TARGET, client_role=True, initial=True)
    for pair in ((theirs, server), (client_offer, theirs)):
        try:
            agreed = negotiate(*pair)
        except ProtocolError:
            continue
        assert agreed.cipher_c2s in (*FRONT.ciphers, *TARGET.ciphers)


def _keys(cipher: str, mac: str) -> DirectionKeys:
    iv, key, mac_key = key_sizes(cipher, mac)
    return DirectionKeys(cipher, mac, bytes(iv), bytes(key), bytes(mac_key))


SUITES = [
    None,
    *[_keys(name, "" if "ctr" not in name else "hmac-sha2-256-etm@openssh.com") for name in FRONT.ciphers],
    _keys("aes128-ctr", "hmac-sha2-256"),
]


def wire_packets(data: bytes) -> None:
    """Frames in pieces, in plain and under each suite; every fault has the one text."""
    if not data:
        return
    keys = SUITES[data[0] % len(SUITES)]
    reader = PacketReader()
    if keys is not None:
        reader.switch(keys)
    step = (data[0] >> 4) * 7 + 1
    try:
        for at in range(1, len(data), step):
            reader.feed(data[at : at + step])
            payloads = reader.packets()
            assert all(payloads)
            if payloads and payloads[-1][0] == MSG_NEWKEYS:
                reader.switch(_keys(FRONT.ciphers[0], ""))
    except ProtocolError as error:
        assert error.text == "packet is corrupt"


def known_hosts(data: bytes) -> None:
    try:
        hosts = KnownHosts.parse(data.decode("utf-8", "replace"))
    except ConfigError:
        return
    hosts.algorithms_for(("web1", "192.0.2.1"), 22)
    hosts.check(("web1", "*", "192.0.2.1"), 2222, KEY.public.blob, NOW)


def authorized_keys(data: bytes) -> None:
    try:
        parse_authorized_key(data.decode("utf-8", "replace"))
    except ProtocolError:
        pass


def destination(data: bytes) -> None:
    try:
        found = parse_destination(data.decode("utf-8", "surrogateescape"))
    except Refused:
        return
    assert found.identity == found.identity.lower()


class Anything:
    """Policy that refuses two names, and a tap that listens to everything."""

    sftp: Any = None

    def open(self, side: Side, kind: str, body: requests.Body) -> Verdict:
        return NO if kind == "x11" else YES

    def request(self, side: Side, channel_kind: str, name: str, body: requests.Body) -> Verdict:
        return NO if name == "env" else YES

    def global_request(self, side: Side, name: str, body: requests.Body) -> Verdict:
        return YES

    def data(self, channel: Any, side: Side, stream: int, data: Any) -> None:
        assert len(data) >= 0

    def event(self, event: Any) -> None:
        repr(event)


def relay(data: bytes) -> None:
    """Messages of both sides, each `side|number, size, payload`: a LegError ends it, an oddity goes on."""
    anything = Anything()
    tested = Relay(anything, anything, RelayLimits(channels=4, reserve=64))
    out = Actions()
    at = 0
    while at + 2 <= len(data):
        side = Side(data[at] >> 7)
        payload = data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1]
        try:
            tested.receive(side, payload, out)
        except Unimplemented:
            continue
        except LegError as error:
            assert error.side is side
            break
        for channel in tested.channels.values():
            for half in (channel.half(Side.CLIENT), channel.half(Side.TARGET)):
                window = half.window
                assert 0 <= window.room <= 0xFFFFFFFF and 0 <= window.reserve <= window.reserve_size
        for sent in (*out.to_client, *out.to_target):
            parse_message(sent)
        tested.inject(1, b"warning", 0, out)
        out.clear()
    tested.terminate(b"bye", out)
    tested.finish()


def unseen(data: bytes) -> None:
    """Conversations of both sides: whatever crossed is found in the recording."""
    assert play(data[:4096]) >= 0


def sftp_rights() -> Any:
    """Rights over some paths; None while there is no such policy."""
    if sftp_policy is None:
        return None
    patterns = {
        "list": ("/srv/**",),
        "download": ("/srv/*.txt", "~/**"),
        "upload": ("/srv/in/**",),
        "modify": ("/srv/in/**",),
    }
    table = {verb: tuple(map(sftp_policy.parse_pattern, texts)) for verb, texts in patterns.items()}
    return sftp_policy.SftpRights("fuzz", table)


def relay_sftp(data: bytes) -> None:
    """What both sides say on an sftp channel, in messages of `side|size, bytes`, free (even) or under rights."""
    if not data:
        return
    anything = Anything()
    anything.sftp = sftp_rights() if data[0] & 1 else None
    tested, out = Relay(anything, anything, RelayLimits()), Actions()
    tested.receive(Side.CLIENT, b"\x5a\0\0\0\x07session" + bytes(5) + b"\x20\0\0\0\0\x80\0", out)
    tested.receive(Side.TARGET, b"\x5b" + bytes(9) + b"\x20\0\0\0\0\x80\0", out)
    tested.receive(Side.CLIENT, b"\x62" + bytes(7) + b"\x09subsystem\x01\0\0\0\x04sftp", out)
    tested.receive(Side.TARGET, b"\x63" + bytes(4), out)
    at = 1
    while at + 2 <= len(data):
        side, piece = Side(data[at] >> 7), data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1]
        try:
            tested.receive(side, b"\x5e" + bytes(4) + len(piece).to_bytes(4, "big") + piece, out)
        except LegError as error:
            assert error.side is side
            break
        for sent in (*out.to_client, *out.to_target):
            parse_message(sent)
        out.clear()
    tested.finish()


def sftp(data: bytes) -> None:
    """One sftp request, and the answer to a realpath."""
    if sftp_codec is None:
        return
    for parse in (sftp_codec.parse_request, sftp_codec.parse_first_name):
        try:
            repr(parse(data))
        except ProtocolError:
            pass


class Judge:
    """An authenticator that says yes to one key and one password, and counts what was proved."""

    def __init__(self) -> None:
        self.proved = 0
        self.done = 0
        self.opened = 0

    def methods(self) -> tuple[str, ...]:
        return ("publickey", "password", "keyboard-interactive")

    def open(self, user: str, method: str) -> JudgedAttempt:
        self.opened += 1
        return JudgedAttempt(self)

    def prompt(self, user: str) -> str:
        return "Password: "

    def stop(self) -> None:
        """Nothing is kept."""


class JudgedAttempt:
    """One attempt. Settled at most once, and a success only after a proof."""

    owed = ()
    whole = True

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._settled: AuthReason | None = None

    def none(self) -> Deferred[None]:
        return self._no()

    def read_key(self, algorithm: str, blob: bytes) -> Credential:
        return read_credential(algorithm, blob, lambda claims: None, lambda microseconds: None)

    def verify(self, credential: Credential, algorithm: str, signature: bytes, data: bytes) -> None:
        verify_possession(credential, algorithm, signature, data, lambda microseconds: None)

    def key_known(self, credential: object) -> Deferred[None]:
        return succeed(None)

    def key_proved(self, credential: object) -> Deferred[None]:
        self._judge.proved += 1
        return succeed(None)

    def password(self, password: str) -> Deferred[None]:
        if password != "right":
            return self._no()
        self._judge.proved += 1
        return succeed(None)

    answer = password

    def keep(self) -> None:
        raise AssertionError("one proof is enough here")

    def settle(self, reason: AuthReason) -> None:
        assert self._settled is None
        self._settled = reason

    def succeed(self) -> None:
        assert self._settled is AuthReason.OK
        self._judge.done += 1

    @staticmethod
    def _no() -> Deferred[None]:
        return fail(Refused(AuthReason.BAD_PASSWORD, "no"))


def userauth_service(data: bytes) -> None:
    """The whole state machine of a login: success only after a proof, and only once."""
    judge, clock, conn = Judge(), Clock(), MemoryConn()
    service = UserauthService(conn, judge, clock)
    at = 0
    try:
        while at + 3 <= len(data):
            size = int.from_bytes(data[at + 1 : at + 3], "big")
            number = (5, 50, 61, 51)[data[at] % 4]
            service.receive(bytes([number]) + data[at + 3 : at + 3 + size])
            at += 3 + size
            clock.advance(1)
    except ProtocolError:
        pass
    service.stop()
    assert not conn.trusted, "nobody has called for the success"
    assert all(conn.sent) and all(conn.goodbyes)
    assert judge.done == (1 if judge.proved else 0) and judge.proved <= 1
    assert clock.getDelayedCalls() == []


SETTINGS = (
    TransportSettings(
        replace(FRONT, kex=("curve25519-sha256",), host_keys=("ssh-ed25519",)), (HostKey(KEY),)
    ),
    TransportSettings(replace(TARGET, kex=("curve25519-sha256",))),
)


def transport(data: bytes) -> None:
    """Bytes from a stranger who has just connected, to either role: never a fault of ours."""
    if not data:
        return
    clock, end = Clock(), PipeEnd()
    made: Any = (
        server_transport(SETTINGS[0], clock)
        if data[0] & 1
        else client_transport(SETTINGS[1], clock, lambda blob: None)
    )
    made.makeConnection(end)
    step = max(1, (data[0] >> 1) * 5)
    for at in range(1, len(data), step):
        made.dataReceived(data[at : at + step])
    assert made.close_reason is None or made.close_reason.text != "internal error"
    made.connectionLost(None)
    assert clock.getDelayedCalls() == []


def krl(data: bytes) -> None:
    """A list of revoked keys, with its head and without."""
    for whole in (data, MAGIC + data):
        try:
            revoked = parse_krl(whole)
        except ProtocolError:
            continue
        revoked.has_key(KEY.public.blob)
        revoked.has_shown((KEY.public.fingerprint(), f"1@{KEY.public.fingerprint()}"))


def security_keys(data: bytes) -> None:
    """A signature of a security key, under each of the names it may have."""
    for kind, key in SECURITY_KEYS.items():
        for name in (kind, WEBAUTHN_ECDSA):
            for blob in (data, string(name) + data):
                try:
                    verify_assertion(key, blob, b"data", name)
                except BadSignature:
                    continue


def proxy_header(data: bytes) -> None:
    """What a balancer sends, whole and in pieces, and behind each of the two beginnings."""
    if not data:
        return
    step = 1 + data[0] % 32
    for whole in (data[1:], SIGNATURE + data[1:], b"PROXY TCP" + data[1:]):
        ends = []
        for size in (len(whole) or 1, step):
            header, taken = HeaderReader(), 0
            try:
                for at in range(0, len(whole), size):
                    taken += header.feed(whole[at : at + size])
            except HeaderFault as fault:
                ends.append(fault.text)
            else:
                ends.append(f"{header.header} {taken}")
            assert header.held <= LONGEST
        assert ends[0] == ends[1]


TARGETS: dict[str, Callable[[bytes], None]] = {
    "data": wire_data,
    "messages": wire_messages,
    "requests": wire_requests,
    "userauth": wire_userauth,
    "keys": wire_keys,
    "certificates": wire_certificates,
    "krl": krl,
    "security_keys": security_keys,
    "kexinit": wire_kexinit,
    "packets": wire_packets,
    "known_hosts": known_hosts,
    "authorized_keys": authorized_keys,
    "destination": destination,
    "recordings": recordings,
    "rsync": rsync,
    "typed": typed,
    "relay": relay,
    "relay_sftp": relay_sftp,
    "unseen": unseen,
    "sftp": sftp,
    "userauth_service": userauth_service,
    "transport": transport,
    "proxy_header": proxy_header,
}
