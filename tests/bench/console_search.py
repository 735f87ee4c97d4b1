"""The review console over a reading index of 100,000 sessions: what a search takes at the server (docs/console.md).

`python -m tests.bench.console_search [SESSIONS]`: least and worst of five over HTTP on loopback, after one that is not
counted. Each session has some 2 KB of the text of `reading_index`.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bastion.indexing.store import IndexFile
from bastion.recording.listed import Listed
from tests.bench.console_index import fill
from tests.bench.console_pages import LETTERS, ROUNDS
from tests.bench.reading_index import vocabulary
from tests.unit.cli.made import FIRST, START, record
from tests.unit.console.conftest import header
from tests.unit.console.made import ConsoleSite

LINES = 35
"""Of a session."""


def sessions(count: int) -> Iterator[Listed]:
    """Of 200 people on 500 targets over a year."""
    chance = random.Random(7)
    for _ in range(count):
        name = "".join(chance.choices(LETTERS, k=16))
        yield Listed(
            name, "ended", START - chance.random() * 365 * 86400, f"user{chance.randrange(200)}", "deploy",
            f"web{chance.randrange(500)}", 60.0, 2000, f"2027-01-15/{name}.rec",
        )  # fmt: skip


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    words = vocabulary(random.Random(1))
    with tempfile.TemporaryDirectory() as folder:
        made = ConsoleSite(Path(folder))
        about = header(FIRST, "alice", "web1")
        record(made.store, about)
        made.index(about)
        began = time.process_time()
        place = Path(folder) / "recordings" / "index" / "reading.db"
        file = IndexFile(place, make=True)
        size = fill(file, sessions(count), count, LINES)
        file.close()
        print(f"{count} sessions, {size / 1e6:.0f} MB of text, {place.stat().st_size / 1e6:.0f} MB of index, "
              f"{time.process_time() - began:.0f} s of processor time")  # fmt: skip
        made.start()
        try:
            browser = made.browser("ada")
            for name, query in (
                ("in one line of all", "q=onlyhere"),
                ("a rare word", "q=seldomseen"),
                ("a common word", "q=error"),
                ("the most common word", f"q={words[0]}"),
                ("two common words", f"q=error+{words[1]}"),
                ("a phrase", "q=%22connection+refused%22"),
                ("a common word, of one user", "q=error&user=user7"),
                ("a common word, on one target", "q=error&target=web7"),
                ("a common word, in a week", "q=error&since=2026-12-01&until=2026-12-08"),
                ("a common word, of nobody", "q=error&user=nobody"),
                ("words never in one line", "q=refused+denied"),
                ("nothing", "q=nosuchword"),
            ):
                took = []
                for _ in range(ROUNDS + 1):
                    at = time.perf_counter()
                    got = browser.get(f"/search?{query}")
                    took.append(1000 * (time.perf_counter() - at))
                    assert got.status == 200, got.text
                hits = got.text.count("<mark>")
                print(f"{name:32} {min(took[1:]):6.0f} ms, at most {max(took[1:]):6.0f} ms, {hits} lines")
        finally:
            made.close()


if __name__ == "__main__":
    main()
