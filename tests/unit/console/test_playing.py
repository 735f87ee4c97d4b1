"""The player's page and the parts of a recording that it asks for: the same right, one line for many of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bastion.clock import FixedClock
from bastion.recording.recorder import Recorder
from tests.support.world import poll
from tests.unit.cli.made import FIRST, PTY
from tests.unit.console.conftest import HOSTILE, header
from tests.unit.console.made import Browser, ConsoleSite, Elements, player_data

LONG = "ddddddddeeeeeeee"
LINES = 700


def long_session(made: ConsoleSite) -> None:
    """Seven hundred lines in as many seconds and two sizes, with a command every hundred."""
    about, clock = header(LONG, "alice", "web1"), FixedClock()
    writer, recorder = made.store.create(about), Recorder(about, clock)
    recorder.note("channel_opened", 1, {"kind": "session"})
    recorder.note("request_forwarded", 1, PTY)
    recorder.note("request_forwarded", 1, {"name": "shell", "detail": {}})
    for number in range(LINES):
        clock.advance(1)
        recorder.data(1, 1, 0, f"line {number} needle{number}\r\n".encode())
        if number == 300:
            recorder.note("window_changed", 1, {"cols": 100, "rows": 30})
        writer.write(recorder.take())
    writer.close(recorder.finish("client_closed"))
    poll(lambda: writer.closed, text="the file was never closed")
    made.index(about)


def read_in(made: ConsoleSite) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bastion", "index", "--config", str(made.config)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleSite]:
    made = ConsoleSite(tmp_path_factory.mktemp("playing"))
    long_session(made)
    made.start()
    yield made
    made.close()


def part(browser: Browser, at: float, **more: str) -> Any:
    query = "&".join(f"{name}={value}" for name, value in {"channel": "1", "at": f"{at:.6f}", **more}.items())
    got = browser.get(f"/sessions/{LONG}/part?{query}")
    assert got.status == 200, got.text
    assert got.headers["content-type"] == "application/json" and b"<" not in got.body
    return got.json


def screen(parts: dict[str, Any]) -> str:
    """What stands on the screen at its end."""
    rows: dict[int, str] = {}
    for _, _, changed, *_ in parts["changes"]:
        rows |= dict(zip(changed[::2], changed[1::2], strict=True))
    return "\n".join(text for _, text in sorted(rows.items()))


@pytest.mark.slow
def test_a_recording_that_is_not_indexed_comes_in_parts_with_the_page(site: ConsoleSite) -> None:
    browser = site.browser("ada", "127.3.1.1")
    data = player_data(browser.get(f"/sessions/{LONG}/play").text)
    assert data["session"] == LONG and data["channel"] == 1 and data["duration"] == pytest.approx(LINES)
    assert data["resizes"] == [[301.0, 1, 100, 30]]
    parts = data["parts"]
    assert [round(one["from"]) for one in parts] == [0, 180, 360, 540] and parts[-1]["ended"]
    assert "line 699 needle699" in screen(parts[-1]) and any(
        "reading index" in one for one in data["heading"]
    )
    texts = [line[1] for one in parts for line in one["lines"]]
    assert texts == [f"line {number} needle{number}" for number in range(LINES)]


@pytest.mark.slow
def test_of_an_indexed_one_a_part_comes_with_marks_and_hits_and_others_are_asked_for(
    site: ConsoleSite,
) -> None:
    read_in(site)
    browser = site.browser("ada", "127.3.1.2")
    before = len(site.audit("recordings_read"))
    data = player_data(browser.get(f"/sessions/{LONG}/play?at=650.5&channel=1&q=needle650").text)
    (first,) = data["parts"]
    assert first["from"] == data["at"] == 650.5 and "line 649" in screen({"changes": first["changes"][:1]})
    assert data["hits"] == [[651.0, 1, "line 650 needle650"]] and data["words"] == ["needle650"]
    assert data["resizes"] == [[301.0, 1, 100, 30]] and not any("index" in one for one in data["heading"])
    asked = part(browser, 100.0)
    assert (asked["from"], asked["until"], asked["ended"]) == (100.0, 280.0, False)
    assert "line 99 needle99" in screen({"changes": asked["changes"][:1]})
    brief = part(browser, 400.25, brief="1")
    assert brief["until"] == 421.0 and "line 399" in screen({"changes": brief["changes"][:1]})
    assert part(browser, 280.0)["lines"][0][1].startswith("line 2")
    assert part(browser, 99999)["ended"]
    lines = site.audit("recordings_read")[before:]
    assert [(one["command"], one["asked"], one["session"]) for one in lines] == [
        ("console play", "channel=1 at=650.5 words=needle650", LONG)
    ], "one line, however many parts"


@pytest.mark.slow
def test_a_part_without_a_page_is_an_opening_of_its_own(site: ConsoleSite) -> None:
    browser = site.browser("ada", "127.3.1.3")
    before = len(site.audit("recordings_read"))
    part(browser, 10.0)
    part(browser, 20.0)
    lines = site.audit("recordings_read")[before:]
    assert [(one["command"], one["asked"], one["by"]) for one in lines] == [
        ("console play", "channel=1 at=10", "ada")
    ]


@pytest.mark.slow
def test_a_part_needs_the_right_of_the_page(site: ConsoleSite) -> None:
    path = f"/sessions/{LONG}/part?channel=1&at=1"
    assert site.browser().get(path).place.startswith("/sign-in")
    assert site.browser("abe", "127.3.1.4").get(path).status == 403
    browser = site.browser("ada", "127.3.1.5")
    assert browser.get(path).status == 200
    for wrong, status in (
        (f"/sessions/{LONG}/part?at=1", 400),
        (f"/sessions/{LONG}/part?channel=1&at=-1", 400),
        (f"/sessions/{LONG}/part?channel=1&at=nan", 400),
        (f"/sessions/{LONG}/part?channel=1&at=1e9", 400),
        (f"/sessions/{LONG}/play?at=soon", 400),
        (f"/sessions/{LONG}/part?channel=7&at=1", 404),
        (f"/sessions/{'z' * 16}/part?channel=1&at=1", 404),
    ):
        assert browser.get(wrong).status == status, wrong
    browser.post("/sign-out", {})
    assert browser.get(path).place.startswith("/sign-in"), "what was opened is closed with the visit"


@pytest.mark.slow
def test_the_page_names_its_files_and_nothing_else(console: ConsoleSite) -> None:
    browser = console.browser("ada", "127.3.1.6")
    got = browser.get(f"/sessions/{FIRST}/play")
    data = player_data(got.text)
    assert data["channels"][0][0] == 1 and "hello" in json.dumps(data["parts"])
    scripts = [attributes for tag, attributes in Elements(got.text).found if tag == "script"]
    assert [one.get("src") for one in scripts] == ["/static/player.js", "/static/reel.js", None]
    hostile = player_data(browser.get(f"/sessions/{HOSTILE}/play").text)
    assert sum(len(one["changes"]) for one in hostile["parts"]) < 100, (
        "a cursor that moves a lot is few pictures"
    )


@pytest.mark.slow
def test_nothing_is_shown_of_an_index_that_is_damaged_and_the_recording_is(
    site: ConsoleSite, tmp_path: Path
) -> None:
    file = site.folder / "recordings" / "index" / "reading.db"
    kept = file.read_bytes()
    browser = site.browser("ada", "127.3.1.7")
    browser.get(f"/sessions/{LONG}/part?channel=1&at=1")
    try:
        file.write_bytes(b"rubbish" * 4000)
        assert "line 4 needle4" in screen({"changes": part(browser, 5.0)["changes"][:1]})
        assert player_data(browser.get(f"/sessions/{LONG}/play").text)["parts"]
    finally:
        file.write_bytes(kept)
