"""The keys of one recording: who vouches for it, and who can read it (L1, pure).

Each recording has a signing key of its own, made when it begins and forgotten when it ends; the node's key vouches for
it in the header. So whoever comes by the node's key cannot sign the blocks of an old recording, and nobody can sign
those of one that has ended. Its bytes are encrypted with data keys of its own, which the gateway forgets as well:
what it keeps are the keys wrapped for the recipients.

Invariant: no key and nothing made of a secret one is in a repr.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from bastion.errors import ProtocolError
from bastion.recording.format import FormatError, Header, Suite
from bastion.recording.framing import SIGNATURE_DOMAIN, key_commitment
from bastion.recording.unwrapping import SIGNATURE_SIZE, DataKeys
from bastion.wire.keys import ED25519, PrivateKey, PublicKey, Signer, parse_public_line

PUBLIC_SIZE: Final = 32


@dataclass(frozen=True, slots=True)
class Sealing:
    """What a recording is sealed with: the node's name and key (ed25519), and data keys when it is encrypted."""

    signer: Signer
    node: str = ""
    keys: DataKeys | None = None

    @classmethod
    def alone(cls) -> Self:
        """With a node key that is forgotten: the recording holds together, and nobody vouches for it."""
        return cls(PrivateKey.generate_ed25519())

    def sign(self, message: bytes) -> bytes:
        """The node's word, as 64 bytes."""
        return self.signer.sign(message)[-SIGNATURE_SIZE:]  # behind the blob's names and lengths


@dataclass(frozen=True, slots=True)
class Seal:
    """What a header of format 2 says of its keys: `public_key` is that of the recording, `node_key` vouches for it.

    `output` and `input` are commitments to the data keys, "" when the recording is not encrypted.
    """

    node: str
    node_key: PublicKey
    public_key: bytes
    suite: Suite
    output: str = ""
    input: str = ""

    def document(self) -> dict[str, Any]:
        """As it stands in the header."""
        return {
            "node": self.node,
            "node_key": self.node_key.line(),
            "public_key": self.public_key.hex(),
            "suite": int(self.suite),
            "output": self.output,
            "input": self.input,
        }

    @classmethod
    def of(cls, header: Header) -> Self:
        """Raises FormatError when the header has none of that form."""
        found = header.extra.get("seal")
        if not isinstance(found, dict):
            raise FormatError("the header names no keys")
        values = {name: found.get(name) for name in ("node", "node_key", "public_key", "output", "input")}
        if not all(isinstance(value, str) for value in values.values()):
            raise FormatError("the header's keys are of no known form")
        suite = found.get("suite")
        if suite not in (Suite.CHAINED, Suite.SEALED) or isinstance(suite, bool):
            raise FormatError("the header's suite is not known")
        try:
            public = bytes.fromhex(str(values["public_key"]))
        except ValueError:
            public = b""
        if len(public) != PUBLIC_SIZE:
            raise FormatError("the recording's public key is no ed25519 key")
        node_key = node_key_of(str(values["node_key"]))
        return cls(
            str(values["node"]), node_key, public, Suite(suite), str(values["output"]), str(values["input"])
        )

    def fits(self, keys: DataKeys) -> bool:
        """Are these the recording's data keys?"""
        return key_commitment(keys.output) == self.output and key_commitment(keys.input) == self.input


def node_key_of(line: str) -> PublicKey:
    """The key of an OpenSSH line. Raises FormatError for anything but ed25519."""
    try:
        key, _ = parse_public_line(line)
    except ProtocolError:
        raise FormatError("the node's key cannot be read") from None
    if key.type != ED25519:
        raise FormatError("the node's key is not ed25519")
    return key


def signed_message(link: bytes, head: bytes, document: bytes) -> bytes:
    """What a signature stands over: all that was before, and the block that holds it."""
    return SIGNATURE_DOMAIN + link + head + document


def raw_key(key: PublicKey) -> bytes:
    """The 32 bytes of an ed25519 key."""
    return key.blob[-PUBLIC_SIZE:]


def is_signed(public: bytes, signature: bytes, message: bytes) -> bool:
    """Is it that ed25519 key's?"""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
