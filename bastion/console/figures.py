"""What the console counts, for a metrics page of its own process (L4).

The families are the console's alone, and so are in no gateway's list: this file declares them, and docs/metrics.md says
each. Beside them its page has what the console counts as a gateway does: attempts to sign in, lines of the audit log.
Invariants: labels come from closed sets, and every combination is there from the start.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Any, Final

from bastion import __version__
from bastion.clock import Clock
from bastion.console.answers import Answer
from bastion.console.readers import ENDINGS, QUESTIONS, Readers
from bastion.console.routes import NOWHERE, ROUTES
from bastion.console.visits import Visits
from bastion.errors import ConsoleReason
from bastion.observe.family import MICROSECONDS, Family, Kind, Label, reasons
from bastion.observe.labels import OTHER
from bastion.observe.meters import Meters

SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Until an answer begins: 0.3 s is what a page may take."""

REQUEST_SECONDS: Final = Family(
    "console_request_seconds",
    Kind.HISTOGRAM,
    "From a whole request to the beginning of its answer, by route; refused ones too.",
    (Label("route", tuple(dict.fromkeys(route.name for route in (*ROUTES, NOWHERE)))),),
    SECONDS,
    scale=MICROSECONDS,
)
REFUSALS: Final = Family(
    "console_refusals_total",
    Kind.COUNTER,
    "Requests that were refused, or could not be answered.",
    (reasons("reason", ConsoleReason),),
)
SIGN_INS: Final = Family("console_sign_ins_total", Kind.COUNTER, "Sign-ins that began a visit.")
SIGNED_IN: Final = Family("console_signed_in", Kind.GAUGE, "Visits that go on.")
CONNECTIONS: Final = Family("console_connections", Kind.GAUGE, "Connections of browsers that are open.")
STREAMS: Final = Family("console_streams", Kind.GAUGE, "Answers that are on their way, in pieces.")
OPENED: Final = Family(
    "console_recordings_opened_total",
    Kind.COUNTER,
    "Recordings that a process was asked about, by what for.",
    (Label("what", (*QUESTIONS, OTHER)),),
)
READERS: Final = Family(
    "console_readers",
    Kind.GAUGE,
    "Processes that read a recording, and questions that wait for one.",
    (Label("state", ("busy", "waiting")),),
)
READINGS: Final = Family(
    "console_readings_total",
    Kind.COUNTER,
    "Processes that read a recording, by how they ended: `whole`; `left` by whoever asked; killed as `late` before an"
    " answer, `long` after one began, or `large`; `failed` by themselves or by their limits of memory and processor.",
    (Label("ending", ENDINGS),),
)

FAMILIES: Final = (
    REQUEST_SECONDS,
    REFUSALS,
    SIGN_INS,
    SIGNED_IN,
    CONNECTIONS,
    STREAMS,
    OPENED,
    READERS,
    READINGS,
)
AS_A_GATEWAY: Final = frozenset(
    (
        "audit_lines_total",
        "audit_failures_total",
        "auth_attempts_total",
        "budget_refusals_total",
        "build_info",
    )
)


def console_meters() -> Meters:
    """What the process counts, of which its page shows these families and no others."""
    made = Meters({"version": __version__})
    made.families = tuple(one for one in made.families if one.name in AS_A_GATEWAY)
    for family in FAMILIES:
        made.declare(family)
    return made


class Figures:
    """One per console."""

    def __init__(self, meters: Meters, clock: Clock, visits: Visits, readers: Readers) -> None:
        self._meters, self._clock, self._visits, self._readers = meters, clock, visits, readers
        self.site: Any = None  # `site.ConsoleSite`, once there is one

    async def timed(self, route: str, answered: Awaitable[Answer]) -> Answer:
        """The answer; how long it took is put down for the route of that name."""
        began = self._clock.monotonic()
        try:
            return await answered
        finally:
            self._meters.observe(REQUEST_SECONDS, self._clock.monotonic() - began, route)

    def refused(self, reason: ConsoleReason) -> None:
        """One more."""
        self._meters.add(REFUSALS, reason)

    def refresh(self) -> None:
        """Before a page is made: what nobody keeps up to date in between."""
        meters, readers = self._meters, self._readers
        meters.set(SIGN_INS, self._visits.begun)
        meters.set(SIGNED_IN, len(self._visits))
        meters.set(READERS, readers.busy, "busy")
        meters.set(READERS, readers.waiting, "waiting")
        _put(meters, OPENED, readers.opened.items())
        _put(meters, READINGS, readers.endings.items())
        if self.site is not None:
            meters.set(CONNECTIONS, self.site.connections)
            meters.set(STREAMS, self.site.streams)


def _put(meters: Meters, family: Family, counted: Iterable[tuple[str, int]]) -> None:
    """Totals of now; what the closed set does not know is added up as `other`."""
    known = family.labels[0].values
    others = 0
    for value, count in counted:
        if value in known:
            meters.set(family, count, value)
        else:
            others += count
    if OTHER in known:
        meters.set(family, others, OTHER)
