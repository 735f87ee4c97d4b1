"""What characters are drawn with (L1, pure): colours and attributes of SGR, and cells that carry them.

Invariant: a pen is the parameters of the SGR sequence that makes it from the default, in one order, so that equal looks
are equal pens; "" is the default. It is never longer than LONGEST_PEN, and has digits, `;` and `:` alone.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

LONGEST_PEN: Final = 120
"""Nine attributes and three colours of 24 bits have fewer characters."""

_SWITCHES: Final = {
    1: "1",
    2: "2",
    3: "3",
    4: "4",
    5: "5",
    6: "6",
    7: "7",
    8: "8",
    9: "9",
    21: "21",
    53: "53",
}
_OFF: Final = {
    22: ("1", "2"),
    23: ("3",),
    24: ("4", "21"),
    25: ("5", "6"),
    27: ("7",),
    28: ("8",),
    29: ("9",),
}
_OFF_TOO: Final = {55: ("53",), 39: ("fg",), 49: ("bg",), 59: ("line",)}
_LONG: Final = {38: "fg", 48: "bg", 58: "line"}
_ORDER: Final = (*_SWITCHES.values(), "fg", "bg", "line")


class Styled(str):
    """A character drawn with `pen`; "" behind a wide one has none."""

    __slots__ = ("pen",)
    pen: str

    def __repr__(self) -> str:
        return f"Styled({str(self)!r}, {self.pen!r})"


@lru_cache(1 << 14)
def styled(char: str, pen: str) -> str:
    """The character with this pen; with the default one it is plain text."""
    if not pen:
        return char
    made = Styled(char)
    made.pen = pen
    return made


def pen_of(cell: str) -> str:
    """What a cell was drawn with."""
    return cell.pen if type(cell) is Styled else ""


def cells_of(text: str, pen: str) -> str | list[str]:
    """Characters of one column each as cells."""
    return [styled(char, pen) for char in text] if pen else text


@lru_cache(1 << 12)
def changed(pen: str, parameters: str) -> str:
    """The pen behind an SGR sequence with these parameters (digits, `;` and `:`). What is no known attribute changes
    nothing."""
    made = _parsed(pen)
    groups = parameters.split(";")[:32]
    at = 0
    while at < len(groups):
        at += _one(made, groups, at)
    return ";".join(made[name] for name in _ORDER if name in made)


@lru_cache(1 << 12)
def background(pen: str) -> str:
    """What is left of a pen where it erases."""
    return _parsed(pen).get("bg", "")


def _parsed(pen: str) -> dict[str, str]:
    made: dict[str, str] = {}
    groups = pen.split(";") if pen else []
    at = 0
    while at < len(groups):
        at += _one(made, groups, at)
    return made


def _one(made: dict[str, str], groups: list[str], at: int) -> int:
    """Takes one attribute into account; how many groups it had."""
    head, *parts = groups[at].split(":")
    number = int(head or 0) if len(head) <= 3 else -1
    if number == 0:
        made.clear()
    elif number in _LONG:
        if parts:
            _colour(made, number, parts[1:] if parts[0] == "2" and len(parts) > 4 else parts, parts[0])
        else:
            count = {"5": 2, "2": 4}.get(groups[at + 1] if at + 1 < len(groups) else "", 1)
            _colour(made, number, groups[at + 1 : at + 1 + count], groups[at + 1] if count > 1 else "")
            return 1 + count
    elif number == 4 and parts:
        made.pop("4", None)
        if parts[0] != "0":
            made["4"] = "4"
    elif number in _SWITCHES:
        made[_SWITCHES[number]] = _SWITCHES[number]
    elif number in _OFF or number in _OFF_TOO:
        for name in _OFF.get(number) or _OFF_TOO[number]:
            made.pop(name, None)
    elif 30 <= number <= 37 or 90 <= number <= 97:
        made["fg"] = str(number)
    elif 40 <= number <= 47 or 100 <= number <= 107:
        made["bg"] = str(number)
    return 1


def _colour(made: dict[str, str], number: int, parts: list[str], kind: str) -> None:
    """A colour of the palette (5, n) or of three numbers (2, r, g, b)."""
    numbers = [int(part) if part.isdecimal() and len(part) <= 3 else 0 for part in parts]
    if kind == "5" and len(numbers) >= 2 and numbers[1] <= 255:
        made[_LONG[number]] = f"{number};5;{numbers[1]}"
    elif kind == "2" and len(numbers) >= 4 and max(numbers[1:4]) <= 255:
        made[_LONG[number]] = f"{number};2;{numbers[1]};{numbers[2]};{numbers[3]}"
