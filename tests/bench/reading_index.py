"""The reading index measured: what text costs to index, its size, how fast it answers (docs/decisions.md).

`python -m tests.bench.reading_index [--megabytes 1000] [--sessions 10000] [--with fts5-words,fts5-trigram,tantivy]`

Lines are made as logs and shells show them (words of a skewed vocabulary, numbers, paths, some CJK) and put into the
index as pages, without being drawn; `--draw` measures drawing them from a recording besides. Other engines get the same
pages; tantivy is used when it is installed. Times are of the processor, user and system.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bastion.indexing.filling import PAGES_AT_ONCE, fill
from bastion.indexing.pages import Page
from bastion.indexing.store import IndexFile
from bastion.indexing.words import Question
from bastion.recording.listed import Listed
from tests.unit.indexing.made import recorded

QUESTIONS = (
    "error",
    "word17 word4",
    "rareword",
    "/srv/data",
    "错误",
    '"connection refused"',
    "wor nosuchword",
    "10.0.0.7",
)
ROUNDS = 3


def lines(megabytes: float, seed: int = 1) -> Iterator[str]:
    """Lines of so much text."""
    chance, left = random.Random(seed), int(megabytes * 1e6)
    weights = [1 / (rank + 3) for rank in range(20_000)]
    vocabulary = [f"word{rank}" for rank in range(20_000)]
    picked: list[str] = []
    while left > 0:
        if len(picked) < 20:
            picked = chance.choices(vocabulary, weights, k=100_000)
        words, picked = picked[:9], picked[9:]
        kind = chance.random()
        if kind < 0.02:
            words.append(chance.choice(("error", "connection refused", "错误发生", "permission denied")))
        elif kind < 0.3:
            words.append(
                f"/srv/data/{chance.getrandbits(24):x} from 10.0.{chance.randrange(9)}.{chance.randrange(99)}"
            )
        elif kind < 0.30001:
            words.append("rareword")
        line = f"{chance.randrange(86400)} " + " ".join(words)
        left -= len(line) + 1
        yield line


def pages(megabytes: float) -> Iterator[Page]:
    page = Page(1)
    for number, line in enumerate(lines(megabytes)):
        if page.add(number / 10, line):
            yield page
            page = Page(1)
    yield page


class Ours:
    """The index as it is."""

    def __init__(self, folder: Path, sessions: int, total: int) -> None:
        self._file = IndexFile(folder / "reading.db", make=True)
        self._each = max(1, total // sessions)
        self._waiting: list[Page] = []
        self._count = 0

    def add(self, page: Page) -> None:
        self._waiting.append(page)
        if len(self._waiting) == min(self._each, PAGES_AT_ONCE):
            self.flush()

    def flush(self) -> None:
        name = "".join("abcdefghijklmnop"[self._count >> 4 * place & 15] for place in range(16))
        one = Listed(
            name, "ended", float(self._count), "alice", "deploy", "web1", 60.0, 5, f"2027-01-15/{name}.rec"
        )
        number = self._file.begin(one, "u", "h", 1, 1)
        self._file.add(number, 0, self._waiting)
        self._file.end(number, [], "[]", "")
        self._count += 1
        self._waiting = []

    def end(self) -> None:
        if self._waiting:
            self.flush()
        self._file.settle()

    def ask(self, text: str) -> int:
        """As `bastion search --limit 100`."""
        hits = self._file.search(Question.of(text), self._file.sessions())
        return sum(1 for _, _ in zip(range(100), hits, strict=False))


class Fts5:
    """SQLite alone: pages with their text, by one of its tokenizers."""

    def __init__(self, folder: Path, tokenizer: str) -> None:
        self._database = sqlite3.connect(folder / "fts.db", isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute(f"CREATE VIRTUAL TABLE pages USING fts5 (text, tokenize={tokenizer})")
        self._database.execute("BEGIN")

    def add(self, page: Page) -> None:
        self._database.execute("INSERT INTO pages VALUES (?)", ("\n".join(page.lines),))

    def end(self) -> None:
        self._database.execute("COMMIT")
        self._database.execute("INSERT INTO pages (pages) VALUES ('optimize')")
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def ask(self, text: str) -> int:
        asked = " AND ".join(f'"{term}"' for term in Question.of(text).terms)
        rows = self._database.execute(
            "SELECT text FROM pages WHERE pages MATCH ? LIMIT 100", (asked,)
        ).fetchall()
        return len(rows)


class Tantivy:
    """Pages with their text, by its default tokenizer."""

    def __init__(self, folder: Path) -> None:
        import tantivy  # type: ignore[import-not-found, unused-ignore]

        schema = tantivy.SchemaBuilder().add_text_field("text", stored=True).build()
        self._index: Any = tantivy.Index(schema, path=str(folder))
        self._document = tantivy.Document
        self._writer = self._index.writer(200_000_000, num_threads=1)

    def add(self, page: Page) -> None:
        self._writer.add_document(self._document(text="\n".join(page.lines)))

    def end(self) -> None:
        self._writer.commit()
        self._writer.wait_merging_threads()
        self._index.reload()

    def ask(self, text: str) -> int:
        asked = " AND ".join(f'"{term}"' for term in Question.of(text).terms)
        searcher = self._index.searcher()
        hits = searcher.search(self._index.parse_query(asked, ["text"]), 100).hits
        return len([searcher.doc(place)["text"] for _, place in hits])


def measure(name: str, make: Callable[[Path], Any], megabytes: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        engine, busy = make(Path(folder)), 0.0
        for page in pages(megabytes):
            began = time.process_time()
            engine.add(page)
            busy += time.process_time() - began
        began = time.process_time()
        engine.end()
        busy += time.process_time() - began
        size = sum(path.stat().st_size for path in Path(folder).rglob("*")) / 1e6
        print(
            f"{name}: {megabytes / busy:.1f} MB/s of processor time, {size / megabytes:.2f} of the text on disk"
        )
        for text in QUESTIONS:
            took, found = float("inf"), 0
            for _ in range(ROUNDS):
                began = time.process_time()
                found = engine.ask(text)
                took = min(took, time.process_time() - began)
            print(f"  {took * 1000:8.1f} ms  {found:4} found  {text}", flush=True)


def draw(megabytes: float) -> None:
    """From a recording to the index, drawn on a terminal of 80x24."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = recorded(folder, 0, "\n".join(lines(megabytes)))
        IndexFile(folder / "reading.db", make=True).close()
        began = time.process_time()
        (done,) = fill(folder / "reading.db", folder, [(f"{path.parent.name}/{path.name}", 1, 1)], 1)
        took = time.process_time() - began
        print(f"drawn and indexed: {done.text / 1e6 / took:.2f} MB/s of processor time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=1000)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--with", dest="others", default="")
    parser.add_argument("--draw", type=float, default=0)
    chosen = parser.parse_args()
    if chosen.draw:
        draw(chosen.draw)
    total = int(chosen.megabytes * 1e6 / 4150)
    measure("ours", lambda folder: Ours(folder, chosen.sessions, total), chosen.megabytes)
    makers = {
        "fts5-words": lambda folder: Fts5(folder, "unicode61"),
        "fts5-trigram": lambda folder: Fts5(folder, "trigram"),
        "tantivy": Tantivy,
    }
    for name in filter(None, chosen.others.split(",")):
        measure(name, makers[name], chosen.megabytes)


if __name__ == "__main__":
    main()
