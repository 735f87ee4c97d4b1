"""A request as a value: what can be read in two ways is refused, and only listed proxies are believed."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from bastion.console.asked import (
    BODY_MAX,
    FORM,
    MOST_FIELDS,
    URL_MAX,
    Asked,
    BadRequest,
    Proxies,
    fields_of,
    read,
)
from bastion.errors import ConsoleReason

NOBODY = Proxies()
LISTED = Proxies((ip_network("192.0.2.80/32"), ip_network("10.0.0.0/8")), user_header="X-Remote-User")
LOCAL = Proxies(local=True, user_header="X-Remote-User")


def asked(
    target: str = "/sessions",
    method: str = "GET",
    body: bytes = b"",
    peer: str = "198.51.100.7",
    proxies: Proxies = NOBODY,
    **headers: Any,
) -> Asked:
    given = {"host": ("console.example.com",)}
    given |= {
        name.replace("_", "-"): value if isinstance(value, tuple) else (value,)
        for name, value in headers.items()
    }
    return read(method, target, given, body, peer, proxies)


def test_what_is_asked_is_read() -> None:
    found = asked(
        "/sessions?user=alice&since=7d", cookie="a=b; bastion=x=y; bastion=z", origin="https://a.example"
    )
    assert (found.path, dict(found.query)) == ("/sessions", {"user": "alice", "since": "7d"})
    assert dict(found.cookies) == {"a": "b", "bastion": "x=y"}
    assert (found.host, found.origin, found.source) == (
        "console.example.com",
        "https://a.example",
        "198.51.100.7",
    )
    form = asked("/sign-in", "POST", b"name=alice&password=a%26b+c", content_type=f"{FORM}; charset=utf-8")
    assert dict(form.form) == {"name": "alice", "password": "a&b c"} and form.origin is None


@pytest.mark.parametrize(
    ("target", "given"),
    [
        ("/sessions?user=a&user=b", {}),
        ("/sessions?user=%ff", {}),
        ("/sessions?user=a%00b", {}),
        ("/sessions?user=a%1bb", {}),
        ("/sessions?user", {}),
        ("/sessions%2f..", {}),
        ("/sess\xe9ons", {}),
        ("http://other.example.com/sessions", {}),
        ("*", {}),
        ("/sessions", {"host": ("a.example", "b.example")}),
        ("/sessions", {"host": ()}),
        ("/sessions", {"host": "a b"}),
        ("/sessions", {"origin": ("https://a.example", "https://b.example")}),
        ("/sessions?" + "&".join(f"f{number}=x" for number in range(MOST_FIELDS + 1)), {}),
    ],
)
def test_what_can_be_read_in_two_ways_or_not_at_all_is_refused(target: str, given: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as refused:
        asked(target, **given)
    assert refused.value.reason is ConsoleReason.BAD_REQUEST


def test_what_is_too_long_is_refused() -> None:
    with pytest.raises(BadRequest) as refused:
        asked("/sessions?q=" + "x" * URL_MAX)
    assert refused.value.reason is ConsoleReason.TOO_LARGE
    assert dict(asked(cookie="a=" + "x" * 10_000).cookies) == {}


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x", "text/plain", ""])
def test_a_body_that_is_no_form_is_refused(kind: str) -> None:
    with pytest.raises(BadRequest):
        asked("/sign-in", "POST", b"name=alice", content_type=kind)


def test_a_form_is_ascii_with_escapes() -> None:
    with pytest.raises(BadRequest):
        asked("/sign-in", "POST", b"name=\xff", content_type=FORM)
    assert fields_of("") == {} and fields_of("a=&b=1") == {"a": "", "b": "1"}
    assert len(b"x") <= BODY_MAX


def test_nobody_is_believed_about_addresses_and_people_but_listed_proxies() -> None:
    forged = {"x_forwarded_for": "127.0.0.1", "x_remote_user": "admin"}
    for proxies in (NOBODY, LISTED):
        found = asked(peer="198.51.100.7", proxies=proxies, **forged)
        assert (found.source, found.user) == ("198.51.100.7", "")
    found = asked(peer="192.0.2.80", proxies=LISTED, **forged)
    assert (found.source, found.user) == ("127.0.0.1", "admin")
    assert asked(peer="::ffff:192.0.2.80", proxies=LISTED, **forged).user == "admin"
    assert asked(peer="", proxies=LISTED, **forged).user == ""
    assert asked(peer="", proxies=LOCAL, **forged).user == "admin"
    assert asked(peer="", proxies=LOCAL).source == "unix"


def test_of_several_hops_the_last_that_is_no_proxy_is_the_source() -> None:
    hops = {"x_forwarded_for": ("203.0.113.1, 198.51.100.9", "10.1.1.1")}
    assert asked(peer="192.0.2.80", proxies=LISTED, **hops).source == "198.51.100.9"
    odd = {"x_forwarded_for": "203.0.113.1, <script>"}
    assert asked(peer="192.0.2.80", proxies=LISTED, **odd).source == "192.0.2.80"


def test_two_names_of_one_person_are_nobody() -> None:
    with pytest.raises(BadRequest):
        asked(peer="192.0.2.80", proxies=LISTED, x_remote_user=("alice", "admin"))


def test_programs_may_write_a_form_as_a_flat_object() -> None:
    found = asked(
        "/api/v1/live/end", "POST", b'{"session": "x", "reason": "\\u00e4"}', content_type="application/json"
    )
    assert dict(found.form) == {"session": "x", "reason": "\u00e4"}
    assert dict(asked("/api/v1/live/end", "POST").form) == {}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"1",
        b"{",
        b'{"a": 1}',
        b'{"a": null}',
        b'{"a": {"b": "c"}}',
        b'{"a": [["b", "c"]]}',
        b'{"a": "b", "a": "c"}',
        b'{"a": "\\u0000"}',
        b'{"a": "\\ud800"}',
        b"\xff",
        b"[" * 5000,
        b'[["a", "b"]]',
        b"{" + b",".join(b'"f%d": "x"' % number for number in range(MOST_FIELDS + 1)) + b"}",
    ],
)
def test_no_other_json_is_a_form(body: bytes) -> None:
    with pytest.raises(BadRequest):
        asked("/api/v1/live/end", "POST", body, content_type="application/json")


def test_pages_take_no_json() -> None:
    with pytest.raises(BadRequest):
        asked("/live/end", "POST", b"{}", content_type="application/json")


@pytest.mark.parametrize(
    ("given", "bearer"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc", "abc"),
        ("Bearer", ""),
        ("Bearer a b", ""),
        ("Bearer \xe4", ""),
        ("Bearer " + "x" * 600, ""),
        ("Basic YTpi", None),
        ("", None),
    ],
)
def test_a_token_is_read_strictly_and_what_a_proxy_asked_for_is_not_ours(
    given: str, bearer: str | None
) -> None:
    found = asked("/api/v1/me", authorization=given)
    assert found.bearer == bearer and "abc" not in repr(found)
    with pytest.raises(BadRequest):
        asked("/api/v1/me", authorization=(given or "Bearer x", "Bearer y"))


def test_a_token_that_a_proxy_passes_on_is_not_for_us() -> None:
    theirs, ours = "Bearer eyJhbGciOi", "Bearer bastion_api_x"
    assert asked("/sessions", authorization=theirs).bearer is None
    assert asked("/api/v1/me", authorization=theirs).bearer == "eyJhbGciOi"
    by_proxy = {"peer": "192.0.2.80", "proxies": LISTED, "x_remote_user": "alice", "authorization": theirs}
    assert asked("/api/v1/me", **by_proxy).bearer is None  # type: ignore[arg-type]
    assert asked("/api/v1/me", **by_proxy | {"peer": "198.51.100.7"}).bearer == "eyJhbGciOi"  # type: ignore[arg-type]
    for target in ("/sessions", "/api/v1/me"):
        assert asked(target, **by_proxy | {"authorization": ours}).bearer == "bastion_api_x"  # type: ignore[arg-type]
