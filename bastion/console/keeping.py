"""How long recordings are kept (L4): what the rules of `[retention]` remove now, and what they will.

Invariant: this is arithmetic of rows and of the configuration as its files are now; nothing is removed here. It is
what `bastion prune` would do at each moment if nothing more were recorded.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from twisted.logger import Logger

from bastion.cli.retaining import labels_of, rules_of
from bastion.config.load import load
from bastion.console.answers import Answer, document
from bastion.console.desk import Call
from bastion.console.reads import Trouble
from bastion.errors import ConfigError, ConsoleReason
from bastion.state.database import Database
from bastion.state.pruning import holds, rows_kept, sums
from bastion.state.retention import Going, Rules, plan

DAY: Final = 86400.0
STEPS: Final = (0, 7, 30)
"""Days from now."""

MOST: Final = 200_000
"""Recordings that are looked at: a second of a thread."""

SHOWN: Final = 50

_log = Logger(namespace="bastion.console")


@dataclass(frozen=True, slots=True)
class Goes:
    """So many recordings, of so many bytes, go by a rule within so many days."""

    days: int
    why: str
    count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Next:
    """One that goes within the last of STEPS. Times are seconds since the epoch."""

    session: str
    user: str
    target: str
    ended_at: float
    size: int
    why: str


@dataclass(frozen=True, slots=True)
class Kept:
    """`rules` are (rule, seconds, None for ever); `max_size` is bytes of one gateway's recordings; `held` may not go.
    `cut`: of more than MOST recordings only those that ended first were looked at, and none for the room they take."""

    rules: tuple[tuple[str, float | None], ...]
    max_size: int | None
    at_least: float
    held: int
    goes: tuple[Goes, ...]
    next: tuple[Next, ...]
    cut: bool


async def _found(call: Call) -> Kept:
    call.note_read("retention", "")
    now = call.desk.clock.time()
    return await call.desk.reads.ask(lambda database: _planned(call, database, now), call.asker)


def _planned(call: Call, database: Database, now: float) -> Kept:
    """In a thread. Raises Trouble, StateDown."""
    try:
        config = load(call.desk.config_file)
    except ConfigError as error:
        _log.warn("the page of retention: {text}", text=str(error))
        text = "the configuration cannot be read as it is now: `bastion check` says why"
        raise Trouble(ConsoleReason.UNAVAILABLE, text) from None
    rules, held = rules_of(config), holds(database)
    nodes = rows_kept(database, labels_of(config), MOST + 1) if rules.any else {}
    cut = sum(map(len, nodes.values())) > MOST
    used = replace(rules, max_bytes=None) if cut else rules
    goes, last = list[Goes](), list[Going]()
    for days in STEPS:
        last = [one for kept in nodes.values() for one in plan(used, kept, held, now + days * DAY)]
        goes += [Goes(days, why, *found) for why, found in sorted(sums(last).items())]
    last.sort(key=lambda one: (one.recording.ended_at, one.recording.session))
    return Kept(
        _named(rules),
        rules.max_bytes,
        rules.at_least,
        len(held),
        tuple(goes),
        tuple(map(_next, last[:SHOWN])),
        cut,
    )


def _named(rules: Rules) -> tuple[tuple[str, float | None], ...]:
    labels = ((f"label {name}", age) for name, age in rules.labels.items())
    users = ((f"user {name}", age) for name, age in rules.users.items())
    return (("age", rules.max_age), *labels, *users)


def _next(one: Going) -> Next:
    about = one.recording
    return Next(about.session, about.identity, about.target, about.ended_at, about.size, one.why)


async def retention(call: Call) -> Answer:
    """The page."""
    found = await _found(call)
    table = {one.why: [_of(found, one.why, days) for days in STEPS] for one in found.goes}
    return call.page("retention.html", kept=found, steps=STEPS, table=sorted(table.items()))


def _of(found: Kept, why: str, days: int) -> tuple[int, int]:
    """(recordings, bytes)."""
    return next(((one.count, one.bytes) for one in found.goes if (one.why, one.days) == (why, days)), (0, 0))


async def api_retention(call: Call) -> Answer:
    """The same for programs."""
    found: dict[str, Any] = asdict(await _found(call))
    rules = [{"rule": rule, "seconds": age} for rule, age in found["rules"]]
    return document({**found, "rules": rules})
