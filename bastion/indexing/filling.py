"""Which recordings are to be read, and reading them, by one process or several (L2). Blocks.

Invariant: a recording is read to its end or is not in the index; what it is to blame for is its own `problem`, and the
next one is read.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bastion.indexing.pages import Page
from bastion.indexing.store import SESSION_PAGES, IndexFile
from bastion.recording.channels import Survey, survey
from bastion.recording.commands import Command, commands_of
from bastion.recording.format import FormatError
from bastion.recording.listed import of_entry
from bastion.recording.listing import Recordings, SessionEntry, Unreadable
from bastion.recording.ran import asked_of, pack
from bastion.recording.reader import Reader
from bastion.recording.render import by_channel
from bastion.recording.transcript import Line, Mark
from bastion.recording.unwrapping import Closed, Unwrap

PAGES_AT_ONCE: Final = 512
"""Pages in one transaction: 2 MiB of text."""

MOST_COMMANDS: Final = 100_000
"""Commands of one session that are kept; a loop of `ssh` over one connection makes no more in a day."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What an index lacks: recordings to read (path in the folder, size, time of change), and sessions to forget."""

    read: tuple[tuple[str, int, int], ...]
    forget: tuple[int, ...]
    running: int = 0  # recordings that are still written


@dataclass(frozen=True, slots=True)
class Filled:
    """What one recording came to: bytes of its file, characters of text, and why not all of it could be read."""

    path: str
    size: int
    text: int
    problem: str = ""


def plan(index: IndexFile, recordings: Recordings, unreadable: Unreadable | None = None) -> Plan:
    """Compares the index with the folder. Files that somebody writes are left for later. Raises IndexUnfit."""
    known, read, forget, running = index.known(), list[tuple[str, int, int]](), index.torn(), 0
    for name, path in recordings.names(None, unreadable):
        row = known.pop(name, None)
        try:
            found = (recordings.directory / path).lstat()
        except OSError:
            continue
        size, changed = found.st_size, found.st_mtime_ns
        if row is not None and row[1:] == (size, changed):
            continue
        if row is not None:
            forget.append(row[0])
        entry = recordings.entry(recordings.directory / path)
        if entry is not None and entry.state == "live":
            running += 1
        elif entry is not None:
            read.append((path, size, changed))
    forget += [row[0] for row in known.values()]
    return Plan(tuple(sorted(read)), tuple(sorted(set(forget))), running)


Opener = Callable[[], Unwrap | None]
"""Makes what opens encrypted recordings, in each process anew: an identity may be a program, and cannot be sent."""


def fill(
    index: Path,
    recordings: Path,
    wanted: Iterable[tuple[str, int, int]],
    jobs: int,
    opener: Opener | None = None,
) -> Iterator[Filled]:
    """Reads recordings into the index, with `jobs` processes, and tells of each when it is in. Raises IndexUnfit.

    `opener` is a function of a module, or a partial of one.
    """
    if jobs == 1:
        for path, size, changed in wanted:
            yield read_in(index, recordings, path, size, changed, opener)
        return
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(jobs, context) as pool:
        waiting = {pool.submit(read_in, index, recordings, *one, opener): one for one in wanted}
        try:
            for done in as_completed(waiting):
                try:
                    yield done.result()
                except BrokenProcessPool:
                    path, size, _ = waiting[done]
                    yield Filled(
                        path, size, 0, "the process that read it died; it is read again at the next run"
                    )
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def read_in(
    index: Path, recordings: Path, path: str, size: int, changed: int, opener: Opener | None = None
) -> Filled:
    """Reads one recording into the index. Raises IndexUnfit. One that stays closed is tried again by the next run."""
    store = Recordings(recordings, unwrap=None if opener is None else opener())
    entry = store.entry(recordings / path)
    if entry is None:
        return Filled(path, 0, 0)
    file = IndexFile(index)
    try:
        return _read(file, store, entry, path, size, changed)
    finally:
        file.close()


def _read(
    file: IndexFile, store: Recordings, entry: SessionEntry, path: str, size: int, changed: int
) -> Filled:
    header = entry.header
    session = file.begin(of_entry(entry), header.uid, header.host, size, changed)
    text, problem, ran = 0, entry.problem, ""
    commands: list[Command] = []
    try:
        with store.open(entry) as reader:
            channels = survey(reader)
            ran = pack(asked_of(one) for one in channels.channels.values())
            waiting: list[Page] = []
            first = 0
            for page in _pages(reader, channels):
                text += page.size
                waiting.append(page)
                if len(waiting) == PAGES_AT_ONCE:
                    file.add(session, first, waiting)
                    first, waiting = first + len(waiting), []
                    if first >= SESSION_PAGES - PAGES_AT_ONCE:
                        problem = "longer than an index takes"
                        break
            file.add(session, first, waiting)
            for one in commands_of(reader):
                if len(commands) == MOST_COMMANDS:
                    problem = problem or f"more than {MOST_COMMANDS} commands"
                    break
                commands.append(one)
            problem = problem or (reader.damage[0].text if reader.damage else "")
    except Closed as error:
        file.remove(session)
        return Filled(path, size, 0, error.text)
    except FormatError as error:
        problem = problem or error.text
    except OSError as error:
        problem = problem or str(error.strerror)
    except (ValueError, LookupError, RecursionError) as error:  # a fault of ours in one file is that file's
        problem = problem or f"cannot be drawn ({type(error).__name__})"
    file.end(session, commands, ran, problem)
    return Filled(path, size, text, problem)


def _pages(reader: Reader, channels: Survey) -> Iterator[Page]:
    """The lines of all channels, gathered by channel."""
    open_pages: dict[int, Page] = {}
    for channel, record in by_channel(reader, channels, None, screens=False):
        if isinstance(record, Line):
            text = record.text
        elif isinstance(record, Mark):
            text = f"[bastion: {record.text}]"
        else:
            continue
        if not text.strip():
            continue
        page = open_pages.get(channel)
        if page is None:
            page = open_pages[channel] = Page(channel)
        if page.add(record.time, text.replace("\n", " ")):
            yield open_pages.pop(channel)
    yield from open_pages.values()
