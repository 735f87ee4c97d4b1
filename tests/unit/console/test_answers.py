"""Headers that every answer has, and cookies that no script reads."""

from __future__ import annotations

import pytest

from bastion.console.answers import Answer, cookie, cookie_name, document, headers_of, see


@pytest.mark.parametrize(
    "answer", [Answer(), document({"a": 1}), see("/sessions")], ids=["page", "json", "see"]
)
def test_every_answer_has_every_header(answer: Answer) -> None:
    found = dict(headers_of(answer, secure=True))
    policy = dict(part.partition(" ")[::2] for part in found["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
    assert "unsafe" not in found["content-security-policy"] and "http" not in found["content-security-policy"]
    assert found["x-content-type-options"] == "nosniff" and found["x-frame-options"] == "DENY"
    assert found["referrer-policy"] == "same-origin" and found["cache-control"] == "no-store"
    assert "max-age" in found["strict-transport-security"] and "content-type" in found
    assert "strict-transport-security" not in dict(headers_of(answer, secure=False))


def test_a_header_of_its_own_stands_in_the_place_of_the_common_one() -> None:
    found = headers_of(Answer(headers=(("cache-control", "max-age=300"),)), secure=False)
    assert [value for name, value in found if name == "cache-control"] == ["max-age=300"]


def test_cookies() -> None:
    assert cookie("__Host-bastion", "x", True) == (
        "set-cookie",
        "__Host-bastion=x; Path=/; HttpOnly; SameSite=Strict; Secure",
    )
    assert cookie("bastion", "", False)[1] == "bastion=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"
    assert cookie_name(True).startswith("__Host-") and not cookie_name(False).startswith("__")
    assert document([1]).body == b"[1]\n" and see("/a").headers == (("location", "/a"),)
