"""age recipients (https://age-encryption.org/v1): read strictly, because what is encrypted to a mistyped one is lost.

A recipient is an X25519 public key in bech32 (BIP 173) with the prefix `age`.
"""

from __future__ import annotations

from typing import Final

PREFIX: Final = "age"
LETTERS: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
CHECKSUM_LETTERS: Final = 6
KEY_LETTERS: Final = 52  # 32 bytes in groups of 5 bits, 4 bits of filling
_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def check_recipient(text: str) -> str:
    """Why `text` is no age recipient, or "" when it is one."""
    if text.startswith("AGE-SECRET-KEY-"):
        return "is a secret key: give its public half (age-keygen -y), and keep this one off the gateway"
    if not text.startswith(PREFIX + "1") or len(text) != len(PREFIX) + 1 + KEY_LETTERS + CHECKSUM_LETTERS:
        return "is no age recipient (age1 and 58 letters and digits, as age-keygen prints it)"
    body = text[len(PREFIX) + 1 :]
    if any(letter not in LETTERS for letter in body):
        return "has a letter that no age recipient has"
    groups = [LETTERS.index(letter) for letter in body]
    if _remainder([*_expanded(PREFIX), *groups]) != 1 or groups[KEY_LETTERS - 1] & 0b1111:
        return "is mistyped: its checksum does not fit"
    return ""


def _expanded(prefix: str) -> list[int]:
    """BIP 173: the high bits of each character, a zero, the low bits."""
    return [ord(char) >> 5 for char in prefix] + [0] + [ord(char) & 31 for char in prefix]


def _remainder(values: list[int]) -> int:
    checksum = 1
    for value in values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATOR):
            if top >> bit & 1:
                checksum ^= generator
    return checksum
