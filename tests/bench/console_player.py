"""The console's player over a recording of 1 GB: how long a seek takes at the server and in Chromium (docs/console.md).

`python -m tests.bench.console_player [FOLDER]`. In FOLDER the recording and its index are kept from run to run; making
and indexing them takes some twenty minutes of a processor. Without a Chromium only the server is measured.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bastion.recording.listing import Recordings
from tests.interop.test_console_browser import MISSING, Chromium
from tests.support.world import poll
from tests.unit.console.made import PASSWORD, ConsoleSite, player_data
from tests.unit.indexing.test_seek_large import ID, SIZE, record

SEEKS = 8

SEEK = """
const [at, done] = [arguments[0], arguments[arguments.length - 1]];
const position = document.getElementById('position'), note = document.getElementById('note');
const began = performance.now();
position.value = at;
position.dispatchEvent(new Event('input'));
const look = () => {
  if (note.textContent.includes('on its way')) requestAnimationFrame(look);
  else requestAnimationFrame(() => done(performance.now() - began));
};
look();
"""


def measured(name: str, ask: Callable[[float], float], moments: list[float]) -> None:
    took = sorted(ask(moment) for moment in moments)
    print(
        f"{name:36} {took[0]:6.0f} ms least, {took[len(took) // 2]:6.0f} middle, {took[-1]:6.0f} most",
        flush=True,
    )


def site_over(folder: Path, place: Path) -> ConsoleSite:
    """A console over the recording that is kept in `folder`."""
    path = next(folder.glob(f"*/{ID}.rec"), None) or record(folder, SIZE)
    subprocess.run([sys.executable, "-m", "bastion", "index", "--recordings", str(folder)], check=True)
    place.mkdir()
    made = ConsoleSite(place)
    recordings = place / "recordings"
    (recordings / path.parent.name).mkdir(mode=0o700, parents=True, exist_ok=True)
    os.link(path, recordings / path.parent.name / path.name)
    shutil.copytree(folder / "index", recordings / "index")
    entry = Recordings(recordings).entry(recordings / path.parent.name / path.name)
    assert entry is not None
    made.index(entry.header)
    print(
        f"{path.stat().st_size / 1e6:.0f} MB, index {(folder / 'index' / 'reading.db').stat().st_size / 1e6:.0f} MB"
    )
    return made


def main() -> None:
    kept = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory(dir=None if kept is None else kept.parent) as other:
        folder = kept or Path(other) / "kept"
        folder.mkdir(exist_ok=True)
        made = site_over(folder, Path(other) / "site")
        made.start()
        try:
            at_the_server(made)
            if not MISSING:
                in_chromium(made)
        finally:
            made.close()


def at_the_server(made: ConsoleSite) -> None:
    browser, chance = made.browser("ada"), random.Random(3)
    data = player_data(browser.get(f"/sessions/{ID}/play").text)
    moments = [chance.random() * data["duration"] for _ in range(SEEKS)]

    def asked(path: str) -> float:
        began = time.perf_counter()
        got = browser.get(path)
        took = 1000 * (time.perf_counter() - began)
        assert got.status == 200, got.text
        return took

    measured("the page at a moment", lambda at: asked(f"/sessions/{ID}/play?at={at:.3f}"), moments)
    measured("a brief part", lambda at: asked(f"/sessions/{ID}/part?channel=1&brief=1&at={at:.3f}"), moments)
    measured("a part", lambda at: asked(f"/sessions/{ID}/part?channel=1&at={at:.3f}"), moments)


def in_chromium(made: ConsoleSite) -> None:
    chromium, chance = Chromium(), random.Random(4)
    try:
        chromium.go(f"{made.origin}/sign-in")
        chromium.write("input[name=name]", "ada")
        chromium.write("input[name=password]", PASSWORD)
        chromium.click("main button")
        poll(lambda: chromium.url.endswith("/sessions"))
        chromium.go(f"{made.origin}/sessions/{ID}/play")
        poll(lambda: "/ 8:" in chromium.text("#clock") or "/ 7:" in chromium.text("#clock"), timeout=60)
        duration = float(chromium.run("return Number(document.getElementById('position').max)"))
        moments = [chance.random() * duration for _ in range(SEEKS)]
        measured(
            "a seek in Chromium, until it is drawn",
            lambda at: float(chromium._ask("POST", "/execute/async", {"script": SEEK, "args": [at]})),
            moments,
        )
    finally:
        chromium.close()


if __name__ == "__main__":
    main()
