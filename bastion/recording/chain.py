"""The blocks of one recording as they are written: numbered, chained, signed, encrypted (L1, pure).

A burst is a block or two and nothing that takes long: a digest of the block, one of 64 bytes for the chain, and where
data keys are given one copy and one AES-256-GCM. A signature (50 us) is made at the beginning, at the end and at
checkpoints.

Invariants: no two blocks are encrypted with one key and nonce: the nonce is type and sequence number, and no number is
given twice, not even behind blocks that could not be written. The recording's private key is gone after `end`, its data
keys are after `forget`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bastion.errors import RecorderFailed, RecorderReason
from bastion.recording.bulk import Bytes
from bastion.recording.format import (
    HEAD_SIZE,
    BlockType,
    Suite,
    encode_head,
    encode_json,
    encode_preamble,
    parse_head,
)
from bastion.recording.framing import (
    CHAIN_FOOT_SIZE,
    JOIN_BELOW,
    closed,
    first_link,
    framed,
    key_commitment,
    next_link,
)
from bastion.recording.keys import Seal, Sealing, signed_message
from bastion.recording.unwrapping import SIGNATURE_SIZE, DataKeys

TAG_SIZE: Final = 16
MOST_BLOCKS: Final = 0xFFFFFFFF
"""What the sequence number holds: 100,000 blocks a second for 12 hours."""

NONCE: Final = struct.Struct(">IQ")  # type, sequence

_CHAINED: Final = int(Suite.CHAINED)
_SEALED: Final = int(Suite.SEALED)
_INPUT: Final = int(BlockType.INPUT)


class Chain:
    """One per recording that is written. `blocks` is how many there are, `link` the chain behind the last of them."""

    __slots__ = ("_ciphers", "_given", "_private", "_sync", "_written", "blocks", "link")

    def __init__(self, sync: bytes) -> None:
        self._sync = sync
        self._private: Ed25519PrivateKey | None = None
        self._ciphers: tuple[AESGCM, AESGCM | None] | None = None  # for events, for input: 2.4 KiB each
        self.blocks = 0
        self.link = self._given = self._written = b""

    def begin(self, header: Mapping[str, Any], sealing: Sealing, has_input: bool = True) -> list[Bytes]:
        """Preamble, header with the node's word, and the wrapped keys. `has_input`: what the client sends will come."""
        preamble = encode_preamble(self._sync)
        self.link = first_link(preamble)
        self._private = Ed25519PrivateKey.generate()
        keys = sealing.keys
        seal = Seal(
            sealing.node,
            sealing.signer.public,
            self._private.public_key().public_bytes_raw(),
            Suite.CHAINED if keys is None else Suite.SEALED,
            "" if keys is None else key_commitment(keys.output),
            "" if keys is None else key_commitment(keys.input),
        )
        document = encode_json({**header, "seal": seal.document()})
        blocks = [preamble, *self.signed(BlockType.HEADER, 0, 0, document, sealing.sign)]
        if keys is not None:
            self._ciphers = AESGCM(keys.output), AESGCM(keys.input) if has_input else None
            blocks += keys_block(self._sync, keys)
        return blocks

    def events(self, kind: int, time_us: int, seen: int, parts: Sequence[Bytes], size: int) -> list[Bytes]:
        """A block of events. Raises RecorderFailed when there are no more numbers."""
        number = self.blocks
        if number >= MOST_BLOCKS - 1:  # a checkpoint and the end may follow
            raise RecorderFailed(RecorderReason.WRITE_FAILED, "the recording has too many blocks")
        buffers: list[Bytes]
        if self._ciphers is None:
            head = encode_head(self._sync, kind, _CHAINED, size, number, time_us, seen)
            buffers, digest = framed(head, parts, size)
        else:
            size += TAG_SIZE
            head = encode_head(self._sync, kind, _SEALED, size, number, time_us, seen)
            cipher = self._ciphers[kind == _INPUT]
            assert cipher is not None
            nonce, data = NONCE.pack(kind, number), b"".join(parts)
            if size < JOIN_BELOW:
                buffers, digest = framed(head, (cipher.encrypt(nonce, data, head),), size)
            else:
                buffers, digest = _in_place(cipher, nonce, data, head, size)
        self.link = next_link(self.link, digest)
        self.blocks = number + 1
        return buffers

    def checkpoint(self, time_us: int, seen: int, document: bytes) -> list[Bytes]:
        """The sums so far, with the recording's signature."""
        return self.signed(BlockType.CHECKPOINT, time_us, seen, document)

    def end(self, time_us: int, seen: int, document: bytes) -> list[Bytes]:
        """The last block, with the recording's signature; then its signing key is forgotten. `forget` the others."""
        blocks = self.signed(BlockType.END, time_us, seen, document)
        self._private = None
        return blocks

    def forget(self) -> None:
        """Nobody watches the last blocks any more: the data keys go."""
        self._ciphers = None

    def signed(
        self,
        kind: int,
        time_us: int,
        seen: int,
        document: bytes,
        sign: Callable[[bytes], bytes] | None = None,
    ) -> list[Bytes]:
        """A block of that type, signed with `sign` or the recording's key."""
        if sign is None:
            assert self._private is not None  # nothing is written before `begin` or after `end`
            sign = self._private.sign
        size = SIGNATURE_SIZE + len(document)
        head = encode_head(self._sync, kind, _CHAINED, size, self.blocks, time_us, seen)
        signature = sign(signed_message(self.link, head, document))
        buffers, digest = framed(head, (signature, document), size)
        self.link = next_link(self.link, digest)
        self.blocks += 1
        return buffers

    def clear(self, buffers: Sequence[Bytes]) -> Sequence[Bytes]:
        """What was given, as blocks that are not encrypted: for whoever watches, who has no keys."""
        if self._ciphers is None:
            return buffers
        data, at, made = b"".join(buffers), 0, list[Bytes]()
        while (head := parse_head(data[at : at + HEAD_SIZE], self._sync)) is not None:
            block = data[at : at + head.block_size]
            at += head.block_size
            if head.suite is not Suite.SEALED:
                made.append(block)
                continue
            cipher = self._ciphers[head.type is BlockType.INPUT]
            assert cipher is not None  # with which the block was made
            stored = block[HEAD_SIZE : HEAD_SIZE + head.length]
            plain = cipher.decrypt(NONCE.pack(head.type, head.sequence), stored, block[:HEAD_SIZE])
            fresh = encode_head(
                self._sync, head.type, _CHAINED, len(plain), head.sequence, head.time_us, head.seen
            )
            made += framed(fresh, (plain,), len(plain))[0]
        return made

    def give(self) -> None:
        """The blocks so far go to the disk now, which has taken those that were given before."""
        self._written, self._given = self._given, self.link

    def rewind(self) -> None:
        """What was given last could not be written: the chain goes on without it, its numbers do not come again."""
        self.link = self._given = self._written

    def resume(self, link: bytes, blocks: int) -> None:
        """Go on behind blocks that another process wrote: to end the file, with the node's signature."""
        self.link, self.blocks = link, blocks


def _in_place(cipher: AESGCM, nonce: bytes, data: bytes, head: bytes, size: int) -> tuple[list[Bytes], bytes]:
    """An encrypted block without a copy of what is encrypted; of a small one the copy costs less than the room."""
    block = bytearray(HEAD_SIZE + size + CHAIN_FOOT_SIZE)
    whole = memoryview(block)
    whole[:HEAD_SIZE] = head
    cipher.encrypt_into(nonce, data, head, whole[HEAD_SIZE:-CHAIN_FOOT_SIZE])
    return [whole], closed(block)


def keys_block(sync: bytes, keys: DataKeys) -> list[Bytes]:
    """The wrapped keys. No part of the chain, so that they can be wrapped for others later and the rest still holds."""
    document = encode_json({"recipients": list(keys.recipients), "wrapped": keys.wrapped.hex()})
    head = encode_head(sync, BlockType.KEYS, _CHAINED, len(document), 0, 0, 0)
    return framed(head, (document,), len(document))[0]
