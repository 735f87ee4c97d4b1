"""Lines that were shown, found and safe to show."""

from __future__ import annotations

from html import unescape

import pytest

from tests.unit.cli.made import FIRST
from tests.unit.console.conftest import HOSTILE
from tests.unit.console.made import Browser, ConsoleSite, index

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser(console: ConsoleSite) -> Browser:
    index(console)
    return console.browser("ada", "127.4.0.1")


def test_a_line_is_found_and_leads_to_its_moment(console: ConsoleSite, browser: Browser) -> None:
    got = browser.get("/search?q=done&user=alice")
    assert (
        got.status == 200
        and f'href="/sessions/{FIRST}/play?at=' in got.text
        and "<mark>done</mark>" in got.text
    )
    line = console.audit("recordings_read")[-1]
    assert (line["by"], line["command"], line["asked"]) == ("ada", "console search", "words=done user=alice")


def test_hostile_lines_and_words_are_text(browser: Browser) -> None:
    got = browser.get("/search?q=%3Cscript%3Ealert")
    assert got.status == 200 and HOSTILE in got.text
    assert (
        "<script>alert" not in got.text and "<script>alert" in unescape(got.text) and "<img" not in got.text
    )


@pytest.mark.parametrize("query", ["q=...", "q=" + "x" * 300, "q=a&since=never", "q=a&nonsense=1"])
def test_what_cannot_be_looked_for_is_told(browser: Browser, query: str) -> None:
    got = browser.get(f"/search?{query}")
    assert got.status == 400 and 'role="alert"' in got.text
    assert browser.get(f"/api/v1/search?{query}").status == 400


def test_programs_get_the_same(browser: Browser) -> None:
    found = browser.get("/api/v1/search?q=hello&target=web1").json
    assert found["more"] is False and {line["session"] for line in found["lines"]} == {FIRST}
    assert found["lines"][0]["text"].startswith("hello")
    assert browser.get("/search").status == 200 and browser.get("/search?q=nowheretobefound").status == 200


def test_a_session_is_shown_by_the_index_as_by_the_file(browser: Browser) -> None:
    text = browser.get(f"/sessions/{FIRST}").text
    assert "1: shell (terminal)" in text
