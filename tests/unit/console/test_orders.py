"""Orders as far as they need no gateway: what is refused before one is asked. tests/interop/test_console.py has one."""

from __future__ import annotations

import pytest

from tests.unit.cli.made import FIRST
from tests.unit.console.made import Browser, ConsoleSite

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser(console: ConsoleSite) -> Browser:
    return console.browser("rex", "127.5.0.1")


@pytest.mark.parametrize(
    "form",
    [
        {"session": FIRST, "reason": ""},
        {"session": FIRST, "reason": "  ...  "},
        {"session": FIRST, "reason": "x" * 201},
        {"session": "", "reason": "why"},
        {"session": "all", "reason": "why"},
        {"session": FIRST.upper(), "reason": "why"},
    ],
)
def test_an_end_names_one_session_and_why(
    console: ConsoleSite, browser: Browser, form: dict[str, str]
) -> None:
    before = len(console.audit("console_ordered"))
    assert browser.post("/live/end", form).status == 400
    assert len(console.audit("console_ordered")) == before


@pytest.mark.parametrize(
    "form",
    [
        {"kind": "user", "value": "alice", "reason": ""},
        {"kind": "user", "value": "al ice", "reason": "why"},
        {"kind": "certificate", "value": "", "reason": "why"},
        {"kind": "session", "value": "x", "reason": "why"},
        {"kind": "source", "value": "web1", "reason": "why"},
        {"kind": "user", "value": "alice", "reason": "why", "for": "1s"},
        {"kind": "user", "value": "alice", "reason": "why", "for": "soon"},
    ],
)
def test_a_lock_names_what_and_why(console: ConsoleSite, browser: Browser, form: dict[str, str]) -> None:
    before = len(console.audit("console_ordered"))
    got = browser.post("/live/lock", form)
    assert got.status == 400 and 'role="alert"' in got.text
    assert len(console.audit("console_ordered")) == before


def test_without_a_gateway_an_order_is_written_down_and_told_as_not_done(
    console: ConsoleSite, browser: Browser
) -> None:
    got = browser.post("/live/end", {"session": FIRST, "reason": "found a miner"})
    assert got.status == 503 and "no gateway answers" in got.text
    line = console.audit("console_ordered")[-1]
    assert (line["user"], line["command"], line["whom"], line["why"]) == (
        "rex",
        "kill",
        FIRST,
        "found a miner",
    )
    assert browser.get("/live").status == 503 and browser.get("/api/v1/live").json["error"] == "unavailable"


def test_the_forms_ask_first(browser: Browser) -> None:
    text = browser.get(f"/live/end?session={FIRST}").text
    assert FIRST in text and 'name="reason"' in text and 'method="post"' in text
    assert 'value="al&#34;ice"' in browser.get("/live/lock?kind=user&value=al%22ice").text
