"""Certificates that are good, and certificates that are wrong in one field or several.

Each is written byte by byte, so that it can say what `issue` refuses to say. `tags` name what is odd about it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from bastion.wire.certificates import FOREVER
from bastion.wire.data import string, uint32, uint64
from bastion.wire.keys import PrivateKey, PublicKey
from tests.support.authenticator import ECDSA_SK, ED25519_SK, SoftKey

SUFFIX = "-cert-v01@openssh.com"
HOUR = 3600


def _ecdsa(curve: type[ec.EllipticCurve]) -> PrivateKey:
    return PrivateKey(ec.generate_private_key(curve()))


@dataclass
class Ring:
    """The keys that everything is made with. `trusted` are login CAs, `revoked_ca` is one that is revoked as a key."""

    trusted: list[PrivateKey] = field(default_factory=list)
    subjects: list[PublicKey] = field(default_factory=list)
    stranger: PrivateKey = field(default_factory=PrivateKey.generate_ed25519)
    revoked_ca: PrivateKey = field(default_factory=PrivateKey.generate_ed25519)
    revoked_key: PublicKey = field(default_factory=lambda: PrivateKey.generate_ed25519().public)

    def __post_init__(self) -> None:
        rsa_key = PrivateKey(rsa.generate_private_key(65537, 2048))
        curves = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
        self.trusted += [PrivateKey.generate_ed25519(), rsa_key, _ecdsa(ec.SECP256R1), self.revoked_ca]
        self.subjects += [PrivateKey.generate_ed25519().public, *(_ecdsa(curve).public for curve in curves)]
        self.subjects += [PrivateKey(rsa.generate_private_key(65537, 2048)).public]
        self.subjects += [SoftKey(kind).public for kind in (ED25519_SK, ECDSA_SK)]


REVOKED_SERIALS = (7, *range(100, 200))
REVOKED_ID = "lost-laptop"


def revoked_lines(ring: Ring) -> list[str]:
    """What ssh-keygen -k is told, for the first trusted CA."""
    lines = [f"serial: {serial}" for serial in REVOKED_SERIALS] + [f"id: {REVOKED_ID}"]
    return [*lines, f"key: {ring.revoked_key.line()}", f"key: {ring.revoked_ca.public.line()}"]


@dataclass
class Odd:
    """One certificate in the making."""

    ring: Ring
    random: Random
    now: int
    login: str
    tags: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        pick = self.random.choice
        self.ca = pick(self.ring.trusted[:3])
        self.subject = pick(self.ring.subjects)
        self.type = self.subject.type.removesuffix("@openssh.com") + SUFFIX
        self.named: str | None = None  # the algorithm of the request
        self.nonce = self.random.randbytes(32)
        self.serial, self.kind, self.key_id = pick((0, 1, 5, 99, 200, 2**64 - 1)), 1, b"laptop"
        self.principals = [self.login.encode()]
        self.after, self.before = pick((0, self.now - HOUR)), pick((self.now + HOUR, FOREVER))
        self.critical: list[tuple[bytes, bytes]] = []
        self.extensions: list[tuple[bytes, bytes]] = [(b"permit-pty", b"")] if pick((True, False)) else []
        self.reserved = b""
        self.ca_blob = self.ca.public.blob
        self.algorithm = self.ca.public.algorithms[0]
        self.spoil: Callable[[bytes], bytes] = lambda blob: blob

    def blob(self) -> bytes:
        if "options out of order" not in self.tags:
            self.critical.sort()
            self.extensions.sort()
        body = (
            string(self.type) + string(self.nonce) + self.subject.fields + uint64(self.serial) + uint32(self.kind)
            + string(self.key_id) + string(b"".join(map(string, self.principals)))
            + uint64(self.after) + uint64(self.before) + _options(self.critical) + _options(self.extensions)
            + string(self.reserved) + string(self.ca_blob)
        )  # fmt: skip
        return self.spoil(body + string(self.ca.sign(body, self.algorithm)))

    @property
    def request(self) -> str:
        """The algorithm that goes with it."""
        if self.named is not None:
            return self.named
        return "rsa-sha2-512" + SUFFIX if self.subject.type == "ssh-rsa" else self.type


def _options(options: list[tuple[bytes, bytes]]) -> bytes:
    return string(b"".join(string(name) + string(data) for name, data in options))


def _set(name: str, *values: object) -> Callable[[Odd], None]:
    def change(odd: Odd) -> None:
        setattr(odd, name, odd.random.choice(values))

    return change


def _critical(*options: tuple[bytes, bytes]) -> Callable[[Odd], None]:
    return lambda odd: odd.critical.append(odd.random.choice(options))


def _extension(*options: tuple[bytes, bytes]) -> Callable[[Odd], None]:
    return lambda odd: odd.extensions.append(odd.random.choice(options))


def _signed_by(which: Callable[[Ring], PrivateKey]) -> Callable[[Odd], None]:
    def change(odd: Odd) -> None:
        odd.ca = which(odd.ring)
        odd.ca_blob, odd.algorithm = odd.ca.public.blob, odd.ca.public.algorithms[0]

    return change


def _sha1(odd: Odd) -> None:
    _signed_by(lambda ring: ring.trusted[1])(odd)
    odd.algorithm = "ssh-rsa"


def _spoil(how: Callable[[Random, bytes], bytes]) -> Callable[[Odd], None]:
    def change(odd: Odd) -> None:
        odd.spoil = lambda blob: how(odd.random, blob)

    return change


def _flip(random: Random, blob: bytes) -> bytes:
    place = random.randrange(len(blob))
    return blob[:place] + bytes([blob[place] ^ 1 << random.randrange(8)]) + blob[place + 1 :]


def _time(odd: Odd) -> None:
    now = odd.now
    odd.after, odd.before = odd.random.choice(
        ((now + HOUR, now + 2 * HOUR), (now - 2 * HOUR, now - HOUR), (now + HOUR, now - HOUR), (0, 0))
    )  # fmt: skip


def _nested(odd: Odd) -> None:
    inner = Odd(odd.ring, odd.random, odd.now, odd.login)
    odd.ca_blob = inner.blob()


def _revoked_by_serial(odd: Odd) -> None:
    _signed_by(lambda ring: ring.trusted[0])(odd)
    odd.serial = odd.random.choice(REVOKED_SERIALS)


def _revoked_by_id(odd: Odd) -> None:
    _signed_by(lambda ring: ring.trusted[odd.random.randrange(2)])(odd)
    odd.key_id = REVOKED_ID.encode()


def _revoked_key(odd: Odd) -> None:
    odd.subject, odd.type = odd.ring.revoked_key, "ssh-ed25519" + SUFFIX


COMMAND, SOURCE = b"force-command", b"source-address"
BAD_LISTS = (
    b"localhost", b"127.0.0.1,x", b"127.*", b"!10.0.0.1,127.0.0.1", b"127.0.0.1/33", b"127.0.0.1/8", b" 127.0.0.1"
)  # fmt: skip
CERTIFIED = "ssh-ed25519" + SUFFIX
ODDITIES: dict[str, Callable[[Odd], None]] = {
    "other kind": _set("kind", 0, 2, 3),
    "time": _time,
    "other principals": _set(
        "principals", [b"bob"], [b"ROOT", b"*"], [b"root "], [b"r?ot"], [b"root,bob"], [b"root2", b"roo"]
    ),
    "no principals": _set("principals", []),
    "many principals": _set("principals", [b"x%d" % n for n in range(255)] + [b"root"]),
    "too many principals": _set("principals", [b"x%d" % n for n in range(257)] + [b"root"]),
    "empty principal": _set("principals", [b"", b"root"], [b""]),
    "principal with a NUL": _set("principals", [b"root\0x", b"root"], [b"ro\0ot"]),
    "principal that is no text": _set("principals", [b"\xff", b"root"]),
    "key id": _set("key_id", b"", "zoë".encode(), b"a" * 1000),
    "long key id": _set("key_id", b"a" * 1100),
    "key id with a NUL": _set("key_id", b"a\0b"),
    "key id that is no text": _set("key_id", b"\xff\xfe"),
    "short nonce": _set("nonce", b"", b"n"),
    "long nonce": _set("nonce", bytes(300), bytes(1000)),
    "reserved": _set("reserved", b"x", bytes(100)),
    "a command": _critical((COMMAND, string(b"uptime")), (COMMAND, string(b""))),
    "a command that is none": _critical(
        (COMMAND, b""), (COMMAND, b"x"), (COMMAND, string(b"a\0b")), (COMMAND, string(b"a") + b"x")
    ),
    "this address": _critical((SOURCE, string(b"127.0.0.1")), (SOURCE, string(b"10.0.0.0/8,127.0.0.0/8"))),
    "another address": _critical((SOURCE, string(b"192.0.2.0/24")), (SOURCE, string(b"::1"))),
    "no address": _critical((SOURCE, string(b""))),
    "addresses that are none": _critical(
        *((SOURCE, string(text)) for text in BAD_LISTS),
        (SOURCE, b"127.0.0.1"), (SOURCE, string(b"127.0.0.1") + b"x"),
    ),
    "unknown critical option": _critical((b"moon@example.org", b""), (b"verify", b""), (b"", b"")),
    "verify-required": _critical((b"verify-required", b"")),
    "verify-required with data": _critical((b"verify-required", string(b"x"))),
    "permit as a critical option": _critical((b"permit-pty", b"")),
    "unknown extension": _extension((b"zz@example.org", b""), (b"zz@example.org", b"data")),
    "permit with data": _extension((b"permit-user-rc", string(b"x")), (b"permit-user-rc", b"x")),
    "extension that is critical elsewhere": _extension((b"source-address", string(b"192.0.2.1"))),
    "no-touch-required": lambda odd: odd.extensions.insert(0, (b"no-touch-required", b"")),
    "options out of order": lambda odd: odd.extensions.extend(
        [(b"permit-user-rc", b""), (b"permit-X11-forwarding", b"")]
    ),
    "an option twice": lambda odd: odd.critical.extend([(SOURCE, string(b"127.0.0.1"))] * 2),
    "untrusted authority": _signed_by(lambda ring: ring.stranger),
    "revoked authority": _signed_by(lambda ring: ring.revoked_ca),
    "SHA-1": _sha1,
    "authority that is another": lambda odd: setattr(odd, "ca_blob", odd.ring.trusted[0].public.blob),
    "authority that is no key": _set("ca_blob", b"", b"x", string("ssh-ed25519")),
    "nested": _nested,
    "revoked serial": _revoked_by_serial,
    "revoked id": _revoked_by_id,
    "revoked key": _revoked_key,
    "a bit": _spoil(_flip),
    "cut": _spoil(lambda random, blob: blob[: random.randrange(len(blob))]),
    "longer": _spoil(lambda random, blob: blob + random.randbytes(random.randrange(1, 9))),
    "another algorithm": _set("named", CERTIFIED, "ssh-rsa" + SUFFIX, "rsa-sha2-256" + SUFFIX, "ssh-ed25519"),
    "another type": lambda odd: setattr(odd, "type", "ssh-ed25519" + SUFFIX),
}  # fmt: skip


def make_odd(ring: Ring, random: Random, now: int, login: str, wanted: str = "") -> Odd:
    """One with none to three oddities, `wanted` among them."""
    odd = Odd(ring, random, now, login)
    names = random.sample(sorted(ODDITIES), random.choice((0, 0, 1, 1, 1, 2, 3)))
    for name in dict.fromkeys([*([wanted] if wanted else []), *([] if wanted else names)]):
        odd.tags.add(name)
        ODDITIES[name](odd)
    return odd
