"""The routes under `/api/v1`: what each takes, and which shape it gives (L4, pure).

Invariant: every route of the table that is for programs has a line in INTERFACE, which a test holds against the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from bastion.console.filters import ALERTS, COMMAND_MAX, KIND_CHOICES, MOST_ROWS, STATES
from bastion.console.holding import ANSWERS as HOLD_ANSWERS
from bastion.console.orders import KINDS
from bastion.console.proofs import CODE_MAX
from bastion.console.requests import ANSWERS
from bastion.console.routes import FORMS
from bastion.console.searching import FILTERS, WORDS_MAX
from bastion.console.shapes import (
    JSON,
    SESSION,
    Access,
    Deletions,
    Did,
    Done,
    Found,
    Holds,
    Left,
    Looks,
    Me,
    Overview,
    Passkeys,
    Retention,
    Reviews,
    SavedSearch,
    Searches,
    Session,
    SessionList,
    Tokens,
    Verdict,
    WaitingRequest,
    WaitingRequests,
)
from bastion.control.node import Live
from bastion.control.orders import Locks
from bastion.policy.locks import MAX_REASON
from bastion.state.hold_lifts import Lift
from bastion.state.pruning import Hold
from bastion.state.review_queue import STATES as REVIEW_STATES
from bastion.state.reviewing import TAG, TEXT_MAX
from bastion.state.saved import TITLE_MAX


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


_ONE_LINE: Final = r"^[^\x00-\x1f\x7f-\x9f]*$"
_NAME: Final = r"^[!-~]{1,253}$"
_DAY: Final = "(19|20)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
_MOMENT: Final = rf"^({_DAY}(T([01][0-9]|2[0-3]):[0-5][0-9])?|[1-9][0-9]{{0,3}}[smhd])?$"
_REASON: Final = r"^[A-Za-z0-9]+( [A-Za-z0-9]+)*$"

# a filter that is empty is none
_WHICH: Final[JSON] = {
    "user": _text(_ONE_LINE, "who; empty: any"),
    "target": _text(_ONE_LINE, "where; empty: any"),
    "login": _text(_ONE_LINE, "as whom there; empty: any"),
    "rule": _text(_ONE_LINE, "by which rule; empty: any"),
    "source": _text(
        r"^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(\.(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3}(/(3[0-2]|[12]?[0-9]))?)?$",
        "an address or a network; of IPv6, too",
    ),
    "since": _text(_MOMENT, "2026-11-23, 2026-11-23T10:00 (UTC), or so long ago: 7d"),
    "until": _text(_MOMENT, "likewise"),
    "kind": {"enum": ["", *KIND_CHOICES], "description": "what was asked for"},
    "state": {"enum": ["", *STATES]},
}
_REVIEW: Final[JSON] = {
    "alert": {"enum": ["", *ALERTS], "description": "an alert tells of it"},
    "review": {"enum": ["", *REVIEW_STATES]},
    "tag": _text(f"^({TAG.pattern})?$", "a word that a reviewer left", 32),
}
_COMMAND: Final[JSON] = _text(_ONE_LINE, "words of a command that was run or typed", COMMAND_MAX)
_PAGE: Final[JSON] = {
    "after": _text(r"^([0-9]{1,10}(\.[0-9]{1,6})?~[a-z2-7]{16})?$", "`after` of the page before"),
    "rows": {"type": "integer", "minimum": 1, "maximum": MOST_ROWS},
}
_SAID: Final[JSON] = _text(_ONE_LINE, "on one line", TEXT_MAX)
_WORDS: Final[JSON] = _text(_ONE_LINE, "words", WORDS_MAX)
_ORDER: Final[JSON] = {"reason": _text(_REASON, "whom it meets reads it", MAX_REASON)}

_CHANNEL: Final[JSON] = {"type": "integer", "minimum": 0, "maximum": 10**9 - 1}

INTERFACE: Final[dict[str, Endpoint]] = {
    "api_sessions": Endpoint(
        "Sessions and tunnels", SessionList, {**_WHICH, **_REVIEW, "command": _COMMAND, **_PAGE}
    ),
    "api_session": Endpoint("One of them, and what its recording tells", Session),
    "api_looks": Endpoint("Who has looked at it, of the audit log", Looks),
    "api_verify": Endpoint("Is a recording what its gateway wrote?", Verdict),
    "export": Endpoint(f"A recording, as {', '.join(FORMS)}", None, {"channel": _CHANNEL}),
    "api_reviews": Endpoint("What is to be reviewed", Reviews),
    "api_note": Endpoint("Leave a note at a session", Left, None, {"text": _SAID}, ("text",)),
    "api_tag": Endpoint(
        "Put a tag at a session, or take it away", Done, None,
        {"tag": _text(f"^{TAG.pattern}$", "a word", 32), "do": {"enum": ["add", "drop"]}}, ("tag",),
    ),
    "api_mark": Endpoint(
        "Mark a session as reviewed; with a token where one person is enough", Left, None, {"text": _SAID},
    ),
    "api_hold": Endpoint("Hold a recording", Hold, None, {"reason": _SAID}, ("reason",)),
    "api_ask_lift": Endpoint("Ask that a hold be lifted", Lift, None, {"reason": _SAID}, ("reason",)),
    "api_answer_lift": Endpoint(
        "Agree to lift a hold, or keep it", Lift, None,
        {"lift": _text("^[a-z2-7]{16}$", "the name of the question", 16), "do": {"enum": list(HOLD_ANSWERS)}},
        ("lift", "do"),
    ),
    "api_holds": Endpoint("What is held", Holds),
    "api_deletions": Endpoint("What two people want deleted", Deletions),
    "api_retention": Endpoint("How long recordings are kept, and what goes next", Retention),
    "api_overview": Endpoint("The figures of a time", Overview, {"span": {"enum": ["day", "week", "month"]}}),
    "api_access": Endpoint(
        "Who can reach what; one of the two is needed", Access,
        {"user": _text(_NAME, "who"), "target": _text(_NAME, "where")},
    ),
    "api_searches": Endpoint("One's own saved searches", Searches),
    "api_save_search": Endpoint(
        "Have a search run every night", SavedSearch, None,
        {
            "q": _WORDS,
            "title": _text(_ONE_LINE, "what it is called", TITLE_MAX),
            "mail": {"type": "string", "description": "where its news are mailed to: an address of mail.domains"},
            **{name: {"type": "string", "description": "as of the list; empty: none"} for name in FILTERS},
        }, ("q", "title"),
    ),
    "api_drop_search": Endpoint(
        "Run one of one's own no more", Done, None,
        {"search": _text("^[a-z2-7]{16}$", "its id", 16)}, ("search",),
    ),
    "api_search": Endpoint(
        "Lines that were shown", Found,
        {"q": _WORDS, **_WHICH},
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
    "api_unlock": Endpoint(
        "Take a lock away", Locks, None,
        {
            "kind": {"enum": list(KINDS)},
            "value": _text(r"^[ -~]{1,256}$", "which, as the list of locks has it", 256),
            "reason": _text(_REASON, "it stands in the audit log", MAX_REASON),
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
