"""What programs get and send under `/api/v1`, as types (L4, pure): the document of the interface is made of them.

Invariant: what is answered has the shape that stands here, which a test asks of real answers.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, NotRequired, TypedDict

from bastion.console.keeping import Goes, Next
from bastion.console.routes import SCOPES
from bastion.console.searching import Line
from bastion.errors import ConsoleReason
from bastion.recording.ran import Asked
from bastion.recording.verifying import State
from bastion.state.deletions import Deletion
from bastion.state.figures import Kept, Place
from bastion.state.hold_lifts import Lift
from bastion.state.passkeys import Passkey
from bastion.state.pruning import Hold
from bastion.state.saved import Hit

JSON = dict[str, Any]
"""A JSON Schema."""

SESSION: Final = r"^[a-z2-7]{16}(\.[0-9]{1,10})?$"


class WaitingRequest(TypedDict):
    """A request for approval. Times are seconds since the epoch; `age` and `left` are in seconds."""

    id: str
    state: str
    user: str
    target: str
    login: str
    verbs: str
    source: str
    approvers: str
    why: str
    made_at: float
    expires_at: float
    answered_by: str
    answer_why: str
    age: int
    left: int


class WaitingRequests(TypedDict):
    """The oldest first."""

    requests: list[WaitingRequest]


class Refusal(TypedDict):
    """Why there is no answer; `fields`: what is wrong with which parameter."""

    error: ConsoleReason
    text: str
    fields: NotRequired[dict[str, str]]


class SessionRow(TypedDict):
    """A session or a tunnel. Times are seconds since the epoch, `duration` is in seconds."""

    id: Annotated[str, SESSION]
    kind: Literal["session", "tunnel"]
    state: str
    started_at: float
    identity: str
    login: str
    target: str
    duration: float
    bytes: int
    ran: list[Asked]
    source: str
    rules: list[str]
    opaque: int


class SessionList(TypedDict):
    """One page, the newest first; `after` is the parameter of the next. `looked` counts rows that were looked at.
    `commands_until`: with `command`, when the newest session began that is in the reading index; later ones are not
    found by it."""

    sessions: list[SessionRow]
    after: str | None
    looked: int
    commands_until: float | None


class Channel(TypedDict):
    """One channel of a recording; `began` and `ended` in seconds from the beginning."""

    id: int
    kind: str
    began: float
    ended: float
    label: str
    bytes_in: int
    bytes_out: int
    skipped: int
    files: int
    operations: int
    refused: list[str]
    refusals: int


class Command(TypedDict):
    """What was run; `offset` in seconds from the beginning; `guess`: read off the screen."""

    offset: float
    channel: int
    kind: str
    text: str
    came: str
    guess: bool


class Notice(TypedDict):
    """What happened to a file."""

    time: float
    channel: int
    text: str


class RecordingTold(TypedDict):
    """What a recording tells; `cut` names what was too much to tell in time."""

    channels: list[Channel]
    channels_more: int
    refused: list[str]
    refusals: int
    commands: list[Command]
    files: list[Notice]
    length: float
    cut: list[Literal["commands", "files"]]


class Done(TypedDict):
    """Was there anything to do?"""

    done: bool


class Look(TypedDict):
    """Somebody has looked at a session; `command` is what showed it."""

    ts: str
    by: str
    command: str
    source: str


class Looks(TypedDict):
    """Who has looked, the newest first; `cut`: the audit log was not read to its beginning."""

    looks: list[Look]
    cut: bool


class Left(TypedDict):
    """A note, or a mark with what was said."""

    id: str
    uid: str
    name: str
    made_at: float
    text: str


class Tagged(TypedDict):
    """A word at a session."""

    tag: str
    uid: str
    name: str
    made_at: float


class Why(TypedDict):
    """Why a session is to be reviewed, and the finding that tells it, "" for none."""

    why: str
    at: float
    finding: str


class Duty(TypedDict):
    """A session that is to be reviewed; `missing` people have to look still."""

    id: str
    kind: Literal["session", "tunnel"]
    identity: str
    login: str
    target: str
    state: str
    started_at: float
    reasons: list[Why]
    due_at: float
    missing: int
    marks: list[Left]


class Reviewed(TypedDict):
    """What reviewers left at a session, and what alerts say of it."""

    notes: list[Left]
    marks: list[Left]
    tags: list[Tagged]
    alerts: list[dict[str, Any]]
    held: Hold | None
    due: Duty | None


class Reviews(TypedDict):
    """Sessions to be reviewed, the most urgent first; `cut`: there are more."""

    reviews: list[Duty]
    overdue: int
    cut: bool


class Holds(TypedDict):
    """What is held, and which holds somebody wants to lift."""

    holds: list[Hold]
    lifts: list[Lift]


class Deletions(TypedDict):
    """What somebody wants deleted, the newest first."""

    deletions: list[Deletion]


class KeptFor(TypedDict):
    """Seconds for which recordings are kept by a rule, null for ever; `age` is of all that no other rule fits."""

    rule: str
    seconds: float | None


class Retention(TypedDict):
    """Rules, and what goes by them within so many days if nothing more is recorded; `next` goes first. `cut`: not all
    recordings were looked at, and none for the room that they take."""

    rules: list[KeptFor]
    max_size: int | None
    at_least: float
    held: int
    goes: list[Goes]
    next: list[Next]
    cut: bool


class Step(TypedDict):
    """How many began in the time from `at` on."""

    at: float
    count: int


class Overview(TypedDict):
    """The figures of a day, a week or a month; `since` in seconds since the epoch."""

    span: Literal["day", "week", "month"]
    since: float
    begun: list[Step]
    refused_logins: dict[str, int]
    refused_logins_since: str
    destinations: list[Place]
    people: list[Place]
    recordings: list[Kept]
    alerts: dict[str, int]


class Access(TypedDict):
    """What a user can reach, or who can reach a target, as `bastion access --json` has it; `more`: not all."""

    access: list[dict[str, Any]]
    more: bool


class SavedSearch(TypedDict):
    """A search that is run every night, and what it found; `mail` is where its news go, `stopped` why it runs no
    more."""

    id: str
    uid: str
    name: str
    title: str
    words: str
    query: str
    made_at: float
    ran_at: float | None
    mail: str
    stopped_at: float | None
    stopped: str
    hits: list[Hit]


class Searches(TypedDict):
    """Those of whoever asks; `stopped`, for who keeps the console: everybody's that run no more, because their owners
    are gone."""

    searches: list[SavedSearch]
    stopped: list[SavedSearch]


class Session(SessionRow):
    """`header` is what the recording's header and the row say; `missing`, why the recording is not told of."""

    header: dict[str, Any]
    recording: RecordingTold | None
    missing: str
    review: Reviewed


class Found(TypedDict):
    """Lines that were shown, the newest first."""

    lines: list[Line]
    more: bool


class Verdict(TypedDict):
    """Is the recording what its gateway wrote? The fields of `bastion verify --json`."""

    good: bool
    state: State
    text: str
    session_id: str
    node: str
    node_key: str
    started_at: float
    blocks: int
    signed_until: int | None
    bad_block: int | None
    offset: int | None
    began: str
    ended: str


class Did(TypedDict):
    """What an order has ended."""

    sessions: int
    tunnels: int


class Token(TypedDict):
    """An API token, without its secret."""

    id: str
    label: str
    uid: str
    name: str
    scope: list[Literal[SCOPES]]  # type: ignore[valid-type]
    made_at: float
    made_by: str
    ends_at: float
    used_at: float | None


class Me(TypedDict):
    """Who asks, and with which token."""

    name: str
    roles: list[Literal["admin", "approver", "auditor", "responder"]]
    token: Token | None


class Tokens(TypedDict):
    """Everybody's, the newest first."""

    tokens: list[Token]


class Passkeys(TypedDict):
    """Everybody's passkeys, the newest first."""

    passkeys: list[Passkey]
