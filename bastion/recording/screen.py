"""Recorded output made safe to show (L1, pure): `DisplayFilter`.

Invariant of DisplayFilter: an allow-list. Only sequences that move the cursor, erase, insert, scroll, colour,
draw lines or switch to the alternate screen and back leave it, in 7-bit form, with small numbers. Nothing
that makes a terminal answer (DSR, DA, DECRQSS, ENQ, window and title reports), talk to its surroundings
(titles, clipboard, notifications, links, fonts, palettes), change what keys and mouse send, or resize. The character
set of the reader's terminal is never changed: shifts (SO, SI) and designations are followed here, and what they
draw comes out as the Unicode for it. A string that some terminals show (controls.py) is shown with a mark. What
would reorder text (bidi overrides, isolates, marks) is written out.
"""

from __future__ import annotations

import re
from typing import Any

from bastion.recording.controls import ControlParser, Token
from bastion.wire.printable import in_order

# Cursor moves, erasing, inserting, colours, margins, tab stops. Not here on purpose: c n p q t x y (answers, reports,
# resets, window operations), i (printer).
_PLAIN_FINALS = frozenset("@ABCDEFGHIJKLMPSTXZ`abdefgmr")

# Modes that change only what is seen: insert (4); origin, wrap, reverse screen, cursor, alternate screens.
_ANSI_MODES = frozenset({"4"})
_PRIVATE_MODES = frozenset({"5", "6", "7", "25", "47", "1047", "1048", "1049"})
_ALTERNATE = frozenset({"47", "1047", "1049"})

_ESCAPES = frozenset({"7", "8", "D", "E", "H", "M", "#8"})
_CHARSET = re.compile(r"[()][0AB]")

# What the DEC special graphics set (0) and the UK set (A) draw in place of ASCII.
CHARACTER_SETS = {
    "0": str.maketrans(
        "_`abcdefghijklmnopqrstuvwxyz{|}~",
        "\xa0\u25c6\u2592\u2409\u240c\u240d\u240a\xb0\xb1\u2424\u240b\u2518\u2510\u250c\u2514\u253c"
        "\u23ba\u23bb\u2500\u23bc\u23bd\u251c\u2524\u2534\u252c\u2502\u2264\u2265\u03c0\u2260\xa3\xb7",
    ),
    "A": str.maketrans("#", "\xa3"),
}
_CSI = re.compile(r"([?]?)([0-9;:]*)([@-~])")

# Larger than any screen, small enough that a terminal does not chew on it (REP, ICH, scrolling).
_LARGEST_NUMBER = 9999

# What stands in for ESC c, a full reset: all that it does to the picture, nothing that it does to keys.
_CLEARED = "\x1b[0m\x1b[?6l\x1b[r\x1b[?7h\x1b[4l\x1b[?25h\x1b[H\x1b[2J"

_CONTROLS = frozenset("\b\t\n\v\f\r")
# A tab stop every eight columns, as a terminal starts; further right than any window.
_TABS = "\r\x1b[3g" + "\x1b[8C\x1bH" * 128 + "\r"

_ASCII = ("B", "B", 0)  # G0, G1, and which of them is shifted in


class DisplayFilter:
    """Output of one channel -> text that is safe for this terminal. Remembers modes, to undo them."""

    def __init__(self) -> None:
        self._parser = ControlParser()
        self._on: set[str] = set()  # private modes that differ from how a terminal starts
        self._margins = False
        self._insert = False
        self._tabs = False  # stops were set or cleared
        self._sets = self._saved_sets = _ASCII

    def feed(self, data: bytes) -> str:
        """What of `data` may be shown."""
        return "".join(self._allowed(token) for token in self._parser.feed(data))

    def skip(self) -> None:
        """Bytes are missing here: a sequence cut off by the gap is not continued behind it."""
        self._parser.restart()

    def painted(self, text: str, half_read: list[Any]) -> str:
        """What may be shown of a screen (snapshots.py) that is painted in place of all before; what comes goes on
        behind it, and behind what was half read then.
        """
        self._parser.restart()
        shown = self.feed(text.encode("utf-8", "replace"))
        self._parser.resume(half_read)
        return shown

    def undo(self) -> str:
        """Brings the terminal back: colours, margins, tab stops, cursor, and the main screen if it was left."""
        text = "\x1b[0m"
        if self._insert:
            text += "\x1b[4l"
        if self._margins or "6" in self._on:
            text += (
                "\x1b[?6l\x1b[r\x1b[9999;1H"  # both move the cursor home; the bottom line is a better place
            )
        if "5" in self._on:
            text += "\x1b[?5l"
        if self._tabs:
            text += _TABS
        text += "".join(f"\x1b[?{mode}l" for mode in sorted(self._on & _ALTERNATE))
        return text + "\x1b[?7h\x1b[?25h"

    def _allowed(self, token: Token) -> str:
        kind, body = token
        if kind == "text":
            return in_order(self._drawn(body))
        if kind == "control":
            return body if body in _CONTROLS else self._shift(body)
        if kind == "csi":
            return self._csi(body)
        if kind.startswith("hidden"):
            return {"hidden-begin": f"\x1b[7m[{body}: ", "hidden-end": "]\x1b[27m"}.get(kind, in_order(body))
        if body == "c":
            self._on -= {"5", "6", "7", "25"}
            tabs, self._tabs = _TABS if self._tabs else "", False
            self._margins = self._insert = False
            self._sets = self._saved_sets = _ASCII
            return tabs + _CLEARED
        if _CHARSET.fullmatch(body):
            first, second, shift = self._sets
            self._sets = (body[1], second, shift) if body[0] == "(" else (first, body[1], shift)
        elif body == "7":
            self._saved_sets = self._sets
        elif body == "8":
            self._sets = self._saved_sets
        self._tabs |= body == "H"
        return "\x1b" + body if body in _ESCAPES else ""

    def _shift(self, control: str) -> str:
        """SO and SI choose between the two character sets; no other control is left that does anything."""
        if control in "\x0e\x0f":
            self._sets = (*self._sets[:2], int(control == "\x0e"))
        return ""

    def _drawn(self, text: str) -> str:
        """`text` in the character set that is shifted in."""
        table = CHARACTER_SETS.get(str(self._sets[self._sets[2]]))
        return text.translate(table) if table else text

    def _csi(self, body: str) -> str:
        match = _CSI.fullmatch(body)
        if match is None:
            return ""
        private, parameters, final = match.groups()
        numbers = re.split("[;:]", parameters)
        if any(len(number) > 9 or int(number or 0) > _LARGEST_NUMBER for number in numbers):
            return ""
        if final == "J" and any(int(number or 0) > 2 for number in numbers):
            return ""  # 3 erases the reader's scrollback
        if final in "hl":
            return self._modes(private, numbers, final)
        if private:
            return f"\x1b[{body}" if final in "JK" else ""
        if final in "su":
            return f"\x1b[{final}" if not parameters else ""  # with numbers: left and right margins
        if final not in _PLAIN_FINALS:
            return ""
        if final == "T" and len(numbers) > 1:  # with five numbers it tracks the mouse, and answers
            return ""
        if final == "r":
            self._margins = bool(parameters)
        self._tabs |= final == "g"
        return f"\x1b[{body}"

    def _modes(self, private: str, numbers: list[str], final: str) -> str:
        if not private:
            if not set(numbers) & _ANSI_MODES:
                return ""
            self._insert = final == "h"
            return f"\x1b[4{final}"
        kept = [mode for mode in numbers if mode in _PRIVATE_MODES]
        for mode in kept:
            unusual = (final == "h") != (mode in ("7", "25"))
            (self._on.add if unusual else self._on.discard)(mode)
        return f"\x1b[?{';'.join(kept)}{final}" if kept else ""
