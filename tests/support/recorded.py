"""What the gateway kept of a session, beside what the client saw."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from bastion.recording.channels import ChannelSummary, survey
from bastion.recording.format import Header, Kind
from bastion.recording.reader import Reader
from bastion.recording.render import raw
from bastion.recording.store import Store
from bastion.sides import Side
from tests.support.commands import run_here
from tests.support.world import World, poll

_STREAMS = {
    "stdout": (Side.TARGET, 0),
    "stderr": (Side.TARGET, 1),
    "stdin": (Side.CLIENT, 0),
}


class Recorded:
    """One finished recording."""

    def __init__(self, world: World, session: str) -> None:
        self.world = world
        self.session = session

    def exported(self, stream: str = "stdout", channel: int | None = None) -> bytes:
        """The bytes of one stream as `bastion export --format raw` writes them; all of them were kept."""
        done = run_here(*self._export(stream, channel))
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def exported_sum(self, stream: str = "stdout", channel: int | None = None) -> tuple[int, str]:
        """Size and SHA-256 of the same, for what is too large to hold."""
        command = [sys.executable, "-m", "bastion", *self._export(stream, channel)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as export:
            assert export.stdout is not None
            total = digest(iter(lambda: export.stdout.read(1 << 20), b""))  # type: ignore[union-attr]
        assert export.returncode == 0
        return total

    def _export(self, stream: str, channel: int | None) -> list[str]:
        chosen = [] if channel is None else ["--channel", str(channel)]
        return [
            "export", self.session, "--recordings", str(self.world.recordings),
            "--format", "raw", "--stream", stream, "--unmasked", *chosen,
        ]  # fmt: skip

    @property
    def header(self) -> Header:
        """Who, where, by which door."""
        with Store(self.world.recordings).open(self.session) as reader:
            return reader.header

    def channels(self) -> dict[int, ChannelSummary]:
        """What there was on the connection."""
        with Store(self.world.recordings).open(self.session) as reader:
            return survey(reader).channels

    def streams(self, stream: str = "stdout") -> dict[int, bytes]:
        """One stream of every channel, read as `export` reads it: for tests with many channels."""
        with Store(self.world.recordings).open(self.session) as reader:
            return {
                number: b"".join(raw(reader, number, *_STREAMS[stream]))
                for number in sorted(survey(reader).channels)
            }

    def programs(self) -> list[str]:
        """`exec true`, `subsystem sftp`, `shell`... of every channel, in the order of their opening."""
        return [channel.program for _, channel in sorted(self.channels().items())]

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """The notes of the recording, those with one name or all, each with its `channel`."""
        with Store(self.world.recordings).open(self.session) as reader:
            return [note for note in _notes(reader) if not name or note["event"] == name]

    def audit(self, event: str) -> list[dict[str, Any]]:
        """The audit lines of this session with this name."""
        return [line for line in self.world.audit(event) if line.get("session") == self.session]

    def file_sums(self) -> list[str]:
        """SHA-256 of every file that passed whole over sftp, in the order of their closing."""
        lines = self.audit("sftp_file")
        return [line["sha256"] for line in lines if "sha256" in line]

    @property
    def totals(self) -> dict[str, Any]:
        """The end block."""
        with Store(self.world.recordings).open(self.session) as reader:
            for _ in reader:
                pass
            assert reader.totals is not None and not reader.damage
            found: dict[str, Any] = json.loads(json.dumps(reader.totals.document()))
            return found

    def remove(self) -> None:
        """Delete the file, when it is large and all has been seen."""
        (found,) = Store(self.world.recordings).find(self.session)
        found.path.unlink()


def _notes(reader: Reader) -> Iterator[dict[str, Any]]:
    for event in reader:
        if event.kind is Kind.NOTE:
            yield {"channel": event.channel, **event.note}


class Watch:
    """The sessions that began since it was made."""

    def __init__(self, world: World, door: str | None = None) -> None:
        self._world = world
        self._door = door
        self._seen = len(world.audit("session_started"))

    def sessions(self, count: int = 1, timeout: float = 20.0) -> list[Recorded]:
        """The recordings of exactly `count` sessions, once all of them have ended. Their door is checked."""

        def ended() -> list[str]:
            started = self._world.audit("session_started")[self._seen :]
            over = {line["session"] for line in self._world.audit("session_ended")}
            assert len(started) <= count, f"{len(started)} sessions began, not {count}"
            assert all(self._door in (None, line["door"]) for line in started)
            ids = [line["session"] for line in started]
            return ids if len(ids) == count and over.issuperset(ids) else []

        return [Recorded(self._world, session) for session in poll(ended, timeout, "no such sessions ended")]

    def session(self, timeout: float = 20.0) -> Recorded:
        """The recording of the one session."""
        return self.sessions(1, timeout)[0]


def digest(pieces: Iterator[bytes]) -> tuple[int, str]:
    """Size and SHA-256 of what an iterator gives."""
    size, total = 0, hashlib.sha256()
    for piece in pieces:
        size += len(piece)
        total.update(piece)
    return size, total.hexdigest()
