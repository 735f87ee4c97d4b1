"""Encrypted blocks, opened with the data keys (L1, pure).

Invariant: plaintext comes out only of a block whose tag is right under the key of its type.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bastion.recording.chain import NONCE
from bastion.recording.format import BlockType, FormatError, Head, parse_json
from bastion.recording.keys import MOST_RECIPIENTS, DataKeys


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
        try:
            data = bytes.fromhex(str(wrapped))
        except ValueError:
            raise FormatError("the wrapped keys are of no known form") from None
        return cls(tuple(recipients), data)


class Opened:
    """The ciphers of one recording."""

    def __init__(self, keys: DataKeys) -> None:
        self._ciphers = {BlockType.EVENTS: AESGCM(keys.output), BlockType.INPUT: AESGCM(keys.input)}

    def payload(self, head: Head, raw_head: bytes, stored: bytes) -> bytes:
        """What was encrypted. Raises FormatError for anything that was not, with these keys and this head."""
        nonce = NONCE.pack(head.type, head.sequence)
        try:
            return self._ciphers[head.type].decrypt(nonce, stored, raw_head)
        except InvalidTag:
            raise FormatError("cannot be opened with the recording's key") from None
