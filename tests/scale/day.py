"""What an ordinary day asks for, how many gateways that takes, and what is used up first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from tests.scale.inputs import GIB, KIB, MIB, Inputs
from tests.scale.storm import Told, storm

HOUR: Final = 3600.0
SIZES: Final = (1_000, 10_000, 100_000)


@dataclass(frozen=True)
class Demand:
    """Of all engineers together. A second is one of the busiest hour."""

    sessions_a_second: float
    open_sessions: float
    processors: float
    rows_a_second: float
    rows_a_day: float
    bucket_bytes_a_day: float
    bucket_objects_a_day: float
    audit_bytes_a_day: float


def demand(inputs: Inputs, engineers: int) -> Demand:
    costs, habits = inputs.costs, inputs.habits
    a_day = engineers * habits.sessions
    rate = a_day * habits.busy_hour / 100 / HOUR
    open_sessions = engineers * habits.open
    keys = engineers * habits.typing / 100 * habits.keys
    in_hour = engineers * (habits.output + habits.copied) * habits.busy_hour / 100 * MIB / HOUR
    rows = costs.begin_rows + costs.end_rows
    processors = (
        rate * costs.login * 1e-3
        + keys * costs.keystroke * 1e-6
        + in_hour * costs.relayed / GIB
        + open_sessions * costs.idle * 1e-6
    )
    # Somebody types in the busiest hour as said, and as much more over the day as its sessions are more.
    typed = keys * HOUR * 100 / habits.busy_hour * costs.recorded_key
    stored = a_day * costs.recording * KIB + typed + engineers * habits.output * MIB * costs.framing
    return Demand(
        rate, open_sessions, processors, rate * rows, a_day * rows, stored, a_day, a_day * costs.audit * KIB
    )


def gateways_by(inputs: Inputs, engineers: int) -> dict[str, float]:
    """How many gateways each thing by itself would take, in an ordinary busy hour."""
    costs, site = inputs.costs, inputs.site
    asked = demand(inputs, engineers)
    at_rest = site.processors * costs.worker_memory + costs.supervisor_memory + costs.uploader_memory
    room = site.memory * GIB * site.memory_full / 100 - at_rest * MIB
    return {
        "processors": asked.processors / (site.processors * site.full / 100),
        "memory": asked.open_sessions * costs.session_memory * KIB / room if room > 0 else math.inf,
        "descriptors": asked.open_sessions * costs.descriptors / site.files,
        "limits.sessions": asked.open_sessions / site.limit,
        "supervisor": asked.sessions_a_second * costs.supervisor * 1e-3 / (site.full / 100),
        "uploads": asked.sessions_a_second / costs.uploads,
        "directory threads": asked.sessions_a_second * site.ldap * 1e-3 / site.threads,
    }


def ordinary(inputs: Inputs, engineers: int) -> tuple[int, str]:
    """Gateways for the busiest hour, and what asks for most of them."""
    needed = gateways_by(inputs, engineers)
    first = max(needed, key=needed.__getitem__)
    return max(1, math.ceil(needed[first])), first


def for_storm(inputs: Inputs, engineers: int, least: int) -> tuple[int, Told]:
    """The fewest gateways, from `least` on, that have everybody back within the goal, and the storm at one of them."""
    count = least
    while True:
        told = storm(inputs, math.ceil(engineers / count))
        if len(told.waits) == told.sessions and told.last <= inputs.site.goal:
            return count, told
        count = max(count + 1, math.ceil(count * 1.1))


def first_in_storm(inputs: Inputs, told: Told) -> str:
    """What was busiest while everybody came back."""
    site, costs = inputs.site, inputs.costs
    rate = told.most_in_a_second
    used = {
        "processors": told.busy / (told.last * site.processors),
        "directory threads": rate * site.ldap * 1e-3 / site.threads,
        "supervisor": rate * costs.supervisor * 1e-3,
        "places for unfinished logins": told.most_unfinished / site.places,
    }
    first = max(used, key=used.__getitem__)
    return f"{first} ({used[first]:.0%})"


@dataclass(frozen=True)
class Plan:
    """One column of the table."""

    engineers: int
    asked: Demand
    ordinary: int
    first: str
    gateways: int
    told: Told
    raised: int
    raised_first: str
    raised_storm: int

    @property
    def with_spare(self) -> int:
        return max(self.ordinary, self.gateways) + 1


def plan(inputs: Inputs, engineers: int) -> Plan:
    least, first = ordinary(inputs, engineers)
    gateways, told = for_storm(inputs, engineers, least)
    without = replace(inputs, site=replace(inputs.site, limit=math.inf))
    raised, raised_first = ordinary(without, engineers)
    raised_storm = gateways if raised == least else for_storm(inputs, engineers, raised)[0]
    asked = demand(inputs, engineers)
    return Plan(engineers, asked, least, first, gateways, told, raised, raised_first, raised_storm)


def size(count: float) -> str:
    for unit, large in (("TiB", 1 << 40), ("GiB", GIB), ("MiB", MIB)):
        if count >= large:
            return f"{count / large:.1f} {unit}"
    return f"{count / KIB:.0f} KiB"


def _rows(inputs: Inputs, one: Plan) -> Iterator[tuple[str, str]]:
    asked, told, costs = one.asked, one.told, inputs.costs
    yield "sessions open, busiest hour", f"{asked.open_sessions:,.0f}"
    yield "sessions begun a second", f"{asked.sessions_a_second:,.2f}"
    yield "processors busy", f"{asked.processors:,.2f}"
    yield "database rows a second", f"{asked.rows_a_second:,.1f}"
    yield "database rows a day", f"{asked.rows_a_day:,.0f}"
    yield "into the bucket a day", size(asked.bucket_bytes_a_day)
    yield "requests to it a day", f"{asked.bucket_objects_a_day * costs.requests:,.0f}"
    yield "audit log a day", size(asked.audit_bytes_a_day)
    yield "gateways, ordinary day", f"{one.ordinary}"
    yield "what is used up first", one.first
    yield "gateways, storm", f"{one.gateways}"
    yield "gateways, with one to spare", f"**{one.with_spare}**"
    yield (
        "the same with `limits.sessions` raised",
        f"{one.raised}, {one.raised_first}; storm {one.raised_storm}",
    )
    yield "storm: logins at one gateway", f"{told.sessions:,}"
    yield (
        "storm: back, half / 99 of 100 / all",
        (f"{told.share(0.5):.1f} / {told.share(0.99):.1f} s after their first try / {told.last:.0f} s"),
    )
    yield "storm: tries turned away, SYNs dropped", f"{sum(told.refused.values()):,}, {told.dropped:,}"
    yield "storm: unfinished logins, most", f"{told.most_unfinished}"
    yield "storm: processors busy", f"{told.busy / told.last / inputs.site.processors:.0%}"
    yield (
        "storm: rows a second, all gateways",
        (f"{len(told.waits) * (costs.begin_rows + costs.end_rows) / told.last * one.gateways:,.0f}"),
    )
    yield "storm: busiest", first_in_storm(inputs, told)


def table(inputs: Inputs, sizes: tuple[int, ...] = SIZES) -> Iterator[str]:
    """The rows of docs/scaling.md."""
    columns = [dict(_rows(inputs, plan(inputs, engineers))) for engineers in sizes]
    yield "| engineers | " + " | ".join(f"{engineers:,}" for engineers in sizes) + " |"
    yield "|---" * (len(sizes) + 1) + "|"
    for title in columns[0]:
        yield f"| {title} | " + " | ".join(column[title] for column in columns) + " |"


def breaking(inputs: Inputs, counts: tuple[int, ...] = (10_000, 15_000, 20_000, 30_000)) -> Iterator[str]:
    """One gateway, more and more engineers who come back within a minute: where it breaks."""
    heads = ("engineers at one gateway", "tries turned away, SYNs dropped", "back, half", "99 of 100", "all")
    yield f"| {' | '.join(heads)} | unfinished, most | busy |"
    yield "|---|---|---|---|---|---|---|"
    for count in counts:
        told = storm(inputs, count)
        missing = told.sessions - len(told.waits)
        everybody = f"{told.last:.0f} s" if not missing else f"{missing:,} never"
        yield (
            f"| {count:,} | {sum(told.refused.values()):,}, {told.dropped:,} "
            f"| {told.share(0.5):.1f} s | {told.share(0.99):.0f} s "
            f"| {everybody} | {told.most_unfinished} | {told.busy / told.last / inputs.site.processors:.0%} |"
        )
