"""Every page of the console in a real Chromium beside a real gateway: axe-core, by keyboard alone, small and quick.

Pictures go to `BASTION_SCREENSHOTS` when that names a folder.
"""

from __future__ import annotations

import contextlib
import time
import urllib.request
from collections.abc import Iterator
from typing import Any, Final

import pytest

from bastion.clock import SystemClock
from bastion.console.routes import ROUTES
from bastion.state.approvals import Bound, State, file
from bastion.state.database import Database, Place
from bastion.state.deletions import Person, ask
from bastion.state.reviewing import NotTaken
from tests.interop.test_console import CONFIG, Reviewed
from tests.interop.test_console import MISSING as NO_WORLD
from tests.interop.test_console_browser import LAPTOP, PHONE, Chromium
from tests.interop.test_console_browser import MISSING as NO_BROWSER
from tests.support.axe import axe_missing, look, script
from tests.support.slapd import PASSWORD, Slapd, group, person
from tests.support.sshd import make_key
from tests.support.world import poll

MISSING = NO_WORLD or NO_BROWSER or axe_missing()
pytestmark = [pytest.mark.soak, pytest.mark.skipif(bool(MISSING), reason=MISSING)]

MODES: Final = {
    "light": (LAPTOP, False, True),
    "dark": (LAPTOP, True, True),
    "phone": (PHONE, False, True),
    "phone-dark": (PHONE, True, True),
    "without-scripts": (LAPTOP, False, False),
}
"""Name -> the window's size, is it dark, do scripts run."""

BAD: Final = ("serious", "critical")
FIRST_PAGE_BYTES: Final = 100_000
SERVER_SECONDS: Final = 0.3

QUERIES: Final = {
    "search": "?q=everybody",
    "end_form": "?session={live}",
    "sessions": "?state=",
    "unlock_form": "?kind=user&value=mallory",
}
"""Route -> what is asked, so that the page has everything that it can have."""

RETENTION: Final = '[retention]\nmax_age = "20d"\nusers = { carol = "off" }\n'
"""So that something goes in a month."""

NO_PAGES: Final = ("static", "export", "home", "elsewhere", "back_from_elsewhere")
"""Files, and routes that lead on."""

MORE: Final = {"refused": "/nowhere", "faulty filters": "/sessions?since=nonsense&source=x"}


class Looked(Reviewed):
    """A world in which something has happened, and goes on."""

    live = ""
    ended = ""
    deletion = ""
    request = ""

    def fill(self) -> None:
        assert self.ssh("echo seen by everybody; echo and this: $((6*7))").returncode == 0
        self.ended = self.sessions()[-1]["session_id"]
        locked = self.bastion("lock", "--config", str(self.config), "mallory", "--reason", "an exercise")
        assert locked.returncode == 0, locked.stderr
        done = self.bastion("index", "--config", str(self.config))
        assert done.returncode == 0, done.stderr
        self.ask_for_something()

    def ask_for_something(self) -> None:
        """Somebody else's wish that the recording be gone, and somebody's request for an approval."""
        database = Database(Place(self.recordings / "state"))
        try:
            ada, now = Person("u-ada", "ada", "totp"), SystemClock().time()
            poll(lambda: self.wanted(database, ada, now), text="the session has no row")
            bound = Bound("u-bob", "web1", "root", "shell", "192.0.2.1", "group:leads")
            self.request = file(database, bound, "bob", "an exercise", State.OPEN, now, 86400.0)[0].id
        finally:
            database.close()

    def wanted(self, database: Database, by: Person, now: float) -> bool:
        with contextlib.suppress(NotTaken):
            self.deletion = ask(database, self.ended, by, "a password", now, 0.0, lambda _: None).id
        return bool(self.deletion)

    def paths(self) -> dict[str, str]:
        """Every page that somebody may open, by the name of its route."""
        found = dict(MORE)
        for route in ROUTES:
            if route.method != "GET" or route.is_data or route.name in NO_PAGES:
                continue
            path = route.path.replace("{session}", self.ended) + QUERIES.get(route.name, "")
            path = path.replace("{deletion}", self.deletion).replace("{request}", self.request)
            found[route.name] = path.replace("{live}", self.live)
            assert "{" not in found[route.name], f"say what {route.path} is asked for: QUERIES"
        return found


@pytest.fixture(scope="module")
def world() -> Iterator[Looked]:
    slapd = Slapd([person("rex"), group("security", "rex"), group("responders", "rex")])
    slapd.start()
    admins = 'admin_groups = ["responders"]\n'
    made = Looked(slapd=slapd, config=CONFIG + admins + RETENTION, recording='signing_key = "keys/recording"')
    make_key(made.keys / "recording")
    key = made.folder / "totp.key"
    key.write_text("k" * 44 + "\n")
    key.chmod(0o600)
    try:
        made.start()
        made.enroll("rex")
        made.fill()
        made.serve_console()
        with made.client("sleep 3600"):
            poll(lambda: any(one["state"] == "live" for one in made.sessions()), text="nobody is here")
            made.live = next(one["session_id"] for one in made.sessions() if one["state"] == "live")
            yield made
    finally:
        made.close()
        slapd.close()


@pytest.fixture(scope="module")
def browser(world: Looked) -> Iterator[Chromium]:
    made = Chromium()
    try:
        made.go(f"{world.origin}/sign-in")
        made.write("input[name=name]", "rex")
        made.write("input[name=password]", PASSWORD)
        made.write("input[name=code]", world.recovery["rex"][0])
        made.click("main button")
        poll(lambda: made.url.endswith("/sessions"), text="nobody was led on")
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def axe() -> str:
    return script()


@pytest.mark.parametrize("mode", MODES)
def test_axe_finds_nothing_serious(world: Looked, browser: Chromium, axe: str, mode: str) -> None:
    size, dark, scripts = MODES[mode]
    bad: dict[str, Any] = {}
    for name, path in world.paths().items():
        browser.scripts(scripts)
        browser.go(world.origin + path)
        browser.scripts(True)  # axe is one; the page stays as it came without
        with browser.shown(size, dark):
            found = look(browser.run, axe)
            browser.picture(f"{name.replace(' ', '-')}-{mode}")
            wide = browser.run("return document.documentElement.scrollWidth")
        assert found["passes"] > 10, f"axe has not looked at {path}"
        assert wide <= size[0], f"{path} is {wide} wide"
        wrong = [one for one in found["violations"] if one[0] in BAD]
        if wrong:
            bad[name] = wrong
    assert bad == {}


def test_axe_would_find_what_is_wrong(world: Looked, browser: Chromium, axe: str) -> None:
    browser.go(f"{world.origin}/sessions")
    browser.run("""
      const input = document.createElement('input'), text = document.createElement('p');
      text.textContent = 'hardly to be read';
      text.style.color = '#aaa';
      text.style.background = '#fff';
      document.getElementById('main').append(input, text);""")
    found = {one[1] for one in look(browser.run, axe)["violations"] if one[0] in BAD}
    assert found == {"label", "color-contrast"}


def test_every_control_is_reached_by_the_tab_key_and_seen(world: Looked, browser: Chromium) -> None:
    faults: dict[str, list[str]] = {}
    for name, path in world.paths().items():
        browser.go(world.origin + path)
        browser.run("document.activeElement.blur()")
        controls = browser.run(CONTROLS)
        assert controls >= 2, path
        reached: set[int] = set()
        for _ in range(controls + 2):
            browser.press("Tab")
            number, seen, inside = browser.run(FOCUSED)
            if number < 0:
                continue
            reached.add(number)
            if not seen or not inside:
                faults.setdefault(name, []).append(
                    browser.run("return document.activeElement.outerHTML")[:200]
                )
        left = browser.run(UNREACHED, sorted(reached))
        if left:
            faults.setdefault(name, []).extend(left)
    assert faults == {}


CONTROLS: Final = """
const all = [...document.querySelectorAll(
  'a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex="0"]')];
window.controls = all.filter(one => !one.disabled && one.checkVisibility());
return window.controls.length;
"""
FOCUSED: Final = """
const one = document.activeElement, style = getComputedStyle(one), box = one.getBoundingClientRect();
const seen = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
const inside = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
return [window.controls.indexOf(one), seen, inside];
"""
UNREACHED: Final = """
return window.controls.filter((_, number) => !arguments[0].includes(number)).map(one => one.outerHTML.slice(0, 200));
"""


def test_what_a_click_does_a_key_does(world: Looked, browser: Chromium) -> None:
    """From the list to a session and back to the list by keys alone, past what every page begins with."""
    browser.go(f"{world.origin}/sessions?state=")
    browser.press("Tab")
    assert browser.run("return document.activeElement.className") == "skip"
    browser.press("Enter")
    browser.press("Tab")
    assert browser.run("return document.activeElement.closest('main') !== null"), "the skip link skips"
    browser.run(f"document.querySelector('a[href=\"/sessions/{world.ended}\"]').focus()")
    browser.press("Enter")
    poll(lambda: browser.url.endswith(f"/sessions/{world.ended}"), text="Enter opens no session")


def test_a_page_is_small_and_quick(world: Looked, browser: Chromium) -> None:
    cookie = browser.run("return fetch('/sessions').then(answer => answer.status)")
    assert cookie == 200
    for name, path in world.paths().items():
        asked = f"""
          performance.clearResourceTimings();
          return fetch({path!r}).then(answer => answer.arrayBuffer()).then(body => body.byteLength);"""
        size = browser.run(asked)
        assert size < FIRST_PAGE_BYTES, f"{name} has {size} bytes"
    browser.go(f"{world.origin}/sessions")
    whole = browser.run("""
      const all = [performance.getEntriesByType('navigation')[0], ...performance.getEntriesByType('resource')];
      return all.reduce((sum, one) => sum + one.decodedBodySize, 0);""")
    assert 0 < whole < FIRST_PAGE_BYTES, f"the first page and all that it loads has {whole} bytes"


def test_the_sign_in_page_comes_quickly(world: Looked) -> None:
    took = []
    for _ in range(5):
        began = time.monotonic()
        with urllib.request.urlopen(f"{world.origin}/sign-in", timeout=10) as answer:
            answer.read()
        took.append(time.monotonic() - began)
    assert min(took) < SERVER_SECONDS
