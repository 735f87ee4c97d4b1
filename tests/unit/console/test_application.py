"""The table of routes, walked over HTTP: everybody on every route, a browser without scripts against a real console."""

from __future__ import annotations

import itertools
import socket

import pytest
from sqlalchemy import update

from bastion.console.routes import ANYBODY, ROUTES, SCOPES, Route
from bastion.console.throttle import BURST
from bastion.console.tokens import make
from bastion.control.roles import Role
from bastion.state.schema import CONSOLE_TOKENS
from tests.support.world import poll
from tests.unit.cli.made import FIRST
from tests.unit.console.made import Browser, ConsoleSite, Got, Program

pytestmark = pytest.mark.slow

NAMES = {Role.AUDITOR: "ada", Role.RESPONDER: "rex", Role.APPROVER: "abe", Role.ADMIN: "adm"}
PROTECTED = [route for route in ROUTES if route.whose != ANYBODY]
routes = pytest.mark.parametrize("route", PROTECTED, ids=lambda route: f"{route.method} {route.path}")

_addresses = (f"127.0.{number // 200}.{number % 200 + 2}" for number in itertools.count())
"""Each browser comes from an address of its own: the throttle is not what is looked at."""


@pytest.fixture(scope="module")
def browsers(console: ConsoleSite) -> dict[Role, tuple[Browser, str]]:
    """Of each role a browser, and the token of its forms."""
    made = {role: console.browser(name, next(_addresses)) for role, name in NAMES.items()}
    return {role: (browser, browser.get("/live").token) for role, browser in made.items()}


def path_of(route: Route) -> str:
    return route.path.format(
        session=FIRST, form="text", file="console.css", request="a" * 10, deletion="a" * 16
    )


def asked(browser: Browser, route: Route, token: str = "") -> Got:
    """As a page of ours would; what it orders names nothing. One person asks all of them, and may have to wait."""

    def ask() -> Got | None:
        if route.method == "POST":
            got = browser.ask("POST", path_of(route), {"token": token})
        else:
            got = browser.get(path_of(route))
        return got if got.status != 429 else None

    got: Got = poll(ask)
    return got


@routes
def test_a_stranger_is_led_to_the_sign_in_or_told_no(console: ConsoleSite, route: Route) -> None:
    got = asked(console.browser(source=next(_addresses)), route)
    if route.is_data or route.changes:
        assert got.status == 401
    else:
        assert got.status == 303 and got.place.startswith("/sign-in")
    assert "alice" not in got.text and "set-cookie" not in got.headers


@routes
@pytest.mark.parametrize("role", Role, ids=str)
def test_each_role_on_each_route(browsers: dict[Role, tuple[Browser, str]], route: Route, role: Role) -> None:
    if route.name == "sign_out":
        pytest.skip("it is signed out of below")
    got = asked(browsers[role][0], route, browsers[role][1])
    if role not in route.whose:
        assert got.status == 403 and "alice" not in got.text.replace(f"({role})", "")
    else:
        assert got.status not in (401, 403), got.text


@pytest.fixture(scope="module")
def gone(console: ConsoleSite) -> tuple[Browser, str]:
    """A browser that goes on with the cookie and the token of a sign-in that is over."""
    browser = console.browser("adm", next(_addresses))
    kept, token = dict(browser.cookies), browser.get("/live/lock").token
    out = browser.ask("POST", "/sign-out", {"token": token})
    assert out.status == 303 and out.headers["clear-site-data"]
    assert [*browser.cookies.values()] == [""] and "Max-Age=0" in out.headers["set-cookie"]
    browser.cookies = kept
    return browser, token


@routes
def test_a_cookie_that_was_signed_out_is_nobodys(gone: tuple[Browser, str], route: Route) -> None:
    browser, token = gone
    got = asked(browser, route, token)
    assert got.status in (401, 303) and "alice" not in got.text


@pytest.fixture(scope="module")
def programs(console: ConsoleSite) -> dict[Role, Program]:
    """A program of each role, with a token for everything."""
    return {role: console.browser(name, next(_addresses)).program() for role, name in NAMES.items()}


@routes
@pytest.mark.parametrize("role", Role, ids=str)
def test_each_roles_token_on_each_route(programs: dict[Role, Program], route: Route, role: Role) -> None:
    got = asked(programs[role], route)
    if route.is_data and role in route.whose and not route.in_person:
        assert got.status not in (401, 403), got.text
    else:
        assert got.status == 403 and "alice" not in got.text and got.headers["content-type"] != "text/html"
    assert "set-cookie" not in got.headers


DATA = [route for route in PROTECTED if route.is_data]
data_routes = pytest.mark.parametrize("route", DATA, ids=lambda route: f"{route.method} {route.path}")


@pytest.fixture(scope="module")
def narrow(console: ConsoleSite) -> dict[str, Program]:
    """Of one admin, who has no others, a token for each scope."""
    browser = console.browser("bos", next(_addresses))
    return {scope: browser.program(scope) for scope in SCOPES}


@data_routes
@pytest.mark.parametrize("scope", SCOPES)
def test_a_token_is_for_what_it_was_made_for_alone(
    narrow: dict[str, Program], route: Route, scope: str
) -> None:
    got = asked(narrow[scope], route)
    if route.scope in ("", scope) and not route.in_person:
        assert got.status not in (401, 403), got.text
    else:
        assert (got.status, got.json["error"]) == (403, "out_of_scope")


@pytest.fixture(scope="module")
def over(console: ConsoleSite) -> list[Program]:
    """With tokens that are none: taken away, of another console's store, ended, and no token at all."""
    browser = console.browser("adm", next(_addresses))
    gone, ended = browser.program("sessions"), browser.program("sessions")
    page = browser.get("/account")
    assert browser.ask("POST", "/account/tokens/revoke", {"token": page.token, "id": gone.id}).status == 303
    with console.database.write() as connection:
        connection.execute(update(CONSOLE_TOKENS).where(CONSOLE_TOKENS.c.id == ended.id).values(ends_at=1.0))
    others = [Program(console.origin, bearer) for bearer in (make()[0], gone.bearer[:-1], "x", "")]
    return [gone, ended, *others]


@data_routes
def test_a_token_that_is_none_any_more_opens_nothing(over: list[Program], route: Route) -> None:
    for program in over:
        program.source = next(_addresses)
        got = asked(program, route)
        assert (got.status, got.json["error"]) == (401, "bad_api_token")
        assert got.headers["www-authenticate"].startswith("Bearer") and "alice" not in got.text


@data_routes
def test_a_token_goes_with_no_cookie(
    console: ConsoleSite, programs: dict[Role, Program], route: Route
) -> None:
    browser = console.browser("adm", next(_addresses))
    program = Program(console.origin, programs[Role.ADMIN].bearer, browser.source)
    program.cookies = browser.cookies
    assert asked(program, route).status == 400


@pytest.mark.parametrize(
    "route", [route for route in PROTECTED if route.changes], ids=lambda route: route.path
)
def test_forms_of_others_are_refused(console: ConsoleSite, route: Route) -> None:
    mine, other = console.browser("adm", next(_addresses)), console.browser("rex", next(_addresses))
    token, others = mine.get("/live/lock").token, other.get("/live/lock").token
    path = path_of(route)
    for form, headers in (
        ({}, {}),
        ({"token": others}, {}),
        ({"token": token[:-1]}, {}),
        ({"token": token}, {"origin": "https://evil.example.com"}),
        ({"token": token}, {"origin": "null"}),
        ({"token": token}, {"origin": None}),
        ({"token": token}, {"sec_fetch_site": "cross-site"}),
    ):
        got = mine.ask("POST", path, form, **headers)  # type: ignore[arg-type]
        assert got.status == 403, (form, headers)
    assert mine.get("/sessions").status == 200, "and nobody was signed out by that"


def test_another_name_is_not_answered(console: ConsoleSite) -> None:
    browser = console.browser("ada", next(_addresses))
    assert browser.get("/sessions", host="evil.example.com").status == 421
    assert browser.get("/sign-in", host="evil.example.com").status == 421


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_answers_everybody_with_every_header(
    console: ConsoleSite, browsers: dict[Role, Browser], programs: dict[Role, Program], route: Route
) -> None:
    """Whether it is shown, refused or led elsewhere. What scanners look for: ZAP's passive rules, by hand."""
    for browser in (
        console.browser(source=next(_addresses)),
        browsers[Role.APPROVER][0],
        programs[Role.ADMIN],
    ):
        headers = asked(browser, route).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "same-origin" and headers["permissions-policy"]
        assert (
            headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
        )
        kept = route.name == "static" and not isinstance(browser, Program)
        assert headers["cache-control"] == ("public, max-age=300" if kept else "no-store")
        assert not {"server", "x-powered-by", "access-control-allow-origin", "etag"} & set(headers)
        if "charset" not in headers["content-type"]:
            assert headers["content-type"] in ("application/json", "image/svg+xml"), "text says its charset"
        if "set-cookie" in headers:
            assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(headers["set-cookie"].split("; "))


def test_every_answer_has_the_headers_and_the_cookie_its_marks(console: ConsoleSite) -> None:
    browser = console.browser(source=next(_addresses))
    got = browser.sign_in("ada")
    marks = got.headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(marks) and "Domain" not in got.headers[
        "set-cookie"
    ]
    for path in ("/sessions", "/nothing", "/sign-in", "/static/player.js", f"/sessions/{FIRST}/export/html"):
        headers = browser.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert "server" not in headers and headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("PUT", "/sessions", 405),
     ("POST", "/sessions", 405), ("GET", "/sign-out", 405), ("GET", "/sessions?user=a&user=b", 400),
     ("GET", "/sessions?q=" + "x" * 5000, 413), ("GET", "/sessions/%2e%2e", 400), ("TRACE", "/", 405)],
)  # fmt: skip
def test_what_is_no_request_of_ours(console: ConsoleSite, method: str, path: str, status: int) -> None:
    got = console.browser("ada", next(_addresses)).ask(method, path)
    assert got.status == status and "Traceback" not in got.text


def test_a_body_that_is_too_long(console: ConsoleSite) -> None:
    got = console.browser(source=next(_addresses)).ask("POST", "/sign-in", {"name": "x" * 10_000})
    assert got.status == 413


def test_who_asks_too_much_waits(console: ConsoleSite) -> None:
    browser = console.browser(source="127.0.77.77")
    host, _, port = browser.host.rpartition(":")
    asked = f"GET /nothing HTTP/1.1\r\nHost: {browser.host}\r\n\r\n" * (BURST + 60)
    last = f"GET /nothing HTTP/1.1\r\nHost: {browser.host}\r\nConnection: close\r\n\r\n"
    said = b""
    with socket.create_connection((host, int(port)), timeout=60, source_address=(browser.source, 0)) as one:
        one.sendall((asked + last).encode())
        while piece := one.recv(65536):
            said += piece
    assert said.count(b"HTTP/1.1 404") >= BURST and said.count(b"HTTP/1.1 429") > 0
    assert console.browser(source=next(_addresses)).get("/nothing").status == 404


def test_what_is_refused_is_written_down(console: ConsoleSite) -> None:
    browser = console.browser("abe", next(_addresses))
    browser.get("/sessions")
    refused = [line for line in console.audit("console_refused") if line.get("user") == "abe"]
    assert refused[-1]["reason"] == "no_role" and refused[-1]["path"] == "/sessions"
    assert refused[-1]["source"] == browser.source and refused[-1]["route"] == "sessions"
