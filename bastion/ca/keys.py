"""Key files: private keys that only their owner can read, and lists of public keys (L2).

Invariant: a private key file that group or others can read, write or run is refused before its content is
used, with the command that repairs it. Nothing of a private key reaches an error text.
"""

from __future__ import annotations

import os
import stat
from codecs import BOM_UTF8
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from bastion.ca.credentials import is_credential
from bastion.ca.files import create_file
from bastion.ca.secrets import read_secret_file
from bastion.errors import ConfigError, ProtocolError
from bastion.wire.certificates import CERTIFICATE_TYPES, Certificate
from bastion.wire.data import Reader
from bastion.wire.keys import (
    MAX_PRIVATE_KEY_FILE,
    RSA,
    PrivateKey,
    PublicKey,
    decode_base64,
    looks_public,
    parse_public_line,
    split_blanks,
)

RSA_BITS = 3072
"""Bits of an RSA key that is made here: ssh-audit rates less a weakness of a host key."""

_OPENSSH_MAGIC = b"openssh-key-v1\0"
MAX_PUBLIC_FILE = 1024 * 1024
"""Bytes of a file with public keys: 10 000 ed25519 keys with comments."""


def load_private_key(
    path: str | os.PathLike[str], passphrase_file: str | os.PathLike[str] | None = None
) -> PrivateKey:
    """Load an OpenSSH or PEM private key. Raises ConfigError that names the file, its mode and the chmod.

    The passphrase is the first line of `passphrase_file`, which is closed to others as every secret's file.
    """
    passphrase = None if passphrase_file is None else read_secret_file(passphrase_file, "passphrase")
    data = _read(path, MAX_PRIVATE_KEY_FILE, private=True)
    try:
        return PrivateKey.from_bytes(data, passphrase)
    except ProtocolError as error:
        raise ConfigError(
            os.fspath(path), 0, "", error.text, "OpenSSH or PEM, ed25519, ecdsa or rsa"
        ) from None


def looks_private(data: bytes) -> bool:
    """Are these bytes a private key file, of whatever format and type?"""
    return b"PRIVATE KEY-----" in data[:256]


def public_half(data: bytes) -> PublicKey:
    """The public half of a private key file, of OpenSSH's format also when it is encrypted. Raises ProtocolError."""
    begin, end = b"-----BEGIN OPENSSH PRIVATE KEY-----", b"-----END OPENSSH PRIVATE KEY-----"
    if begin not in data:
        return PrivateKey.from_bytes(data).public
    body = data.partition(begin)[2].partition(end)[0]
    packed = decode_base64("".join(body.decode("ascii", "replace").split()))
    # OpenSSH PROTOCOL.key section 1: the public keys stand before what is encrypted.
    if not packed.startswith(_OPENSSH_MAGIC):
        raise ProtocolError("not an OpenSSH private key")
    reader = Reader(packed, len(_OPENSSH_MAGIC))
    for _ in range(3):  # cipher, key derivation, its options
        reader.string(MAX_PRIVATE_KEY_FILE)
    if reader.uint32() != 1:
        raise ProtocolError("the file holds more than one key")
    return PublicKey.parse(reader.string(MAX_PRIVATE_KEY_FILE))


def load_public_keys(path: str | os.PathLike[str]) -> tuple[PublicKey, ...]:
    """Load `type base64 [comment]` lines, such as trusted CAs; blank lines and # are skipped.

    Raises ConfigError with file and line; a file without any key is an error too, because "no CA" must be
    written in the configuration and not happen by an empty file.
    """
    keys: list[PublicKey] = []
    for number, line in enumerate(read_text_lines(path), 1):
        line = line.strip(" \t\r")
        if not line or line.startswith("#"):
            continue
        try:
            keys.append(parse_public_line(line)[0])
        except ProtocolError as error:
            raise ConfigError(os.fspath(path), number, "", error.text, "type base64 [comment]") from None
    if not keys:
        raise ConfigError(os.fspath(path), 0, "", "the file holds no key")
    return tuple(keys)


def load_certificate(path: str | os.PathLike[str]) -> Certificate:
    """Load the one certificate of a -cert.pub file. Raises ConfigError."""
    stripped = [line.strip(" \t\r") for line in read_text_lines(path)]
    lines = [line for line in stripped if line and not line.startswith("#")]
    words = split_blanks(lines[0], 2) if len(lines) == 1 else []
    if len(words) < 2 or words[0] not in CERTIFICATE_TYPES:
        raise ConfigError(os.fspath(path), 0, "", "not one OpenSSH certificate")
    try:
        certificate = Certificate.parse(decode_base64(words[1]))
    except ProtocolError as error:
        raise ConfigError(os.fspath(path), 0, "", error.text) from None
    if certificate.type != words[0]:
        raise ConfigError(os.fspath(path), 0, "", "certificate type differs from the certificate's own")
    return certificate


def generate_like(key: PublicKey) -> PrivateKey:
    """A new key of the same type and size; RSA of the size that host keys need at least. It may take a second."""
    if key.type == RSA:
        return PrivateKey(rsa.generate_private_key(public_exponent=65537, key_size=max(key.bits, RSA_BITS)))
    if isinstance(key.key, ec.EllipticCurvePublicKey):
        return PrivateKey(ec.generate_private_key(key.key.curve))
    return PrivateKey.generate_ed25519()


def write_private_key(path: str | os.PathLike[str], key: PrivateKey, comment: str = "") -> None:
    """Write a new key file (0600) and its .pub beside it. Never overwrites: FileExistsError."""
    create_file(Path(path), key.openssh_bytes(), 0o600)
    create_file(Path(f"{os.fspath(path)}.pub"), (key.public.line(comment) + "\n").encode(), 0o644)


def read_text_lines(path: str | os.PathLike[str]) -> list[str]:
    """The lines of a UTF-8 file of at most MAX_PUBLIC_FILE bytes. Raises ConfigError.

    A byte order mark is refused: as a part of the first name in known_hosts it would silently lose that line's pin.
    """
    data = _read(path, MAX_PUBLIC_FILE, private=False)
    if data.startswith(BOM_UTF8):
        raise ConfigError(os.fspath(path), 1, "", "begins with a byte order mark", "UTF-8 without one")
    try:
        return data.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise ConfigError(os.fspath(path), 0, "", "not a text file in UTF-8") from None


def _read(path: str | os.PathLike[str], limit: int, private: bool) -> bytes:
    """Read a regular file of at most `limit` bytes; the mode is that of the file that was opened."""
    name = os.fspath(path)
    try:
        # O_NONBLOCK: a FIFO in the place of the file must not hang the start.
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            problem = _problem(os.fstat(descriptor), name, private)
            if problem and private and looks_public(os.pread(descriptor, 256, 0)):
                problem = "this is a public key; the private one is usually the file without .pub"
            data = b"" if problem else _read_up_to(descriptor, limit + 1)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        # ValueError: a NUL in the name.
        raise ConfigError(name, 0, "", f"cannot be read: {getattr(error, 'strerror', error)}") from None
    if problem:
        raise ConfigError(name, 0, "", problem)
    if len(data) > limit:
        raise ConfigError(name, 0, "", f"longer than {limit} bytes")
    return data


def _problem(status: os.stat_result, name: str, private: bool) -> str:
    """Why the opened file may not be used; "" = it may."""
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    open_to = 0o037 if is_credential(name, status.st_uid) else 0o077
    if private and mode & open_to:
        return f"private key is open to others (mode {mode:04o}); run: chmod 600 {name}"
    return ""


def _read_up_to(descriptor: int, size: int) -> bytes:
    """At most `size` bytes from the start of a file."""
    pieces = bytearray()
    while len(pieces) < size and (piece := os.read(descriptor, size - len(pieces))):
        pieces += piece
    return bytes(pieces)
