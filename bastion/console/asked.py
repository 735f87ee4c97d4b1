"""What a browser asked for, as a value (L4, pure): read strictly, every part bounded, nothing believed of a proxy that
is not listed.

Invariant: a request that can be read in two ways (a parameter twice, a bad escape, controls) is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Final
from urllib.parse import parse_qsl

from bastion.console.tokens import BEGINNING
from bastion.errors import BastionError, ConsoleReason
from bastion.policy.patterns import address_of

URL_MAX: Final = 4096
"""Characters of the request's target: the longest filter is far below it."""

BODY_MAX: Final = 8192
"""Bytes of a form: name, password and code, or a reason."""

MOST_FIELDS: Final = 32
COOKIE_MAX: Final = 4096

Network = IPv4Network | IPv6Network

_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_PATH: Final = re.compile(r"/[A-Za-z0-9._~/-]*")
_HOST: Final = re.compile(r"[A-Za-z0-9.\[\]:_-]{1,255}")

FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"
FOR_PROGRAMS: Final = "/api/"
"""How paths begin whose forms may be JSON."""

_BEARER: Final = re.compile(r"[Bb]earer +([A-Za-z0-9._~+/=-]{1,512})")


class BadRequest(BastionError):
    """It cannot be read. `text` is ours."""

    def __init__(self, text: str, reason: ConsoleReason = ConsoleReason.BAD_REQUEST) -> None:
        super().__init__(text)
        self.text, self.reason = text, reason


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. `source` is whose address it came from, `origin` None where the browser says none; `user` is whom a
    listed proxy names, "" for nobody; `bearer` what a program shows (RFC 6750), "" for what cannot be one, None where
    there is none."""

    method: str
    path: str
    host: str
    source: str
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)
    cookies: Mapping[str, str] = field(default_factory=dict)
    origin: str | None = None
    fetch_site: str = ""
    user: str = ""
    target: str = ""  # path and query as they came
    bearer: str | None = field(default=None, repr=False)
    has_body: bool = False  # where none belongs


@dataclass(frozen=True, slots=True)
class Proxies:
    """Whose word on who asks is taken. `networks` are the proxies' addresses; `local`: whoever connects comes by a Unix
    socket, which the file's mode lets proxies to alone. `user_header` names who has signed in there, "" for none."""

    networks: tuple[Network, ...] = ()
    local: bool = False
    user_header: str = ""

    def listed(self, peer: str) -> bool:
        """Is this peer one of them? "" is the Unix socket."""
        if not peer:
            return self.local
        address = address_of(peer)
        return address is not None and any(address in network for network in self.networks)

    def source(self, peer: str, forwarded: Iterable[str]) -> str:
        """Whose address it is: of the listed proxies the last that names one which is no listed proxy itself."""
        if not self.listed(peer):
            return peer
        hops = [hop.strip() for line in forwarded for hop in line.split(",")]
        for hop in reversed(hops):
            if address_of(hop) is None:
                break
            if not self.listed(hop):
                return hop
        return peer or "unix"


def read(
    method: str,
    target: str,
    headers: Mapping[str, tuple[str, ...]],
    body: bytes,
    peer: str,
    proxies: Proxies,
) -> Asked:
    """The request. `headers` by lower-case name; `peer` is the connection's address, "" of a Unix socket. Raises
    BadRequest."""
    if len(target) > URL_MAX:
        raise BadRequest("the address is too long", ConsoleReason.TOO_LARGE)
    path, _, query = target.partition("?")
    if not _PATH.fullmatch(path) or not target.isascii():
        raise BadRequest("the address cannot be read")
    hosts = headers.get("host", ())
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        raise BadRequest("there is no one Host")
    form: dict[str, str] = {}
    if method == "POST":
        form = _form_of(headers, body, path.startswith(FOR_PROGRAMS))
    user = _one(headers, proxies.user_header.lower()) if proxies.user_header else ""
    user = user if proxies.listed(peer) else ""
    bearer = _bearer(_one(headers, "authorization"))
    if (
        bearer is not None
        and not bearer.startswith(BEGINNING)
        and (user or not path.startswith(FOR_PROGRAMS))
    ):
        bearer = None  # a proxy's, for which it has said who it is
    return Asked(
        method,
        path,
        hosts[0].lower(),
        proxies.source(peer, headers.get("x-forwarded-for", ())),
        fields_of(query),
        form,
        _cookies(headers.get("cookie", ())),
        _one(headers, "origin") or None,
        _one(headers, "sec-fetch-site").lower(),
        user,
        target,
        bearer,
        method != "POST" and bool(body),
    )


def _form_of(headers: Mapping[str, tuple[str, ...]], body: bytes, for_programs: bool) -> dict[str, str]:
    """The fields of a body, which programs may write as a flat object of strings. Raises BadRequest."""
    kind = _one(headers, "content-type").partition(";")[0].strip().lower()
    if for_programs and kind == JSON:
        return _object_of(body)
    if kind != FORM and (kind or body):
        raise BadRequest("the body is no form")
    try:
        return fields_of(body.decode("ascii"))
    except UnicodeDecodeError:
        raise BadRequest("the form cannot be read") from None


def _object_of(body: bytes) -> dict[str, str]:
    try:
        pairs = json.loads(body, object_pairs_hook=tuple)  # an array is a list
    except (ValueError, RecursionError):
        pairs = None
    if not isinstance(pairs, tuple) or len(pairs) > MOST_FIELDS:
        raise BadRequest("the body is no JSON object with fields of text")
    found: dict[str, str] = {}
    for pair in pairs:
        if not isinstance(pair, tuple) or not isinstance(pair[1], str):
            raise BadRequest("the body is no JSON object with fields of text")
        _add(found, *pair)
    return found


def _bearer(text: str) -> str | None:
    """Other kinds of Authorization are a proxy's business."""
    if text[:6].lower() != "bearer":
        return None
    found = _BEARER.fullmatch(text)
    return found[1] if found is not None else ""


def _one(headers: Mapping[str, tuple[str, ...]], name: str) -> str:
    """The one value of a header, "" for none. Raises BadRequest for several."""
    values = headers.get(name, ())
    if len(values) > 1:
        raise BadRequest(f"there are several {name}")
    return values[0].strip() if values else ""


def fields_of(text: str) -> dict[str, str]:
    """The fields of a query or form. Raises BadRequest."""
    try:
        pairs = parse_qsl(
            text,
            keep_blank_values=True,
            strict_parsing=bool(text),
            errors="strict",
            max_num_fields=MOST_FIELDS,
        )
    except ValueError:
        raise BadRequest("the fields cannot be read") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        _add(found, name, value)
    return found


def _add(found: dict[str, str], name: str, value: str) -> None:
    if name in found:
        raise BadRequest("a field is there twice")
    if _CONTROLS.search(name) or _CONTROLS.search(value):
        raise BadRequest("a field has controls in it")
    found[name] = value


def _cookies(lines: tuple[str, ...]) -> dict[str, str]:
    """The first of each name, as browsers mean it; too many are none at all."""
    text = ";".join(lines)
    if len(text) > COOKIE_MAX:
        return {}
    found: dict[str, str] = {}
    for part in text.split(";"):
        name, equals, value = part.strip().partition("=")
        if equals:
            found.setdefault(name, value)
    return found
