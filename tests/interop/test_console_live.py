"""Live and requests in the review console, beside a real gateway, slapd, ssh and sshd, over HTTP. In a browser:
`test_console_browser_live.py`."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator

import pytest

from tests.support.client import Client
from tests.support.reviewed import Reviewed
from tests.support.slapd import Slapd, group, person, slapd_missing
from tests.support.sshd import sshd_missing
from tests.support.world import poll
from tests.unit.console.made import Browser, Lines

MISSING = sshd_missing() or slapd_missing()
pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(MISSING), reason=MISSING)]

CONFIG = """[totp]
key_file = "totp.key"
[console]
listen = "127.0.0.1:0"
auditor_groups = ["security"]
responder_groups = ["responders"]
approver_groups = ["leads"]
"""
RULE = """
[[rule]]
name = "{0}"
groups = ["ops"]
targets = ["{0}"]
logins = ["root"]
verbs = ["shell", "pty", "exec"]
"""
POLICY = (
    RULE.format("web1")
    + RULE.format("quiet")
    + 'watch = "silent"\n'
    + RULE.format("private")
    + 'watch = "no"\n'
    + RULE.format("guarded")
    + 'approval = "group:leads"\nwait = "5m"\n'
)
ID = r"[a-z2-7]{16}"


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two workers"])
def world(request: pytest.FixtureRequest) -> Iterator[Reviewed]:
    people = [person(name) for name in ("ada", "rex", "lena")]
    groups = [group("security", "ada"), group("responders", "rex"), group("leads", "lena")]
    slapd = Slapd([*people, *groups])
    slapd.start()
    made = Reviewed(slapd=slapd, config=CONFIG, policy=POLICY, workers=request.param)
    for name in ("quiet", "private", "guarded"):
        made.add_target(name, "127.0.0.1", made.sshd.port)
    try:
        made.begin("ada", "rex", "lena")
        yield made
    finally:
        made.close()
        slapd.close()


@pytest.fixture(scope="module")
def rex(world: Reviewed) -> Browser:
    return world.browser("rex")


@contextlib.contextmanager
def shell(world: Reviewed, browser: Browser, target: str = "web1") -> Iterator[tuple[Client, str]]:
    """Somebody at work, and the session's id."""
    before = {row["id"] for row in browser.get("/api/v1/live").json["rows"]}
    with world.client("-tt", "PS1='# ' sh -i", user=f"alice+root+{target}") as engineer:
        engineer.expect(b"# ")
        rows = [row for row in browser.get("/api/v1/live").json["rows"] if row["kind"] == "session"]
        (name,) = {row["id"] for row in rows} - before
        yield engineer, name


def token(browser: Browser) -> str:
    return browser.get("/live").token


@contextlib.contextmanager
def watching(browser: Browser, *names: str, reason: str = "") -> Iterator[Lines]:
    form = {"token": token(browser), "reason": reason, **dict.fromkeys(names, "1")}
    with browser.follow("/live/stream", form) as lines:
        yield lines


def shows(name: str, text: str):
    return lambda line: line.get("s") == name and any(text in row for row in line.get("rows", {}).values())


def test_a_session_is_watched_as_it_happens_and_ended(world: Reviewed, rex: Browser) -> None:
    with shell(world, rex) as (engineer, name):
        page = rex.get(f"/live/watch?{name}=1")
        assert page.status == 200 and f'data-session="{name}"' in page.text
        with watching(rex, name, reason="odd hours") as lines:
            assert lines.status == 200
            assert lines.until(lambda line: "told" in line) == {"s": name, "told": True}
            size = lines.until(lambda line: "size" in line)["size"]
            assert size == [80, 24] or size[0] > 0
            engineer.expect(b"rex of the security team watches this session")
            engineer.send(b"echo seen-$((40+2))\n")
            lines.until(shows(name, "seen-42"))
            engineer.send(b"printf '\\033]0;<b>t</b>\\007\\033[31m<i>red</i>\\033[0m\\n'\n")
            lines.until(shows(name, "<i>red</i>"))
            assert rex.get("/api/v1/live").json["rows"][-1]["watchers"] == 1
            assert rex.post("/live/end", {"session": name, "reason": "found a miner"}).status == 303
            over = lines.until(lambda line: "over" in line)
            assert over == {"s": name, "over": "the session has ended"}
            assert lines.until(lambda line: "end" in line) == {"end": ""}
        assert not any("\x1b" in json.dumps(line, ensure_ascii=False) for line in lines.seen)
        poll(lambda: b"bastion: ended by the security team: found a miner" in engineer.err)
    started, killed = world.audit("watch_started")[-1], world.audit("killed")[-1]
    assert (started["person"], started["why"], started["told"]) == ("rex", "odd hours", True)
    assert (killed["person"], killed["why"]) == ("rex", "found a miner")
    read = [line["by"] for line in world.audit("recordings_read") if line["command"] == "console watch"]
    assert read == ["rex"]


def test_whether_the_engineer_is_told_say_the_rules(world: Reviewed, rex: Browser) -> None:
    with shell(world, rex, "quiet") as (engineer, name), watching(rex, name) as lines:
        assert lines.until(lambda line: "told" in line)["told"] is False
        engineer.send(b"echo unseen-$((40+2))\n")
        lines.until(shows(name, "unseen-42"))
        assert b"security team" not in engineer.out
    with shell(world, rex, "private") as (_, name), watching(rex, name) as lines:
        assert "nobody watches it" in lines.until(lambda line: "over" in line)["over"]
    assert world.audit("control_refused")[-1]["person"] == "rex"


def test_several_are_watched_side_by_side_and_one_that_is_not_there_is_told(
    world: Reviewed, rex: Browser
) -> None:
    with shell(world, rex) as (one, first), shell(world, rex, "quiet") as (two, second):
        page = rex.get("/live/watch").text
        assert first in page and second in page
        with watching(rex, first, second, "a" * 16) as lines:
            assert lines.until(lambda line: "over" in line)["s"] == "a" * 16
            for engineer, name in ((one, first), (two, second)):
                engineer.send(f"echo at-{name[:4]}\n".encode())
                lines.until(shows(name, f"at-{name[:4]}"))
        poll(lambda: not any(row["watchers"] for row in rex.get("/api/v1/live").json["rows"]))
        one.expect(b"does not watch this session any more")


def test_a_watch_ends_with_its_visit(world: Reviewed) -> None:
    ada = world.browser("ada")
    with shell(world, ada) as (_, name), watching(ada, name) as lines:
        lines.until(lambda line: "told" in line)
        assert ada.ask("POST", "/sign-out", {"token": token(ada)}).status == 303
        assert "signed out" in lines.until(lambda line: "end" in line)["end"]
    ended = poll(lambda: [line for line in world.audit("watch_ended") if line["person"] == "ada"])
    assert ended[-1]["session"] == name


def test_a_target_and_a_certificate_are_locked_for_a_time(world: Reviewed, rex: Browser) -> None:
    with shell(world, rex, "quiet") as (engineer, name):
        page = rex.get(f"/sessions/{name}").text
        assert "kind=target&amp;value=quiet" in page and "kind=source&amp;value=127.0.0.1" in page
        (key,) = re.findall(r"kind=certificate&amp;value=(SHA256%3A[^\"]+)", page)
        form = {"kind": "target", "value": "quiet", "reason": "an exercise", "for": "1h"}
        assert rex.post("/live/lock", form).status == 303
        poll(lambda: not engineer.running, text="it was not ended")
        locked = world.audit("locked")[-1]
        assert (locked["kind"], locked["person"]) == ("target", "rex") and locked["until"] > 0
        assert re.search(r"target quiet: an exercise\s+<small>by \S+ for rex", rex.get("/live").text)
    assert world.bastion("unlock", "--config", str(world.config), "quiet").returncode == 0
    assert key.startswith("SHA256%3A")


def test_a_request_is_followed_and_approved_while_ssh_waits(world: Reviewed) -> None:
    lena = world.browser("lena")
    asked = "/requests/stream", {"token": token(lena)}
    with lena.follow(*asked) as lines, world.client("echo it-is-open", user="alice+root+guarded") as engineer:
        assert lines.status == 200
        (row,) = lines.until(lambda line: line.get("requests"))["requests"]
        assert (row["user"], row["target"], row["login"], row["state"]) == (
            "alice",
            "guarded",
            "root",
            "open",
        )
        assert 0 <= row["age"] < 60 and row["left"] > 60
        page = lena.get("/requests")
        assert f'data-request="{row["id"]}"' in page.text and "alice" in page.text
        path, wanted = (
            f"/requests/{row['id']}",
            {"token": page.token, "answer": "approve", "reason": "agreed"},
        )
        wrong = lena.ask("POST", path, {**wanted, "code": "000000"})
        assert wrong.status == 403 and "code was not accepted" in wrong.text
        done = lena.ask("POST", path, {**wanted, "code": world.code("lena")})
        assert (done.status, done.place) == (303, "/requests?done=approved")
        engineer.expect(b"it-is-open")
        lines.until(lambda line: line.get("requests") == [])
        again = lena.ask("POST", f"/api/v1{path}", {**wanted, "code": world.code("lena")})
        assert again.status == 400 and "already by lena" in again.json["text"]
    answered, ordered = world.audit("approval_answered")[-1], world.audit("console_ordered")[-1]
    assert (answered["by"], answered["result"], answered["why"]) == ("lena", "approved", "agreed")
    assert answered["factor"] == "totp"
    assert (ordered["user"], ordered["command"], ordered["whom"]) == ("lena", "approve", row["id"])


def test_who_may_not_approve_does_not(world: Reviewed, rex: Browser) -> None:
    with world.client("true", user="alice+root+guarded") as engineer:
        rows = poll(lambda: rex.get("/api/v1/requests").json["requests"])
        path = f"/api/v1/requests/{rows[-1]['id']}"
        form = {"token": token(rex), "answer": "approve", "code": world.code("rex")}
        assert rex.ask("POST", path, form).status == 403
        assert 'name="code"' not in rex.get("/requests").text
        lena = world.browser("lena")
        denied = lena.ask("POST", path, {"token": token(lena), "answer": "deny", "code": world.code("lena")})
        assert denied.json["state"] == "denied"
        assert engineer.wait() == 255 and b"denied" in engineer.err


def lock(world: Reviewed, *what: str) -> None:
    done = world.bastion("lock", "--config", str(world.config), *what, "--reason", "an <exercise>")
    assert done.returncode == 0, done.stderr


def since(browser: Browser, value: str) -> str:
    found = re.search(rf"value={value}&amp;since=([0-9.]+)", browser.get("/locks").text)
    assert found is not None
    return found[1]


def test_what_is_locked_is_listed_and_unlocked_by_a_responder(world: Reviewed, rex: Browser) -> None:
    lock(world, "alice")
    ada, lena = world.browser("ada"), world.browser("lena")
    for browser in (ada, lena):
        page = browser.get("/locks").text
        assert "alice" in page and "an &lt;exercise&gt;" in page and "/locks/unlock" not in page
        assert browser.post("/locks/unlock", {}, "/live").status == 403
    was = since(rex, "alice")
    asked = rex.get(f"/locks/unlock?kind=user&value=alice&since={was}")
    assert asked.status == 200 and "an &lt;exercise&gt;" in asked.text
    form = {"token": asked.token, "kind": "user", "value": "alice", "since": was, "reason": "found it"}
    assert rex.ask("POST", "/locks/unlock", {**form, "reason": " "}).status == 400
    assert rex.ask("POST", "/locks/unlock", {**form, "since": "1.000000"}).status == 400
    assert rex.ask("POST", "/locks/unlock", {**form, "value": "alic"}).status == 404
    assert world.audit("unlocked") == [] or world.audit("unlocked")[-1]["value"] != "alice"
    assert rex.ask("POST", "/locks/unlock", form).status == 303
    gone, ordered = world.audit("unlocked")[-1], world.audit("console_ordered")[-1]
    assert (gone["value"], gone["person"], gone["why"]) == ("alice", "rex", "found it")
    assert (ordered["user"], ordered["command"], ordered["whom"]) == ("rex", "unlock", "user alice")
    assert world.ssh("true").returncode == 0
    lock(world, "target", "quiet")
    done = rex.ask(
        "POST",
        "/api/v1/live/unlock",
        {"token": token(rex), "kind": "target", "value": "quiet", "reason": "over"},
    )
    assert done.json["locks"][0]["value"] == "quiet" and rex.get("/api/v1/locks").json["locks"] == []


def test_whoever_is_locked_unlocks_nothing(world: Reviewed) -> None:
    """Signed in before, for as long as nobody has asked again whether the account is one."""
    rex = world.browser("rex")
    form = {"token": token(rex), "reason": "let me in", "kind": "user"}
    lock(world, "user", "rex")
    lock(world, "user", "mallory")
    try:
        for value in ("rex", "mallory"):
            got = rex.ask("POST", "/api/v1/live/unlock", {**form, "value": value})
            assert got.status in (401, 403) and got.json["error"] in ("own", "locked")
        locked = {one["value"] for one in world.browser("ada").get("/api/v1/locks").json["locks"]}
        assert locked == {"rex", "mallory"}
    finally:
        for value in ("rex", "mallory"):
            assert world.bastion("unlock", "--config", str(world.config), value).returncode == 0
