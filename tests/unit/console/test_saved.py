"""Searches saved in the console, run at night, posted once, and shown."""

from __future__ import annotations

import hmac
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from click.testing import CliRunner, Result
from twisted.python.failure import Failure

from bastion.cli.index import index
from bastion.clock import SystemClock
from bastion.console import nightly as module
from bastion.console import owners
from bastion.console.nightly import searches
from bastion.errors import AuthReason, Refused
from bastion.state.changes import PUT, Change
from bastion.state.rows import Lock
from bastion.state.saved import all_searches
from tests.unit.cli.made import record
from tests.unit.console.conftest import header
from tests.unit.console.made import SECTION, Browser, ConsoleSite

pytestmark = pytest.mark.slow

NEW, NEWER, OLD = "nnnnaaaabbbbcccc", "nnnnbbbbbbbbcccc", "nnnnccccbbbbcccc"
SECRET = b"hush"


class Hook:
    """Keeps what is posted, and answers as it is told."""

    def __init__(self) -> None:
        self.status = 200
        self.got: list[tuple[dict[str, Any], str, bytes]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.got.append((json.loads(body), self.headers.get("Bastion-Signature", ""), body))
                self.send_response(hook.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/hook"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.close()


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory, hook: Hook) -> Iterator[ConsoleSite]:
    folder = tmp_path_factory.mktemp("saved")
    detections = f'[detections]\nwebhook = "{hook.url}"\nwebhook_secret_file = "secret"\n'
    made = ConsoleSite(folder, SECTION + detections)
    made.write("secret", SECRET.decode() + "\n", 0o600)
    shown(made, OLD, -2 * 86400.0)
    shown(made, NEW, -60.0)
    made.start()
    yield made
    made.close()


def shown(site: ConsoleSite, name: str, ago: float) -> None:
    about = header(name, "alice", "web1", SystemClock().time() + ago)
    record(site.store, about)
    site.index(about)


def run(site: ConsoleSite) -> Result:
    made = CliRunner().invoke(index, ["--config", str(site.config)])
    assert made.exit_code == 0, made.output
    return CliRunner().invoke(searches, ["--config", str(site.config)], obj=at_once)


def at_once(main: Callable[[Any], Any]) -> Any:
    """Stands for the reactor: the embedded directory answers at once."""
    outcome: list[Any] = []
    main(None).addBoth(outcome.append)
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    return outcome[0]


def save(browser: Browser, **form: str) -> int:
    return browser.post("/searches", form, "/sessions").status


def test_a_saved_search_tells_each_new_session_once(site: ConsoleSite, hook: Hook) -> None:
    ada = site.browser("ada")
    assert save(ada, q="done", user="alice", title="who is <done>") == 303
    saved = site.audit("search_saved")[-1]
    assert (saved["left"], saved["uid"], saved["asked"]) == ("saved", "u-ada", "words=done user=alice")
    done = run(site)
    assert done.exit_code == 0 and "who is <done> (ada): 1 new" in done.output, done.output
    ((told, signed, body),) = hook.got
    assert told["event"] == "saved_search" and told["gateway"] == "gw1" and not told["more"]
    assert [one["id"] for one in told["sessions"]] == [NEW], "what began long before it was saved is not new"
    assert told["search"]["title"] == "who is <done>" and told["search"]["by"] == "ada"
    assert told["search"]["url"].endswith("/search?q=done&user=alice") and b"oops" not in body
    seconds = re.match(r"t=(\d+),v1=", signed)
    assert seconds is not None
    right = hmac.new(SECRET, seconds[1].encode() + b"." + body, sha256).hexdigest()
    assert signed == f"t={seconds[1]},v1={right}"
    assert ": 0 new" in run(site).output and len(hook.got) == 1
    shown(site, NEWER, -30.0)
    assert ": 1 new" in run(site).output and hook.got[1][0]["sessions"][0]["id"] == NEWER
    text = ada.get("/searches").text
    assert NEW in text and NEWER in text and OLD not in text and "who is &lt;done&gt;" in text
    (found,) = ada.get("/api/v1/searches").json["searches"]
    assert found["hits"][0]["session_id"] == NEWER
    read = site.audit("recordings_read")
    assert any(one["by"] == "ada, by a saved search" and one["command"] == "searches" for one in read)


def test_what_could_not_be_posted_is_posted_the_next_time(site: ConsoleSite, hook: Hook) -> None:
    assert save(site.browser("ada"), q="done", title="x") == 303
    hook.status = 503
    failed = run(site)
    assert failed.exit_code == 1 and "it answers 503" in failed.output
    ada = site.browser("ada")
    assert NEW in ada.get("/searches").text, "it was found all the same"
    hook.status = 200
    again = run(site)
    assert again.exit_code == 0 and ": 0 new" in again.output
    assert run(site).exit_code == 0
    first, second = (told["sessions"][0]["id"] for told, _, _ in hook.got)
    assert first == second == NEW


def test_what_is_found_at_a_time_is_bounded(
    site: ConsoleSite, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_NEW", 1)
    shown(site, NEWER, -30.0)
    assert save(site.browser("ada"), q="done", title="x") == 303
    run(site)
    run(site)
    assert [(told["sessions"][0]["id"], told["more"]) for told, _, _ in hook.got] == [
        (NEWER, True),
        (NEW, False),
    ]


def test_a_search_is_its_owners_and_makes_sense(site: ConsoleSite, hook: Hook) -> None:
    ada, rex = site.browser("ada"), site.browser("rex")
    for form in (
        {"q": "", "title": "x"},
        {"q": "...", "title": "x"},
        {"q": "done", "title": ""},
        {"q": "done", "title": "x", "source": "web1"},
        {"q": "x" * 300, "title": "x"},
    ):
        assert save(ada, **form) == 400, form
    assert all_searches(site.database) == [] and site.audit("search_saved") == []
    assert save(ada, q="done", title="mine") == 303
    name = all_searches(site.database)[0].id
    assert "You have saved none" in rex.get("/searches").text
    assert rex.post("/searches/drop", {"search": name}, "/sessions").status == 404
    assert ada.post("/searches/drop", {"search": name}, "/sessions").status == 303
    assert all_searches(site.database) == [] and site.audit("search_saved")[-1]["left"] == "dropped"
    assert hook.got == []


def test_without_an_index_it_says_so(site: ConsoleSite) -> None:
    done = CliRunner().invoke(searches, ["--config", str(site.config)], obj=at_once)
    assert done.exit_code == 3 and "run `bastion index` first" in done.output


def test_programs_save_and_drop_searches(site: ConsoleSite) -> None:
    program = site.browser("ada").program("searches,searches:write")
    made = program.ask("POST", "/api/v1/searches", {"q": "done", "user": "alice", "title": "by a program"})
    assert made.status == 200 and made.json["query"] == "user=alice" and made.json["hits"] == []
    line = site.audit("search_saved")[-1]
    assert (line["name"], line["token"], line["left"]) == (made.json["id"], program.id, "saved")
    assert [one["id"] for one in program.get("/api/v1/searches").json["searches"]] == [made.json["id"]]
    assert program.ask("POST", "/api/v1/searches", {"q": "...", "title": "x"}).status == 400
    other = site.browser("rex").program("searches:write")
    assert other.ask("POST", "/api/v1/searches/drop", {"search": made.json["id"]}).status == 404
    gone = program.ask("POST", "/api/v1/searches/drop", {"search": made.json["id"]})
    assert gone.json == {"done": True} and all_searches(site.database) == []
    assert site.audit("search_saved")[-1]["token"] == program.id


def gone(site: ConsoleSite, name: str) -> None:
    """Out of the directory."""
    text = (site.folder / "users.toml").read_text()
    site.write("users.toml", re.sub(rf"\[users\.{name}\]\n(?:.+\n){{3}}", "", text), 0o600)


def test_the_searches_of_somebody_who_is_gone_stop_and_an_admin_sees_them(
    site: ConsoleSite, hook: Hook
) -> None:
    ada, rex, adm = site.browser("ada"), site.browser("rex"), site.browser("adm")
    assert save(ada, q="done", title="of <ada>") == save(rex, q="done", title="of rex") == 303
    gone(site, "ada")
    done = run(site)
    assert done.exit_code == 0 and "of <ada> (ada) does not run: the account is none any more" in done.output
    assert [told["search"]["title"] for told, _, _ in hook.got] == ["of rex"]
    line = site.audit("search_saved")[-1]
    assert (line["left"], line["user"], line["uid"]) == ("stopped", "ada", "u-ada")
    assert not any(one["by"].startswith("ada, by") for one in site.audit("recordings_read"))
    stopped = next(one for one in all_searches(site.database) if one.name == "ada")
    assert line["name"] == stopped.id and stopped.stopped == "the account is none any more"
    assert "does not run" not in run(site).output and len(site.audit("search_saved")) == 3, "it stays stopped"
    assert "Of people who are gone" not in rex.get("/searches").text
    text = adm.get("/searches").text
    assert "Of people who are gone" in text and "of &lt;ada&gt; of ada" in text
    program = adm.program("searches,searches:write")
    assert [one["id"] for one in program.get("/api/v1/searches").json["stopped"]] == [stopped.id]
    assert rex.post("/searches/drop", {"search": stopped.id}, "/sessions").status == 404
    assert adm.post("/searches/drop", {"search": stopped.id}, "/sessions").status == 303
    assert program.get("/api/v1/searches").json["stopped"] == []
    others = next(one for one in all_searches(site.database))
    assert adm.post("/searches/drop", {"search": others.id}, "/sessions").status == 404, "it runs"


def test_who_may_search_no_more_or_is_locked_has_nothing_run(site: ConsoleSite, hook: Hook) -> None:
    ada, rex = site.browser("ada"), site.browser("rex")
    assert save(ada, q="done", title="a") == save(rex, q="done", title="r") == 303
    text = (site.folder / "users.toml").read_text()
    site.write("users.toml", text.replace('["auditors"]', '["nobodies"]'), 0o600)
    locked = Lock("user", "rex", "it is over", "root", SystemClock().time())
    site.add(Change(PUT, "locks", asdict(locked)))
    done = run(site)
    assert done.exit_code == 0 and hook.got == []
    assert "may not search any more" in done.output and "its owner is locked" in done.output
    found = {one.name: one.stopped for one in all_searches(site.database)}
    assert found == {"ada": "the account may not search any more", "rex": ""}, "a lock is taken away again"


def test_a_directory_that_does_not_answer_stops_nothing_and_runs_nothing(
    site: ConsoleSite, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert save(site.browser("ada"), q="done", title="a") == 303

    class Silent:
        async def lookup(self, name: str, asker: object) -> object:
            raise Refused(AuthReason.DIRECTORY_UNAVAILABLE, "no answer")

        def close(self) -> None:
            pass

    monkeypatch.setattr(owners, "build_directory", lambda *_: Silent())
    done = run(site)
    assert done.exit_code == 1 and "the directory does not answer" in done.output and hook.got == []
    assert all_searches(site.database)[0].stopped_at is None
