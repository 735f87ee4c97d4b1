"""Bytes that both ends can make: nothing has to be copied to know what must arrive.

AES-CTR over zeros, by openssl on the target and by `cryptography` here, so that no part repeats.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

KEY = bytes(range(16))
PIECE = 1 << 20


def pieces(size: int) -> Iterator[bytes]:
    """`size` bytes of the pattern, a MiB at a time."""
    stream = Cipher(algorithms.AES(KEY), modes.CTR(bytes(16))).encryptor()
    zeros = bytes(PIECE)
    while size > 0:
        piece = min(size, PIECE)
        yield stream.update(zeros[:piece])
        size -= piece


@functools.lru_cache(2)
def pattern(size: int) -> bytes:
    return b"".join(pieces(size))


def pattern_command(size: int) -> str:
    """A shell command that writes the same."""
    key, start = KEY.hex(), bytes(16).hex()
    return f"head -c {size} /dev/zero | openssl enc -aes-128-ctr -nopad -nosalt -K {key} -iv {start}"
