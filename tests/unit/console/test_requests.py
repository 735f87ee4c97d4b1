"""Requests as far as they need no gateway: tests/interop/test_console_live.py has one."""

from __future__ import annotations

import pytest

from tests.unit.console.made import Browser, ConsoleSite

pytestmark = pytest.mark.slow

PATH = "/requests/abcdefghij"


@pytest.fixture(scope="module")
def browser(console: ConsoleSite) -> Browser:
    return console.browser("abe", "127.5.0.2")


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"answer": "maybe", "code": "123456"},
        {"answer": "approve", "code": "1" * 65},
        {"answer": "approve", "code": "123456", "reason": "x" * 201},
    ],
)
@pytest.mark.parametrize("path", [PATH, f"/api/v1{PATH}"])
def test_an_answer_is_yes_or_no(
    console: ConsoleSite, browser: Browser, path: str, form: dict[str, str]
) -> None:
    before = len(console.audit("console_ordered"))
    token = browser.get("/requests").token
    assert browser.ask("POST", path, {"token": token, **form}).status == 400
    assert len(console.audit("console_ordered")) == before


def test_without_a_gateway_an_answer_is_written_down_and_told_as_not_given(
    console: ConsoleSite, browser: Browser
) -> None:
    form = {"token": browser.get("/requests").token, "answer": "deny", "code": "987654", "reason": "no"}
    got = browser.ask("POST", PATH, form)
    assert got.status == 503 and "no gateway answers" in got.text
    line = console.audit("console_ordered")[-1]
    assert (line["user"], line["command"], line["whom"], line["why"]) == ("abe", "deny", "abcdefghij", "no")
    assert "987654" not in (console.folder / "audit.jsonl").read_text() + console.log.read_text()


def test_a_stream_that_cannot_begin_is_an_answer_that_says_so(browser: Browser) -> None:
    form = {"token": browser.get("/requests").token}
    for got in (browser.get("/api/v1/requests"), browser.ask("POST", "/requests/stream", form)):
        assert got.status == 503 and got.json["error"] == "unavailable"
    assert browser.get("/requests").status == 503


@pytest.mark.parametrize("name", ["abcdefghi", "ABCDEFGHIJ", "abcdefghi1", "abcdefghij/x"])
def test_a_request_has_an_id(browser: Browser, name: str) -> None:
    assert browser.ask("POST", f"/requests/{name}", {"token": "x"}).status == 404
