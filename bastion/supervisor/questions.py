"""What a supervisor and its workers ask each other, as values (pure). `control.link` carries them.

What people may ask a gateway stands in `control.node`; a worker answers that too. These here are between the processes
of one gateway, and no control socket knows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from bastion.auth.throttle import PenaltyLimits
from bastion.control.asking import Done, Request
from bastion.control.node import REQUESTS
from bastion.errors import AuthReason

READ_TIMEOUT: Final = 330.0
"""Seconds in which a worker has read a configuration or said why not: more than `assembly.reloading.TIMEOUT`."""

ADOPT_TIMEOUT: Final = 600.0
"""Seconds for ending the recordings of a worker that died: a GiB of them is read in two."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What of a configuration the supervisor itself follows."""

    audit_file: str
    audit_required: bool
    penalties: PenaltyLimits
    uploads: bool = False
    inventories: str = ""  # `inventories.section.digest_of`
    detections: str = ""  # `assembly.detections.digest_of`
    sinks: str = ""  # `sinks.section.digest_of`


# -- a worker asks ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Block:
    """A source, or a pair of source and account, as a keyed digest in hex, that must wait; 0: not any more."""

    key: str
    until: float


@dataclass(frozen=True, slots=True)
class Welcome:
    """Go on: these wait now; `key` (hex) is what their digests are keyed with. `own` are addresses that the gateway
    listens at beside the worker's sockets. What is in force was loaded then (seconds since the epoch), and by what
    (`assembly.telling`)."""

    blocks: tuple[Block, ...]
    own: tuple[str, ...]
    loaded_at: float
    loaded_by: str
    key: str


@dataclass(frozen=True, slots=True)
class Checked(Request[Welcome]):
    """A worker has read and checked its configuration, which has this digest, and asks whether it may serve."""

    digest: str
    settings: Settings

    command: ClassVar[str] = "worker_checked"
    result: ClassVar[type[Any]] = Welcome
    deadline: ClassVar[float | None] = READ_TIMEOUT


@dataclass(frozen=True, slots=True)
class Serving(Request[Done]):
    """A worker accepts connections from now on."""

    command: ClassVar[str] = "worker_serving"
    result: ClassVar[type[Any]] = Done


@dataclass(frozen=True, slots=True)
class Turn:
    """Whether a password may be judged."""

    allowed: bool


@dataclass(frozen=True, slots=True)
class GuessBegun(Request[Turn]):
    """May this password be judged? The answer comes when those before it are settled."""

    number: int
    source: str
    account: str

    command: ClassVar[str] = "guess_begun"
    result: ClassVar[type[Any]] = Turn
    deadline: ClassVar[float | None] = None


@dataclass(frozen=True, slots=True)
class GuessSettled(Request[Done]):
    """What came of it."""

    number: int
    reason: AuthReason

    command: ClassVar[str] = "guess_settled"
    result: ClassVar[type[Any]] = Done


@dataclass(frozen=True, slots=True)
class AttemptFailed(Request[Done]):
    """Something else than a password was refused."""

    source: str
    account: str
    reason: AuthReason
    method: str

    command: ClassVar[str] = "attempt_failed"
    result: ClassVar[type[Any]] = Done


@dataclass(frozen=True, slots=True)
class Proved:
    """Who has proved to be who they say, and from where."""

    source: str
    account: str


@dataclass(frozen=True, slots=True)
class AttemptsSucceeded(Request[Done]):
    """These have, within the last second."""

    proved: tuple[Proved, ...]

    command: ClassVar[str] = "attempts_succeeded"
    result: ClassVar[type[Any]] = Done


@dataclass(frozen=True, slots=True)
class LastCounts(Request[Done]):
    """A worker of a gateway that another has taken over from ends, having counted this."""

    snapshot: Mapping[str, Any]

    command: ClassVar[str] = "last_counts"
    result: ClassVar[type[Any]] = Done


# -- the supervisor asks ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Keyed(Request[Done]):
    """Digests of blocks are keyed with this (hex) from now on; those that were told before are none any more."""

    key: str

    command: ClassVar[str] = "keyed"
    result: ClassVar[type[Any]] = Done


@dataclass(frozen=True, slots=True)
class Blocked(Request[Done]):
    """These wait now, or not any more."""

    blocks: tuple[Block, ...]

    command: ClassVar[str] = "blocked"
    result: ClassVar[type[Any]] = Done


@dataclass(frozen=True, slots=True)
class Read:
    """A configuration that a worker has read: `errors` when it cannot be taken, else what it is and would change."""

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    digest: str = ""
    settings: Settings | None = None
    restart: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prepare(Request[Read]):
    """Read the configuration again, check it, and keep it until it is to be taken or forgotten."""

    command: ClassVar[str] = "reload_prepare"
    result: ClassVar[type[Any]] = Read
    deadline: ClassVar[float | None] = READ_TIMEOUT


@dataclass(frozen=True, slots=True)
class Take(Request[Done]):
    """Put what was prepared in force, in one turn; all are told the same moment, `at`, by which it is remembered, and
    who wanted it. Answered with an error when that is not possible."""

    at: float
    by: str

    command: ClassVar[str] = "reload_take"
    result: ClassVar[type[Any]] = Done


@dataclass(frozen=True, slots=True)
class Forget(Request[Done]):
    """What was prepared is not wanted: another worker could not take it."""

    command: ClassVar[str] = "reload_forget"
    result: ClassVar[type[Any]] = Done


@dataclass(frozen=True, slots=True)
class Healthy:
    """The worker's page of /readyz: do sessions begin, and its lines."""

    well: bool
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HealthAsked(Request[Healthy]):
    """How are you?"""

    command: ClassVar[str] = "health"
    result: ClassVar[type[Any]] = Healthy
    deadline: ClassVar[float | None] = 2.0


@dataclass(frozen=True, slots=True)
class End(Request[Done]):
    """End: `drain` when those who are here have finished, or their time is over; else now. A second one means now."""

    signal: str
    drain: bool

    command: ClassVar[str] = "end"
    result: ClassVar[type[Any]] = Done


@dataclass(frozen=True, slots=True)
class Pause(Request[Done]):
    """Accept nobody; or, with `over`, accept again."""

    over: bool = False

    command: ClassVar[str] = "pause"
    result: ClassVar[type[Any]] = Done


@dataclass(frozen=True, slots=True)
class Retire(Request[Done]):
    """Another gateway has taken over: let what runs go on to its end, and then end."""

    command: ClassVar[str] = "retire"
    result: ClassVar[type[Any]] = Done


@dataclass(frozen=True, slots=True)
class LogMoved(Request[Done]):
    """The audit log was rotated: open it again."""

    command: ClassVar[str] = "worker_log_moved"
    result: ClassVar[type[Any]] = Done


@dataclass(frozen=True, slots=True)
class Adopt(Request[Done]):
    """Write to their end what a worker that died left of these sessions: recordings, audit lines, counts."""

    sessions: tuple[str, ...]
    text: str

    command: ClassVar[str] = "adopt"
    result: ClassVar[type[Any]] = Done
    deadline: ClassVar[float | None] = ADOPT_TIMEOUT


@dataclass(frozen=True, slots=True)
class AdoptAll(Request[Done]):
    """Write to their end what a whole gateway that died left: every recording that nobody writes and has no end."""

    command: ClassVar[str] = "adopt_all"
    result: ClassVar[type[Any]] = Done
    deadline: ClassVar[float | None] = ADOPT_TIMEOUT


ASKED_BY_WORKERS: Final[dict[str, type[Request[Any]]]] = {
    request.command: request
    for request in (Checked, Serving, LastCounts, GuessBegun, GuessSettled, AttemptFailed, AttemptsSucceeded)
}

ASKED_OF_WORKERS: Final[dict[str, type[Request[Any]]]] = REQUESTS | {
    request.command: request
    for request in (
        Keyed,
        Blocked,
        Prepare,
        Take,
        Forget,
        HealthAsked,
        End,
        Adopt,
        AdoptAll,
        Pause,
        Retire,
        LogMoved,
    )
}
"""Also what people may ask: a worker is a node of the gateway."""
