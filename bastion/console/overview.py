"""What went on of late, as small charts (L4): from the state store, and refused logins from the audit log."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

from bastion.console.answers import Answer, document
from bastion.console.charts import columns, lines
from bastion.console.desk import Call
from bastion.console.reads import Trouble
from bastion.console.rendering import time_text
from bastion.errors import AuthReason, ConsoleReason
from bastion.observe.events.logins import Auth
from bastion.state.database import Database
from bastion.state.figures import Figures, figures_of

SPANS: Final = {"day": (3600.0, 24), "week": (6 * 3600.0, 28), "month": (86400.0, 30)}
"""What is looked at -> seconds of a column, and how many there are."""

LOG_MAX: Final = 8 << 20
"""Bytes of the audit log that are looked at, the newest: 30,000 lines, a tenth of a second."""

HIGH: Final = 120.0
"""Units of the columns' height."""

_EVENT: Final = f'"{Auth.event}"'.encode()
_REASONS: Final = frozenset(map(str, AuthReason))


@dataclass(frozen=True, slots=True)
class Refused:
    """Logins that were refused, by reason, the most frequent first. `since`: how far back the log was looked at, as its
    lines have times, "" when that is all of the while."""

    reasons: tuple[tuple[str, int], ...] = ()
    since: str = ""


def refused_logins(log: Path, since: float) -> Refused:
    """From the newest part of one log file. It blocks. What cannot be read is none."""
    begin = datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    try:
        with log.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - LOG_MAX))
            found = file.read(LOG_MAX).split(b"\n")
    except OSError:
        return Refused()
    if size > LOG_MAX:
        del found[0]  # its beginning is not here
    counts: Counter[str] = Counter()
    first = ""
    for line in found:
        event = _read(line) if _EVENT in line or not first else None
        if event is None:
            continue
        first = first or str(event.get("ts", ""))
        if (
            event.get("event") == Auth.event
            and event.get("result") == "refused"
            and str(event.get("ts", "")) >= begin
        ):
            reason = str(event.get("reason", ""))
            counts[reason if reason in _REASONS else "other"] += 1
    return Refused(tuple(counts.most_common()), "" if first and first < begin else first)


def _read(line: bytes) -> dict[str, Any] | None:
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return event if isinstance(event, dict) else None


async def _found(call: Call) -> tuple[str, float, Figures, Refused]:
    span = call.asked.query.get("span", "day")
    if span not in SPANS:
        raise Trouble(ConsoleReason.BAD_REQUEST, f"the span is one of: {', '.join(SPANS)}")
    step, steps = SPANS[span]
    call.note_read("overview", f"span={span}")
    now = call.desk.clock.time()
    since = (now // step + 1) * step - step * steps  # columns begin at full hours, or at midnight (UTC)
    log = call.desk.login_log

    def look(database: Database) -> tuple[Figures, Refused]:
        return figures_of(database, since, step, steps), refused_logins(log, since)

    figures, refused = await call.desk.reads.ask(look, call.asker)
    return span, since, figures, refused


async def overview(call: Call) -> Answer:
    """The page."""
    span, since, figures, refused = await _found(call)
    begun = [(time_text(at)[:16], float(count)) for at, count in figures.begun]
    return call.page(
        "overview.html",
        span=span,
        spans=tuple(SPANS),
        since=since,
        begun=columns(begun, HIGH),
        high=HIGH,
        total=sum(count for _, count in figures.begun),
        refused=refused,
        reasons=lines([(reason, float(count)) for reason, count in refused.reasons]),
        destinations=_placed(figures.destinations),
        people=_placed(figures.people),
        kept=figures.recordings,
        alerts=lines([(kind, float(count)) for kind, count in figures.alerts]),
    )


def _placed(places: Any) -> list[tuple[Any, Any]]:
    return list(zip(places, lines([(one.name, float(one.bytes)) for one in places]), strict=True))


async def api_overview(call: Call) -> Answer:
    """The same for programs."""
    span, since, figures, refused = await _found(call)
    return document(
        {
            "span": span,
            "since": since,
            "begun": [{"at": at, "count": count} for at, count in figures.begun],
            "refused_logins": dict(refused.reasons),
            "refused_logins_since": refused.since,
            "destinations": [asdict(one) for one in figures.destinations],
            "people": [asdict(one) for one in figures.people],
            "recordings": [asdict(one) for one in figures.recordings],
            "alerts": dict(figures.alerts),
        }
    )
