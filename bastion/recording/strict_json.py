"""JSON objects from files that anybody may have written (L1, pure): what is read can be written as JSON again.

Python's own reader takes NaN, Infinity and numbers beyond them, and nests as deep as its stack; what it returns then
cannot be sorted, shown as a time or written back.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

# Levels of lists and objects; those of ours have four.
DEPTH: Final = 32


def parse_object(data: bytes) -> dict[str, Any]:
    """A JSON object with finite numbers and no more than DEPTH levels. Raises ValueError, never another exception."""
    try:
        document = json.loads(data, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(document, dict):
        raise ValueError("not an object")
    if data.count(b"[") + data.count(b"{") > DEPTH and not _is_shallow(document, DEPTH):
        raise ValueError("nested too deep")
    return document


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number("infinity")


def _is_shallow(value: Any, depth: int) -> bool:
    if isinstance(value, dict):
        return depth > 0 and all(_is_shallow(item, depth - 1) for item in value.values())
    if isinstance(value, list):
        return depth > 0 and all(_is_shallow(item, depth - 1) for item in value)
    return True
