"""May this be answered? (L4, pure): the one function that decides it, for every route of the table.

Invariant: it says no unless everything fits: the host is ours, the person is signed in and has one of the route's
roles, and whatever changes something comes from a page of ours with the token of this very visit. Programs with an API
token, which no browser sends by itself, are asked for neither; they get what is for programs, and of it what the token
is for, and nothing that takes a second person.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bastion.console.asked import Asked
from bastion.console.routes import ANYBODY, Route
from bastion.console.visits import Visit
from bastion.errors import ConsoleReason

TOKEN_FIELD: Final = "token"

STATUS: Final = {
    ConsoleReason.NOT_SIGNED_IN: 401,
    ConsoleReason.IDLE: 401,
    ConsoleReason.EXPIRED: 401,
    ConsoleReason.SIGNED_OUT: 401,
    ConsoleReason.ACCOUNT_GONE: 401,
    ConsoleReason.LOCKED: 401,
    ConsoleReason.BAD_API_TOKEN: 401,
    ConsoleReason.NO_ROLE: 403,
    ConsoleReason.OWN: 403,
    ConsoleReason.OUT_OF_SCOPE: 403,
    ConsoleReason.STALE_SIGN_IN: 403,
    ConsoleReason.BAD_ORIGIN: 403,
    ConsoleReason.BAD_TOKEN: 403,
    ConsoleReason.NOT_FOUND: 404,
    ConsoleReason.BAD_METHOD: 405,
    ConsoleReason.TOO_LARGE: 413,
    ConsoleReason.BAD_HOST: 421,
    ConsoleReason.THROTTLED: 429,
    ConsoleReason.BAD_REQUEST: 400,
    ConsoleReason.FAILED: 500,
    ConsoleReason.TOO_MANY: 503,
    ConsoleReason.UNAVAILABLE: 503,
    ConsoleReason.UNAUDITED: 503,
}
"""Reason -> the status of the answer."""

TEXTS: Final = {
    ConsoleReason.NOT_SIGNED_IN: "sign in first",
    ConsoleReason.IDLE: "nothing was asked for a while: sign in again",
    ConsoleReason.EXPIRED: "it is long since you signed in: sign in again",
    ConsoleReason.SIGNED_OUT: "you have signed out",
    ConsoleReason.ACCOUNT_GONE: "the account is none any more, or has no role here",
    ConsoleReason.LOCKED: "the account is locked",
    ConsoleReason.NO_ROLE: "none of your roles may do that",
    ConsoleReason.OWN: "that is for somebody else to do",
    ConsoleReason.BAD_API_TOKEN: "that is no API token, or one that has ended",
    ConsoleReason.OUT_OF_SCOPE: "the API token is not for that",
    ConsoleReason.STALE_SIGN_IN: "for that sign in again, with more than a password",
    ConsoleReason.BAD_ORIGIN: "that did not come from a page of this console",
    ConsoleReason.BAD_TOKEN: "that form is not of this sign-in: load the page again",
    ConsoleReason.NOT_FOUND: "there is no such page",
    ConsoleReason.BAD_METHOD: "there is no such page",
    ConsoleReason.TOO_LARGE: "that is too long",
    ConsoleReason.BAD_HOST: "this console has another name",
    ConsoleReason.THROTTLED: "too much was asked from here: wait a moment",
    ConsoleReason.BAD_REQUEST: "the request cannot be read",
    ConsoleReason.FAILED: "that failed; the operator's log says how",
    ConsoleReason.TOO_MANY: "too many ask at the same time: try again in a moment",
    ConsoleReason.UNAVAILABLE: "what is needed for that does not answer: try again in a moment",
    ConsoleReason.UNAUDITED: "nothing is shown while the audit log cannot be written",
}
"""Reason -> what whoever asked reads."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where this console is, as browsers name it: `https://console.example.com`."""

    origin: str

    @property
    def host(self) -> str:
        """As in a Host header."""
        return self.origin.partition("://")[2]

    @property
    def is_secure(self) -> bool:
        """Browsers speak TLS to it, or to the proxy in front."""
        return self.origin.startswith("https://")


def judge(route: Route, asked: Asked, visit: Visit | None, place: Place) -> ConsoleReason | None:
    """Why this is not answered; None: it is."""
    if asked.host != place.host:
        return ConsoleReason.BAD_HOST
    if asked.bearer is not None:
        return _judge_program(route, visit)
    if route.changes and asked.origin != place.origin:
        return ConsoleReason.BAD_ORIGIN
    if route.changes and asked.fetch_site not in ("", "same-origin"):
        return ConsoleReason.BAD_ORIGIN
    if route.whose == ANYBODY:
        return None
    if visit is None:
        return ConsoleReason.NOT_SIGNED_IN
    if not route.whose & visit.roles:
        return ConsoleReason.NO_ROLE
    if route.changes and not visit.has_token(asked.form.get(TOKEN_FIELD, "")):
        return ConsoleReason.BAD_TOKEN
    return None


def _judge_program(route: Route, visit: Visit | None) -> ConsoleReason | None:
    if not route.is_data:
        return ConsoleReason.OUT_OF_SCOPE
    if visit is None or visit.scope is None:
        return ConsoleReason.BAD_API_TOKEN
    if route.whose == ANYBODY or not route.whose & visit.roles:
        return ConsoleReason.NO_ROLE
    outside = route.in_person or (route.scope and route.scope not in visit.scope)
    return ConsoleReason.OUT_OF_SCOPE if outside else None
