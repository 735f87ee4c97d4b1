"""A recording made to do harm, played in a real Chromium: no script, no clipboard, no navigation, no request to
anywhere, and memory that stays. What the target sends is markup, every family of escapes, and a million cursor moves.
"""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from bastion.clock import FixedClock
from bastion.recording.recorder import Recorder
from bastion.sides import Side
from tests.interop.test_console_browser import MISSING, Chromium
from tests.support.world import poll
from tests.unit.cli.made import PTY
from tests.unit.console.conftest import MARKUP, TRICKS, header
from tests.unit.console.made import PASSWORD, ConsoleSite
from tests.unit.console.test_playing import read_in

pytestmark = [pytest.mark.soak, pytest.mark.skipif(bool(MISSING), reason=MISSING)]

HARMFUL = "eeeeeeeeffffffff"
MOVES = 1_000_000
SECONDS = 1200
STEPS = 40
HEAP_GROWTH = 48 << 20
"""Bytes of the page's JavaScript heap that may be used more at the end: three times what a player keeps of parts."""


class Elsewhere:
    """A server that nobody is to ask for anything."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Heard(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                asked.append(str(self.client_address))

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Heard)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def tricks(there: str) -> list[bytes]:
    """Every family of escapes, with things in them that a browser would act on."""
    url = f"http://{there}"
    words = (
        f"<script>fetch('{url}/1')</script><img src={url}/2 onerror=fetch('{url}/3')><iframe src={url}/4></iframe>"
        f"<style>@import '{url}/5'</style><link rel=stylesheet href={url}/6><base href={url}><svg onload=alert(1)>"
        f"<meta http-equiv=refresh content='0;url={url}/7'><form action={url}/8><input autofocus onfocus=alert(2)>"
    ).encode()
    strings = [
        b"\x1b]",
        b"\x1bP",
        b"\x1bX",
        b"\x1b^",
        b"\x1b_",
        b"\x9d",
        b"\x90",
        b"\x98",
        b"\x9e",
        b"\x9f",
        b"\x1bk",
    ]
    link = b"8;;" + url.encode() + b"/9;"
    numbers = [b"0;", b"2;", link, b"52;c;Y29weQ==", b"9;", b"777;notify;", b"1337;File=inline=1:",
               b"50;", b"10;?", b"4;1;?", b"133;A", b"7;file://" + there.encode() + b"/"]  # fmt: skip
    ends = [b"\x07", b"\x1b\\", b"\x9c", b""]
    made = [start + number + words + end for start in strings for number in numbers for end in ends]
    made += [b"\x1b[%dn" % number for number in (5, 6, 15, 25, 26)]
    made += [
        b"\x1b[c", b"\x1b[>c", b"\x1b[=c", b"\x1b[>q", b"\x1b[18t", b"\x1b[21t", b"\x1b[8;500;1000t",
        b"\x1b[?1004h", b"\x1b[?2004h", b"\x1b[?1003;1006h", b"\x1b[5i", b"\x1b[4i", b"\x1b#8", b"\x1bc",
        b"\x1b[!p", b"\x1b[2J", b"\x05", b"\x1b[99999999999999999999C", b"\x1b[1;2;3;4;5;6;7;8;9m" * 50,
        b"\x1b[38:2::1:2:3m",
    ]  # fmt: skip
    return [
        *made,
        *TRICKS,
        words,
        MARKUP.encode(),
        b"javascript:alert(3)//",
        "\u202egnp.exe\u2066\u2028".encode(),
    ]


def harmful(made: ConsoleSite, there: str) -> None:
    about, clock = header(HARMFUL, "eve", "web1"), FixedClock()
    writer, recorder = made.store.create(about), Recorder(about, clock)
    recorder.note("channel_opened", 1, {"kind": "session"})
    recorder.note("request_forwarded", 1, PTY)
    recorder.note("request_forwarded", 1, {"name": "exec", "detail": {"command": MARKUP}})
    for trick in tricks(there):
        clock.advance(0.05)
        recorder.data(1, Side.TARGET, 0, trick + b"\r\n")
        writer.write(recorder.take())
    steps = SECONDS * 20
    for number in range(steps):
        clock.advance(1 / 20)
        moves = b"".join(
            b"\x1b[%d;%dH" % (1 + at % 24, 1 + (at * 7) % 80) for at in range(number, number + MOVES // steps)
        )
        recorder.data(1, Side.TARGET, 0, moves + b"<b>%d</b>" % number)
        writer.write(recorder.take())
    writer.close(recorder.finish("client_closed"))
    poll(lambda: writer.closed, text="the file was never closed")
    made.index(about)


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    made = Elsewhere()
    yield made
    made.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, elsewhere: Elsewhere) -> Iterator[ConsoleSite]:
    made = ConsoleSite(tmp_path_factory.mktemp("hostile"))
    harmful(made, elsewhere.address)
    read_in(made)
    made.start()
    yield made
    made.close()


WATCH = """
window.heard = [];
for (const name of ['alert', 'confirm', 'prompt', 'open', 'print'])
  window[name] = (...all) => { window.heard.push(name + all); };
for (const name of ['writeText', 'write', 'readText', 'read'])
  Object.defineProperty(Clipboard.prototype, name, {
    value(...all) { window.heard.push(name + all); return Promise.resolve(''); },
  });
document.execCommand = (...all) => { window.heard.push('execCommand' + all); return false; };
document.addEventListener('securitypolicyviolation', (one) => window.heard.push('blocked ' + one.blockedURI));
addEventListener('beforeunload', () => { window.heard.push('left'); });
"""


@pytest.fixture
def browser(site: ConsoleSite) -> Iterator[Chromium]:
    made = Chromium()
    try:
        made.go(f"{site.origin}/sign-in")
        made.write("input[name=name]", "ada")
        made.write("input[name=password]", PASSWORD)
        made.click("main button")
        poll(lambda: made.url.endswith("/sessions"), text="nobody was led on")
        made.cdp("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
        yield made
    finally:
        made.close()


def heap(browser: Chromium) -> int:
    """Bytes of JavaScript's heap that are in use."""
    browser.cdp("HeapProfiler.collectGarbage", {})
    return int(browser.cdp("Runtime.getHeapUsage", {})["usedSize"])


def nodes(browser: Chromium) -> int:
    return int(browser.cdp("Memory.getDOMCounters", {})["nodes"])


def test_a_hostile_recording_is_played_to_its_end_and_does_nothing(
    site: ConsoleSite, browser: Chromium, elsewhere: Elsewhere
) -> None:
    url = f"{site.origin}/sessions/{HARMFUL}/play"
    browser.go(url)
    poll(lambda: "/ 0:2" in browser.text("#clock"), timeout=120, text="the player does not run")
    poll(lambda: browser.run("return document.querySelector('#screen').textContent.length") > 0)
    before, duration = (
        heap(browser),
        float(browser.run("return Number(document.getElementById('position').max)")),
    )
    used, counted, seen = [before], list[int](), set[str]()
    browser.run("document.getElementById('speed').value = '16'; document.getElementById('play').click()")
    for step in range(STEPS):
        at = duration * (step + 1) / STEPS
        browser.run(
            "const one = document.getElementById('position'); one.value = arguments[0];"
            "one.dispatchEvent(new Event('input'))",
            at,
        )
        poll(lambda: "on its way" not in browser.text("#note"), timeout=120, text="a part never came")
        seen.add(browser.text("#screen"))
        if step % 8 == 7 or step + 1 == STEPS:
            used.append(heap(browser))
            counted.append(nodes(browser))
    last = browser.text("#screen")
    assert len(seen) > STEPS // 2 and f"<b>{SECONDS * 20 - 19}" in last
    print(f"heap before {before >> 10} KiB, then {[one >> 10 for one in used]} KiB; nodes {counted}")
    assert max(used) - before < HEAP_GROWTH, used
    assert max(counted) < 60_000
    assert browser.run("return window.heard") == []
    assert (
        browser.run("return document.querySelectorAll('img, iframe, base, object, embed, main form').length")
        == 0
    )
    assert (
        browser.run("return [...document.querySelectorAll('main a')].map((one) => one.protocol)").count(
            "javascript:"
        )
        == 0
    )
    assert browser.url.partition("?")[0] == url and browser.run("return document.title").startswith(
        "Recording "
    )
    came = browser.run("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert all(one.startswith(site.origin + "/") for one in came) and elsewhere.asked == []
    assert browser.log() == [], "nothing was blocked by the policy, nothing failed"
    handles: Any = browser._ask("GET", "/window/handles")
    assert len(handles) == 1, "no window was opened"
