"""The review console beside a real gateway: slapd and one-time codes, ssh, a session found, read, and ended."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support.reviewed import Reviewed
from tests.support.slapd import PASSWORD, Slapd, group, person, slapd_missing
from tests.support.sshd import sshd_missing
from tests.support.world import poll
from tests.unit.console.made import Browser

MISSING = sshd_missing() or slapd_missing()
pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(MISSING), reason=MISSING)]

CONFIG = """[totp]
key_file = "totp.key"
[console]
listen = "127.0.0.1:0"
auditor_groups = ["security"]
responder_groups = ["responders"]
"""


@pytest.fixture(scope="module")
def world() -> Iterator[Reviewed]:
    people = [person("ada"), person("rex"), group("security", "ada"), group("responders", "rex")]
    slapd = Slapd(people)
    slapd.start()
    made = Reviewed(slapd=slapd, config=CONFIG, recording='signing_key = "keys/recording"')
    try:
        made.begin("ada", "rex")
        yield made
    finally:
        made.close()
        slapd.close()


@pytest.fixture(scope="module")
def rex(world: Reviewed) -> Browser:
    return world.browser("rex")


def test_password_and_code_of_ldap_sign_in_and_a_code_is_good_once(world: Reviewed) -> None:
    browser = Browser(world.origin)
    code = world.codes["ada"].now()
    assert browser.sign_in("ada", PASSWORD, "000000").status == 401
    assert browser.sign_in("ada", PASSWORD, "").status == 401
    assert browser.sign_in("ada", "wrong", world.recovery["ada"][1]).status == 401, (
        "the recovery code is used up"
    )
    assert browser.sign_in("ada", PASSWORD, code).status == 303
    assert "ada (auditor)" in browser.get("/sessions").text
    again = Browser(world.origin)
    assert again.sign_in("ada", PASSWORD, code).status == 401
    assert again.sign_in("ada", PASSWORD, world.recovery["ada"][1]).status == 401
    lines = [(line["method"], line["reason"]) for line in world.audit("auth") if line["user"] == "ada"]
    assert ("totp", "partial") in lines and ("password", "ok") in lines
    assert (
        lines[0] == ("totp", "bad_code")
        and lines[-1][0] == "totp"
        and lines[-1][1] in ("bad_code", "code_used")
    )
    assert PASSWORD not in (world.folder / "audit.jsonl").read_text() + world.log.read_text()


def test_a_session_is_found_read_and_proved(world: Reviewed, rex: Browser) -> None:
    assert world.ssh("echo seen by everybody").returncode == 0
    newest = world.sessions()[-1]["session_id"]
    poll(lambda: newest in rex.get("/sessions?user=alice&state=").text, text="the session is not listed")
    page = rex.get(f"/sessions/{newest}").text
    assert "exec echo seen by everybody" in page and "web1" in page
    assert "seen by everybody" in rex.get(f"/sessions/{newest}/text").text
    assert "seen by everybody" in rex.get(f"/sessions/{newest}/play").text
    poll(lambda: 'class="good"' in rex.get(f"/sessions/{newest}/verify").text, text="it is not proved")
    read = [line["command"] for line in world.audit("recordings_read") if line["by"] == "rex"]
    assert {"console sessions", "console session", "console text", "console play", "console verify"} <= set(
        read
    )


def test_a_session_is_seen_live_ended_with_a_reason_and_its_owner_locked_out(
    world: Reviewed, rex: Browser
) -> None:
    with world.client("sleep 60") as engineer:
        poll(lambda: "alice" in rex.get("/live").text and "/live/end?" in rex.get("/live").text)
        (name,) = re.findall(r"/live/end\?session=([a-z2-7]{16})", rex.get("/live").text)
        assert rex.get(f"/sessions/{name}").status == 200
        assert rex.post("/live/end", {"session": name, "reason": "found a miner"}).place == "/live?ended=1"
        poll(lambda: not engineer.running, text="it was not ended")
        poll(lambda: b"bastion: ended by the security team: found a miner" in engineer.err)
    ordered, (killed,) = world.audit("console_ordered")[-1], world.audit("killed")
    assert (ordered["user"], ordered["whom"], killed["why"]) == ("rex", name, "found a miner")
    assert rex.post("/live/lock", {"kind": "user", "value": "alice", "reason": "an exercise"}).status == 303
    assert b"locked by the security team: an exercise" in world.ssh("true").stderr
    assert "an exercise" in rex.get("/live").text
    assert world.bastion("unlock", "--config", str(world.config), "alice").returncode == 0
