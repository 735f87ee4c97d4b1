"""Blocks: how a payload stands between head and foot, and whether it is what was written (L1, pure).

The foot of format 1 is a CRC32. That of format 2 is the block's digest, BLAKE3 over head and payload as they are
stored; the digests form the chain of the file: link 0 is the hash of the preamble, and each further link that of the
link before and the block's digest. A digest tells by itself whether its block has changed, whatever became of the
blocks before it; signatures stand over links, and so over all that was before.

Invariant: a block that `checked` has let through is byte for byte one that was encoded.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import BinaryIO, Final
from zlib import crc32

from blake3 import blake3

from bastion.recording.bulk import Bytes
from bastion.recording.format import (
    FOOT_SIZES,
    HEAD_SIZE,
    PREAMBLE_SIZE,
    BlockType,
    FormatError,
    Head,
    Suite,
    encode_head,
    parse_head,
    parse_preamble,
)

CRC_FOOT: Final = struct.Struct(">II")  # crc32 of head and payload, size of the block
CHAIN_FOOT: Final = struct.Struct(">32sI")  # digest of head and payload, size of the block
LINK_SIZE: Final = 32

CHAIN_DOMAIN: Final = b"bastion recording 2 chain\0"
KEY_DOMAIN: Final = b"bastion recording 2 data key\0"
SIGNATURE_DOMAIN: Final = b"bastion recording 2 signature\0"

JOIN_BELOW: Final = 4096
"""Bytes of payload below which one more copy costs less than an iovec."""

CHAIN_FOOT_SIZE: Final = CHAIN_FOOT.size
_foot = CHAIN_FOOT.pack


def plain_block(
    sync: bytes, kind: int, sequence: int, time_us: int, seen: int, payload: Sequence[bytes]
) -> bytes:
    """A block of format 1."""
    body = b"".join(payload)
    body = encode_head(sync, kind, Suite.CRC32, len(body), sequence & 0xFFFFFFFF, time_us, seen) + body
    return body + CRC_FOOT.pack(crc32(body), len(body) + CRC_FOOT.size)


def framed(head: bytes, payload: Sequence[Bytes], length: int) -> tuple[list[Bytes], bytes]:
    """A block of format 2 as buffers for writev, and its digest; `length` is the payload's sum.

    BLAKE3 hashes pieces of a KiB side by side, as many as stand at a place that is a multiple of so many: a copy of the
    whole and one call cost two thirds of a call for each event, whose heads of 16 bytes put all behind them askew.
    """
    size = HEAD_SIZE + length + CHAIN_FOOT_SIZE
    body = b"".join((head, *payload))
    digest = blake3(body).digest()
    foot = _foot(digest, size)
    return [body + foot] if length < JOIN_BELOW else [body, foot], digest


def closed(block: bytearray) -> bytes:
    """The same for a block that was made where it stands: head, payload, and room for the foot, which is filled in."""
    end = len(block) - CHAIN_FOOT_SIZE
    digest = blake3(memoryview(block)[:end]).digest()
    block[end:] = _foot(digest, len(block))
    return digest


def first_link(preamble: bytes) -> bytes:
    """Where the chain of a file begins."""
    return blake3(CHAIN_DOMAIN + preamble).digest()


def next_link(link: bytes, digest: bytes) -> bytes:
    """The chain with one more block."""
    return blake3(link + digest).digest()


def key_commitment(key: bytes) -> str:
    """What a header says of a data key: tells a wrong key from damage, and the key from nothing."""
    return blake3(KEY_DOMAIN + key).hexdigest()


def checked(block: memoryview | bytes, head: Head) -> bytes | None:
    """The digest of a whole block that is as it was written (of format 1: b""), None of one that has changed."""
    foot = head.block_size - FOOT_SIZES[head.suite]
    if len(block) != head.block_size:
        return None
    if head.suite is Suite.CRC32:
        right = CRC_FOOT.unpack_from(block, foot) == (crc32(block[:foot]), head.block_size)
        return b"" if right else None
    digest, size = CHAIN_FOOT.unpack_from(block, foot)
    if size != head.block_size or blake3(block[:foot]).digest() != digest:
        return None
    return bytes(digest)


def began_of(source: BinaryIO) -> bytes:
    """The chain behind the header of a file, as the ledger has it when a recording begins; b"" for one of format 1, and
    for one whose beginning is damaged. Reads no more than that."""
    preamble = source.read(PREAMBLE_SIZE)
    try:
        version, sync = parse_preamble(preamble)
    except FormatError:
        return b""
    raw = source.read(HEAD_SIZE)
    head = parse_head(raw, sync)
    if version == 1 or head is None or head.type is not BlockType.HEADER or not head.fits(version):
        return b""
    digest = checked(raw + source.read(head.block_size - HEAD_SIZE), head)
    return b"" if digest is None else next_link(first_link(preamble), digest)
