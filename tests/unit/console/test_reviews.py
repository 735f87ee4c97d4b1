"""What reviewers leave at a session over HTTP, and the queue of those that wait."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from bastion.clock import SystemClock
from bastion.state import findings
from bastion.state.changes import ADD, Change, Value
from tests.unit.cli.made import FIRST, START
from tests.unit.console.conftest import MARKUP
from tests.unit.console.made import SECTION, Browser, ConsoleSite
from tests.unit.state.test_findings import row

pytestmark = pytest.mark.slow

GLASS, ALERTED, OWN = "gggggggggggggggg", "aaaaggggggggcccc", "oooogggggggggggg"
DAY = 86400.0


def add(console: ConsoleSite, name: str, **values: Value) -> None:
    made: dict[str, Value] = {
        "id": name, "kind": "session", "state": "ended", "identity": "zoe", "uid": "u-zoe", "target": "glass1",
        "login": "root", "started_at": START - 90 * DAY, "ended_at": START - 90 * DAY + 60, "node": "gw1",
    }  # fmt: skip
    console.add(Change(ADD, "sessions", made | values))


@pytest.fixture(scope="module")
def reviewed(console: ConsoleSite) -> ConsoleSite:
    """A session of an emergency long ago, one of now that an alert names, and one of a reviewer's own."""
    now = SystemClock().time()
    add(console, GLASS, emergency=1)
    add(console, ALERTED, started_at=now - 60, ended_at=now - 30)
    add(console, OWN, identity="ada", uid="u-ada", emergency=1)
    told = row("ffffffff", sessions=ALERTED, at=now, made_at=now, came="9 GiB <b>out</b>", identity="zoe")
    with console.database.write() as connection:
        findings.add(connection, [told])
    return console


@pytest.fixture(scope="module")
def ada(reviewed: ConsoleSite) -> Browser:
    return reviewed.browser("ada", "127.6.0.1")


def leave(browser: Browser, session: str, what: str, **form: str) -> int:
    return browser.post(f"/sessions/{session}/{what}", form, "/sessions").status


def test_a_note_stays_with_its_name_and_stands_in_the_audit_log(reviewed: ConsoleSite, ada: Browser) -> None:
    got = ada.post(f"/sessions/{FIRST}/note", {"text": MARKUP}, "/sessions")
    assert (got.status, got.place) == (303, f"/sessions/{FIRST}#reviewers")
    text = ada.get(f"/sessions/{FIRST}").text
    assert "<script>alert(1)" not in text and "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    (note,) = ada.get(f"/api/v1/sessions/{FIRST}").json["review"]["notes"]
    assert (note["uid"], note["name"], note["text"]) == ("u-ada", "ada", " ".join(MARKUP.split()))
    line = reviewed.audit("session_reviewed")[-1]
    assert (line["session"], line["user"], line["uid"]) == (FIRST, "ada", "u-ada")
    assert (line["left"], line["name"], line["source"]) == ("note", note["id"], "127.6.0.1")
    assert len(line["sha256"]) == 64 and "alert(1)" not in str(line)


def test_what_is_no_note_or_tag_is_told_and_leaves_no_line(reviewed: ConsoleSite, ada: Browser) -> None:
    before = len(reviewed.audit("session_reviewed"))
    assert leave(ada, FIRST, "note", text="  ") == 400
    assert leave(ada, FIRST, "note", text="x" * 801) == 400
    assert leave(ada, FIRST, "note", text="\u4e00" * 8000) == 413
    assert leave(ada, FIRST, "tag", tag="no tag") == 400
    assert leave(ada, "zzzzzzzzzzzzzzzz", "note", text="x") == 400
    assert len(reviewed.audit("session_reviewed")) == before
    assert leave(ada, FIRST, "note", text="\u4e00" * 800) == 303


def test_a_tag_finds_its_sessions_and_goes(reviewed: ConsoleSite, ada: Browser) -> None:
    assert leave(ada, FIRST, "tag", tag="Case-7") == 303
    text = ada.get("/sessions?tag=case-7").text
    assert FIRST in text and GLASS not in text
    assert 'href="/sessions?tag=case-7"' in ada.get(f"/sessions/{FIRST}").text
    assert leave(ada, FIRST, "tag", tag="case-7", do="drop") == 303
    assert "Nothing fits" in ada.get("/sessions?tag=case-7").text
    lefts = [line["left"] for line in reviewed.audit("session_reviewed")]
    assert lefts[-2:] == ["tag", "untag"]


def test_the_queue_has_what_is_due_and_a_mark_takes_it_out(reviewed: ConsoleSite, ada: Browser) -> None:
    text = ada.get("/reviews").text
    assert text.index(GLASS) < text.index(ALERTED), "what is due first stands in front"
    assert "2 should have been reviewed by now" in text
    assert "ada (you)" in text and "an account for emergencies" in text and "an alert" in text
    assert reviewed.audit("recordings_read")[-1]["command"] == "console reviews"
    page = ada.get(f"/sessions/{ALERTED}").text
    assert "To be reviewed by" in page and "9 GiB &lt;b&gt;out&lt;/b&gt;" in page and "ffffffff" in page
    assert ALERTED in ada.get("/sessions?alert=yes").text and GLASS not in ada.get("/sessions?alert=yes").text
    assert leave(ada, ALERTED, "reviewed", text="a nightly copy") == 303
    queue = ada.get("/api/v1/reviews").json
    waiting = {one["id"]: one for one in queue["reviews"]}
    assert ALERTED not in waiting and waiting[GLASS]["reasons"][0]["why"] == "break_glass"
    assert queue["overdue"] == 2 and "a nightly copy" in ada.get(f"/sessions/{ALERTED}").text
    assert ALERTED in ada.get("/sessions?review=reviewed").text
    assert ALERTED not in ada.get("/sessions?review=due").text


def test_nobody_reviews_a_session_of_his_own(reviewed: ConsoleSite, ada: Browser) -> None:
    assert "Mark as reviewed" not in ada.get(f"/sessions/{OWN}").text
    got = ada.post(f"/sessions/{OWN}/reviewed", {"text": "fine"}, "/sessions")
    assert got.status == 403 and "of his own" in got.text
    refused = reviewed.audit("console_refused")[-1]
    assert (refused["reason"], refused["route"], refused["user"]) == ("own", "reviewed", "ada")
    rex = reviewed.browser("rex", "127.6.0.2")
    assert "Mark as reviewed" in rex.get(f"/sessions/{OWN}").text
    assert leave(rex, OWN, "reviewed", text="") == 303
    assert OWN not in [one["id"] for one in ada.get("/api/v1/reviews").json["reviews"]]


@pytest.mark.parametrize("query", ["alert=no", "review=soon", "tag=A%20b"])
def test_a_filter_that_is_none_is_told(ada: Browser, query: str) -> None:
    assert ada.get(f"/sessions?{query}").status == 400
    assert ada.get(f"/search?q=x&{query}").status == 400


def test_programs_leave_the_same_and_the_line_says_by_which_token(reviewed: ConsoleSite) -> None:
    rex = reviewed.browser("rex", "127.6.0.3")
    program, narrow = rex.program("reviews:write"), rex.program("reviews,sessions")
    at = f"/api/v1/reviews/{FIRST}"
    note = program.ask("POST", f"{at}/note", {"text": " looks  fine "})
    assert note.status == 200 and note.json["text"] == "looks fine" and note.json["uid"] == "u-rex"
    line = reviewed.audit("session_reviewed")[-1]
    assert (line["name"], line["user"], line["token"]) == (note.json["id"], "rex", program.id)
    assert program.ask("POST", f"{at}/tag", {"tag": "siem"}).json == {"done": True}
    assert program.ask("POST", f"{at}/tag", {"tag": "siem"}).json == {"done": False}
    assert program.ask("POST", f"{at}/tag", {"tag": "siem", "do": "drop"}).json == {"done": True}
    assert program.ask("POST", f"{at}/tag", {"tag": "siem", "do": "keep"}).status == 400
    mark = program.ask("POST", f"{at}/mark", {"text": ""})
    assert mark.status == 200 and mark.json["name"] == "rex"
    left = rex.get(f"/api/v1/sessions/{FIRST}").json["review"]
    assert note.json in left["notes"] and mark.json in left["marks"] and left["tags"] == []
    told = program.ask("POST", f"{at}/note", {"text": "x" * 801})
    assert told.status == 400 and told.json["error"] == "bad_request"
    for path in ("note", "tag", "mark"):
        got = narrow.ask("POST", f"{at}/{path}", {"text": "x", "tag": "x"})
        assert (got.status, got.json["error"]) == (403, "out_of_scope")


def test_a_browser_needs_the_token_of_its_page_for_what_programs_ask(reviewed: ConsoleSite) -> None:
    rex = reviewed.browser("rex", "127.6.0.4")
    path, token = f"/api/v1/reviews/{FIRST}/note", rex.get("/live").token
    before = len(reviewed.audit("session_reviewed"))
    assert rex.ask("POST", path, {"text": "x"}).json["error"] == "bad_token"
    assert rex.ask("POST", path, {"text": "x", "token": token}, origin=None).json["error"] == "bad_origin"
    got = rex.ask("POST", path, {"text": "x", "token": token}, origin="https://evil.example.com")
    assert got.json["error"] == "bad_origin" and len(reviewed.audit("session_reviewed")) == before
    assert rex.ask("POST", path, {"text": "x", "token": token}).status == 200
    assert "token" not in reviewed.audit("session_reviewed")[-1]


def test_a_token_is_no_second_person(tmp_path: Path) -> None:
    with closing(ConsoleSite(tmp_path, SECTION + 'review_by_two = ["break_glass"]\n')) as made:
        add(made, GLASS, emergency=1)
        add(made, ALERTED)
        rex = made.start().browser("rex")
        program = rex.program("reviews:write")
        got = program.ask("POST", f"/api/v1/reviews/{GLASS}/mark", {"text": "x"})
        assert got.status == 403 and "two people" in got.json["text"] and made.audit("session_reviewed") == []
        assert program.ask("POST", f"/api/v1/reviews/{ALERTED}/mark", {"text": "x"}).status == 200
        assert leave(rex, GLASS, "reviewed", text="x") == 303
