"""The output of a trace of typed commands, in the pieces in which it came."""

from __future__ import annotations

import base64
from typing import Any


def output_of(case: dict[str, Any]) -> list[bytes]:
    """Without what was typed and without sizes."""
    return [base64.b64decode(data) for _, kind, data in case["steps"] if kind == "o"]
