"""Which recordings are to be read, and reading them, by one process or several (L2). Blocks.

Invariant: a recording is read to its end or is not in the index; what it is to blame for is its own `problem`, and the
next one is read.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from bastion.errors import StoreFault
from bastion.indexing.pages import Page
from bastion.indexing.playing import Played
from bastion.indexing.searching import SESSION_PAGES
from bastion.indexing.store import IndexFile
from bastion.recording.channels import Survey, survey
from bastion.recording.commands import Command, commands_of, lost_text
from bastion.recording.format import FormatError
from bastion.recording.keyframes import Keyframe, Keyframes
from bastion.recording.listed import of_entry
from bastion.recording.listing import SCHEME, Recordings, SessionEntry, Unreadable, open_recording
from bastion.recording.pieces import pieces_of
from bastion.recording.ran import asked_of, pack
from bastion.recording.reader import Reader
from bastion.recording.redacted import RedactedReader, reading
from bastion.recording.redacting import NOTHING, Redaction
from bastion.recording.render import by_channel
from bastion.recording.resizes import Resizes
from bastion.recording.transcript import Line, Mark
from bastion.recording.unwrapping import Closed, Unwrap

PAGES_AT_ONCE: Final = 512
"""Pages in one transaction: 2 MiB of text."""

KEYFRAMES_AT_ONCE: Final = 64
"""Keyframes in one transaction: those of some 16 MiB of output, 256 KiB."""

MOST_COMMANDS: Final = 100_000
"""Commands of one session that are kept: nobody types so many, and a loop of `ssh` over one connection makes no more in
a day."""


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


def plan(
    index: IndexFile,
    recordings: Recordings,
    unreadable: Unreadable | None = None,
    away: Mapping[str, tuple[str, int]] | None = None,
    redaction: Redaction = NOTHING,
) -> Plan:
    """Compares the index with the folder, and with what is in a bucket: `away` has (url, size) by session. Files that
    somebody writes are left for later, and what was masked by another `redaction` is read again. Raises IndexUnfit."""
    known, read, forget, running = index.known(), list[tuple[str, int, int]](), index.torn(), 0
    elsewhere = dict(away or {})
    for name, path in recordings.names(None, unreadable):
        try:
            found = (recordings.directory / path).lstat()
        except OSError:
            continue  # gone: into the bucket, or for good
        elsewhere.pop(name, None)
        row = known.pop(name, None)
        size, changed = found.st_size, found.st_mtime_ns
        if row is not None and row[1:] == (size, changed, redaction.digest):
            continue
        if row is not None:
            forget.append(row[0])
        entry = recordings.entry(recordings.directory / path)
        if entry is not None and entry.state == "live":
            running += 1
        elif entry is not None:
            read.append((path, size, changed))
    for name, (url, size) in elsewhere.items():
        row = known.pop(name, None)
        if row is not None and (row[1], row[3]) == (
            size,
            redaction.digest,
        ):  # what is in a bucket does not change
            continue
        if row is not None:
            forget.append(row[0])
        read.append((url, size, 0))
    forget += [row[0] for row in known.values()]
    return Plan(tuple(sorted(read)), tuple(sorted(set(forget))), running)


Opener = Callable[[], Unwrap | None]
"""Makes what opens encrypted recordings, in each process anew: an identity may be a program, and cannot be sent."""

Bring = Callable[[str], Path]
"""Brings a recording of a bucket, by its url, as a file that goes when it has been read. Raises StoreFault."""


@dataclass(frozen=True, slots=True)
class _Work:
    """One recording: its path in the folder or its url, and where it is read."""

    path: str
    size: int
    changed: int
    file: Path
    copy: bool
    redaction: Redaction

    def done(self) -> None:
        if self.copy:
            self.file.unlink(missing_ok=True)


def fill(
    index: Path,
    recordings: Path,
    wanted: Iterable[tuple[str, int, int]],
    jobs: int,
    opener: Opener | None = None,
    bring: Bring | None = None,
    redaction: Redaction = NOTHING,
) -> Iterator[Filled]:
    """Reads recordings into the index, with `jobs` processes, and tells of each when it is in. Raises IndexUnfit.
    Nothing of the secrets that `redaction` knows goes in.

    `opener` is a function of a module, or a partial of one. No more than `jobs` and one recording of a bucket are
    on the disk at a time.
    """
    brought = _brought(recordings, wanted, bring, redaction)
    if jobs == 1:
        for one in brought:
            yield one if isinstance(one, Filled) else _read_one(index, one, opener)
        return
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(jobs, context) as pool:
        waiting: dict[Future[Filled], _Work] = {}
        try:
            for one in brought:
                if isinstance(one, Filled):
                    yield one
                    continue
                waiting[pool.submit(_read_file, index, one, opener)] = one
                if len(waiting) > jobs:
                    yield from _ready(waiting)
            while waiting:
                yield from _ready(waiting)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            for one in waiting.values():
                one.done()


def _brought(
    recordings: Path, wanted: Iterable[tuple[str, int, int]], bring: Bring | None, redaction: Redaction
) -> Iterator[_Work | Filled]:
    """Each one where it can be read, or what became of it."""
    for path, size, changed in wanted:
        if not path.startswith(SCHEME):
            yield _Work(path, size, changed, recordings / path, False, redaction)
        elif bring is not None:
            try:
                yield _Work(path, size, changed, bring(path), True, redaction)
            except StoreFault as fault:
                yield Filled(path, size, 0, fault.text)


def _ready(waiting: dict[Future[Filled], _Work]) -> Iterator[Filled]:
    """Waits for the first that is done, and takes all that are."""
    for done in wait(waiting, return_when=FIRST_COMPLETED).done:
        work = waiting.pop(done)
        work.done()
        try:
            yield done.result()
        except BrokenProcessPool:
            text = "the process that read it died; it is read again at the next run"
            yield Filled(work.path, work.size, 0, text)


def _read_one(index: Path, work: _Work, opener: Opener | None) -> Filled:
    try:
        return _read_file(index, work, opener)
    finally:
        work.done()


def _read_file(index: Path, work: _Work, opener: Opener | None) -> Filled:
    """One that stays closed is tried again by the next run."""
    store = Recordings(work.file.parent, unwrap=None if opener is None else opener())
    entry = store.entry(work.file)
    if entry is None:
        return Filled(work.path, 0, 0)
    file = IndexFile(index)
    try:
        return _read(file, store, entry, work)
    finally:
        file.close()


def _read(file: IndexFile, store: Recordings, entry: SessionEntry, work: _Work) -> Filled:
    header, path, size = entry.header, work.path, work.size
    row, digest = of_entry(entry)._replace(path=path), work.redaction.digest
    session = file.begin(row, header.uid, header.host, size, work.changed, digest)
    keeping = _Keeping(file, session)
    text, problem, ran, played, masks = 0, entry.problem, "", "", b""
    commands: list[Command] = []
    try:
        with store.open(entry, reading(work.redaction, unmasked=True)) as reader:
            resizes = Resizes()
            channels = survey(resizes.watch(reader))
            ran = pack(asked_of(one) for one in channels.channels.values())
            waiting: list[Page] = []
            first = 0
            keyframes = Keyframes(reader, keeping.add)
            for page in _pages(reader, channels, keyframes):
                text += page.size
                waiting.append(page)
                if len(waiting) == PAGES_AT_ONCE:
                    file.add(session, first, waiting)
                    first, waiting = first + len(waiting), []
                    if first >= SESSION_PAGES - PAGES_AT_ONCE:
                        problem = "longer than an index takes"
                        break
            file.add(session, first, waiting)
            keeping.write()
            with open_recording(work.file) as (source, _):
                pieces = pieces_of(source)
            played = Played(channels, keyframes.strings, tuple(resizes.found), pieces).pack()
            masks = reader.masks() if isinstance(reader, RedactedReader) else b""
            commands, unlisted = _commands(reader)
            problem = problem or unlisted or (reader.damage[0].text if reader.damage else "")
    except Closed as error:
        file.remove(session)
        return Filled(path, size, 0, error.text)
    except FormatError as error:
        problem = problem or error.text
    except OSError as error:
        problem = problem or str(error.strerror)
    except (ValueError, LookupError, RecursionError) as error:  # a fault of ours in one file is that file's
        problem = problem or f"cannot be drawn ({type(error).__name__})"
    file.end(session, commands, ran, problem, played, masks)
    return Filled(path, size, text, problem)


def _commands(reader: Reader) -> tuple[list[Command], str]:
    """The commands of a recording, and why they are not all."""
    lost: list[str] = []
    found = list(
        islice(
            commands_of(reader, lambda channel, at: lost.append(lost_text(channel, at))), MOST_COMMANDS + 1
        )
    )
    if len(found) > MOST_COMMANDS:
        lost.insert(0, f"more than {MOST_COMMANDS} commands")
    return found[:MOST_COMMANDS], lost[0] if lost else ""


class _Keeping:
    """Keyframes on their way to the index."""

    def __init__(self, file: IndexFile, session: int) -> None:
        self._file, self._session = file, session
        self._waiting: list[Keyframe] = []

    def add(self, one: Keyframe) -> None:
        self._waiting.append(one)
        if len(self._waiting) == KEYFRAMES_AT_ONCE:
            self.write()

    def write(self) -> None:
        self._file.keep(self._session, self._waiting)
        self._waiting = []


def _pages(reader: Reader, channels: Survey, keyframes: Keyframes) -> Iterator[Page]:
    """The lines of all channels, gathered by channel."""
    open_pages: dict[int, Page] = {}
    for channel, record in by_channel(reader, channels, None, screens=False, keyframes=keyframes):
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
