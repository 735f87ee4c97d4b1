"""`python -m tests.scale.measure`: what one session leaves behind, in bytes and rows, for docs/scaling.md.

A real gateway, a real sshd and OpenSSH's client; a few seconds. `test_scale.py` does it too, and holds the figures
that the simulation takes against it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bastion.recording.format import Header
from bastion.recording.ran import Asked
from bastion.state.rows import ENDED, Moved, Writer, session_ended, session_started
from tests.support.world import World, poll, running

LINES: Final = 50
SESSIONS: Final = 5


@dataclass(frozen=True)
class Left:
    """By one session, on average."""

    recording: float
    line: float
    audit: float
    begin_rows: int
    end_rows: int


def rows() -> tuple[int, int]:
    """Rows that a session's beginning and its end note down."""
    header = Header("a" * 16, "u0", "uid", "web1", "root", 0.0)
    begun = session_started(header, "x", Writer("node", "instance"))
    ended = session_ended("a" * 16, ENDED, 1.0, "", Moved(0, 0, ran=(Asked("exec", "exit 0", 1),)), 1)
    return len(begun), len(ended)


def measure(world: World) -> Left:
    """Of a world that runs and has had no session yet."""

    def files() -> list[int]:
        return sorted(file.stat().st_size for file in world.recordings.rglob("*.rec"))

    audit = world.folder / "audit.jsonl"
    before = audit.stat().st_size
    for _ in range(SESSIONS):
        assert world.ssh("true").returncode == 0
    poll(lambda: len(world.audit("session_ended")) == SESSIONS, text="a session has not ended")
    after, small = audit.stat().st_size, files()
    with world.client("cat") as typing:
        for number in range(LINES):
            typing.echo(b"%d." % number)
        typing.end_input()
        poll(lambda: len(world.audit("session_ended")) == SESSIONS + 1, text="cat has not ended")
    recording = sum(small) / SESSIONS
    return Left(recording, (files()[-1] - recording) / LINES, (after - before) / SESSIONS, *rows())


def table(left: Left) -> Iterator[str]:
    yield "| what one session leaves behind | |"
    yield "|---|---|"
    yield f"| recording of a session of one command, KiB | {left.recording / 1024:.1f} |"
    yield f"| one more line typed and echoed, bytes of the recording | {left.line:.0f} |"
    yield f"| audit log of it, login included, KiB | {left.audit / 1024:.1f} |"
    yield f"| rows written at its beginning | {left.begin_rows} |"
    yield f"| rows written at its end | {left.end_rows} |"


def main() -> None:
    with running() as world:
        print("\n".join(table(measure(world))))


if __name__ == "__main__":
    main()
