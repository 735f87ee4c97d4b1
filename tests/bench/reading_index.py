"""The reading index measured at size: what text costs to index, its size, how fast it answers (docs/search-at-size.md).

`python -m tests.bench.reading_index [--megabytes 1000] [--sessions 10000] [--with fts5,tantivy] [--keep DIR]`

Lines are made as logs and shells show them: words of a vocabulary in which few are common and most are rare, numbers,
addresses, paths with a part that never comes again, some Chinese. They are put into the index as pages, without being
drawn; `--draw MB` measures drawing them from a recording besides, with the secrets masked or not. Other engines get
the same pages; tantivy is used when it is installed. `--keep DIR` keeps what was made, and asks it again the next
time.

Indexing is told as megabytes of text for each second of processor time (user and system, all threads), questions as
milliseconds: cold, just opened and its files dropped from the kernel's cache, as the clock saw it; warm, of processor
time, the least of three.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

from bastion.clock import SystemClock
from bastion.indexing.filling import PAGES_AT_ONCE
from bastion.indexing.filling import fill as read_in
from bastion.indexing.pages import Page
from bastion.indexing.store import IndexFile
from bastion.indexing.words import Question
from bastion.recording.commands import Command
from bastion.recording.listed import Listed, Wanted
from bastion.recording.listing import day_of
from bastion.recording.redacting import NOTHING, Redaction
from tests.unit.indexing.made import recorded

LIMIT = 100
ROUNDS = 3

VOCABULARY = 60_000
FIRST_START = 1_767_225_600.0  # 2026-01-01; a session every 25 minutes for half a year

QUESTIONS = {
    "in one line of all": "onlyonce",
    "rare word": "seldomseen",
    "common word": "error",
    "most common word": "",  # of the vocabulary
    "two common words": "",
    "phrase": '"connection refused"',
    "words of a phrase the other way": '"refused connection"',
    "words never in one line": "refused denied",
    "beginning of a word": "connec",
    "two letters": "co",
    "address": "10.0.7.41",
    "path": "/srv/data",
    "Chinese": "错误",
    "nothing": "nosuchword",
}


def vocabulary(chance: random.Random) -> list[str]:
    """Words of two to five syllables, the same each time."""
    syllables = [c + v for c in "bcdfghklmnprstvw" for v in ("a", "e", "i", "o", "u", "an", "er", "in", "ol")]
    made = dict.fromkeys(
        "".join(chance.choices(syllables, k=chance.choice((1, 2, 2, 3, 3, 4)))) for _ in range(4 * VOCABULARY)
    )
    return list(made)[:VOCABULARY]


def lines(megabytes: float, seed: int = 1) -> Iterator[str]:
    """Lines of so much text."""
    chance, left = random.Random(seed), int(megabytes * 1e6)
    words = vocabulary(chance)
    pool = chance.choices(words, [1 / (rank + 3) for rank in range(len(words))], k=1 << 20)
    kinds = chance.choices(range(6), (60, 26, 8, 2, 2, 2), k=1 << 16)
    said = (
        "error",
        "connection refused",
        "错误发生",
        "permission denied",
        "warning: deprecated",
        "exit status 1",
    )
    at = number = 0
    while left > 0:
        size, kind, number = 5 + number % 9, kinds[number * 7919 & 0xFFFF], number + 1
        at += size
        if at + size >= len(pool):
            at = chance.randrange(1000)
        line = " ".join(pool[at : at + size])
        if kind == 1:
            line = f"{number % 86400} {line} /srv/data/{chance.getrandbits(24):x} from 10.0.{number % 9}.{number % 97}"
        elif kind == 2:
            line = f"root@web1:~# {line} --{pool[at][:4]}={chance.getrandbits(16)}"
        elif kind >= 3:
            line = f"{line}: {said[chance.randrange(6)]}"
        if number % 100_003 == 0:
            line += " seldomseen"
        if number == 50_000:
            line += " onlyonce"
        left -= len(line) + 1
        yield line


def questions() -> dict[str, str]:
    """What is asked, by what it is."""
    words = vocabulary(random.Random(1))
    return {**QUESTIONS, "most common word": words[0], "two common words": f"{words[2]} {words[3]}"}


def pages(megabytes: float) -> Iterator[Page]:
    page = Page(1)
    for number, line in enumerate(lines(megabytes)):
        if page.add(number / 10, line):
            yield page
            page = Page(1)
    yield page


class Ours:
    """The index as it is."""

    def __init__(self, folder: Path, sessions: int = 1, total: int = 1) -> None:
        self.folder = folder
        self._each = max(1, total // sessions)
        self._waiting: list[Page] = []
        self._count = 0
        self._file = IndexFile(folder / "reading.db", make=True)

    def add(self, page: Page) -> None:
        self._waiting.append(page)
        if len(self._waiting) == min(self._each, PAGES_AT_ONCE):
            self.flush()

    def flush(self) -> None:
        name = "".join("abcdefghijklmnop"[self._count >> 4 * place & 15] for place in range(16))
        start, who = FIRST_START + self._count * 1500.0, f"user{self._count % 40}"
        one = Listed(
            name, "ended", start, who, "deploy", f"web{self._count % 25}", 60.0, 5, f"2026/{name}.rec"
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

    def close(self) -> None:
        self._file.close()

    def ask(self, text: str, wanted: Wanted | None = None) -> int:
        """As `bastion search` does."""
        sessions = self._file.sessions()
        if wanted is not None:
            sessions = {number: one for number, one in sessions.items() if wanted.takes(one)}
        return sum(1 for _ in islice(self._file.search(Question.of(text), sessions), LIMIT))


class Fts5:
    """SQLite's full-text search alone, as one would begin: pages with their text, by its own tokenizer."""

    def __init__(self, folder: Path, *_: int) -> None:
        self._database = sqlite3.connect(folder / "fts.db", isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute(
            "CREATE VIRTUAL TABLE IF NOT EXISTS pages USING fts5 (text, tokenize=unicode61)"
        )
        self._database.execute("BEGIN")

    def add(self, page: Page) -> None:
        self._database.execute("INSERT INTO pages VALUES (?)", ("\n".join(page.lines),))

    def end(self) -> None:
        self._database.execute("COMMIT")
        self._database.execute("INSERT INTO pages (pages) VALUES ('optimize')")
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        self._database.close()

    def ask(self, text: str, wanted: Wanted | None = None) -> int:
        """Pages, the newest first: neither are they looked through, nor is anything known of sessions."""
        asked = " AND ".join(f'"{term}"' + "*" * term[-1].isalnum() for term in Question.of(text).terms)
        rows = self._database.execute(
            "SELECT text FROM pages WHERE pages MATCH ? ORDER BY rowid DESC LIMIT ?", (asked, LIMIT)
        )
        return len(rows.fetchall())


class Tantivy:
    """Pages with their text, by its default tokenizer, best match first; it knows no beginnings of words in a query."""

    def __init__(self, folder: Path, *_: int) -> None:
        import tantivy  # type: ignore[import-not-found, unused-ignore]

        schema = tantivy.SchemaBuilder().add_text_field("text", stored=True).build()
        self._index: Any = tantivy.Index(schema, path=str(folder))
        self._tantivy: Any = tantivy
        self._schema = schema
        self._writer: Any = None

    def add(self, page: Page) -> None:
        if self._writer is None:
            self._writer = self._index.writer(200_000_000, num_threads=1)
        self._writer.add_document(self._tantivy.Document(text="\n".join(page.lines)))

    def end(self) -> None:
        self._writer.commit()
        self._writer.wait_merging_threads()

    def close(self) -> None:
        self._writer = None

    def ask(self, text: str, wanted: Wanted | None = None) -> int:
        """Pages, as for FTS5: a word alone may go on, phrases may not."""
        self._index.reload()
        searcher, parts = self._index.searcher(), []
        for term in Question.of(text).terms:
            if term.isascii() and term.isalnum():
                part = self._tantivy.Query.regex_query(self._schema, "text", f"{term}.*")
            else:
                part = self._index.parse_query(f'"{term}"', ["text"])
            parts.append((self._tantivy.Occur.Must, part))
        hits = searcher.search(self._tantivy.Query.boolean_query(parts), LIMIT).hits
        return len([searcher.doc(place)["text"] for _, place in hits])


ENGINES: dict[str, Callable[..., Any]] = {"ours": Ours, "fts5": Fts5, "tantivy": Tantivy}


def fill(name: str, folder: Path, megabytes: float, sessions: int) -> None:
    """Everything into one engine, in batches, so that what making lines costs can be taken off."""
    began, making = time.process_time(), 0.0
    engine = ENGINES[name](folder, sessions, int(megabytes * 1e6 / 4150))
    left = pages(megabytes)
    while True:
        mark = time.thread_time()
        batch = list(islice(left, 2000))
        making += time.thread_time() - mark
        if not batch:
            break
        for page in batch:
            engine.add(page)
    engine.end()
    engine.close()
    busy = time.process_time() - began - making
    size = sum(path.stat().st_size for path in folder.rglob("*")) / 1e6
    print(
        f"{name}: {megabytes / busy:.1f} MB/s of processor time, {size / megabytes:.2f} of the text on disk",
        flush=True,
    )


def drop(folder: Path) -> None:
    """The kernel forgets what it has read of these files."""
    for path in folder.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def ask(name: str, folder: Path) -> None:
    """Every question, cold and warm."""
    print(f"  {'cold ms':>9} {'warm ms':>9} {'found':>6}")
    for what, text in questions().items():
        drop(folder)
        times, found = [], 0
        engine = ENGINES[name](folder)
        for clock in (time.perf_counter, *[time.process_time] * ROUNDS):
            began = clock()
            found = engine.ask(text)
            times.append((clock() - began) * 1000)
        engine.close()
        print(f"  {times[0]:9.1f} {min(times[1:]):9.1f} {found:6}  {what}: {text}", flush=True)


def ask_chosen(folder: Path) -> None:
    """The same of one user's week, and of nobody's."""
    engine, week = Ours(folder), FIRST_START + 100 * 86400.0
    for what, wanted in {
        "a week": Wanted(week, week + 7 * 86400.0),
        "a user's week": Wanted(week, week + 7 * 86400.0, "user7"),
        "of somebody unknown": Wanted(user="nobody"),
    }.items():
        times, found = [], 0
        for _ in range(ROUNDS):
            began = time.process_time()
            found = engine.ask("error", wanted)
            times.append((time.process_time() - began) * 1000)
        print(f"  {'':9} {min(times):9.1f} {found:6}  {what}: error", flush=True)
    engine.close()


def ask_command(folder: Path) -> None:
    """`bastion search` as a process, its start included."""
    for text in ("seldomseen", "error", "nosuchword"):
        command = ["search", "--recordings", str(folder), "--json", text]
        told(f"search {text}", [*command, "--index", str(folder / "reading.db")])


def told(what: str, arguments: list[str]) -> None:
    """A command with its bytecode on disk, as it is where it was installed: the processor time of its process."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    took, lines = [], 0
    for _ in range(ROUNDS + 1):
        began = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-m", "bastion", *arguments], capture_output=True, check=False, env=environment
        )
        ended, lines = resource.getrusage(resource.RUSAGE_CHILDREN), done.stdout.count(b"\n")
        took.append((ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime) * 1000)
    print(f"  {'':9} {min(took[1:]):9.1f} {lines:6}  bastion {what}", flush=True)


def ask_who_ran(sessions: int) -> None:
    """`bastion commands --grep`: who ran rm on web1 last week, of so many sessions with ten commands each."""
    with tempfile.TemporaryDirectory() as name:
        folder, now = Path(name), SystemClock().time()
        file = IndexFile(folder / "index" / "reading.db", make=True)
        for count in range(sessions):
            session = "".join("abcdefghijklmnop"[count >> 4 * place & 15] for place in range(16))
            start = now - 30 * 86400.0 * (count + 1) / sessions
            path = folder / day_of(start) / f"{session}.rec"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"a file that the index has read is not opened")
            found, who = path.stat(), f"user{count % 40}"
            place = str(path.relative_to(folder))
            one = Listed(session, "ended", start, who, "deploy", f"web{count % 25}", 60.0, 5, place)
            number = file.begin(one, "u", "h", found.st_size, found.st_mtime_ns, Redaction.of().digest)
            texts = [
                f"ls -l /srv/{count}",
                "uptime",
                "systemctl restart app",
                f"vim /etc/app/{count}.conf",
            ] * 3
            texts = [*texts[:9], f"rm -rf /srv/{count}" if count % 7 == 0 else "exit"]
            ran = [
                Command(session, 1, "exec", text, float(at), start + at, 0.0) for at, text in enumerate(texts)
            ]
            file.end(number, ran, "[]", "")
        file.close()
        command = ["commands", "--recordings", str(folder), "--target", "web1", "--since", "last week"]
        told("commands: who ran rm on web1", [*command, "--grep", r"\brm\b", "--json"])


def draw(megabytes: float) -> None:
    """From a recording to the index, drawn on a terminal of 80x24."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = recorded(folder, 0, "\n".join(lines(megabytes)))
        for how, redaction in ("as it is", NOTHING), ("with the secrets masked", Redaction.of()):
            file = IndexFile(folder / "reading.db", make=True)
            for number, *_ in file.known().values():
                file.remove(number)
            file.close()
            place, began = f"{path.parent.name}/{path.name}", time.process_time()
            (done,) = read_in(folder / "reading.db", folder, [(place, 1, 1)], 1, redaction=redaction)
            took = time.process_time() - began
            print(f"drawn and indexed {how}: {done.text / 1e6 / took:.2f} MB/s of processor time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=1000)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--with", dest="engines", default="ours", help="of " + ", ".join(ENGINES))
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--draw", type=float, default=0)
    parser.add_argument(
        "--who-ran", type=int, default=2000, help="sessions of which it is asked who ran rm; 0: none"
    )
    chosen = parser.parse_args()
    if chosen.draw:
        draw(chosen.draw)
    if chosen.who_ran:
        ask_who_ran(chosen.who_ran)
    for name in filter(None, chosen.engines.split(",")):
        with (
            tempfile.TemporaryDirectory()
            if chosen.keep is None
            else nullcontext(str(chosen.keep / name)) as made
        ):
            folder = Path(made)
            if not folder.exists() or not any(folder.iterdir()):
                folder.mkdir(parents=True, exist_ok=True)
                fill(name, folder, chosen.megabytes, chosen.sessions)
            ask(name, folder)
            if name == "ours":
                ask_chosen(folder)
                ask_command(folder)


if __name__ == "__main__":
    main()
