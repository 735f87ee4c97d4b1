"""Public keys, signatures and private keys of SSH (L0, pure). `cryptography` does the mathematics only.

Invariants: a `PublicKey` exists only when every byte of its blob was understood, so equal keys have equal
blobs; `verify` accepts one signature algorithm, named by the caller, and SHA-1 only where `allow_sha1` says so
(the host key of a target that lists it, nowhere else); sizes are checked before any arithmetic
(CVE-2026-39829, CVE-2020-9283); nothing here prints private material.
Sources: RFC 4253 section 6.6, RFC 5656 section 3, RFC 8332, RFC 8709, OpenSSH PROTOCOL.u2f.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Protocol, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from bastion.errors import ProtocolError
from bastion.wire.data import Reader, mpint, string
from bastion.wire.key_options import MAX_LINE, KeyOptions, parse_key_options

ED25519: Final = "ssh-ed25519"
RSA: Final = "ssh-rsa"
SK_ED25519: Final = "sk-ssh-ed25519@openssh.com"
SK_ECDSA: Final = "sk-ecdsa-sha2-nistp256@openssh.com"
RSA_SHA2_256: Final = "rsa-sha2-256"
RSA_SHA2_512: Final = "rsa-sha2-512"

MIN_RSA_BITS = 2048
# Verification time grows with the square of the modulus: 16384 bits cost a few milliseconds, no more.
MAX_RSA_BITS = 16384
# Every key in use has 65537 (some old ones 3, 17, 35); a large exponent buys an attacker minutes of our CPU.
MAX_RSA_EXPONENT = 1 << 32
# The largest legal key blob is an RSA-16384 one, about 2.1 KiB.
MAX_KEY_BLOB = 4096
# Keys that are kept as they were read: a login reads the engineer's, the host's and the CA's, two of them twice.
# Whoever offers others makes nobody's login costlier than a first one.
REMEMBERED_KEYS = 256
# Bytes of such a key; RSA with 4096 bits has 535. With its parsed form 4 KiB at most, so 1 MiB in all.
REMEMBERED_KEY_SIZE = 1024
# An RSA-16384 signature and its name; SK signatures without WebAuthn are far smaller.
MAX_SIGNATURE_BLOB = 4096
# The application string of an sk- key is "ssh:" and a user's text.
MAX_APPLICATION = 1024
# An OpenSSH private key file with an RSA-16384 key is about 13 KiB.
MAX_PRIVATE_KEY_FILE = 64 * 1024

_Curve = type[ec.SECP256R1] | type[ec.SECP384R1] | type[ec.SECP521R1]
_CURVES: dict[str, tuple[str, _Curve, int, type[hashes.HashAlgorithm]]] = {
    "ecdsa-sha2-nistp256": ("nistp256", ec.SECP256R1, 32, hashes.SHA256),
    "ecdsa-sha2-nistp384": ("nistp384", ec.SECP384R1, 48, hashes.SHA384),
    "ecdsa-sha2-nistp521": ("nistp521", ec.SECP521R1, 66, hashes.SHA512),
}
_RSA_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    RSA_SHA2_256: hashes.SHA256,
    RSA_SHA2_512: hashes.SHA512,
}

# Key type -> signature algorithms that `verify` accepts from it, best first.
SIGNATURE_ALGORITHMS: dict[str, tuple[str, ...]] = {
    ED25519: (ED25519,),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": ("ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": ("ecdsa-sha2-nistp521",),
    RSA: (RSA_SHA2_512, RSA_SHA2_256),
    SK_ED25519: (SK_ED25519,),
    SK_ECDSA: (SK_ECDSA,),
}
KEY_TYPES = frozenset(SIGNATURE_ALGORITHMS)
SECURITY_KEY_TYPES = frozenset((SK_ED25519, SK_ECDSA))
# What other programs write where a key may stand, and why it is none here. Words that are no key type at all are read
# as options, and nobody who reads "unknown option" thinks of a key that has come of age.
NOT_TAKEN = {
    "ssh-dss": "ssh-dss (DSA) keys are not taken: they are too weak; make an ed25519 key",
    "ssh-xmss@openssh.com": "ssh-xmss@openssh.com keys are not taken: nothing here verifies them",
}
_CERTIFICATE = re.compile(r"\A[a-z0-9.@-]+-cert-v0[01]@openssh\.com\Z", re.ASCII)

MathsKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey
MathsPrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class BadSignature(ProtocolError):
    """A signature does not prove what it should, whatever the cause: one text, nothing for an oracle."""

    def __init__(self) -> None:
        super().__init__("signature is not valid")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One plain public key. Equality is equality of `blob`, which is the only encoding of this key.

    `bits` is the size people know (256 for ed25519); `application` is the FIDO one of sk- keys, else "".
    """

    type: str
    blob: bytes
    key: MathsKey = field(compare=False, repr=False)
    bits: int = field(compare=False)
    application: str = field(default="", compare=False)

    @staticmethod
    def parse(blob: bytes) -> PublicKey:
        """Read a key blob (RFC 4253 section 6.6) to its last byte. Raises ProtocolError.

        The same bytes may give the same value again; whether it is anybody's key is asked every time.
        """
        if len(blob) > MAX_KEY_BLOB:
            raise ProtocolError("key is longer than any supported key")
        return _read_known_key(blob) if len(blob) <= REMEMBERED_KEY_SIZE else _read_key(blob)

    @classmethod
    def read_fields(cls, reader: Reader, key_type: str) -> Self:
        """Read the fields after the type name: also the middle of a certificate. Raises ProtocolError."""
        application = ""
        key: MathsKey
        if key_type in (ED25519, SK_ED25519):
            key, bits, fields = _read_ed25519(reader)
        elif key_type in _CURVES:
            key, bits, fields = _read_ecdsa(reader, key_type)
        elif key_type == SK_ECDSA:
            key, bits, fields = _read_ecdsa(reader, "ecdsa-sha2-nistp256")
        elif key_type == RSA:
            key, bits, fields = _read_rsa(reader)
        else:
            raise ProtocolError("key type is not supported")
        if key_type in (SK_ED25519, SK_ECDSA):
            application = reader.text(MAX_APPLICATION)
            fields += string(application)
        return cls(key_type, string(key_type) + fields, key, bits, application)

    @property
    def is_security_key(self) -> bool:
        """True for FIDO keys: their signatures carry flags and a counter that somebody must judge."""
        return self.type in SECURITY_KEY_TYPES

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The signature algorithms `verify` accepts for this key, best first."""
        return SIGNATURE_ALGORITHMS[self.type]

    @property
    def fields(self) -> bytes:
        """The blob without the type name, as it stands inside a certificate (PROTOCOL.certkeys)."""
        return self.blob[4 + len(self.type) :]

    def fingerprint(self) -> str:
        """`SHA256:` and unpadded base64, as ssh-keygen -l prints it."""
        return fingerprint_of(self.blob)

    def line(self, comment: str = "") -> str:
        """The one-line form of public key files, authorized_keys and known_hosts, without a newline."""
        text = f"{self.type} {base64.b64encode(self.blob).decode('ascii')}"
        return f"{text} {comment}" if comment else text

    def verify(self, signature_blob: bytes, data: bytes, algorithm: str, *, allow_sha1: bool = False) -> None:
        """Check an SSH signature over `data`; the name inside must be `algorithm` and fit the key.

        Raises BadSignature for everything: malformed, wrong name, SHA-1, trailing bytes, wrong mathematics.
        Signatures of security keys are never accepted here, but by `wire.security_keys` (CVE-2026-39831).
        `allow_sha1` takes `ssh-rsa` too, which anybody with money for a collision can forge: a test counts
        who passes it.
        """
        accepted = algorithm in self.algorithms or (allow_sha1 and algorithm == self.type == RSA)
        if not accepted or len(signature_blob) > MAX_SIGNATURE_BLOB:
            raise BadSignature
        try:
            reader = Reader(signature_blob)
            name = reader.name()
            signature = reader.string()
            reader.end()
        except ProtocolError:
            raise BadSignature from None
        if name != algorithm or self.is_security_key:
            raise BadSignature
        try:
            verify_maths(self.key, signature, data, algorithm)
        except (InvalidSignature, UnsupportedAlgorithm, ValueError, OverflowError):
            raise BadSignature from None
        except ProtocolError:
            raise BadSignature from None


def _read_key(blob: bytes) -> PublicKey:
    reader = Reader(blob)
    key = PublicKey.read_fields(reader, reader.name())
    reader.end()
    return key


_read_known_key = lru_cache(maxsize=REMEMBERED_KEYS)(_read_key)


@lru_cache(maxsize=REMEMBERED_KEYS)
def fingerprint_of(blob: bytes) -> str:
    """The fingerprint of a key blob that need not be a key."""
    digest = hashlib.sha256(blob).digest()
    return "SHA256:" + base64.b64encode(digest).decode("ascii").rstrip("=")


def skip_fields(reader: Reader, key_type: str) -> int:
    """Pass over the fields after the type name, without making a key of them; its size in bits.

    Lengths are checked and nothing is computed: `PublicKey` still has to say whether it is a key.
    """
    if key_type in (ED25519, SK_ED25519):
        reader.string(32)
        bits = 256
    elif key_type in _CURVES or key_type == SK_ECDSA:
        size = 32 if key_type == SK_ECDSA else _CURVES[key_type][2]
        reader.string(16)
        reader.string(1 + 2 * size)
        bits = 521 if size == 66 else size * 8
    else:
        reader.mpint(8)
        bits = reader.mpint(MAX_RSA_BITS // 8 + 1).bit_length()
    if key_type in SECURITY_KEY_TYPES:
        reader.text(MAX_APPLICATION)
    return bits


def key_size(blob: bytes) -> tuple[str, int]:
    """Type and bits of a key blob, read to its last byte and nothing computed. Raises ProtocolError."""
    if len(blob) > MAX_KEY_BLOB:
        raise ProtocolError("key is longer than any supported key")
    reader = Reader(blob)
    key_type = reader.name()
    if key_type not in KEY_TYPES:
        raise ProtocolError("key type is not supported")
    bits = skip_fields(reader, key_type)
    reader.end()
    return key_type, bits


def signature_algorithm(signature_blob: bytes) -> str:
    """The algorithm a signature blob declares, unchecked. Raises ProtocolError."""
    return Reader(signature_blob).name()


def _read_ed25519(reader: Reader) -> tuple[ed25519.Ed25519PublicKey, int, bytes]:
    """RFC 8709 section 4: string key[32]."""
    raw = reader.string(32)
    if len(raw) != 32:
        raise ProtocolError("ed25519 key has the wrong length")
    return ed25519.Ed25519PublicKey.from_public_bytes(raw), 256, string(raw)


def _read_ecdsa(reader: Reader, key_type: str) -> tuple[ec.EllipticCurvePublicKey, int, bytes]:
    """RFC 5656 section 3.1: string curve, string Q. The curve must be the type's own (CVE-2026-16516)."""
    curve_name, curve, size, _hash = _CURVES[key_type]
    if reader.string(16) != curve_name.encode("ascii"):
        raise ProtocolError("ecdsa key names another curve than its type")
    point = reader.string(1 + 2 * size)
    # Compressed points are optional in RFC 5656 and unknown to OpenSSH; one encoding per key is kept.
    if len(point) != 1 + 2 * size or point[0] != 4:
        raise ProtocolError("ecdsa key is not an uncompressed point")
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(curve(), point)
    except (ValueError, UnsupportedAlgorithm):
        raise ProtocolError("ecdsa key is not a point of its curve") from None
    return key, key.curve.key_size, string(curve_name) + string(point)


def _read_rsa(reader: Reader) -> tuple[rsa.RSAPublicKey, int, bytes]:
    """RFC 4253 section 6.6: mpint e, mpint n; both within bounds before they meet any arithmetic."""
    exponent = reader.mpint(8)
    modulus = reader.mpint(MAX_RSA_BITS // 8 + 1)
    if exponent < 3 or exponent > MAX_RSA_EXPONENT or exponent % 2 == 0:
        raise ProtocolError("rsa exponent is out of range")
    bits = modulus.bit_length()
    if modulus <= 0 or modulus % 2 == 0 or not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
        raise ProtocolError("rsa modulus is out of range")
    try:
        key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise ProtocolError("rsa key is not usable") from None
    return key, bits, mpint(exponent) + mpint(modulus)


def verify_maths(key: MathsKey, signature: bytes, data: bytes, algorithm: str) -> None:
    """The algorithm already fits the key's type. Raises what `PublicKey.verify` catches."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        if len(signature) != 64:  # RFC 8709 section 6
            raise InvalidSignature
        key.verify(signature, data)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        reader = Reader(signature)  # RFC 5656 section 3.1.2
        r, s = reader.mpint(67), reader.mpint(67)
        reader.end()
        if r <= 0 or s <= 0:
            raise InvalidSignature
        key.verify(encode_dss_signature(r, s), data, ec.ECDSA(_CURVES[algorithm][3]()))
    else:
        size = (key.key_size + 7) // 8
        if not signature or len(signature) > size:
            raise InvalidSignature
        # RFC 4253 section 6.6: the integer comes "without lengths or padding"; some peers drop leading zeros.
        padded = signature.rjust(size, b"\0")
        # RSA as the algorithm is SHA-1, and only `verify` with `allow_sha1` lets it come as far as this.
        digest = hashes.SHA1() if algorithm == RSA else _RSA_HASHES[algorithm]()
        key.verify(padded, data, padding.PKCS1v15(), digest)


class Signer(Protocol):
    """Whoever can sign as one key: a file's key, an ssh-agent, later a token or KMS."""

    @property
    def public(self) -> PublicKey: ...

    def sign(self, data: bytes, algorithm: str = "") -> bytes:
        """An SSH signature blob over `data`; without a name, the best algorithm of the key."""
        ...


class PrivateKey:
    """A private key in memory; implements `Signer`. Its repr shows the fingerprint and nothing else."""

    __slots__ = ("_key", "_public")

    def __init__(self, key: MathsPrivateKey) -> None:
        self._key = key
        self._public = _public_of(key)

    @classmethod
    def generate_ed25519(cls) -> Self:
        return cls(ed25519.Ed25519PrivateKey.generate())

    @classmethod
    def generate_rsa(cls, bits: int) -> Self:
        """Takes a good part of a second: never in the reactor's thread."""
        return cls(rsa.generate_private_key(public_exponent=65537, key_size=bits))

    @classmethod
    def from_bytes(cls, data: bytes, passphrase: bytes | None = None) -> Self:
        """Load an OpenSSH or PEM private key of our own. Raises ProtocolError, without the file's content."""
        if len(data) > MAX_PRIVATE_KEY_FILE:
            raise ProtocolError("private key is longer than any supported key")
        load = serialization.load_pem_private_key
        if b"BEGIN OPENSSH PRIVATE KEY" in data:
            load = serialization.load_ssh_private_key
        if passphrase is None and looks_public(data):
            raise ProtocolError("this is a public key; the private one is usually the file without .pub")
        try:
            key = load(data, passphrase)
        except TypeError:
            raise ProtocolError(_locked_text(passphrase)) from None
        except (ValueError, UnsupportedAlgorithm):
            text = "not a private key that can be read"
            raise ProtocolError(
                text if passphrase is None else text + ", or the passphrase is wrong"
            ) from None
        if not isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise ProtocolError("private key type is not supported")
        return cls(key)

    @property
    def public(self) -> PublicKey:
        return self._public

    def __repr__(self) -> str:
        return f"PrivateKey({self._public.type} {self._public.fingerprint()})"

    def __reduce__(self) -> str:
        raise TypeError("private keys are not serialised by accident; see openssh_bytes")

    def openssh_bytes(self, passphrase: bytes | None = None) -> bytes:
        """The key in OpenSSH's file format. Secret: for files with mode 0600 only."""
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase is not None:
            encryption = serialization.BestAvailableEncryption(passphrase)
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, encryption
        )

    def sign(self, data: bytes, algorithm: str = "") -> bytes:
        """An SSH signature blob. `ssh-rsa` (SHA-1, legacy targets) only when named. ValueError on misuse."""
        algorithm = algorithm or self._public.algorithms[0]
        key = self._key
        if isinstance(key, rsa.RSAPrivateKey):
            digest: hashes.HashAlgorithm
            if algorithm == RSA:
                digest = hashes.SHA1()
            elif algorithm in _RSA_HASHES:
                digest = _RSA_HASHES[algorithm]()
            else:
                raise ValueError("signature algorithm does not fit the key")
            return string(algorithm) + string(key.sign(data, padding.PKCS1v15(), digest))
        if algorithm != self._public.type:
            raise ValueError("signature algorithm does not fit the key")
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return string(algorithm) + string(key.sign(data))
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(_CURVES[algorithm][3]())))
        return string(algorithm) + string(mpint(r) + mpint(s))


def looks_public(data: bytes) -> bool:
    """Is this the public half, put where the private one belongs? As OpenSSH, PEM and RFC 4716 write them."""
    words = data[:256].split(None, 1)
    first = words[0].decode("ascii", "replace") if words else ""
    if b"PUBLIC KEY--" in data[:256]:
        return True
    return first in SIGNATURE_ALGORITHMS or first.endswith("-cert-v01@openssh.com")


def _locked_text(passphrase: bytes | None) -> str:
    """Why `cryptography` raised TypeError: a passphrase is missing, or one was given that is not needed."""
    if passphrase is None:
        return "the private key is encrypted: set passphrase_file, or take the passphrase off with `ssh-keygen -p`"
    return "the private key is not encrypted: take passphrase_file out"


def _public_of(key: MathsPrivateKey) -> PublicKey:
    """The public half, read back through the strict reader so that its limits hold for our keys too."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        raw = key.public_key().public_bytes_raw()
        return _read_key(string(ED25519) + string(raw))  # nobody will read this one again
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        return PublicKey.parse(string(RSA) + mpint(numbers.e) + mpint(numbers.n))
    for key_type, (curve_name, curve, _size, _hash) in _CURVES.items():
        if isinstance(key.curve, curve):
            point = key.public_key().public_bytes(
                serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
            )
            return PublicKey.parse(string(key_type) + string(curve_name) + string(point))
    raise ProtocolError("private key's curve is not supported")


@dataclass(frozen=True, slots=True)
class AuthorizedKey:
    """One authorised key with everything its options demand (sshd(8))."""

    key: PublicKey
    options: KeyOptions = field(default_factory=KeyOptions)
    comment: str = ""


def decode_base64(text: str) -> bytes:
    """Strict base64: no blanks, no stray characters, right padding. Raises ProtocolError."""
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except ValueError:
        raise ProtocolError("key is not base64") from None


def split_blanks(text: str, times: int) -> list[str]:
    """Split at runs of blanks and tabs only: `str.split` would take 27 other characters for blanks."""
    text = text.strip(" \t\r\n")
    return re.split("[ \t]+", text, maxsplit=times) if text else []


def _check_taken(words: list[str]) -> None:
    """Raise ProtocolError when the first word is the type of something that is no key here."""
    if words and words[0] in NOT_TAKEN:
        raise ProtocolError(NOT_TAKEN[words[0]])
    if words and _CERTIFICATE.match(words[0]):
        raise ProtocolError("a certificate stands where a plain key is expected")


def parse_public_line(text: str) -> tuple[PublicKey, str]:
    """Read `type base64 [comment]`; the type and the blob's own type must agree. Raises ProtocolError."""
    words = split_blanks(text, 2)
    _check_taken(words)
    if text.startswith("-----BEGIN") and "PRIVATE KEY" in text:
        raise ProtocolError("this is a private key; the public one is usually the file with .pub")
    if len(words) < 2 or words[0] not in KEY_TYPES:
        raise ProtocolError("a supported key type and a base64 key were expected")
    key = PublicKey.parse(decode_base64(words[1]))
    if key.type != words[0]:
        raise ProtocolError("key type differs from the key's own")
    return key, words[2].strip() if len(words) > 2 else ""


def parse_authorized_key(line: str) -> AuthorizedKey:
    """Read one authorised key: `[options] type base64 [comment]`. Raises ProtocolError.

    A first word that is no key type is read as options, so a mistyped type is an error and never a key whose
    options were lost. Blank lines and comments are errors too: skip them before.
    """
    if len(line) > MAX_LINE:
        raise ProtocolError("key line is too long")
    line = line.strip(" \t\r\n")
    if any(ord(char) < 0x20 and char != "\t" for char in line):
        raise ProtocolError("key line holds control characters")
    options = KeyOptions()
    words = split_blanks(line, 1)
    _check_taken(words)
    if words and words[0] not in KEY_TYPES:
        options, line = parse_key_options(line)
    key, comment = parse_public_line(line)
    return AuthorizedKey(key, options, comment)
