"""URLs as values of options."""

from __future__ import annotations

import pytest

from bastion.net.urls import url
from tests.unit.options.test_kinds import reading

SERVER = url("URL", "URL of a server", "https://HOST/PATH")
HOOK = url("URL", "URL of a hook", "https://HOST/PATH", loopback=True)
ISSUER = url("issuer", "issuer", "https://HOST/PATH", query=False, longest=30)


@pytest.mark.parametrize(
    "value", ["https://h", "https://h:8443/a/b?c=d", "https://[2001:db8::1]/x", "https://h.example/%20"]
)
def test_urls_are_kept_as_they_are_written(value: str) -> None:
    assert reading(SERVER, value) == value == reading(HOOK, value)


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            "h",
            "http://h/",
            "ftp://h/",
            "https:///path",
            "https://me:word@h/",
            "https://@h/",
            "https://h/#part",
        ),
        *(
            "https://h:0/",
            "https://h:99999/",
            "https://h:x/",
            "https://[",
            "https://[::1/",
            "https://h /",
            "https://h\n",
        ),
        *("https://hé/", 7, True, None, []),
    ],
)
def test_what_is_none_is_said(value: object) -> None:
    for kind, what in ((SERVER, "URL of a server"), (HOOK, "URL of a hook"), (ISSUER, "issuer")):
        assert str(reading(kind, value)).endswith(f"is no {what}")


@pytest.mark.parametrize("value", ["http://127.0.0.1:9093", "http://[::1]/x", "http://localhost/"])
def test_without_tls_only_on_this_machine_and_where_it_may_be(value: str) -> None:
    assert reading(HOOK, value) == value
    assert "is no URL of a server" in reading(SERVER, value)


@pytest.mark.parametrize(("value", "good"), [("https://h/" + "x" * 20, True), ("https://h/" + "x" * 21, False),
                                             ("https://h/?q", False)])  # fmt: skip
def test_without_a_query_and_of_a_length(value: str, good: bool) -> None:
    assert (reading(ISSUER, value) == value) is good
