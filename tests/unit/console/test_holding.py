"""Holds over HTTP: placed by one admin, lifted by two."""

from __future__ import annotations

import re

import pytest

from bastion.state.changes import ADD, Change
from bastion.state.pruning import holds
from tests.unit.cli.made import FIRST
from tests.unit.console.made import Browser, ConsoleSite
from tests.unit.console.test_reviews import add

pytestmark = pytest.mark.slow

MINE = "iiiigggggggggggg"


@pytest.fixture(scope="module")
def adm(console: ConsoleSite) -> Browser:
    add(console, MINE, identity="adm", uid="u-adm")
    console.add(Change(ADD, "recordings", {"session_id": MINE, "state": "ended", "node": "gw9"}))
    return console.browser("adm", "127.9.0.1")


@pytest.fixture(scope="module")
def bos(console: ConsoleSite) -> Browser:
    return console.browser("bos", "127.9.0.2")


def post(browser: Browser, path: str, **form: str) -> int:
    return browser.post(path, form, "/sessions").status


def question(browser: Browser) -> str:
    found = re.search(r'name="lift" value="([^"]+)"', browser.get("/holds").text)
    assert found is not None
    return found[1]


def test_a_hold_is_placed_by_one_and_lifted_by_two(console: ConsoleSite, adm: Browser, bos: Browser) -> None:
    assert post(adm, f"/sessions/{FIRST}/hold", reason="case <7>") == 303
    placed = console.audit("hold_placed")[-1]
    assert (placed["session"], placed["by"], placed["reason"]) == (FIRST, "adm", "case <7>")
    assert placed["source"] == "127.9.0.1" and holds(console.database)[FIRST].made_by == "adm"
    text = adm.get(f"/sessions/{FIRST}").text
    assert "Held by adm" in text and "case &lt;7&gt;" in text and "Ask to lift the hold" in text
    assert post(adm, f"/sessions/{FIRST}/lift", reason="closed") == 303
    assert "Lift it" not in adm.get("/holds").text and "Take it back" in adm.get("/holds").text
    lift = question(adm)
    assert post(adm, "/holds/answer", lift=lift, do="lift") == 403
    assert console.audit("console_refused")[-1]["reason"] == "own" and FIRST in holds(console.database)
    assert "Lift it" in bos.get("/holds").text
    assert post(bos, "/holds/answer", lift=lift, do="lift") == 303
    removed = console.audit("hold_removed")[-1]
    assert (removed["session"], removed["by"], removed["asked_by"]) == (FIRST, "bos", "adm")
    assert console.audit("hold_lift_asked")[-1]["lift"] == lift and FIRST not in holds(console.database)
    assert post(bos, "/holds/answer", lift=lift, do="lift") == 400


def test_nobody_lifts_the_hold_of_his_own_session(console: ConsoleSite, adm: Browser, bos: Browser) -> None:
    assert post(bos, f"/sessions/{MINE}/hold", reason="case 9") == 303
    assert post(adm, f"/sessions/{MINE}/lift", reason="nothing to see") == 403
    assert post(bos, f"/sessions/{MINE}/lift", reason="over") == 303
    lift = question(bos)
    assert post(adm, "/holds/answer", lift=lift, do="lift") == 403
    assert post(bos, "/holds/answer", lift=lift, do="keep") == 303
    assert console.audit("hold_lift_refused")[-1]["asked_by"] == "bos"
    found = adm.get("/api/v1/holds").json
    assert [one["session"] for one in found["holds"]] == [MINE]
    assert found["lifts"][0]["state"] == "refused" and found["lifts"][0]["session_id"] == MINE


def test_an_auditor_looks_and_holds_nothing(console: ConsoleSite, adm: Browser) -> None:
    ada = console.browser("ada", "127.9.0.3")
    assert ada.get("/holds").status == 200 and 'action="/holds/answer"' not in ada.get("/holds").text
    assert "Hold the recording" not in ada.get(f"/sessions/{FIRST}").text
    assert post(ada, f"/sessions/{FIRST}/hold", reason="x") == 403
    assert console.audit("recordings_read")[-1]["command"] in ("console holds", "console sessions")


@pytest.mark.parametrize(
    ("path", "form"),
    [
        (f"/sessions/{FIRST}/hold", {"reason": " "}),
        (f"/sessions/{FIRST}/hold", {"reason": "x" * 801}),
        ("/sessions/zzzzzzzzzzzzzzzz/hold", {"reason": "x"}),
        (f"/sessions/{FIRST}/lift", {"reason": "x"}),
        ("/holds/answer", {"lift": "zzzzzzzzzzzzzzzz", "do": "lift"}),
        ("/holds/answer", {"lift": "zzzzzzzzzzzzzzzz"}),
    ],
)
def test_what_makes_no_sense_is_told(adm: Browser, path: str, form: dict[str, str]) -> None:
    assert post(adm, path, **form) == 400


def test_a_program_places_a_hold_and_lifts_none(console: ConsoleSite, adm: Browser, bos: Browser) -> None:
    program = adm.program("holds:write")
    got = program.ask("POST", f"/api/v1/holds/{FIRST}", {"reason": "case 8"})
    assert got.status == 200 and (got.json["session"], got.json["made_by"]) == (FIRST, "adm")
    assert console.audit("hold_placed")[-1]["token"] == program.id
    assert program.ask("POST", f"/api/v1/holds/{'z' * 16}", {"reason": "x"}).status == 400
    assert program.ask("POST", f"/api/v1/holds/{FIRST}", {"reason": " "}).status == 400
    everything = adm.program()
    for path in (f"{FIRST}/lift", "answer"):
        refused = everything.ask(
            "POST", f"/api/v1/holds/{path}", {"reason": "x", "lift": "a" * 16, "do": "lift"}
        )
        assert (refused.status, refused.json["error"]) == (403, "out_of_scope")
    form = {"token": adm.get("/live").token, "reason": "closed"}
    lift = adm.ask("POST", f"/api/v1/holds/{FIRST}/lift", form).json
    assert lift["state"] == "open" and lift["asked_by"] == "adm"
    own = adm.ask("POST", "/api/v1/holds/answer", form | {"lift": lift["id"], "do": "lift"})
    assert (own.status, own.json["error"]) == (403, "own")
    form["token"] = bos.get("/live").token
    assert bos.ask("POST", "/api/v1/holds/answer", form | {"lift": lift["id"], "do": "no"}).status == 400
    done = bos.ask("POST", "/api/v1/holds/answer", form | {"lift": lift["id"], "do": "lift"})
    assert done.status == 200 and done.json["id"] == lift["id"] and FIRST not in holds(console.database)
