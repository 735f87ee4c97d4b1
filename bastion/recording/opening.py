"""Encrypted blocks, opened with the data keys (L1, pure).

Invariant: plaintext comes out only of a block whose tag is right under the key of its type.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bastion.recording.chain import NONCE
from bastion.recording.format import BlockType, FormatError, Head
from bastion.recording.unwrapping import DataKeys


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
