"""The list and a session's page, for people and for programs."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest

from bastion.state.rows import TunnelStart, session_started, tunnel_started
from tests.unit.cli.made import FIRST, SECOND, START
from tests.unit.console.conftest import HOSTILE, header
from tests.unit.console.made import WRITER, ConsoleSite, index

pytestmark = pytest.mark.slow

ROW = r'href="/sessions/([a-z2-7]{16})"'


def known(page: str) -> list[str]:
    """The sessions of `made` in a list, as they stand there: tests of other files have added some of their own."""
    return [name for name in re.findall(ROW, page) if name in (HOSTILE, SECOND, FIRST)]


def test_the_list_is_newest_first_and_says_who_where_and_what(console: ConsoleSite) -> None:
    browser = console.browser("ada", "127.2.0.1")
    text = browser.get("/sessions").text
    assert known(text) == [HOSTILE, SECOND, FIRST]
    assert "deploy@web1" in text and "alice" in text and "<th>" in text and "ended" in text
    read = console.audit("recordings_read")[-1]
    assert (read["by"], read["command"], read["source"]) == ("ada", "console sessions", "127.2.0.1")


def test_filters_choose_and_stand_in_the_audit_log(console: ConsoleSite) -> None:
    browser = console.browser("ada", "127.2.0.2")
    text = browser.get("/sessions?user=bob&rule=staff&source=192.0.2.0%2F24").text
    assert SECOND in text and FIRST not in text and 'value="bob"' in text
    assert console.audit("recordings_read")[-1]["asked"] == "rule=staff source=192.0.2.0/24 user=bob"
    assert "Nothing fits" in browser.get("/sessions?user=nobody").text


def test_a_page_leads_to_the_next_with_the_same_filters(console: ConsoleSite) -> None:
    browser = console.browser("ada", "127.2.0.3")
    seen, path = [], "/sessions?target=web1&rows=1"
    for _ in range(20):
        text = browser.get(path).text
        assert len(re.findall(ROW, text)) <= 1
        seen += known(text)
        found = re.search(r'href="([^"]+)" rel="next"', text)
        if found is None:
            break
        path = found[1].replace("&amp;", "&")
        assert "target=web1" in path
    assert seen == [HOSTILE, FIRST]


def test_a_filter_that_is_none_is_told_and_shows_nothing(console: ConsoleSite) -> None:
    browser = console.browser("ada", "127.2.0.4")
    got = browser.get("/sessions?source=web1")
    assert got.status == 400 and "give an address or a network" in got.text and FIRST not in got.text
    api = browser.get("/api/v1/sessions?kind=x")
    assert api.status == 400 and "kind" in api.json["fields"]


def test_a_session_says_who_from_where_why_and_what_happened(console: ConsoleSite) -> None:
    browser = console.browser("ada", "127.2.0.5")
    text = browser.get(f"/sessions/{FIRST}").text
    for word in ("alice", "u-alice", "192.0.2.7", "staff", "web1", "1: shell (terminal)"):
        assert word in text, word
    assert f'href="/sessions/{FIRST}/play"' in text and "/live/end" not in text
    line = console.audit("recordings_read")[-1]
    assert (line["command"], line["session"], line["by"]) == ("console session", FIRST, "ada")
    assert browser.get("/sessions/zzzzzzzzzzzzzzzz").status == 404


def test_a_session_has_a_time_line_and_says_who_has_looked(console: ConsoleSite) -> None:
    rex = console.browser("rex", "127.2.0.9")
    assert rex.get(f"/sessions/{SECOND}/text").status == 200
    text = console.browser("ada", "127.2.0.5").get(f"/sessions/{SECOND}").text
    assert '<rect class="bar-shell"' in text and "0:00:00 1: shell (terminal)" in text
    assert f'href="/sessions/{SECOND}/looks"' in text and "console session" not in text
    looks = console.browser("ada", "127.2.0.5").get(f"/sessions/{SECOND}/looks").text
    assert looks.index("ada, console looks") < looks.index("rex, console text, from 127.2.0.9")
    program = console.browser("ada", "127.2.0.10").program("sessions")
    hostile = program.get(f"/api/v1/sessions/{HOSTILE}").json["recording"]
    assert hostile["channels"][0]["kind"] == "exec" and hostile["cut"] == []
    told = program.get(f"/api/v1/sessions/{HOSTILE}/looks").json
    assert told["cut"] is False and [one["command"] for one in told["looks"][:2]] == [
        f"console looks by token {program.id}",
        f"console session by token {program.id}",
    ]


def test_a_session_is_found_by_what_was_run_in_it(console: ConsoleSite) -> None:
    browser = console.browser("ada", "127.2.0.11")
    index(console)
    text = browser.get("/sessions?command=script+alert").text
    assert known(text) == [HOSTILE] and "Commands are found in sessions that" in text
    assert console.audit("recordings_read")[-1]["asked"] == "command=script alert"
    later = re.search(r'href="(/sessions\?since=[^"]+)">Those since then', text)
    assert later is not None and browser.get(later[1]).status == 200
    for other, found in (
        ("user=eve", [HOSTILE]),
        ("user=alice", []),
        ("tag=none", []),
        ("rule=staff", [HOSTILE]),
    ):
        assert known(browser.get(f"/sessions?command=alert&{other}").text) == found, other
    assert known(browser.get("/sessions?command=nosuchword").text) == []
    got = browser.get("/sessions?command=...")
    assert got.status == 400 and "no word" in got.text
    listed = browser.get("/api/v1/sessions?command=script&user=eve").json
    assert [one["id"] for one in listed["sessions"]] == [HOSTILE]
    assert listed["commands_until"] == START + 120 and listed["after"] is None
    assert browser.get("/api/v1/sessions").json["commands_until"] is None


def test_without_a_reading_index_that_is_said(tmp_path: Path) -> None:
    with closing(ConsoleSite(tmp_path).start()) as made:
        got = made.browser("ada").get("/sessions?command=rm")
        assert got.status == 503 and "bastion index" in got.text


def test_programs_read_the_same(console: ConsoleSite) -> None:
    browser = console.browser("ada", "127.2.0.6")
    listed = browser.get("/api/v1/sessions?user=alice").json
    (one,) = listed["sessions"]
    assert (one["id"], one["identity"], one["rules"], listed["after"]) == (FIRST, "alice", ["staff"], None)
    found = browser.get(f"/api/v1/sessions/{FIRST}").json
    assert found["header"]["identity"] == "alice" and found["recording"]["channels"][0]["id"] == 1
    assert str(console.folder) not in browser.get(f"/api/v1/sessions/{FIRST}").text


def test_a_tunnel_has_a_page_and_no_recording(console: ConsoleSite) -> None:
    tunnel = TunnelStart(
        "eeeeeeeeeeeeeeee.3", "eeeeeeeeeeeeeeee", "alice", "u-alice", "db9", 5432, "192.0.2.9", "192.0.2.7", "staff",
        START - 500,
    )  # fmt: skip
    console.add(tunnel_started(tunnel, WRITER))
    browser = console.browser("ada", "127.2.0.7")
    text = browser.get("/sessions/eeeeeeeeeeeeeeee.3").text
    assert "a tunnel has no recording" in text and "db9" in text and "/play" not in text
    assert "eeeeeeeeeeeeeeee.3" in browser.get("/sessions?kind=tunnel").text


def test_a_recording_that_is_gone_is_said_to_be(console: ConsoleSite) -> None:
    gone = "ffffffffffffffff"
    console.add(
        *session_started(header(gone, "alice", "web9", START - 900), f"2027-01-15/{gone}.rec", WRITER)
    )
    browser = console.browser("ada", "127.2.0.8")
    assert "the recording is not here: it is missing" in browser.get(f"/sessions/{gone}").text
    assert browser.get(f"/sessions/{gone}/text").status == 404
