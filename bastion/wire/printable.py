"""Peer text made safe to show (L0): terminals, logs and DISCONNECT lines never see a peer's control bytes.

failures.md section 7: C0 and C1 controls, bidirectional overrides and lone surrogates let a hostile peer write
into somebody's terminal or forge log lines.
"""

from __future__ import annotations

import unicodedata

# Cc controls, Cf format characters (bidi overrides, zero width), Cs surrogates, Co private use, Cn unassigned.
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


def printable(text: str, limit: int = 512, keep: str = "") -> str:
    """`text` with every character that does not show as itself written as \\xNN or \\uNNNN, cut to `limit`.

    `keep` lists control characters that may stay (newline and tab for a multi-line banner).
    """
    shown = []
    for character in text[:limit]:
        if character in keep or unicodedata.category(character) not in _HIDDEN:
            shown.append(character)
        else:
            number = ord(character)
            shown.append(
                f"\\x{number:02x}"
                if number < 256
                else f"\\u{number:04x}"
                if number < 65536
                else f"\\U{number:08x}"
            )
    return "".join(shown) + ("..." if len(text) > limit else "")
