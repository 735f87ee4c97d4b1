"""What goes back to a browser (L4, pure): a value, and the headers that every answer has.

Invariant: no answer leaves without all of HEADERS; scripts and styles come from this origin's own files alone, nothing
is framed, nothing that is ours is kept in a cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

HTML: Final = "text/html; charset=utf-8"
JSON: Final = "application/json"

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
"""Of pages."""

POLICY_OF_FILES: Final = "default-src 'none'; sandbox; frame-ancestors 'none'"
"""Of what is taken away: a browser that shows it after all runs nothing of it."""

HEADERS: Final = (
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    # not no-referrer: a form's Origin would be "null", which says nothing
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), clipboard-read=(), geolocation=(), microphone=(), usb=()"),
    ("cache-control", "no-store"),
)

HSTS: Final = ("strict-transport-security", "max-age=31536000")

Write = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """`body`, or `stream`: something with `send_to(sink)` that writes the body piece by piece (`readers.Opened`)."""

    status: int = 200
    kind: str = HTML
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    stream: Any = field(default=None, compare=False)
    policy: str = POLICY


def document(value: object, status: int = 200) -> Answer:
    """JSON for a program."""
    return Answer(status, JSON, orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS) + b"\n")


def see(place: str, *headers: tuple[str, str]) -> Answer:
    """Look there instead, by GET."""
    return Answer(303, "text/plain; charset=utf-8", b"", (("location", place), *headers))


def cookie(name: str, value: str, secure: bool, same_site: str = "Strict") -> tuple[str, str]:
    """The header that sets a cookie until the browser ends; an empty value takes it away. `same_site` is Lax of what a
    browser has to bring back from elsewhere."""
    parts = [f"{name}={value}", "Path=/", "HttpOnly", f"SameSite={same_site}"]
    if secure:
        parts.append("Secure")
    if not value:
        parts.append("Max-Age=0")
    return "set-cookie", "; ".join(parts)


def cookie_name(secure: bool) -> str:
    """`__Host-`: a browser takes it over TLS only, for this host alone."""
    return "__Host-bastion" if secure else "bastion"


def headers_of(answer: Answer, secure: bool) -> list[tuple[str, str]]:
    """Every header of an answer but its length."""
    found = [("content-type", answer.kind), ("content-security-policy", answer.policy)]
    named = {name for name, _ in answer.headers}
    found += [one for one in HEADERS if one[0] not in named]
    if secure:
        found.append(HSTS)
    return [*found, *answer.headers]
