"""Tokens on the page of one's own account and on that of everybody's, and by the command."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.unit.cli.made import FIRST
from tests.unit.console.made import Browser, ConsoleSite, Program

pytestmark = pytest.mark.slow


def form(browser: Browser, **fields: str) -> dict[str, str]:
    given = {"token": browser.get("/account").token, "label": "siem", "life": "1h", "scope.sessions": "1"}
    return given | {name.replace("__", "."): value for name, value in fields.items()}


def command(console: ConsoleSite, *words: str) -> subprocess.CompletedProcess[str]:
    whole = [sys.executable, "-m", "bastion", "console-token", *words, "--config", str(console.config)]
    return subprocess.run(whole, capture_output=True, text=True, timeout=60)


def test_a_token_is_made_shown_once_used_and_taken_away(console: ConsoleSite) -> None:
    browser = console.browser("ada", "127.4.0.1")
    program = browser.program("sessions")
    page = browser.get("/account").text
    assert program.id in page and program.bearer not in page
    assert program.get("/api/v1/sessions").json["sessions"][0]["id"]
    assert program.get(f"/api/v1/sessions/{FIRST}/export/text").status == 200
    read = [line for line in console.audit("recordings_read") if program.id in line["command"]]
    assert [(line["by"], line["command"].partition(" by ")[0]) for line in read] == [
        ("ada", "console sessions"),
        ("ada", "console export"),
    ]
    me = program.get("/api/v1/me").json
    assert (me["name"], me["roles"], me["token"]["id"]) == ("ada", ["auditor"], program.id)
    assert me["token"]["used_at"] and me["token"]["scope"] == ["sessions"]
    gone = browser.ask(
        "POST", "/account/tokens/revoke", {"token": browser.get("/account").token, "id": program.id}
    )
    assert gone.status == 303 and program.get("/api/v1/me").status == 401
    (made,) = [line for line in console.audit("console_token_made") if line["token"] == program.id]
    (taken,) = [line for line in console.audit("console_token_revoked") if line["token"] == program.id]
    assert (made["owner"], made["by"], made["scope"], taken["by"]) == ("ada", "ada", ["sessions"], "ada")
    written = (console.folder / "audit.jsonl").read_text() + console.log.read_text()
    assert program.bearer not in written and program.bearer.rpartition("_")[2] not in written


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"label": " "}, "what the token is for"),
        ({"label": "x" * 65}, "what the token is for"),
        ({"scope__sessions": ""}, "choose what"),
        ({"life": "1s"}, "give a time from 5m to 90d"),
        ({"life": "91d"}, "give a time"),
        ({"life": "soon"}, "give a time"),
    ],
)
def test_what_makes_no_token_says_why(console: ConsoleSite, fields: dict[str, str], words: str) -> None:
    browser = console.browser("ada", "127.4.0.2")
    got = browser.ask("POST", "/account/tokens", form(browser, **fields))
    assert got.status == 400 and words in got.text and "bastion_api_" not in got.text


def test_nobody_takes_away_anothers_but_an_admin(console: ConsoleSite) -> None:
    program = console.browser("ada", "127.4.0.3").program("sessions")
    for name, path, status in (
        ("rex", "/account/tokens/revoke", 404),
        ("rex", "/accounts/tokens/revoke", 403),
        ("adm", "/account/tokens/revoke", 404),
        ("adm", "/accounts/tokens/revoke", 303),
    ):
        assert program.get("/api/v1/me").status == 200
        browser = console.browser(name, "127.4.0.4")
        assert program.id not in browser.get("/account").text
        sent = {"token": browser.get("/account").token, "id": program.id}
        assert browser.ask("POST", path, sent).status == status
    assert program.get("/api/v1/me").status == 401


def test_an_admin_sees_whose_they_are_and_nobody_else_does(console: ConsoleSite) -> None:
    program = console.browser("rex", "127.4.0.5").program("live")
    admin = console.browser("adm", "127.4.0.6")
    assert program.id in admin.get("/accounts").text
    listed: list[dict[str, Any]] = admin.program("tokens").get("/api/v1/tokens").json["tokens"]
    assert [one["name"] for one in listed if one["id"] == program.id] == ["rex"]
    assert console.browser("rex", "127.4.0.7").get("/accounts").status == 403


def test_the_command_makes_lists_and_takes_away(console: ConsoleSite) -> None:
    words = ("--label", "nightly  rep\x1bort", "--scope", "search,sessions", "--life", "2h", "--json")
    done = command(console, "add", "ada", *words)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    program = Program(console.origin, made["token"], "127.4.0.8")
    assert program.get("/api/v1/sessions").status == 200 and program.get("/api/v1/live").status == 403
    rows = json.loads(command(console, "list", "--json").stdout)
    (row,) = [one for one in rows if one["id"] == made["id"]]
    assert (row["name"], row["label"], row["scope"]) == ("ada", "nightly rep\\x1bort", ["sessions", "search"])
    assert made["id"] in command(console, "list").stdout
    assert command(console, "revoke", made["id"]).returncode == 0
    assert program.get("/api/v1/sessions").status == 401
    assert command(console, "revoke", made["id"]).returncode == 1
    lines = [line["event"] for line in console.audit() if line.get("token") == made["id"]]
    assert lines == ["console_token_made", "console_token_revoked"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("nil", "--label", "x", "--scope", "live"), 1, "no role"),
        (("nobody", "--label", "x", "--scope", "live"), 1, "nobody"),
        (("ada", "--label", "x", "--scope", "everything"), 2, "--scope"),
        (("ada", "--label", "x", "--scope", "live", "--life", "1000d"), 2, "--life"),
        (("ada", "--label", " ", "--scope", "live"), 2, "--label"),
    ],
)
def test_what_the_command_refuses(console: ConsoleSite, words: tuple[str, ...], code: int, said: str) -> None:
    done = command(console, "add", *words)
    assert done.returncode == code and said in done.stderr and "bastion_api_" not in done.stdout
