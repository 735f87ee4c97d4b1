"""Peer text made safe to show (L0): terminals, logs and DISCONNECT lines never see a peer's control bytes.

C0 and C1 controls, bidirectional overrides and lone surrogates let a hostile peer write
into somebody's terminal or forge log lines.
"""

from __future__ import annotations

import re
import unicodedata

# Cc controls, Cf format characters (bidi overrides, zero width), Cs surrogates, Co private use, Cn unassigned.
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))

# What makes a line read otherwise than it is stored, or ends it where no newline stands: direction marks, embeddings,
# overrides and isolates, line separators, annotations, tags. Joiners and variation selectors are parts of real text.
_REORDERS = re.compile("[\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb\U000e0000-\U000e007f]")


def in_order(text: str) -> str:
    """`text`, without controls, with what would reorder it on a screen written as `\\uNNNN`: what was recorded stays
    as it was, and a reader sees it in the order in which it was said.
    """
    return text if text.isascii() else _REORDERS.sub(lambda found: escaped(found[0]), text)


# Our own lines begin so. In somebody else's text it never stands, at whatever place a terminal wraps the line.
_OURS = re.compile(r"(bastion\s*):", re.IGNORECASE)


def said_by(whom: str, text: str, limit: int = 512) -> str:
    """One line of a peer's own words for a person, marked so that nobody takes it for ours: `whom | text`."""
    return f"{whom} | {not_ours(printable(text, limit))}"


def banner_lines(whom: str, text: str, missing: int) -> list[str]:
    """A target's login banner for a person: each line marked like that of `said_by`, and ours when bytes are missing.

    Tabs stay.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
    shown = not_ours(printable(lines, len(lines), keep="\n\t"))
    marked = [f"{whom} | {line}" for line in shown.split("\n")] if lines else []
    return [*marked, f"bastion: {missing} more bytes of this banner are not shown"] if missing else marked


def quoted(text: str, limit: int = 512) -> str:
    """A peer's own words inside a line of ours: in quotation marks that it cannot close."""
    return '"' + not_ours(printable(text, limit)).replace('"', "'") + '"'


def not_ours(text: str) -> str:
    """`text` with `bastion:` written as `bastion\\x3a`."""
    return _OURS.sub(r"\1\\x3a", text)


def printable(text: str, limit: int = 512, keep: str = "") -> str:
    """`text` with every character that does not show as itself written as \\xNN or \\uNNNN, cut to `limit`.

    `keep` lists control characters that may stay (newline and tab for a multi-line banner).
    """
    shown = []
    for character in text[:limit]:
        if character in keep or unicodedata.category(character) not in _HIDDEN:
            shown.append(character)
        else:
            shown.append(escaped(character))
    return "".join(shown) + ("..." if len(text) > limit else "")


def escaped(character: str) -> str:
    """One character as \\xNN, \\uNNNN or \\UNNNNNNNN."""
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
