"""What a recording shows: text, the player's data, files to keep; and that it is never markup."""

from __future__ import annotations

import json
import os
from html import unescape

import pytest

from bastion.console.recordings import escaped, without_ends
from tests.unit.cli.made import FIRST
from tests.unit.console.conftest import HOSTILE, MARKUP
from tests.unit.console.made import Browser, ConsoleSite, Elements, player_data

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser(console: ConsoleSite) -> Browser:
    return console.browser("ada", "127.3.0.1")


def test_text_is_shown_without_a_script(console: ConsoleSite, browser: Browser) -> None:
    got = browser.get(f"/sessions/{FIRST}/text")
    assert got.status == 200 and "hello" in got.text and "done" in got.text and "bye soon" in got.text
    assert "<script" not in got.text and "\x1b" not in got.text
    line = console.audit("recordings_read")[-1]
    assert (line["command"], line["session"], line["by"]) == ("console text", FIRST, "ada")


@pytest.mark.parametrize("page", ["", "/text", "/play"])
def test_a_hostile_recording_adds_no_element_and_no_attribute(browser: Browser, page: str) -> None:
    """The same elements as a quiet one has, but for lists of its own."""
    quiet = {tag for tag, _ in Elements(browser.get(f"/sessions/{FIRST}{page}").text).found}
    got = browser.get(f"/sessions/{HOSTILE}{page}")
    loud = Elements(got.text).found
    assert {tag for tag, _ in loud} <= quiet | {"br", "ol", "li", "span"}
    assert not any(name.startswith("on") for _, attributes in loud for name in attributes)
    assert not any("javascript:" in (value or "") for _, attributes in loud for value in attributes.values())
    raw = got.body
    assert not any(byte in raw for byte in (b"\x1b", b"\x07", b"\x9d", "\u202e".encode(), "\u2028".encode()))
    shown = unescape(got.text) if page != "/play" else json.dumps(player_data(got.text), ensure_ascii=False)
    assert "alert(1)" in shown, "it is not left out, it is text"


@pytest.mark.parametrize(
    ("form", "kind", "ending"),
    [("text", "text/plain", "txt"), ("asciicast", "application/x-asciicast", "cast"), ("html", "text/html", "html"),
     ("json", "application/x-ndjson", "json")],
)  # fmt: skip
def test_what_is_taken_away_is_a_file_that_no_browser_shows(
    console: ConsoleSite, browser: Browser, form: str, kind: str, ending: str
) -> None:
    got = browser.get(f"/sessions/{HOSTILE}/export/{form}")
    assert got.status == 200 and got.headers["content-type"].startswith(kind)
    assert got.headers["content-disposition"] == f'attachment; filename="{HOSTILE}.{ending}"'
    assert "sandbox" in got.headers["content-security-policy"] and got.body
    line = console.audit("recordings_read")[-1]
    assert (line["command"], line["asked"], line["session"]) == ("console export", f"form={form}", HOSTILE)


def test_a_channel_may_be_chosen(browser: Browser) -> None:
    assert browser.get(f"/sessions/{FIRST}/text?channel=1").status == 200
    assert browser.get(f"/sessions/{FIRST}/text?channel=99").status == 404
    assert browser.get(f"/sessions/{FIRST}/text?channel=x").status == 400


def test_a_recording_is_verified(browser: Browser) -> None:
    got = browser.get(f"/sessions/{FIRST}/verify")
    assert got.status == 200 and "a key that is not known" in got.text


def test_nothing_is_shown_that_cannot_be_written_down(console: ConsoleSite, browser: Browser) -> None:
    log, away = console.folder / "audit.jsonl", console.folder / "audit.away"
    browser.get(f"/sessions/{FIRST}/text")  # the process that waits next has no log open
    os.rename(log, away)
    log.mkdir()
    try:
        for page in ("", "/text", "/play", "/export/text"):
            got = browser.get(f"/sessions/{FIRST}{page}")
            assert got.status == 503 and "hello" not in got.text, page
    finally:
        log.rmdir()
        os.rename(away, log)
    assert browser.get(f"/sessions/{FIRST}/text").status == 200


def test_text_stays_text_however_it_is_cut() -> None:
    whole = MARKUP.encode() + "\u20ac<\u20ac".encode()
    pieces = [whole[at : at + 3] for at in range(0, len(whole), 3)]
    assert b"".join(map(escaped, pieces)) == escaped(whole) and b"<" not in escaped(whole)
    assert unescape(escaped(whole).decode()) == whole.decode()
    assert json.loads(without_ends(json.dumps([MARKUP]).encode())) == [MARKUP]
