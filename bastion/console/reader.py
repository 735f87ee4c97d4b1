"""The process that opens one recording (L4): `python -m bastion.console.reader CONFIG`, started by the console.

It answers one question, a line of JSON on standard input, and ends. So what a recording was made to cost, in time or in
memory, is this process's, and the identities that open recordings are in no process that speaks HTTP. Invariants: the
line about it stands in the audit log before the file is opened, unless the console says that one does (`grants`); the
answer begins with a line of JSON that says whether there is one; what was not whole does not end with exit code 0.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import orjson

from bastion.ca.identities import identities_in
from bastion.ca.keys import load_public_keys
from bastion.ca.ledger import KeyName, read_ledger
from bastion.cli.recordings import unwrap_with
from bastion.clock import SystemClock
from bastion.config.console import Console
from bastion.config.key_slots import ledger_path
from bastion.config.load import load
from bastion.config.outputs import Audit, Recording, read_section
from bastion.config.redact import Redact
from bastion.console.looked import looks_at
from bastion.console.parts import Parts, files_of
from bastion.console.readers import Object
from bastion.errors import ConfigError, StoreFault, StoreReason
from bastion.indexing.playing import IndexedSession
from bastion.indexing.store import IndexFile, IndexUnfit, place_in
from bastion.observe.audit import AuditFailed, AuditLog
from bastion.observe.events import About
from bastion.observe.events.reading import RecordingsRead
from bastion.observe.meters import Meters
from bastion.recording.channels import ChannelNotChosen, Survey, choose_channel, survey
from bastion.recording.commands import Command, commands_of
from bastion.recording.format import REF_LENGTH, FormatError
from bastion.recording.frames import FrameKind, frames
from bastion.recording.listing import SUFFIX, Recordings, open_recording
from bastion.recording.page import Page
from bastion.recording.ran import asked_of
from bastion.recording.reader import Reader
from bastion.recording.redacted import reading
from bastion.recording.redacting import Redaction
from bastion.recording.render import asciicast, json_lines, plain_text
from bastion.recording.unwrapping import Closed, Unwrap
from bastion.recording.verifying import KnownKey, State, verify
from bastion.wire.printable import in_order, printable

if TYPE_CHECKING:  # boto3 is loaded with it
    from bastion.console.away import Away

QUESTION_MAX: Final = 16 << 10
MEMORY_MAX: Final = 1 << 30
"""Bytes of data. The largest terminal there may be takes a fifth of it."""

PROCESSOR_MAX: Final = 900
"""Seconds of processor time: 2 GB of output, drawn."""

ABOUT_SECONDS: Final = 4.0
"""Seconds that commands and files of a session are looked for before its page is shown without the rest."""

ABOUT_BYTES: Final = 16 << 20
"""Of a recording in the bucket that are looked through for the same."""

LOOKS_SECONDS: Final = 5.0
"""Seconds that the audit log is read for who has looked: of a page of its own, which nobody waits for who has not asked
for it."""

MOST_COMMANDS: Final = 2000
MOST_FILES: Final = 2000
MOST_CHANNELS: Final = 500
LONGEST: Final = 1024
"""Characters of one command or file on a session's page."""

PIECE: Final = 32 << 10

IN_PIECES: Final = frozenset(("about", "play", "part"))
"""What looks at a few places of a recording that the reading index knows."""


class Unanswered(Exception):
    """There is no answer: a word for it, and what whoever asked reads."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason, self.text = reason, text


class Answering:
    """What is there before a question comes: the configuration, read once."""

    def __init__(self, config_file: Path) -> None:
        """Raises ConfigError."""
        console = read_section(config_file, Console)
        self._file = config_file
        self._directory = read_section(config_file, Recording).directory
        self._redaction: Redaction = read_section(config_file, Redact).redaction
        gateway_log = read_section(config_file, Audit).file
        self._audit = console.audit_file or gateway_log
        self._logs = (self._audit, gateway_log)
        self._unwrap: Unwrap | None = None
        if console.identities:
            self._unwrap = unwrap_with([one for path in console.identities for one in identities_in(path)])
        self._away, self._not_away = self._bucket(console)

    def _bucket(self, console: Console) -> tuple[Away | None, str]:
        """What reaches the bucket, made before a question comes, for it takes half a second; or why nothing does."""
        try:
            place = console.bucket(read_section(self._file, Recording).store)
            if place is None:
                return None, "[recording.store] names no bucket"
            from bastion.console.away import Away

            return Away(place, SystemClock()), ""
        except (ConfigError, StoreFault) as error:
            return None, printable(str(error))

    def answer(self, question: dict[str, Any]) -> Iterator[bytes]:
        """The body, in pieces; what is asked for is known by the first. Raises Unanswered before that."""
        session, what = str(question["session"]), question["what"]
        if question["command"]:
            self._note(question, session)
        if what == "looks":  # of a recording that is gone or away, too
            yield orjson.dumps(self._looks(session))
            return
        try:
            yield from self._answered(what, question, session)
        except StoreFault as fault:
            raise Unanswered(*_of_store(fault)) from None
        except FormatError as error:
            raise Unanswered("unreadable", printable(error.text)) from None
        except ChannelNotChosen as error:
            raise Unanswered("no_channel", printable(error.text)) from None
        except OSError as error:
            raise Unanswered("unreadable", f"it cannot be read: {error.strerror}") from None

    def _answered(self, what: str, question: dict[str, Any], session: str) -> Iterator[bytes]:
        """From the folder, or from the bucket: what goes there is in the store before it leaves the folder."""
        with ExitStack() as stack:
            try:
                path = Recordings(self._directory).path_of(session)
                source, live = stack.enter_context(open_recording(path))
            except FileNotFoundError:
                yield from self._from_bucket(what, question, session)
                return
            if what == "verify":
                yield orjson.dumps(self._verified(source, session, live, None))
                return
            with self._reading(what, source, session, lambda: live) as reader:
                yield from self._shown(what, question, reader, self._indexed(path))

    def _from_bucket(self, what: str, question: dict[str, Any], session: str) -> Iterator[bytes]:
        """All that is asked of the bucket is asked before the first piece of an answer."""
        if question["stored"] is None:
            if question["unknown"]:
                raise Unanswered(
                    "unavailable", f"its recording is not in the folder, and {question['unknown']}"
                )
            raise Unanswered("not_found", "its recording is not here")
        if self._away is None:
            raise Unanswered("unavailable", f"its recording is in the bucket: {self._not_away}")
        one, indexed = Object(**question["stored"]), None
        if what in IN_PIECES:
            indexed = self._indexed(Path(session + SUFFIX), one)
            if indexed is not None and indexed.played.pieces is not None:
                with (
                    self._away.pieces(one, indexed.played.pieces) as source,
                    self._reading(what, source, session) as reader,
                ):
                    yield b"".join(self._shown(what, question, reader, indexed, ABOUT_BYTES))
                return
        with self._away.copied(one, what not in IN_PIECES, what == "verify") as (source, changed):
            if what == "verify":
                yield orjson.dumps(self._verified(source, session, False, changed))
                return
            with self._reading(what, source, session) as reader:
                yield from self._shown(what, question, reader, indexed)

    @contextmanager
    def _reading(
        self, what: str, source: BinaryIO, session: str, live: Callable[[], bool] | None = None
    ) -> Iterator[Reader]:
        """Raises FormatError, also for what stays closed."""
        # what was typed is in no part, so that a reader may begin in the middle
        kind = reading(self._redaction, unmasked=what in ("play", "part"))
        reader = kind(source, session, live, self._unwrap)
        if reader.sealed:
            raise Closed(reader.sealed)
        yield reader

    def _shown(
        self,
        what: str,
        question: dict[str, Any],
        reader: Reader,
        indexed: IndexedSession | None,
        most: int | None = None,
    ) -> Iterator[bytes]:
        """`most`: bytes that a page is worth."""
        indexed = _masked(indexed, reader)
        if what == "about":
            yield orjson.dumps(_About(reader, indexed, self._redaction, most).document())
            return
        if what == "files":
            yield orjson.dumps(files_of(reader, SystemClock().monotonic))
            return
        if what in ("play", "part"):
            parts = Parts(reader, indexed, self._redaction, SystemClock().monotonic)
            at, number = float(question["at"]), question["channel"]
            if what == "play":
                yield from parts.film(number, at, str(question["words"]))
            else:
                yield parts.part(int(number), at, bool(question["brief"]))
            return
        channels = survey(reader)
        wanted = question.get("channel")
        chosen = choose_channel(channels.channels, wanted)
        whole = wanted is None and len(channels.channels) > 1
        if what == "text":
            lines = plain_text(reader, channels, chosen, whole=whole, times=True)
            yield from (in_order(line).encode("utf-8", "replace") for line in lines)
        elif what == "html":
            page = Page(reader, channels, chosen, whole, _player())
            yield from (piece.encode("ascii") for piece in page.pieces())
        elif what == "asciicast":
            cast = asciicast(reader, channels, chosen, whole=whole, filtered=True, version=2)
            yield from (line.encode("ascii") + b"\n" for line in cast)
        elif what == "json":
            yield from (line.encode("ascii") + b"\n" for line in json_lines(reader, channels, wanted))
        else:
            raise Unanswered("not_found", "there is no such form")

    def _looks(self, session: str) -> dict[str, Any]:
        """Who has looked at it, as far back as the audit log is read in time."""
        until = SystemClock().monotonic() + LOOKS_SECONDS
        looks, cut = looks_at(session, self._logs, lambda: SystemClock().monotonic() > until)
        return {"looks": looks, "cut": cut}

    def _indexed(self, path: Path, one: Object | None = None) -> IndexedSession | None:
        """What the reading index knows of it; without one the file says all. Of `one` in the bucket `path` is its
        name."""
        place = place_in(self._directory)
        if not place.exists():
            return None
        size, digests = (None, "") if one is None else (one.size, one.sha256)
        try:
            return IndexedSession.find(IndexFile(place), path, self._redaction.digest, size, digests)
        except IndexUnfit:
            return None

    def _verified(
        self, source: BinaryIO, session: str, live: bool, changed: StoreFault | None
    ) -> dict[str, Any]:
        """What `bastion verify` says of the file, by the public halves of the gateway's keys. One that was `changed`
        in the bucket is not good, whoever has signed it."""
        try:
            verdict = verify(source, session, _known_keys(self._file), live).document()
        except ConfigError as error:
            raise Unanswered("unavailable", f"the keys cannot be read: {printable(str(error))}") from None
        if changed is not None:
            text = f"{printable(changed.text)}; by itself it is {verdict['state']}: {verdict['text']}"
            verdict |= {"good": False, "state": str(State.BAD), "text": text}
        return verdict

    def _note(self, question: dict[str, Any], session: str) -> None:
        try:
            log = AuditLog(str(self._audit), SystemClock(), Meters(), required=True)
            about = About(session, session[:REF_LENGTH], source=str(question["source"]))
            log.emit(
                RecordingsRead(str(question["by"]), str(question["command"]), str(question["asked"])), about
            )
            log.close()
        except AuditFailed:
            raise Unanswered("unaudited", "nothing is shown while the audit log cannot be written") from None


def _masked(indexed: IndexedSession | None, reader: Reader) -> IndexedSession | None:
    """The same, and the reader is told where secrets are; None where the index does not say it."""
    try:
        if indexed is not None:
            indexed.mask(reader)
    except IndexUnfit:
        return None
    return indexed


def _of_store(fault: StoreFault) -> tuple[str, str]:
    """The word and the words for it."""
    text = printable(fault.text)
    if fault.reason is StoreReason.CHECKSUM:
        return "unreadable", f"its recording in the bucket is damaged: {text}"
    return "unavailable", f"its recording is in the bucket, and cannot be had: {text}"


class _About:
    """What a session's page says of its recording, as far as that is found in time."""

    def __init__(
        self, reader: Reader, indexed: IndexedSession | None, redaction: Redaction, most: int | None
    ) -> None:
        self._reader, self._indexed, self._redaction, self._most = reader, indexed, redaction, most
        self._until = SystemClock().monotonic() + ABOUT_SECONDS
        self._cut: list[str] = []

    def document(self) -> dict[str, Any]:
        channels = survey(self._reader) if self._indexed is None else self._indexed.played.channels
        commands = self._commands()
        return {
            "channels": [_channel(one) for one in list(channels.channels.values())[:MOST_CHANNELS]],
            "channels_more": max(0, len(channels.channels) - MOST_CHANNELS) + channels.more,
            "refused": channels.refused,
            "refusals": channels.refusals,
            "commands": commands,
            "files": self._files(channels),
            "length": self._reader.tail().time_us / 1e6,
            "cut": self._cut,
        }

    def _commands(self) -> list[dict[str, Any]]:
        found: list[Command] = []
        if self._indexed is not None:
            found = self._indexed.commands()
        else:
            with self._reader.aside():
                for command in commands_of(self._reader):
                    found.append(command)
                    if self._late("commands"):
                        break
        found.sort(key=lambda one: (one.start, one.channel))
        if len(found) > MOST_COMMANDS:
            self._cut.append("commands")
        return [self._command(one) for one in found[:MOST_COMMANDS]]

    def _command(self, one: Command) -> dict[str, Any]:
        came = f"refused: {one.refused}" if one.refused else one.signal and f"SIG{one.signal}"
        if not came and one.exit_status is not None:
            came = f"exit {one.exit_status}"
        return {
            "offset": round(one.offset, 3),
            "channel": one.channel,
            "kind": one.kind,
            "text": printable(self._redaction.mask(one.text), LONGEST, keep="\n"),
            "came": printable(came, 100),
            "guess": one.source == "heuristic",
        }

    def _files(self, channels: Survey) -> list[dict[str, Any]]:
        moving = {
            one.id for one in channels.channels.values() if one.files or one.followed or one.transfer[0]
        }
        found: list[dict[str, Any]] = []
        if not moving:
            return found
        for frame in frames(self._reader, None):
            if frame.kind is FrameKind.NOTICE and frame.channel in moving:
                text = printable(frame.data.decode("utf-8", "replace").strip(), LONGEST)
                found.append({"time": round(frame.time, 3), "channel": frame.channel, "text": text})
                if len(found) >= MOST_FILES or self._late("files"):
                    self._cut.append("files")
                    break
        return found

    def _late(self, what: str) -> bool:
        late = SystemClock().monotonic() > self._until or (
            self._most is not None and self._reader.position > self._most
        )
        if late and what == "commands":
            self._cut.append(what)
        return late


def _channel(one: Any) -> dict[str, Any]:
    return {
        "id": one.id,
        "kind": asked_of(one).kind,
        "began": round(one.began, 3),
        "ended": round(one.ended, 3),
        "label": one.label,
        "bytes_in": one.bytes_in,
        "bytes_out": one.bytes_out,
        "skipped": one.skipped,
        "files": one.files,
        "operations": one.operations,
        "refused": [printable(text) for text in one.refused],
        "refusals": one.refusals,
    }


def _known_keys(config_file: Path) -> list[KnownKey]:
    """What this gateway signs or signed recordings with. No private key is read. Raises ConfigError."""
    config = load(config_file)
    entries = [one for one in read_ledger(ledger_path(config)).entries if one.name is KeyName.RECORDING]
    known = [KnownKey(entry.public, entry.active_from, entry.retired) for entry in entries]
    listed = {one.public for one in known}
    private = config.recording.signing_key
    half = None if private is None else private.with_name(private.name + ".pub")
    if half is not None and half.exists():
        known += [KnownKey(public) for public in load_public_keys(half) if public not in listed]
    return known


def _player() -> tuple[str, str]:
    folder = resources.files("bastion").joinpath("data", "player")
    return folder.joinpath("player.js").read_text("utf-8"), folder.joinpath("player.css").read_text("utf-8")


def _write(out: BinaryIO, pieces: Iterator[bytes]) -> int:
    """The head, once there is a first piece, and all of them, in pieces of some size. The exit code."""
    try:
        first = next(pieces, b"")
    except Unanswered as error:
        out.write(orjson.dumps({"ok": False, "reason": error.reason, "text": error.text}) + b"\n")
        out.flush()
        return 0
    try:
        out.write(b'{"ok":true}\n')
        held, size = [first], len(first)
        for piece in pieces:
            held.append(piece)
            size += len(piece)
            if size >= PIECE:
                out.write(b"".join(held))
                held, size = [], 0
        out.write(b"".join(held))
        out.flush()
    except (Unanswered, BrokenPipeError):
        return 1
    return 0


def main(arguments: list[str]) -> int:
    """Exit code 0: the answer was whole, or there is none and that was said; 1: it was cut; 2: the configuration."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_MAX, MEMORY_MAX))
        resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_MAX, PROCESSOR_MAX))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out = os.fdopen(1, "wb", buffering=1 << 16)
    try:
        answering = Answering(Path(arguments[0]))
    except ConfigError as error:
        sys.stderr.write(f"bastion: console: {printable(str(error))}\n")
        return 2
    line = sys.stdin.buffer.readline(QUESTION_MAX)
    if not line.endswith(b"\n"):
        return 0  # the console has ended, or needs nothing
    return _write(out, answering.answer(json.loads(line)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
