"""Who has looked at a session, from the audit log (L4). For the process that opens one recording; it blocks.

Invariant: a log of any size is read for a bounded time, its newest files first; who is missing then is said to be.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from bastion.observe.events.reading import RecordingsRead
from bastion.observe.log_files import LogUnreadable, log_files, read_lines
from bastion.recording.strict_json import parse_object
from bastion.wire.printable import printable

MOST_LOOKS: Final = 200
"""The newest."""

CHECK: Final = 4096
"""Lines between two looks at the clock."""

LONGEST: Final = 200
"""Characters of a field."""

_EVENT: Final = f'"{RecordingsRead.event}"'.encode()


def looks_at(
    session: str, logs: Iterable[Path], late: Callable[[], bool]
) -> tuple[list[dict[str, Any]], bool]:
    """Who looked at it, the newest first, and whether not all of the log was read before it was `late`."""
    found: list[dict[str, Any]] = []
    needle, cut = session.encode("ascii"), False
    for path in (file for log in dict.fromkeys(logs) for file in reversed(log_files(log))):
        if len(found) >= MOST_LOOKS or late():
            cut = True
            break
        newest: deque[dict[str, Any]] = deque(maxlen=MOST_LOOKS)
        try:
            for number, line in enumerate(read_lines(path)):
                if needle in line and _EVENT in line and (one := _look(line, session)) is not None:
                    newest.append(one)
                if number % CHECK == CHECK - 1 and late():
                    cut = True
                    break
        except LogUnreadable:
            cut = True
        found += newest
    found.sort(key=lambda one: str(one["ts"]), reverse=True)
    return found[:MOST_LOOKS], cut


def _look(line: bytes, session: str) -> dict[str, Any] | None:
    try:
        event = parse_object(line)
    except ValueError:
        return None
    if event.get("event") != RecordingsRead.event or event.get("session") != session:
        return None
    return {name: printable(str(event.get(name, "")), LONGEST) for name in ("ts", "by", "command", "source")}
