"""The table of routes: whose each is, and that nothing else exists."""

from __future__ import annotations

import pytest

from bastion.console.application import ANSWERS
from bastion.console.routes import (
    ACTS,
    ALL,
    ANYBODY,
    APPROVES,
    FORMS,
    KEEPS,
    LOOKS,
    ROUTES,
    SCOPES,
    STATIC,
    find,
    leads_back,
    methods_of,
)
from bastion.control.roles import Role

SESSION = "aaaabbbbccccdddd"


def test_every_route_is_answered_and_nothing_else_is() -> None:
    assert {route.name for route in ROUTES} == set(ANSWERS)
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)


def test_only_files_and_the_sign_in_are_anybodys() -> None:
    assert [route.path for route in ROUTES if route.whose == ANYBODY] == [
        "/static/{file}",
        "/sign-in",
        "/sign-in",
        "/sign-in/elsewhere",
        "/sign-in/elsewhere/back",
    ]


def test_every_other_route_has_roles_of_the_closed_set() -> None:
    for route in ROUTES:
        if route.whose != ANYBODY:
            assert route.whose and route.whose <= frozenset(Role)
    assert ACTS < LOOKS < ALL and Role.APPROVER not in LOOKS and Role.AUDITOR not in ACTS


def test_what_changes_something_is_asked_for_by_post_and_an_auditor_leaves_words_and_watches_alone() -> None:
    posts = {route.name: route.whose for route in ROUTES if route.method == "POST"}
    looks = {"note": LOOKS, "tag": LOOKS, "reviewed": LOOKS, "watch": LOOKS}
    looks |= {"save_search": LOOKS, "drop_search": LOOKS}
    looks |= dict.fromkeys(("api_note", "api_tag", "api_mark", "api_save_search", "api_drop_search"), LOOKS)
    held = {"hold": KEEPS, "ask_lift": KEEPS, "answer_lift": KEEPS}
    held |= {"api_hold": KEEPS, "api_ask_lift": KEEPS, "api_answer_lift": KEEPS}
    held |= {"ask_deletion": KEEPS, "answer_deletion": KEEPS}
    approves = {"answer": APPROVES, "api_answer": APPROVES, "requests_stream": ALL}
    acts = {"end": ACTS, "lock": ACTS, "api_end": ACTS, "api_lock": ACTS}
    acts |= {"unlock": ACTS, "api_unlock": ACTS}
    visits = {"sign_in": ANYBODY, "sign_out": ALL}
    keys = {"make_token": ALL, "revoke_token": ALL, "add_passkey": ALL, "remove_passkey": ALL}
    keys |= {"revoke_any_token": KEEPS, "remove_any_passkey": KEEPS}
    assert posts == visits | acts | looks | held | approves | keys


@pytest.mark.parametrize(
    "path",
    [
        "/sessions/",
        "/sessions/AAAABBBBCCCCDDDD",
        "/sessions/aaaabbbbccccdddd/",
        "/sessions/aaaabbbbccccdddd/export/raw",
        "/sessions/../../etc/passwd",
        "/sessions/aaaabbbbccccdddd\n",
        "/static/../console/console.css",
        "/static/base.html",
        "/sessionsx",
        "//sessions",
        "",
    ],
)
def test_what_is_not_in_the_table_is_not_found(path: str) -> None:
    assert find("GET", path) is None and find("HEAD", path) is None


def test_a_scope_is_of_what_is_for_programs_and_tells_looking_from_ordering() -> None:
    assert SCOPES == (
        "sessions",
        "reviews",
        "reviews:write",
        "holds",
        "holds:write",
        "deletions",
        "retention",
        "overview",
        "access",
        "search",
        "searches",
        "searches:write",
        "live",
        "live:write",
        "locks",
        "requests",
        "requests:write",
        "tokens",
        "passkeys",
    )
    in_person = {route.name: route.scope for route in ROUTES if route.in_person}
    assert in_person == {"api_ask_lift": "", "api_answer_lift": ""}
    assert {route.path for route in ROUTES if route.is_data and not route.scope and not route.in_person} == {
        "/api/v1/me",
        "/api/v1/openapi.json",
    }
    assert not any(route.scope for route in ROUTES if not route.is_data)


def test_the_methods_of_a_path_are_known() -> None:
    assert methods_of("/live/lock") == ("GET", "HEAD", "POST")
    assert methods_of("/api/v1/live/lock") == ("POST",) and methods_of("/nothing") == ()


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "get", ""])
def test_other_methods_are_not_found(method: str) -> None:
    assert find(method, "/sessions") is None


def test_parts_of_a_path_are_found() -> None:
    found = find("GET", f"/sessions/{SESSION}/export/html")
    assert found is not None and found.parts == {"session": SESSION, "form": "html"}
    tunnel = find("GET", f"/sessions/{SESSION}.12")
    assert tunnel is not None and tunnel.parts == {"session": f"{SESSION}.12"}
    head = find("HEAD", "/sessions")
    assert head is not None and head.route.name == "sessions"
    assert all(find("GET", f"/static/{name}") for name in STATIC)
    assert all(find("GET", f"/sessions/{SESSION}/export/{form}") for form in FORMS)


@pytest.mark.parametrize(
    "path", ["/sessions", "/sessions?user=alice&since=7d", f"/sessions/{SESSION}/play", "/live"]
)
def test_a_sign_in_leads_back_to_pages_of_ours(path: str) -> None:
    assert leads_back(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "//evil.example.com/sessions",
        "https://evil.example.com/",
        "/\\evil.example.com",
        "/sign-in",
        "/sign-out",
        "/api/v1/sessions",
        "/static/console.css",
        "/sessions?x=<script>",
        "/sessions\r\nset-cookie: x=y",
        "/sessions?" + "a" * 4096,
        "javascript:alert(1)",
    ],
)
def test_a_sign_in_leads_nowhere_else(path: str) -> None:
    assert not leads_back(path)
