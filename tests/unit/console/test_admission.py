"""Every route, asked by everybody in every way: the matrix is made of the table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bastion.clock import FixedClock
from bastion.console.admission import STATUS, TEXTS, TOKEN_FIELD, Place, judge
from bastion.console.asked import Asked
from bastion.console.routes import ANYBODY, ROUTES, SCOPES, Route
from bastion.console.visits import Visit, Visits
from bastion.control.roles import Role
from bastion.errors import ConsoleReason

HERE = Place("https://console.example.com")
VISITS = Visits(FixedClock(), 600.0, 3600.0, lambda visit, why: None)
OTHER = VISITS.begin("mallory", "u-mallory", frozenset(Role), "192.0.2.9")[1]

ids = pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
roles = pytest.mark.parametrize("role", [*Role, None], ids=str)


def visit_of(role: Role | None) -> Visit:
    return VISITS.begin("alice", "u-alice", frozenset((role,)) if role else frozenset(), "192.0.2.1")[1]


def asked(route: Route, visit: Visit | None) -> Asked:
    """As a page of ours would."""
    form = {TOKEN_FIELD: visit.token} if visit is not None else {}
    return Asked(route.method, route.path, HERE.host, "192.0.2.1", form=form, origin=HERE.origin)


@ids
@roles
def test_a_role_sees_what_the_table_gives_it_and_nothing_else(route: Route, role: Role | None) -> None:
    visit = visit_of(role)
    allowed = route.whose == ANYBODY or role in route.whose
    assert judge(route, asked(route, visit), visit, HERE) == (None if allowed else ConsoleReason.NO_ROLE)


@ids
def test_a_stranger_sees_the_sign_in_alone(route: Route) -> None:
    expected = None if route.whose == ANYBODY else ConsoleReason.NOT_SIGNED_IN
    assert judge(route, asked(route, None), None, HERE) == expected


@ids
@pytest.mark.parametrize(
    "origin",
    [
        None,
        "null",
        "https://evil.example.com",
        "http://console.example.com",
        "https://console.example.com:8443",
    ],
)
def test_nothing_changes_for_another_sites_page(route: Route, origin: str | None) -> None:
    visit = visit_of(Role.ADMIN)
    found = judge(route, replace(asked(route, visit), origin=origin), visit, HERE)
    assert found == (ConsoleReason.BAD_ORIGIN if route.changes else None)


@ids
@pytest.mark.parametrize("site", ["cross-site", "same-site", "none", "x"])
def test_nor_where_the_browser_says_that_it_is_one(route: Route, site: str) -> None:
    visit = visit_of(Role.ADMIN)
    found = judge(route, replace(asked(route, visit), fetch_site=site), visit, HERE)
    assert found == (ConsoleReason.BAD_ORIGIN if route.changes else None)


@ids
@pytest.mark.parametrize(
    "token", [None, "", "x" * 43, OTHER.token], ids=["none", "empty", "wrong", "another's"]
)
def test_nothing_changes_without_the_visits_own_token(route: Route, token: str | None) -> None:
    visit = visit_of(Role.ADMIN)
    form = {} if token is None else {TOKEN_FIELD: token}
    found = judge(route, replace(asked(route, visit), form=form), visit, HERE)
    wrong = route.changes and route.whose != ANYBODY
    assert found == (ConsoleReason.BAD_TOKEN if wrong else None)


def program_of(role: Role | None, scope: str) -> Visit:
    """Whoever an API token stands for."""
    return replace(visit_of(role), token="", scope=frozenset((scope,)), by_token="t")


def by_program(route: Route, visit: Visit | None) -> Asked:
    """As a program asks: with neither Origin nor a form's token."""
    return replace(asked(route, None), origin=None, form={}, bearer="bastion_api_x")


@ids
@roles
def test_a_token_has_its_owners_roles_and_what_it_is_for_and_no_more(route: Route, role: Role | None) -> None:
    for scope in ("nothing", *SCOPES):
        visit = program_of(role, scope)
        found = judge(route, by_program(route, visit), visit, HERE)
        if not route.is_data:
            assert found is ConsoleReason.OUT_OF_SCOPE, "pages are for browsers"
        elif route.whose == ANYBODY or role not in route.whose:
            assert found is ConsoleReason.NO_ROLE
        else:
            may = route.scope in ("", scope) and not route.in_person
            assert found == (None if may else ConsoleReason.OUT_OF_SCOPE)


@ids
def test_a_token_that_is_none_opens_nothing_and_a_visit_of_a_browser_is_no_token(route: Route) -> None:
    wrong = ConsoleReason.BAD_API_TOKEN if route.is_data else ConsoleReason.OUT_OF_SCOPE
    for visit in (None, visit_of(Role.ADMIN)):
        assert judge(route, by_program(route, visit), visit, HERE) is wrong
    elsewhere = replace(by_program(route, None), host="evil.example.com")
    assert judge(route, elsewhere, program_of(Role.ADMIN, route.scope), HERE) is ConsoleReason.BAD_HOST


@ids
@pytest.mark.parametrize("host", ["evil.example.com", "console.example.com:443", "127.0.0.1"])
def test_another_name_is_not_answered(route: Route, host: str) -> None:
    visit = visit_of(Role.ADMIN)
    assert judge(route, replace(asked(route, visit), host=host), visit, HERE) is ConsoleReason.BAD_HOST


def test_every_reason_has_a_status_and_words() -> None:
    assert set(STATUS) == set(TEXTS) == set(ConsoleReason)
    assert all(400 <= status < 600 for status in STATUS.values())
    assert HERE.is_secure and not Place("http://127.0.0.1:9743").is_secure
