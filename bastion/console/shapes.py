"""What programs get and send under `/api/v1`, as types (L4, pure): the document of the interface is made of them.

Invariant: every route of the table that is for programs has a line in INTERFACE, which a test holds against the table,
and what is answered has the shape that stands here, which another test asks of real answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, NotRequired, TypedDict

from bastion.console.filters import ALERTS, KIND_CHOICES, MOST_ROWS, STATES
from bastion.console.orders import KINDS
from bastion.console.requests import ANSWERS, CODE_MAX
from bastion.console.routes import FORMS, SCOPES
from bastion.console.searching import WORDS_MAX, Line
from bastion.control.node import Live
from bastion.control.orders import Locks
from bastion.errors import ConsoleReason
from bastion.policy.locks import MAX_REASON
from bastion.recording.ran import Asked
from bastion.recording.verifying import State
from bastion.state.figures import Kept, Place
from bastion.state.hold_lifts import Lift
from bastion.state.passkeys import Passkey
from bastion.state.pruning import Hold
from bastion.state.review_queue import STATES as REVIEW_STATES
from bastion.state.reviewing import TAG
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
    """One page, the newest first; `after` is the parameter of the next. `looked` counts rows that were looked at."""

    sessions: list[SessionRow]
    after: str | None
    looked: int


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
    """What a recording tells; `looks`: who has looked at it, of the audit log; `cut` names what was too much to tell in
    time."""

    channels: list[Channel]
    channels_more: int
    refused: list[str]
    refusals: int
    commands: list[Command]
    files: list[Notice]
    length: float
    looks: list[dict[str, Any]]
    cut: list[Literal["commands", "files", "looks"]]


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
    """What a user can reach, or who can reach a target, as `bastion access --json` has it; `more` rows are left out."""

    access: list[dict[str, Any]]
    more: int


class SavedSearch(TypedDict):
    """A search that is run every night, and what it found."""

    id: str
    uid: str
    name: str
    title: str
    words: str
    query: str
    made_at: float
    ran_at: float | None
    hits: list[Hit]


class Searches(TypedDict):
    """Those of whoever asks."""

    searches: list[SavedSearch]


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


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One route for programs. `answer` is its type, None: a file in the form that was asked for. `query` and `form` are
    parameters by name; `needed` names those of `form` that must be there."""

    summary: str
    answer: Any
    query: JSON | None = None
    form: JSON | None = None
    needed: tuple[str, ...] = ()


def _text(pattern: str, description: str, most: int = 253) -> JSON:
    return {"type": "string", "pattern": pattern, "maxLength": most, "description": description}


_NAME: Final = r"^[!-~]{1,253}$"
_DAY: Final = "(19|20)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
_MOMENT: Final = rf"^({_DAY}(T([01][0-9]|2[0-3]):[0-5][0-9])?|[1-9][0-9]{{0,3}}[smhd])$"
_REASON: Final = r"^[A-Za-z0-9]+( [A-Za-z0-9]+)*$"

_WHICH: Final[JSON] = {
    "user": _text(_NAME, "who"),
    "target": _text(_NAME, "where"),
    "login": _text(_NAME, "as whom there"),
    "rule": _text(_NAME, "by which rule"),
    "source": _text(
        r"^(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(\.(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3}(/(3[0-2]|[12]?[0-9]))?$",
        "an address or a network; of IPv6, too",
    ),
    "since": _text(_MOMENT, "2026-11-23, 2026-11-23T10:00 (UTC), or so long ago: 7d"),
    "until": _text(_MOMENT, "likewise"),
    "kind": {"enum": list(KIND_CHOICES), "description": "what was asked for"},
    "state": {"enum": list(STATES)},
}
_REVIEW: Final[JSON] = {
    "alert": {"enum": list(ALERTS), "description": "an alert tells of it"},
    "review": {"enum": list(REVIEW_STATES)},
    "tag": _text(f"^{TAG.pattern}$", "a word that a reviewer left", 32),
}
_PAGE: Final[JSON] = {
    "after": _text(r"^[0-9]{1,10}(\.[0-9]{1,6})?~[a-z2-7]{16}$", "`after` of the page before"),
    "rows": {"type": "integer", "minimum": 1, "maximum": MOST_ROWS},
}
_ORDER: Final[JSON] = {"reason": _text(_REASON, "whom it meets reads it", MAX_REASON)}

_CHANNEL: Final[JSON] = {"type": "integer", "minimum": 0, "maximum": 10**9 - 1}

INTERFACE: Final[dict[str, Endpoint]] = {
    "api_sessions": Endpoint("Sessions and tunnels", SessionList, {**_WHICH, **_REVIEW, **_PAGE}),
    "api_session": Endpoint("One of them, and what its recording tells", Session),
    "api_verify": Endpoint("Is a recording what its gateway wrote?", Verdict),
    "export": Endpoint(f"A recording, as {', '.join(FORMS)}", None, {"channel": _CHANNEL}),
    "api_reviews": Endpoint("What is to be reviewed", Reviews),
    "api_holds": Endpoint("What is held", Holds),
    "api_overview": Endpoint("The figures of a time", Overview, {"span": {"enum": ["day", "week", "month"]}}),
    "api_access": Endpoint(
        "Who can reach what; one of the two is needed", Access,
        {"user": _text(_NAME, "who"), "target": _text(_NAME, "where")},
    ),
    "api_searches": Endpoint("One's own saved searches", Searches),
    "api_search": Endpoint(
        "Lines that were shown", Found,
        {"q": _text(r"^[A-Za-z0-9][A-Za-z0-9 ]*$", "words", WORDS_MAX), **_WHICH},
    ),
    "api_live": Endpoint("What is open now", Live),
    "api_end": Endpoint(
        "End a session or a tunnel", Did, None,
        {"session": _text(SESSION, "which"), **_ORDER}, ("session", "reason"),
    ),
    "api_lock": Endpoint(
        "Lock somebody or something out", Did, None,
        {
            "kind": {"enum": list(KINDS)},
            "value": _text(_NAME, "which: alice, web1, 192.0.2.0/24"),
            "for": _text(r"^[1-9][0-9]{0,2}[mh]$", "how long; left out: until it is unlocked"),
            **_ORDER,
        },
        ("kind", "value", "reason"),
    ),
    "api_locks": Endpoint("What is locked", Locks),
    "api_requests": Endpoint("What waits for an approval", WaitingRequests),
    "api_answer": Endpoint(
        "Approve a request, or deny it", WaitingRequest, None,
        {
            "answer": {"enum": list(ANSWERS)},
            "reason": _text(r"^[ -~]*$", "it stands in the audit log, and the engineer reads it", MAX_REASON),
            "code": _text(r"^[ -~]+$", "a one-time code of whoever asks", CODE_MAX),
        },
        ("answer", "code"),
    ),
    "api_me": Endpoint("Who asks", Me),
    "api_tokens": Endpoint("Everybody's API tokens", Tokens),
    "api_passkeys": Endpoint("Everybody's passkeys", Passkeys),
    "api_document": Endpoint("This document", dict[str, Any]),
}  # fmt: skip
"""Route's name -> what it takes and gives."""
