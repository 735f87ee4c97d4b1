"""Lines of the audit log as detections take them (L1, pure): most are of no interest, and are not parsed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from bastion.detect.detector import EVENTS
from bastion.recording.strict_json import parse_object

Timed = tuple[float, dict[str, Any]]
"""When a line was written (seconds since 1970), and what it says."""


def wanted(more: Iterable[str] = ()) -> re.Pattern[bytes]:
    """What a line of interest has in it: `search` it. `more`: events beside those of detections."""
    return re.compile(rb'"event": ?"(?:' + "|".join((*EVENTS, *more)).encode() + rb')"')


WANTED: Final = wanted()


def parsed(line: bytes) -> Timed:
    """Raises ValueError for a line that is torn, or has no time."""
    event = parse_object(line)
    return datetime.fromisoformat(str(event.get("ts"))).timestamp(), event
