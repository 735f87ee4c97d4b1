"""Every route of the console, and whose it is (L4, pure).

Invariant: what is not in ROUTES does not exist; there is no route without its roles, and no other place decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal

from bastion.control.roles import Role

FORMS: Final = {
    "text": ("text/plain; charset=utf-8", "txt"),
    "asciicast": ("application/x-asciicast", "cast"),
    "html": ("text/html; charset=utf-8", "html"),
    "json": ("application/x-ndjson", "json"),
}
"""What a recording may be taken away as -> its content type, and how the file's name ends."""

STATIC: Final = {
    "console.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "live.js": "text/javascript; charset=utf-8",
    "passkey.js": "text/javascript; charset=utf-8",
    "player.js": "text/javascript; charset=utf-8",
    "reel.js": "text/javascript; charset=utf-8",
}
"""Files that are the same for everybody -> their content type."""

_PARTS: Final = {
    "session": r"[a-z2-7]{16}(?:\.[0-9]{1,10})?",
    "form": "|".join(FORMS),
    "request": r"[a-z2-7]{10}",
    "deletion": r"[a-z2-7]{16}",
    "file": "|".join(map(re.escape, STATIC)),
}


Roles = frozenset[Role]

ANYBODY: Final = "anybody"
"""Whose a route is that needs no sign-in."""

LOOKS: Final[Roles] = frozenset((Role.ADMIN, Role.RESPONDER, Role.AUDITOR))
ACTS: Final[Roles] = frozenset((Role.ADMIN, Role.RESPONDER))
KEEPS: Final[Roles] = frozenset((Role.ADMIN,))
APPROVES: Final[Roles] = frozenset((Role.ADMIN, Role.APPROVER))
ALL: Final[Roles] = frozenset(Role)

_OF_EVERY_TOKEN: Final = ("me", "openapi")
"""Areas of the interface for programs that say nothing of anybody else."""


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the table. `name` is what answers it (`application`), `whose` the roles, or ANYBODY; `in_person`: no
    API token is ever for it, because it takes a second person, and a program is none."""

    method: str
    path: str
    name: str
    whose: Roles | Literal["anybody"]
    in_person: bool = False
    pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts = re.split(r"\{(\w+)\}", self.path)
        made = "".join(
            f"(?P<{part}>{_PARTS[part]})" if number % 2 else re.escape(part)
            for number, part in enumerate(parts)
        )
        object.__setattr__(self, "pattern", re.compile(made))

    @property
    def changes(self) -> bool:
        """It does something: it needs a token, and the page's own origin."""
        return self.method == "POST"

    @property
    def is_data(self) -> bool:
        """For programs: answers are JSON, refusals too."""
        return self.path.startswith("/api/")

    @property
    def is_stream(self) -> bool:
        """Lines of JSON that go on, for a page of ours: refusals are JSON too."""
        return self.path.endswith("/stream")

    @property
    def scope(self) -> str:
        """What an API token must be for to ask this; "" where every token may, and where none may: of pages, and in
        person."""
        area = self.path.split("/")[3].partition(".")[0] if self.is_data else ""
        if not area or area in _OF_EVERY_TOKEN or self.in_person:
            return ""
        return f"{area}:write" if self.changes else area


ROUTES: Final = (
    Route("GET", "/static/{file}", "static", ANYBODY),
    Route("GET", "/sign-in", "sign_in_form", ANYBODY),
    Route("POST", "/sign-in", "sign_in", ANYBODY),
    Route("GET", "/sign-in/elsewhere", "elsewhere", ANYBODY),
    Route("GET", "/sign-in/elsewhere/back", "back_from_elsewhere", ANYBODY),
    Route("POST", "/sign-out", "sign_out", ALL),
    Route("GET", "/", "home", ALL),
    Route("GET", "/sessions", "sessions", LOOKS),
    Route("GET", "/sessions/{session}", "session", LOOKS),
    Route("GET", "/sessions/{session}/text", "text", LOOKS),
    Route("GET", "/sessions/{session}/play", "play", LOOKS),
    Route("GET", "/sessions/{session}/part", "part", LOOKS),
    Route("GET", "/sessions/{session}/files", "files", LOOKS),
    Route("GET", "/sessions/{session}/looks", "looks", LOOKS),
    Route("GET", "/sessions/{session}/verify", "verify", LOOKS),
    Route("GET", "/sessions/{session}/export/{form}", "export", LOOKS),
    Route("POST", "/sessions/{session}/note", "note", LOOKS),
    Route("POST", "/sessions/{session}/tag", "tag", LOOKS),
    Route("POST", "/sessions/{session}/reviewed", "reviewed", LOOKS),
    Route("GET", "/reviews", "reviews", LOOKS),
    Route("GET", "/holds", "holds", LOOKS),
    Route("POST", "/holds/answer", "answer_lift", KEEPS),
    Route("POST", "/sessions/{session}/hold", "hold", KEEPS),
    Route("POST", "/sessions/{session}/lift", "ask_lift", KEEPS),
    Route("GET", "/deletions", "deletions", LOOKS),
    Route("GET", "/deletions/{deletion}", "deletion", KEEPS),
    Route("POST", "/deletions/{deletion}", "answer_deletion", KEEPS),
    Route("GET", "/sessions/{session}/delete", "ask_deletion_form", KEEPS),
    Route("POST", "/sessions/{session}/delete", "ask_deletion", KEEPS),
    Route("GET", "/retention", "retention", LOOKS),
    Route("GET", "/overview", "overview", LOOKS),
    Route("GET", "/access", "access", LOOKS),
    Route("GET", "/search", "search", LOOKS),
    Route("GET", "/searches", "searches", LOOKS),
    Route("POST", "/searches", "save_search", LOOKS),
    Route("POST", "/searches/drop", "drop_search", LOOKS),
    Route("GET", "/live", "live", ALL),
    Route("GET", "/live/watch", "watch_page", LOOKS),
    Route("POST", "/live/stream", "watch", LOOKS),
    Route("GET", "/live/end", "end_form", ACTS),
    Route("POST", "/live/end", "end", ACTS),
    Route("GET", "/live/lock", "lock_form", ACTS),
    Route("POST", "/live/lock", "lock", ACTS),
    Route("GET", "/locks", "locks", ALL),
    Route("GET", "/locks/unlock", "unlock_form", ACTS),
    Route("POST", "/locks/unlock", "unlock", ACTS),
    Route("GET", "/requests", "requests", ALL),
    Route("POST", "/requests/stream", "requests_stream", ALL),
    Route("GET", "/requests/{request}", "request", APPROVES),
    Route("POST", "/requests/{request}", "answer", APPROVES),
    Route("GET", "/account", "account", ALL),
    Route("POST", "/account/tokens", "make_token", ALL),
    Route("POST", "/account/tokens/revoke", "revoke_token", ALL),
    Route("POST", "/account/passkeys", "add_passkey", ALL),
    Route("POST", "/account/passkeys/remove", "remove_passkey", ALL),
    Route("GET", "/accounts", "accounts", KEEPS),
    Route("POST", "/accounts/passkeys/remove", "remove_any_passkey", KEEPS),
    Route("POST", "/accounts/tokens/revoke", "revoke_any_token", KEEPS),
    Route("GET", "/api/v1/sessions", "api_sessions", LOOKS),
    Route("GET", "/api/v1/sessions/{session}", "api_session", LOOKS),
    Route("GET", "/api/v1/reviews", "api_reviews", LOOKS),
    Route("POST", "/api/v1/reviews/{session}/note", "api_note", LOOKS),
    Route("POST", "/api/v1/reviews/{session}/tag", "api_tag", LOOKS),
    Route("POST", "/api/v1/reviews/{session}/mark", "api_mark", LOOKS),
    Route("GET", "/api/v1/holds", "api_holds", LOOKS),
    Route("POST", "/api/v1/holds/{session}", "api_hold", KEEPS),
    Route("POST", "/api/v1/holds/{session}/lift", "api_ask_lift", KEEPS, in_person=True),
    Route("POST", "/api/v1/holds/answer", "api_answer_lift", KEEPS, in_person=True),
    Route("GET", "/api/v1/deletions", "api_deletions", LOOKS),
    Route("GET", "/api/v1/retention", "api_retention", LOOKS),
    Route("GET", "/api/v1/overview", "api_overview", LOOKS),
    Route("GET", "/api/v1/access", "api_access", LOOKS),
    Route("GET", "/api/v1/sessions/{session}/looks", "api_looks", LOOKS),
    Route("GET", "/api/v1/sessions/{session}/verify", "api_verify", LOOKS),
    Route("GET", "/api/v1/sessions/{session}/export/{form}", "export", LOOKS),
    Route("GET", "/api/v1/search", "api_search", LOOKS),
    Route("GET", "/api/v1/searches", "api_searches", LOOKS),
    Route("POST", "/api/v1/searches", "api_save_search", LOOKS),
    Route("POST", "/api/v1/searches/drop", "api_drop_search", LOOKS),
    Route("GET", "/api/v1/live", "api_live", ALL),
    Route("POST", "/api/v1/live/end", "api_end", ACTS),
    Route("POST", "/api/v1/live/lock", "api_lock", ACTS),
    Route("POST", "/api/v1/live/unlock", "api_unlock", ACTS),
    Route("GET", "/api/v1/locks", "api_locks", ALL),
    Route("GET", "/api/v1/requests", "api_requests", ALL),
    Route("POST", "/api/v1/requests/{request}", "api_answer", APPROVES),
    Route("GET", "/api/v1/me", "api_me", ALL),
    Route("GET", "/api/v1/tokens", "api_tokens", KEEPS),
    Route("GET", "/api/v1/passkeys", "api_passkeys", KEEPS),
    Route("GET", "/api/v1/openapi.json", "api_document", ALL),
)
"""The table. HEAD is answered as GET without a body."""

SCOPES: Final = tuple(dict.fromkeys(route.scope for route in ROUTES if route.scope))
"""What API tokens may be for."""


NOWHERE: Final = Route("GET", "/", "nowhere", frozenset())
"""Of a request that no route is found for: it is nobody's."""


@dataclass(frozen=True, slots=True)
class Found:
    """A route, and the parts of the path that it leaves open."""

    route: Route
    parts: dict[str, str]


def find(method: str, path: str) -> Found | None:
    """The route of a request; None when there is none."""
    wanted = "GET" if method == "HEAD" else method
    for route in ROUTES:
        if route.method == wanted and (match := route.pattern.fullmatch(path)) is not None:
            return Found(route, match.groupdict())
    return None


def methods_of(path: str) -> tuple[str, ...]:
    """By which the path may be asked for; none: there is no such path."""
    found = {route.method for route in ROUTES if route.pattern.fullmatch(path) is not None}
    return (*(("GET", "HEAD") if "GET" in found else ()), *sorted(found - {"GET"}))


def leads_back(path: str) -> bool:
    """May somebody be sent to this address of ours after signing in? Only to a page of the table, by its whole form."""
    place, _, query = path.partition("?")
    found = find("GET", place)
    safe = re.fullmatch(r"[A-Za-z0-9_.~=&%+:/@-]*", query) is not None and len(path) <= 2048
    return found is not None and found.route.whose != ANYBODY and not found.route.is_data and safe
