"""The console as a Unix user of its own, beside a gateway of another: it shows everything, and can read no key."""

from __future__ import annotations

import grp
import json
import os
import signal
import stat
from collections.abc import Iterator

import pytest

from tests.interop.test_console import MISSING
from tests.support.apart import NOT_ROOT, USER, Apart
from tests.support.slapd import PASSWORD, Slapd, group, person
from tests.support.world import poll
from tests.unit.console.made import Browser

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(MISSING or NOT_ROOT), reason=MISSING or NOT_ROOT),
]

LOOK = """
import sys
for path in sys.argv[1:]:
    try:
        open(path, "rb").close()
    except OSError as error:
        print(path, error.strerror)
    else:
        print(path, "opened")
"""


@pytest.fixture(scope="module")
def world() -> Iterator[Apart]:
    people = [person("ada"), person("rex"), group("security", "ada"), group("responders", "rex")]
    slapd = Slapd(people)
    slapd.start()
    made = Apart(slapd)
    try:
        if made.other.missing:
            pytest.skip(made.other.missing)
        made.start()
        made.enroll("ada", "rex")
        made.serve_console()
        yield made
    finally:
        made.close()
        slapd.close()


@pytest.fixture(scope="module")
def rex(world: Apart) -> Browser:
    browser = Browser(world.origin)
    got = browser.sign_in("rex", PASSWORD, world.recovery["rex"][0])
    assert got.status == 303, got.text
    return browser


def test_it_can_read_no_key_and_change_nothing(world: Apart) -> None:
    assert os.stat(f"/proc/{world.console_pid}").st_uid == world.other.account.pw_uid != 0
    keys = [
        one for one in world.keys.iterdir() if one.is_file() and one.with_name(one.name + ".pub").exists()
    ]
    assert {"gateway_host", "upstream_ca", "recording"} <= {one.name for one in keys}
    secret = [*keys, world.totp, *(world.recordings / "state").glob("penalties*")]
    found = world.other.run("-c", LOOK, *map(str, secret)).stdout.splitlines()
    assert found == [f"{path} Permission denied" for path in secret]
    store = world.recordings / "state" / "state.db"
    assert (stat.S_IMODE(store.stat().st_mode), grp.getgrgid(store.stat().st_gid).gr_name) == (0o640, USER)
    writing = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('DELETE FROM locks')"
    assert "readonly database" in world.other.run("-c", writing, str(store)).stderr
    line = next(one for one in world.looked() if one["event"] == "console_started")
    assert line and stat.S_IMODE((world.folder / "console" / "audit.jsonl").stat().st_mode) & 0o007 == 0


def test_the_gateway_judges_codes_once_and_charges_guesses(world: Apart) -> None:
    code, browser = world.codes["ada"].now(), Browser(world.origin)
    assert browser.sign_in("ada", PASSWORD, "000000").status == 401
    assert browser.sign_in("ada", PASSWORD, code).status == 303
    assert "ada (auditor)" in browser.get("/sessions").text
    assert Browser(world.origin).sign_in("ada", PASSWORD, code).status == 401
    reasons = [(one["method"], one["reason"]) for one in world.looked() if one["event"] == "auth"]
    assert ("totp", "bad_code") in reasons and ("totp", "code_used") in reasons
    assert code not in world.log.read_text() + json.dumps(world.looked())


def test_it_shows_plays_verifies_and_searches(world: Apart, rex: Browser) -> None:
    assert world.ssh("echo seen by everybody").returncode == 0
    newest = world.sessions()[-1]["session_id"]
    recording = next(world.recordings.glob(f"*/{newest}.rec"))
    for path, mode in ((recording, 0o640), (recording.parent, 0o2750)):
        assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_gid) == (mode, world.other.account.pw_gid)
    poll(lambda: newest in rex.get("/sessions?user=alice&state=").text, text="the session is not listed")
    assert "exec echo seen by everybody" in rex.get(f"/sessions/{newest}").text
    assert "seen by everybody" in rex.get(f"/sessions/{newest}/text").text
    assert "seen by everybody" in rex.get(f"/sessions/{newest}/play").text
    poll(lambda: 'class="good"' in rex.get(f"/sessions/{newest}/verify").text, text="it is not proved")
    filled = world.other.run("-m", "bastion", "index", "--config", str(world.config), "--json")
    assert filled.returncode == 0 and json.loads(filled.stdout)["read"] == 1, filled.stderr
    assert newest in rex.get("/search?q=everybody").text
    read = {one["command"] for one in world.looked() if one["event"] == "recordings_read"}
    assert {"console session", "console text", "console play", "console verify", "console search"} <= read


def test_a_session_is_ended_by_whoever_may(world: Apart, rex: Browser) -> None:
    with world.client("sleep 60") as engineer:
        name = poll(lambda: rex.get("/live").text.partition("/live/end?session=")[2][:16])
        assert rex.post("/live/end", {"session": name, "reason": "found a miner"}).place == "/live?ended=1"
        poll(lambda: not engineer.running, text="it was not ended")


def test_while_no_gateway_runs_it_shows_what_there_is_and_lets_nobody_in(world: Apart, rex: Browser) -> None:
    newest = world.sessions()[-1]["session_id"]
    world.kill(signal.SIGTERM)
    assert newest in rex.get("/sessions?user=alice&state=").text
    assert "seen by everybody" in rex.get(f"/sessions/{world.sessions()[0]['session_id']}/text").text
    refused = Browser(world.origin).sign_in("ada", PASSWORD, world.recovery["ada"][0])
    assert (refused.status, "codes cannot be checked now" in refused.text) == (401, True)
