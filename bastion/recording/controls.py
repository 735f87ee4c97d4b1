"""Splits terminal output into text and control sequences (L1, pure; ECMA-48, as xterm reads it).

Recorded output is chosen by whoever was on the target, and a reader's terminal obeys what it is shown:
sequences that make it answer type into the reader's shell, others set titles, clipboards and keys. Everything
that shows recorded output outside a sandbox splits it here and lets through what it names (screen.py).

Invariant: constant memory whatever the input. Strings (OSC, DCS, APC, PM, SOS and the title string of screen)
are swallowed to their end, as a terminal does; sequences longer than any real one are dropped.
"""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

# Real CSI sequences are far shorter (an SGR with a dozen colours is about 100 characters).
LONGEST_SEQUENCE = 256

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")

# What ESC may begin besides a final character: a CSI, a string, or intermediates (charsets, line attributes).
_STRINGS = frozenset("]PX^_k")
_ABORT = frozenset("\x18\x1a")  # CAN and SUB end any sequence


class Token(NamedTuple):
    """`kind` is text, control (one C0 character), escape (what follows ESC) or csi (what follows ESC [)."""

    kind: str
    body: str


class ControlParser:
    """Feed it bytes as they were recorded, cut anywhere; get tokens. Input is UTF-8, errors become U+FFFD.

    C1 controls (U+0080-U+009F), which many terminals obey, are read as the ESC sequences that they stand for.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._state = "text"
        self._held = ""
        self._ended_by_bell = False

    def feed(self, data: bytes, final: bool = False) -> list[Token]:
        """The tokens that `data` completes."""
        text = self._decoder.decode(data, final)
        tokens: list[Token] = []
        at = 0
        while at < len(text):
            if self._state == "text":
                found = _CONTROL.search(text, at)
                end = found.start() if found else len(text)
                if end > at:
                    tokens.append(Token("text", text[at:end]))
                at = end
                if found is None:
                    break
            self._character(text[at], tokens)
            at += 1
        return tokens

    def restart(self) -> None:
        """Forget a half-read sequence: what follows does not continue it (bytes are missing here)."""
        self._decoder.reset()
        self._state = "text"

    def _character(self, char: str, tokens: list[Token]) -> None:
        if "\x80" <= char <= "\x9f":
            self._character("\x1b", tokens)
            char = chr(ord(char) - 0x40)
        if char == "\x1b":
            self._state = "string-escape" if self._state.startswith("string") else "escape"
            self._held = ""
        elif char in _ABORT:
            self._state = "text"
        elif self._state == "string":
            if char == "\x07" and self._ended_by_bell:
                self._state = "text"
        elif self._state == "string-escape" and char == "\\":
            self._state = "text"
        elif char < "\x20" or char == "\x7f":
            if self._state == "string-escape":
                self._state = "escape"
            tokens.append(Token("control", char))  # obeyed in the middle of a sequence too
        elif self._state == "text":
            tokens.append(Token("text", char))
        elif self._state == "csi":
            self._in_csi(char, tokens)
        else:
            self._in_escape(char, tokens)

    def _in_escape(self, char: str, tokens: list[Token]) -> None:
        if not self._held and char == "[":
            self._state = "csi"
        elif not self._held and char in _STRINGS:
            self._state, self._ended_by_bell = "string", char == "]"
        elif " " <= char <= "/" and len(self._held) < LONGEST_SEQUENCE:
            self._state, self._held = "escape", self._held + char
        elif "0" <= char <= "~":
            self._state = "text"
            tokens.append(Token("escape", self._held + char))
        else:
            self._state = "text"

    def _in_csi(self, char: str, tokens: list[Token]) -> None:
        if "@" <= char <= "~":
            self._state = "text"
            if len(self._held) < LONGEST_SEQUENCE:
                tokens.append(Token("csi", self._held + char))
        elif char > "~":
            self._state = "text"
            tokens.append(Token("text", char))
        elif len(self._held) < LONGEST_SEQUENCE:
            self._held += char
