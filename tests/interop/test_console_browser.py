"""The review console in a real Chromium: signed in to, a session found, played, sought in; a hostile one stays text.

Screenshots go to `BASTION_SCREENSHOTS` when that names a folder; docs/console.md shows some.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bastion.clock import FixedClock
from bastion.recording.format import Header
from bastion.recording.recorder import Recorder
from tests.support.net import LOOPBACK, free_ports, wait_until_listening
from tests.support.world import poll
from tests.unit.cli.made import FIRST, PTY, START, record
from tests.unit.console.conftest import HOSTILE, header, hostile
from tests.unit.console.made import PASSWORD, ConsoleSite

MISSING = next(
    (f"{name} is not installed" for name in ("chromium", "chromedriver") if not shutil.which(name)), ""
)
pytestmark = [pytest.mark.soak, pytest.mark.skipif(bool(MISSING), reason=MISSING)]

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
LAPTOP, PHONE = (1280, 800), (390, 844)

PROMPT = b"\x1b[?2004hdeploy@web1:~$ "
WORK = (
    ("uptime", " 08:00:09 up 41 days, 3:12, 1 user, load average: 4.08, 3.91, 2.02\n"),
    ("sudo systemctl restart nginx", ""),
    ("systemctl is-active nginx", "active\n"),
    ("tail -n 2 /var/log/nginx/error.log", "08:01:12 [notice] 4711#4711: signal process started\n"
     "08:01:12 [warn] 4711#4711: conflicting server name \"shop.example.com\"\n"),
    ("curl -sI localhost | head -1", "HTTP/1.1 200 OK\n"),
)  # fmt: skip
OTHERS = tuple(
    (letter * 16, who, where)
    for letter, who, where in (
        ("h", "bob", "db1"),
        ("i", "carol", "web2"),
        ("j", "alice", "db1"),
        ("k", "dora", "web3"),
    )
)


class Chromium:
    """One browser, by the WebDriver protocol (W3C)."""

    def __init__(self) -> None:
        (port,) = free_ports(1)
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until_listening(port)
        self._base = f"http://{LOOPBACK}:{port}"
        arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        ]
        options = {"args": arguments}
        wanted = {
            "acceptInsecureCerts": True,  # of an identity provider on loopback
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        made = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._base += f"/session/{made['sessionId']}"

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(
            self._base + path, data, {"Content-Type": "application/json"}, method=method
        )
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.load(answer)["value"]

    def go(self, url: str) -> None:
        self._ask("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: object) -> Any:
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def find(self, selector: str) -> str:
        return str(self._ask("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT])

    def click(self, selector: str) -> None:
        self._ask("POST", f"/element/{self.find(selector)}/click", {})

    def write(self, selector: str, text: str) -> None:
        self._ask("POST", f"/element/{self.find(selector)}/value", {"text": text})

    def text(self, selector: str) -> str:
        return str(self.run("return document.querySelector(arguments[0]).textContent", selector))

    @property
    def url(self) -> str:
        return str(self._ask("GET", "/url"))

    def log(self) -> list[dict[str, Any]]:
        """What the browser's console has said since the last time."""
        return list(self._ask("POST", "/se/log", {"type": "browser"}))

    def press(self, key: str) -> None:
        """A key that is no letter: Tab, Enter."""
        text = {"text": "\r"} if key == "Enter" else {}
        number = {"Tab": 9, "Enter": 13}[key]
        for kind in ("keyDown", "keyUp"):
            event = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": number, **text}
            self.cdp("Input.dispatchKeyEvent", event)

    def scripts(self, on: bool) -> None:
        """May pages run scripts, from the next on?"""
        self.cdp("Emulation.setScriptExecutionDisabled", {"value": not on})

    def look(self, name: str, size: tuple[int, int] = LAPTOP, dark: bool = False) -> None:
        """A picture, where somebody wants them."""
        with self.shown(size, dark):
            wide = self.run("return document.documentElement.scrollWidth")
            assert wide <= size[0], f"{name} is {wide} wide"
            self.picture(name)

    def picture(self, name: str) -> None:
        """Where somebody wants them."""
        folder = os.environ.get("BASTION_SCREENSHOTS")
        if folder:
            Path(folder, f"console-{name}.png").write_bytes(base64.b64decode(self._ask("GET", "/screenshot")))

    @contextmanager
    def shown(self, size: tuple[int, int], dark: bool) -> Iterator[None]:
        """In a window of this size."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.cdp("Emulation.setEmulatedMedia", {"features": [scheme]})
        phone = size == PHONE
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": phone}
        self.cdp("Emulation.setDeviceMetricsOverride", metrics)
        try:
            yield
        finally:
            self.cdp("Emulation.clearDeviceMetricsOverride", {})

    def cdp(self, command: str, parameters: dict[str, Any]) -> Any:
        """By the browser's own protocol."""
        return self._ask("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def close(self) -> None:
        try:
            self._ask("DELETE", "")
        finally:
            self._driver.terminate()
            self._driver.wait(20)


def typed(made: ConsoleSite, about: Header) -> None:
    """Somebody at work."""
    clock = FixedClock()
    writer, recorder = made.store.create(about), Recorder(about, clock, None)
    recorder.note("channel_opened", 1, {"kind": "session"})
    recorder.note("request_forwarded", 1, PTY)
    recorder.note("request_forwarded", 1, {"name": "shell", "detail": {}})
    recorder.data(1, 1, 0, b"Linux web1 6.1.0-18-amd64\r\n" + PROMPT)
    for command, answer in WORK:
        for key in command:
            clock.advance(0.2)
            recorder.data(1, 1, 0, key.encode())
        clock.advance(0.3)
        recorder.data(1, 1, 0, b"\r\n\x1b[?2004l")
        clock.advance(1.5)
        recorder.data(1, 1, 0, answer.replace("\n", "\r\n").encode() + PROMPT)
        clock.advance(4)
    writer.write(recorder.take())
    writer.close(recorder.finish("client_closed"))
    poll(lambda: writer.closed, text="the file was never closed")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleSite]:
    made = ConsoleSite(tmp_path_factory.mktemp("console"))
    for number, (name, who, where) in enumerate(OTHERS):
        about = header(name, who, where, START - 3600 * number - 700)
        record(made.store, about)
        made.index(about)
    work = header(FIRST, "alice", "web1")
    typed(made, work)
    made.index(work)
    bad = header(HOSTILE, "eve", "web1", START + 120)
    hostile(made, bad)
    made.index(bad)
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def browser(site: ConsoleSite) -> Iterator[Chromium]:
    made = Chromium()
    try:
        made.go(f"{site.origin}/sessions?user=alice")
        made.look("sign-in")
        made.write("input[name=name]", "rex")
        made.write("input[name=password]", PASSWORD)
        made.click("main button")
        poll(lambda: made.url.endswith("/sessions?user=alice"), text="nobody was led on")
        yield made
    finally:
        made.close()


def test_a_session_is_found_and_played_and_sought_in(site: ConsoleSite, browser: Chromium) -> None:
    browser.click("main a[href='/sessions']")
    poll(lambda: browser.url.endswith("/sessions"))
    for name, size, dark in (
        ("list", LAPTOP, False),
        ("list-dark", LAPTOP, True),
        ("list-phone", PHONE, False),
    ):
        browser.look(name, size, dark)
    browser.click(f"a[href='/sessions/{FIRST}']")
    poll(lambda: browser.text("h1") == "alice on deploy@web1")
    browser.look("session")
    browser.click(f"a[href='/sessions/{FIRST}/play']")
    poll(lambda: "/" in browser.text("#clock"), text="the player does not run")
    assert "41 days" in browser.text("#lines") and "systemctl restart nginx" in browser.text("#commands")
    assert browser.text("#play") == "Play"
    browser.run(
        "const one = document.getElementById('position'); one.value = one.max; one.dispatchEvent(new Event('input'))"
    )
    poll(lambda: "200 OK" in browser.text("#screen"))
    browser.look("player")
    browser.look("player-phone", PHONE)
    browser.go(f"{site.origin}/sessions/{FIRST}/play?at=99&channel=1&q=nginx")
    poll(lambda: "200 OK" in browser.text("#screen"), text="a link to a moment leads nowhere")
    assert browser.run("return [...document.querySelectorAll('#screen mark')].map((one) => one.textContent)")
    browser.run("location.hash = '#at=0&channel=1'")
    poll(lambda: "200 OK" not in browser.text("#screen"), text="a moment in this page leads nowhere")
    assert browser.run("return document.querySelectorAll('#marks .command').length") == len(WORK)
    assert browser.log() == [], "nothing was blocked by the policy, nothing failed"


def test_a_reviewer_leaves_words_and_the_pages_fit_a_phone(site: ConsoleSite, browser: Chromium) -> None:
    browser.go(f"{site.origin}/sessions/{FIRST}")
    browser.write(".leave input[name=text]", "the restart was planned")
    browser.click(".leave form button")
    poll(lambda: browser.url.endswith("#reviewers") and "the restart was planned" in browser.text("main"))
    assert browser.run("return document.querySelectorAll('.time rect.bar-shell').length") == 1
    for page in ("overview", "reviews", "holds", "access?target=web1", "searches", f"sessions/{FIRST}"):
        browser.go(f"{site.origin}/{page}")
        name = page.partition("?")[0].partition("/")[0]
        browser.look(f"{name}-page")
        browser.look(f"{name}-page-phone", PHONE)
    assert browser.log() == [], "nothing was blocked by the policy, nothing failed"


@pytest.mark.parametrize("page", ["", "/text", "/play"])
def test_a_hostile_recording_runs_nothing_and_leads_nowhere(
    site: ConsoleSite, browser: Chromium, page: str
) -> None:
    url = f"{site.origin}/sessions/{HOSTILE}{page}"
    browser.go(url)
    poll(lambda: "alert(1)" in browser.text("body"))
    assert (
        browser.run(
            "return document.querySelectorAll('main img, main iframe, main a[href^=javascript]').length"
        )
        == 0
    )
    scripts = browser.run("return [...document.scripts].map((one) => one.getAttribute('src') || one.type)")
    assert scripts == (
        ["/static/player.js", "/static/reel.js", "application/json"] if page == "/play" else []
    )
    assert browser.url == url and browser.log() == []
