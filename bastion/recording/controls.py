"""Splits terminal output into text and control sequences (L1, pure; ECMA-48, as xterm reads it).

Recorded output is chosen by whoever was on the target, and a reader's terminal obeys what it is shown:
sequences that make it answer type into the reader's shell, others set titles, clipboards and keys. Everything
that shows recorded output outside a sandbox splits it here and lets through what it names (screen.py).

Terminals do not agree on what a string is and where it ends: xterm swallows `ESC X ... ESC \\`, others show it; PuTTY
ends a title at a line feed, xterm does not; many do not know `ESC k`, or U+009D. What stands in a string of which
some terminal shows text comes out as `hidden` tokens, so that a view can show it with a mark. A title or a device
string (OSC, DCS) in its usual form is swallowed by all, and counted.

Invariant: constant memory whatever the input; sequences longer than any real one are dropped.
"""

from __future__ import annotations

import codecs
import re
from typing import Any, NamedTuple

from bastion.wire.printable import escaped

# Real CSI sequences are far shorter (an SGR with a dozen colours is about 100 characters).
LONGEST_SEQUENCE = 256

# Characters of a title or device string that are held until its end is seen; a longer one is shown.
LONGEST_STRING = 4096

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_WHOLE_CSI = re.compile(r"\x1b\[([ -?]{0,250}[@-~])")

# What ESC may begin besides a final character: a CSI, a string, or intermediates (charsets, line attributes).
_STRINGS = frozenset("]PX^_k")
_QUIET = frozenset("]P")  # in their usual form every terminal swallows these
_ABORT = frozenset("\x18\x1a")  # CAN and SUB end any sequence
_STATES = frozenset(("text", "escape", "csi", "string", "string-escape"))


class Token(NamedTuple):
    """`kind` is text, control (one C0 character), escape (what follows ESC), csi (what follows ESC [), or of a
    string that some terminals show: hidden-begin (how it began), hidden (a part of it, safe to show), hidden-end.
    """

    kind: str
    body: str


class ControlParser:
    """Feed it bytes as they were recorded, cut anywhere; get tokens. Input is UTF-8, errors become U+FFFD.

    C1 controls (U+0080-U+009F), which many terminals obey, are read as the ESC sequences that they stand for.
    `swallowed` counts strings of which nothing came out, `hidden` those of which tokens did.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._state = "text"
        self._held = ""
        self._ended_by_bell = False
        self._quiet = False  # within a string of which nothing has come out
        self._open = False  # a hidden-begin has no end yet
        self._c1 = False
        self._name = ""
        self.swallowed = self.hidden = 0

    def feed(self, data: bytes, final: bool = False) -> list[Token]:
        """The tokens that `data` completes."""
        text = self._decoder.decode(data, final)
        tokens: list[Token] = []
        if self._open and not self._state.startswith("string"):
            self._end_string(tokens)
        at, size = 0, len(text)
        while at < size:
            if self._state in ("text", "string"):
                found = _CONTROL.search(text, at)
                end = found.start() if found else size
                if end > at:
                    self._run(text[at:end], tokens)
                at = end
                if found is None:
                    break
                if self._state == "text" and (whole := _WHOLE_CSI.match(text, at)):
                    tokens.append(Token("csi", whole[1]))
                    at = whole.end()
                    continue
            self._character(text[at], tokens)
            at += 1
        if final and self._open:
            self._end_string(tokens)
        return tokens

    def restart(self) -> None:
        """Forget a half-read sequence: what follows does not continue it (bytes are missing here)."""
        self._decoder.reset()
        self._state, self._quiet, self._held = "text", False, ""

    def kept(self) -> list[str | bool]:
        """What is half read, as JSON values: `resume` goes on from there."""
        held, _ = self._decoder.getstate()
        flags = [self._ended_by_bell, self._quiet, self._open, self._c1]
        return [held.hex(), self._state, self._held, self._name, *flags]

    def resume(self, kept: list[Any]) -> None:
        """Go on as the parser did of which `kept` was taken. Raises ValueError for what no parser gives."""
        held, state, text, name, *flags = kept
        if (
            state not in _STATES
            or len(held) > 6
            or len(text) > LONGEST_STRING
            or len(name) > 8
            or len(flags) != 4
        ):
            raise ValueError("no parser is in such a state")
        self._decoder.setstate((bytes.fromhex(held), 0))
        self._state, self._held, self._name = state, str(text), str(name)
        self._ended_by_bell, self._quiet, self._open, self._c1 = map(bool, flags)

    def _run(self, text: str, tokens: list[Token]) -> None:
        """Characters without a control, as text or as part of a string."""
        if self._state == "text":
            tokens.append(Token("text", text))
        elif self._quiet and len(self._held) + len(text) <= LONGEST_STRING:
            self._held += text
        else:
            self._show(text, tokens)

    def _show(self, text: str, tokens: list[Token]) -> None:
        """A part of a string that some terminals show."""
        if not self._open:
            self._open, self._quiet, self.hidden = True, False, self.hidden + 1
            tokens.append(Token("hidden-begin", self._name))
            text, self._held = self._held + text, ""
        if text:
            tokens.append(Token("hidden", text if text.isprintable() else "".join(map(_visible, text))))

    def _end_string(self, tokens: list[Token]) -> None:
        if self._open:
            self._open = False
            tokens.append(Token("hidden-end", ""))
        elif self._quiet:
            self.swallowed += 1
        self._quiet, self._held = False, ""

    def _character(self, char: str, tokens: list[Token]) -> None:
        self._c1 = "\x80" <= char <= "\x9f"
        if self._c1:
            self._character_of("\x1b", tokens)
            char = chr(ord(char) - 0x40)
        self._character_of(char, tokens)

    def _character_of(self, char: str, tokens: list[Token]) -> None:
        if self._state == "string":
            self._in_string(char, tokens)
        elif char == "\x1b":
            if self._state == "string-escape":
                self._end_string(tokens)
            self._state, self._held = "escape", ""
        elif self._state == "string-escape":
            self._end_string(tokens)
            self._state = "text"
            if char != "\\":  # the string was cut off, and this belongs to the next sequence
                self._state = "escape"
                self._character_of(char, tokens)
        elif char in _ABORT:
            self._state = "text"
        elif char < "\x20" or char == "\x7f":
            tokens.append(Token("control", char))  # obeyed in the middle of a sequence too
        elif self._state == "text":
            tokens.append(Token("text", char))
        elif self._state == "csi":
            self._in_csi(char, tokens)
        else:
            self._in_escape(char, tokens)

    def _in_string(self, char: str, tokens: list[Token]) -> None:
        if char == "\x1b":
            self._state = "string-escape"
        elif char in _ABORT or (char == "\x07" and self._ended_by_bell):
            self._end_string(tokens)
            self._state = "text"
        elif char < "\x20" or char == "\x7f":
            self._show(char, tokens)  # here some terminals end the string
        else:
            self._run(char, tokens)

    def _in_escape(self, char: str, tokens: list[Token]) -> None:
        if not self._held and char == "[":
            self._state = "csi"
        elif not self._held and char in _STRINGS:
            self._state, self._ended_by_bell = "string", char == "]"
            self._name = f"U+{ord(char) + 0x40:04X}" if self._c1 else f"ESC {char}"
            self._quiet = char in _QUIET and not self._c1
            if not self._quiet:
                self._show("", tokens)
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


def _visible(char: str) -> str:
    return char if char.isprintable() else escaped(char)
