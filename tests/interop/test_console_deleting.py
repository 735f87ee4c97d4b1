"""Recordings that two people delete, and answers with a passkey: a real gateway, slapd and sshd, and a console."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.net import free_ports
from tests.support.passkeys import Authenticator
from tests.support.reviewed import Reviewed
from tests.support.slapd import Slapd, group, person, slapd_missing
from tests.support.sshd import sshd_missing
from tests.support.world import poll
from tests.unit.console.made import Browser, Got
from tests.unit.console.made_passkeys import add, options_in

MISSING = sshd_missing() or slapd_missing()
pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(MISSING), reason=MISSING)]

CONFIG = """[totp]
key_file = "totp.key"
[retention]
at_least = "0s"
[approvals]
passkeys = true
[console]
listen = "127.0.0.1:{port}"
url = "http://localhost:{port}"
require = [["passkey"], ["password", "totp"]]
auditor_groups = ["security"]
approver_groups = ["leads"]
admin_groups = ["admins", "ops"]
"""
POLICY = """
[[rule]]
name = "web1"
groups = ["ops"]
targets = ["web1"]
logins = ["root"]
verbs = ["shell", "pty", "exec"]
[[rule]]
name = "guarded"
groups = ["ops"]
targets = ["guarded"]
logins = ["root"]
verbs = ["shell", "pty", "exec"]
approval = "group:leads"
wait = "5m"
"""


class Deleted(Reviewed):
    def recorded(self, user: str = "") -> str:
        """A session that has ended; its id."""
        before = {one["session_id"] for one in self.sessions()}
        assert self.ssh("echo a-password", **({"user": user} if user else {})).returncode == 0
        (made,) = {one["session_id"] for one in self.sessions()} - before
        poll(lambda: self.row(str(made)) == "ended", text="it has no row")
        return str(made)

    def row(self, session: str) -> str:
        """The session's state in the store."""
        with sqlite3.connect(f"file:{self.recordings}/state/state.db?mode=ro", uri=True) as store:
            found = store.execute("SELECT state FROM sessions WHERE id = ?", (session,)).fetchone()
        return str(found[0]) if found else ""

    def there(self, session: str) -> bool:
        return any(self.recordings.glob(f"*/{session}.rec"))

    def typed(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command, and a code on its standard input."""
        command = [sys.executable, "-m", "bastion", *words, "--config", str(self.config)]
        return subprocess.run(command, input="123456\n", capture_output=True, text=True, timeout=60)

    def prune(self) -> str:
        done = self.bastion("prune", "--config", str(self.config), "--yes")
        assert done.returncode == 0, done.stderr
        return str(done.stdout.decode())


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two workers"])
def world(request: pytest.FixtureRequest) -> Iterator[Deleted]:
    people = [person(name) for name in ("ada", "adm", "bos", "lena")]
    groups = [group("security", "ada"), group("admins", "adm", "bos"), group("leads", "lena")]
    slapd = Slapd([*people, *groups])
    slapd.start()
    (port,) = free_ports(1)
    made = Deleted(slapd=slapd, config=CONFIG.format(port=port), policy=POLICY, workers=request.param)
    made.add_target("guarded", "127.0.0.1", made.sshd.port)
    try:
        made.begin("ada", "adm", "bos", "lena", "alice")
        yield made
    finally:
        made.close()
        slapd.close()


@pytest.fixture(scope="module")
def adm(world: Deleted) -> Browser:
    return world.browser("adm")


@pytest.fixture(scope="module")
def bos(world: Deleted) -> Browser:
    return world.browser("bos")


def asks(world: Deleted, browser: Browser, name: str, session: str, code: str | None = None) -> Got:
    page = browser.get(f"/sessions/{session}/delete")
    assert page.status == 200, page.text
    form = {"reason": "a <password>", "code": world.code(name) if code is None else code}
    return browser.ask("POST", f"/sessions/{session}/delete", {"token": page.token, **form})


def answers(world: Deleted, browser: Browser, name: str, deletion: str, what: str = "agree") -> Got:
    token = browser.get("/deletions").token
    form = {"token": token, "do": what, "code": world.code(name)}
    return browser.ask("POST", f"/deletions/{deletion}", form)


def question(browser: Browser, session: str) -> dict[str, str]:
    found = browser.get("/api/v1/deletions").json["deletions"]
    return next(one for one in found if one["session_id"] == session)


def test_two_admins_delete_a_recording(world: Deleted, adm: Browser, bos: Browser) -> None:
    session, other = world.recorded(), world.recorded()
    assert f"/sessions/{session}/delete" in adm.get(f"/sessions/{session}").text
    wrong = asks(world, adm, "adm", session, "000000")
    assert wrong.status == 403 and "code was not accepted" in wrong.text
    assert asks(world, adm, "adm", session, "").status == 403
    done = asks(world, adm, "adm", session)
    assert (done.status, done.place) == (303, "/deletions?done=asked"), done.text
    line = world.audit("deletion_asked")[-1]
    assert (line["session"], line["by"], line["reason"], line["factor"]) == (
        session,
        "adm",
        "a <password>",
        "totp",
    )
    one = question(adm, session)
    assert "a &lt;password&gt;" in bos.get("/deletions").text and one["state"] == "open"
    assert "Agree to delete it" not in adm.get(f"/deletions/{one['id']}").text
    assert "Agree to delete it" in bos.get(f"/deletions/{one['id']}").text
    own = answers(world, adm, "adm", one["id"])
    assert own.status == 403 and "somebody else has to agree" in own.text
    world.prune()
    assert world.there(session), "one person's word deletes nothing"
    assert answers(world, bos, "bos", one["id"]).status == 303
    agreed, ordered = world.audit("deletion_agreed")[-1], world.audit("console_ordered")[-1]
    assert (agreed["session"], agreed["by"], agreed["asked_by"]) == (session, "bos", "adm")
    assert (ordered["user"], ordered["command"], ordered["whom"]) == ("bos", "deletion agree", one["id"])
    assert world.there(session), "the console removes nothing"
    assert "people adm, bos" in world.prune()
    assert not world.there(session) and world.there(other)
    assert question(adm, session)["state"] == "done"
    gone = world.audit("recording_deleted")[-1]
    assert (gone["session"], gone["why"]) == (session, "people adm, bos")
    verified = world.bastion("verify", "--config", str(world.config), "--all")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "deleted" in adm.get(f"/sessions/{session}").text
    again = asks(world, adm, "adm", session)
    assert again.status == 400 and "deleted already" in again.text


def test_whoever_was_in_the_session_neither_asks_nor_agrees_nor_keeps(world: Deleted, adm: Browser) -> None:
    session, alice = world.recorded(), world.browser("alice")
    own = asks(world, alice, "alice", session)
    assert own.status == 403 and "a session of his own" in own.text
    assert asks(world, adm, "adm", session).status == 303
    name = question(adm, session)["id"]
    for what in ("agree", "keep"):
        refused = answers(world, alice, "alice", name, what)
        assert refused.status == 403 and "a session of his own" in refused.text
    assert answers(world, adm, "adm", name, "keep").status == 303
    assert world.audit("deletion_stopped")[-1]["by"] == "adm"
    assert answers(world, adm, "adm", name, "keep").status == 404


def test_a_hold_ends_what_was_agreed_to(world: Deleted, adm: Browser, bos: Browser) -> None:
    session = world.recorded()
    assert asks(world, adm, "adm", session).status == 303
    name = question(adm, session)["id"]
    assert answers(world, bos, "bos", name).status == 303
    assert adm.post(f"/sessions/{session}/hold", {"reason": "case 7"}, "/sessions").status == 303
    world.prune()
    assert world.there(session)
    refused = asks(world, bos, "bos", session)
    assert refused.status == 400 and "it is held" in refused.text
    assert "a hold was placed" in adm.get("/deletions").text


def test_the_command_line_does_the_same_and_root_is_nobody(world: Deleted, adm: Browser) -> None:
    session = world.recorded()
    asked = world.typed("deletions", "ask", session[:6], "--reason", "x")
    assert asked.returncode == 1 and "nobody in the directory" in asked.stderr
    assert world.audit("control_refused")[-1]["command"] == "deletion_ask"
    assert asks(world, adm, "adm", session).status == 303
    listed = world.typed("deletions", "list", "--json")
    newest = json.loads(listed.stdout)["deletions"][0]
    assert (newest["session"], newest["state"], newest["asked_by"]) == (session, "open", "adm")
    for what in ("agree", "keep"):
        refused = world.typed("deletions", what, newest["id"])
        assert refused.returncode == 1 and "nobody in the directory" in refused.stderr
    assert "a <password>" in world.typed("deletions", "list").stdout


def test_others_look_and_ask_for_nothing(world: Deleted, adm: Browser) -> None:
    session, ada, lena = world.recorded(), world.browser("ada"), world.browser("lena")
    assert ada.get("/deletions").status == 200 and lena.get("/deletions").status == 403
    for browser in (ada, lena):
        form = {"token": browser.get("/live").token, "reason": "x", "code": "1"}
        assert browser.get(f"/sessions/{session}/delete").status == 403
        assert browser.ask("POST", f"/sessions/{session}/delete", form).status == 403


# -- passkeys --------------------------------------------------------------------------------------------------------


def challenge(page: Got, value: str) -> str:
    """What the page's button with this value has signed, in place of the first one's."""
    options = json.loads(options_in(page))
    found = page.text.partition(f'value="{value}"')[2].rpartition(f'value="{value}"')[2]
    options["challenge"] = found.partition('data-challenge="')[2].partition('"')[0]
    return json.dumps(options)


def moment(page: Got) -> str:
    return page.text.partition('name="moment" value="')[2].partition('"')[0]


@pytest.fixture(scope="module")
def key(world: Deleted) -> Iterator[tuple[Browser, Authenticator]]:
    lena = world.browser("lena")
    made = Authenticator(world.origin, "localhost", 1)
    assert add(lena, made).status == 303
    yield lena, made


def test_a_request_is_answered_with_a_passkey_for_that_answer_alone(
    world: Deleted, key: tuple[Browser, Authenticator]
) -> None:
    lena, made = key
    with world.client("echo it-is-open", user="alice+root+guarded") as engineer:
        (row,) = poll(lambda: lena.get("/api/v1/requests").json["requests"])
        assert f'href="/requests/{row["id"]}"' in lena.get("/requests").text
        path = f"/requests/{row['id']}"
        page = lena.get(path)
        signed = made.get(challenge(page, "deny"))
        form = {"token": page.token, "moment": moment(page), "answer": "approve", "reason": ""}
        refused = lena.ask("POST", path, {**form, "passkey": signed})
        assert refused.status == 403 and "passkey was not accepted: factor_invalid" in refused.text
        older = {
            **form,
            "passkey": made.get(challenge(page, "approve")),
            "moment": str(int(moment(page)) - 1),
        }
        assert lena.ask("POST", path, older).status == 403
        stranger = Authenticator(world.origin, "localhost", 1)
        other = lena.ask("POST", path, {**form, "passkey": stranger.get(challenge(page, "approve"))})
        assert other.status == 403
        done = lena.ask("POST", path, {**form, "passkey": made.get(challenge(page, "approve"))})
        assert (done.status, done.place) == (303, "/requests?done=approved"), done.text
        engineer.expect(b"it-is-open")
    answered = world.audit("approval_answered")[-1]
    assert (answered["by"], answered["result"], answered["factor"]) == ("lena", "approved", "passkey")
    assert lena.get(path).status == 404


def test_a_passkey_of_somebody_else_answers_nothing(
    world: Deleted, key: tuple[Browser, Authenticator]
) -> None:
    """Nor one that is locked, nor a signature once more."""
    lena, made = key
    with world.client("true", user="alice+root+guarded"):
        row = poll(lambda: lena.get("/api/v1/requests").json["requests"])[-1]
        path = f"/requests/{row['id']}"
        page = lena.get(path)
        form = {"token": page.token, "moment": moment(page), "answer": "deny", "reason": ""}
        (print_,) = [one["key"] for one in world.audit("console_passkey_added")]
        config = ("--config", str(world.config))
        assert world.bastion("lock", *config, "certificate", print_, "--reason", "lost").returncode == 0
        locked = lena.ask("POST", path, {**form, "passkey": made.get(challenge(page, "deny"))})
        assert locked.status == 403 and "locked" in locked.text
        assert world.bastion("unlock", *config, "certificate", print_).returncode == 0
        once = made.get(challenge(page, "deny"))
        assert lena.ask("POST", path, {**form, "passkey": once}).status == 303
        again = lena.ask("POST", path, {**form, "passkey": once})
        assert again.status in (403, 404)


def test_a_deletion_is_agreed_to_with_a_passkey(world: Deleted, adm: Browser, bos: Browser) -> None:
    session, made = world.recorded(), Authenticator(world.origin, "localhost", 1)
    assert add(bos, made).status == 303
    assert asks(world, adm, "adm", session).status == 303
    one = question(bos, session)
    page = bos.get(f"/deletions/{one['id']}")
    form = {"token": page.token, "moment": moment(page), "do": "agree"}
    kept = bos.ask("POST", f"/deletions/{one['id']}", {**form, "passkey": made.get(challenge(page, "keep"))})
    assert kept.status == 403
    done = bos.ask("POST", f"/deletions/{one['id']}", {**form, "passkey": made.get(challenge(page, "agree"))})
    assert done.status == 303, done.text
    assert world.audit("deletion_agreed")[-1]["factor"] == "passkey"
    world.prune()
    assert not world.there(session)
