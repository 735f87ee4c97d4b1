"""The data keys of a recording, as whoever reads one has them (L1, pure).

Apart from the ciphers and signatures, which take long to load: a listing needs neither.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Self

from bastion.recording.format import FormatError, parse_json

SIGNATURE_SIZE: Final = 64
DATA_KEY_SIZE: Final = 32
MOST_RECIPIENTS: Final = 64
"""Each costs a session's start two operations on a curve, and its file 200 bytes."""

MOST_WRAPPED: Final = 256 << 10
"""Bytes of an age file with two keys: 64 recipients of the largest kind take half of it. What a stranger's file holds
is tried with every identity, at a tenth of a millisecond for 100 bytes."""


@dataclass(frozen=True, slots=True)
class DataKeys:
    """The two keys of an encrypted recording, 32 bytes each: for its events, and for what the client sent.

    `wrapped` is both, one behind the other, encrypted to `recipients`; the keys of a file that is read have neither.
    """

    output: bytes = field(repr=False)
    input: bytes = field(repr=False)
    wrapped: bytes = field(default=b"", repr=False)
    recipients: tuple[str, ...] = ()

    @classmethod
    def new(cls, recipients: tuple[str, ...], wrap: Callable[[bytes], bytes]) -> Self:
        """Fresh ones; `wrap` encrypts 64 bytes to the recipients."""
        both = secrets.token_bytes(2 * DATA_KEY_SIZE)
        return cls(both[:DATA_KEY_SIZE], both[DATA_KEY_SIZE:], wrap(both), recipients)

    @classmethod
    def joined(cls, both: bytes) -> Self:
        """What was unwrapped. Raises FormatError when it is not two keys."""
        if len(both) != 2 * DATA_KEY_SIZE:
            raise FormatError("what was unwrapped is not two data keys")
        return cls(both[:DATA_KEY_SIZE], both[DATA_KEY_SIZE:])


@dataclass(frozen=True, slots=True)
class Wrapped:
    """The block of the keys: who may read, and what only they can open."""

    recipients: tuple[str, ...]
    data: bytes = field(repr=False)

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Raises FormatError."""
        document = parse_json(payload)
        recipients, wrapped = document.get("recipients"), document.get("wrapped")
        if not isinstance(recipients, list) or not all(isinstance(one, str) for one in recipients):
            raise FormatError("the recipients are of no known form")
        if len(recipients) > MOST_RECIPIENTS:
            raise FormatError(f"more than {MOST_RECIPIENTS} recipients")
        if not isinstance(wrapped, str) or len(wrapped) > 2 * MOST_WRAPPED:
            raise FormatError(f"the wrapped keys are more than {MOST_WRAPPED} bytes, or of no known form")
        try:
            data = bytes.fromhex(wrapped)
        except ValueError:
            raise FormatError("the wrapped keys are of no known form") from None
        return cls(tuple(recipients), data)


class Closed(FormatError):
    """A recording is encrypted, and nobody here has an identity that opens it."""


Unwrap = Callable[[bytes], DataKeys | None]
"""Opens what the recipients were given; None when none of the reader's identities is among them."""


def split_signed(payload: bytes) -> tuple[bytes, bytes]:
    """Signature and document of a signed block. Raises FormatError."""
    if len(payload) < SIGNATURE_SIZE:
        raise FormatError("a signed block is too short")
    return payload[:SIGNATURE_SIZE], payload[SIGNATURE_SIZE:]
