"""Live and requests in a real Chromium, beside a gateway, slapd and ssh: watched while somebody types, ended, approved.

Screenshots go to `BASTION_SCREENSHOTS` when that names a folder; docs/console.md shows some.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bastion.clock import SystemClock
from tests.interop.test_console_browser import LAPTOP, MISSING, PHONE, Chromium
from tests.interop.test_console_live import CONFIG, POLICY
from tests.support.client import Client
from tests.support.reviewed import Reviewed
from tests.support.slapd import PASSWORD, Slapd, group, person, slapd_missing
from tests.support.sshd import sshd_missing
from tests.support.world import poll

ABSENT = MISSING or sshd_missing() or slapd_missing()
pytestmark = [pytest.mark.soak, pytest.mark.skipif(bool(ABSENT), reason=ABSENT)]

SHELL = ("-tt", "PS1='deploy@web1:~$ ' sh -i")
SOON = 1.0
"""Seconds within which a watcher sees what the engineer saw."""

OBSERVE = """
window.seen = {};
new MutationObserver(() => {
  for (const mark of document.getElementById("wall").textContent.match(/mark-\\d+-made/g) || [])
    window.seen[mark] ??= performance.timeOrigin + performance.now();
}).observe(document.getElementById("wall"), { subtree: true, childList: true, characterData: true });
"""


@pytest.fixture(scope="module")
def world() -> Iterator[Reviewed]:
    people = [person(name) for name in ("rex", "lena")]
    slapd = Slapd([*people, group("responders", "rex"), group("leads", "lena")])
    slapd.start()
    made = Reviewed(slapd=slapd, config=CONFIG, policy=POLICY)
    for name in ("quiet", "private", "guarded"):
        made.add_target(name, "127.0.0.1", made.sshd.port)
    try:
        made.begin("rex", "lena")
        yield made
    finally:
        made.close()
        slapd.close()


def signed_in(world: Reviewed, name: str, page: str) -> Chromium:
    browser = Chromium()
    browser.go(f"{world.origin}{page}")
    for field, text in (("name", name), ("password", PASSWORD), ("code", world.code(name))):
        browser.write(f"input[name={field}]", text)
    browser.click("main button")
    poll(lambda: browser.url.endswith(page), text="nobody was led on")
    return browser


@pytest.fixture
def rex(world: Reviewed) -> Iterator[Chromium]:
    browser = signed_in(world, "rex", "/live")
    yield browser
    browser.close()


def at_work(world: Reviewed, target: str = "web1") -> Client:
    engineer = world.client(*SHELL, user=f"alice+root+{target}")
    engineer.expect(b"~$ ")
    return engineer


def test_a_session_is_watched_while_a_real_ssh_types_and_ended(world: Reviewed, rex: Chromium) -> None:
    with at_work(world) as engineer:
        rex.go(f"{world.origin}/live")
        rex.look("live")
        rex.click("td a[href^='/live/watch?']")
        poll(lambda: rex.run("return !document.getElementById('watch').hidden"))
        rex.write("#watch input[name=reason]", "odd hours")
        rex.click("#start")
        engineer.expect(b"rex of the security team watches this session")
        poll(lambda: "~$" in rex.text(".screen"), text="nothing is shown")
        rex.run(OBSERVE)
        clock, seen = SystemClock(), dict[str, float]()
        for number in range(30):
            mark = f"mark-{number}-made"
            engineer.send(f"echo mark-{number}-'made'\n".encode())
            engineer.expect(f"\n{mark}".encode())
            seen[mark] = clock.time() * 1000
            poll(lambda mark=mark: rex.run("return window.seen[arguments[0]]", mark))
        late = [rex.run("return window.seen[arguments[0]]", mark) - at for mark, at in seen.items()]
        assert max(late) < SOON * 1000, late
        engineer.send(b"clear; ls -la /etc | head -12\n")
        poll(lambda: "total" in rex.text(".screen"))
        rex.look("watch")
        rex.look("watch-phone", PHONE)
        trick = "<img src=x onerror=alert(1)>"
        engineer.send(
            f"printf '\\033]8;;javascript:alert(2)\\033\\\\{trick}\\033]8;;\\033\\\\\\n'\n".encode()
        )
        poll(lambda: rex.text(".screen").count(trick) >= 1)
        assert rex.run("return document.querySelectorAll('.screen img, .screen a').length") == 0
        rex.click("a.danger[href^='/live/end']")
        rex.write("input[name=reason]", "found a miner")
        rex.click("main button.danger")
        poll(lambda: "/live?ended=1" in rex.url)
        poll(lambda: b"bastion: ended by the security team: found a miner" in engineer.err)
        assert engineer.wait() == 255
    assert rex.log() == [], "nothing was blocked by the policy, nothing failed"


def test_a_wall_shows_several_and_each_end(world: Reviewed, rex: Chromium) -> None:
    before = len(world.audit("watch_ended"))
    with at_work(world) as one, at_work(world, "quiet") as two:
        rex.go(f"{world.origin}/live/watch")
        poll(lambda: rex.run("return document.querySelectorAll('.tile').length") == 2)
        rex.click("#start")
        for number, engineer in enumerate((one, two)):
            engineer.send(f"echo wall-{number}-$((1+1)); uptime\n".encode())
            poll(lambda number=number: f"wall-{number}-2" in rex.text("#wall"))
        heights = rex.run(
            "return [...document.querySelectorAll('.screen div div')].map((one) => one.offsetHeight)"
        )
        assert min(heights) > 0, "a row without text is a row all the same"
        rex.look("wall")
        told = rex.run("return [...document.querySelectorAll('.told')].map((one) => one.textContent).sort()")
        assert told == ["The engineer is not told.", "The engineer is told."]
        one.send(b"exit\n")
        poll(lambda: "the session has ended" in rex.text("#wall"))
        rex.click("#stop")
        poll(lambda: rex.run("return document.getElementById('start').hidden") is False)
        poll(lambda: len(world.audit("watch_ended")) == before + 2)
    assert rex.log() == []


def test_a_request_that_an_ssh_waits_for_appears_and_is_approved(world: Reviewed) -> None:
    browser = signed_in(world, "lena", "/requests")
    try:
        assert "Nothing waits" in browser.text("#none")
        with world.client("echo it-is-open", user="alice+root+guarded") as engineer:
            poll(lambda: browser.run("return document.querySelectorAll('[data-request]').length") == 1)
            browser.look("requests")
            browser.look("requests-dark", LAPTOP, True)
            browser.write("[data-request] input[name=reason]", "agreed with the owner")
            browser.write("[data-request] input[name=code]", world.code("lena"))
            browser.click("[data-request] button[value=approve]")
            poll(lambda: "/requests?done=approved" in browser.url)
            engineer.expect(b"it-is-open")
            poll(lambda: browser.run("return document.querySelectorAll('[data-request]').length") == 0)
        assert browser.log() == []
    finally:
        browser.close()
    assert world.audit("approval_answered")[-1]["why"] == "agreed with the owner"
