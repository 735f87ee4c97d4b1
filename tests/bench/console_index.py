"""A reading index and an audit log as large as the console's benches want them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import orjson

from bastion.indexing.pages import Page
from bastion.indexing.store import IndexFile
from bastion.recording.commands import Command
from bastion.recording.listed import Listed
from tests.bench.reading_index import lines

COMMANDS = 8
"""Of a session."""

LOOKS = 4
"""Lines of the audit log that each session has."""


def fill(file: IndexFile, sessions: Iterable[Listed], count: int, size: int) -> int:
    """So many sessions, each with `size` lines and COMMANDS commands; bytes of their text."""
    chance, text, whole = random.Random(7), lines(1e6), 0
    for number, one in enumerate(sessions):
        key = file.begin(one, "u", "10.0.0.1", 10, 20)
        page = Page(1)
        for place, line in enumerate(islice(text, size)):
            page.add(float(place), line)
        if number == count // 2:
            page.add(50.0, "a line with onlyhere in it")
        whole += page.size
        file.add(key, 0, [page])
        typed = ["mount /dev/onlyhere"] if number == count // 2 else list(commands(chance))
        file.end(
            key,
            [Command(one.id, 1, "typed", said, float(at), 0.0, float(at)) for at, said in enumerate(typed)],
            "[]",
            "",
        )
    file.settle()
    return whole


def commands(chance: random.Random) -> Iterator[str]:
    """What is typed in one session: ls in nearly all, rm in a tenth, fsck in one of a thousand."""
    for _ in range(COMMANDS):
        kind = chance.random()
        if kind < 0.4:
            yield "ls -la"
        elif kind < 0.0125 + 0.4:
            yield f"rm -rf /srv/app{chance.randrange(1000)}/cache"
        elif kind < 0.4127:
            yield "fsck -y /dev/sda1"
        else:
            yield f"{chance.choice(('cd', 'vim', 'less', 'cat'))} /etc/file{chance.randrange(10_000)}.conf"


def audit_log(file: Path, names: list[str]) -> int:
    """Lines about who has looked at these sessions; its bytes."""
    chance = random.Random(9)
    with file.open("wb") as log:
        for number in range(LOOKS * len(names)):
            name = chance.choice(names)
            line = {
                "ts": "2026-12-01T08:00:00.000Z", "event": "recordings_read", "session": name, "ref": name[:8],
                "source": "192.0.2.7", "by": f"auditor{number % 20}", "command": "console play", "asked": "at=17.5",
                "seq": number, "prev": "0" * 64,
            }  # fmt: skip
            log.write(orjson.dumps(line) + b"\n")
    return file.stat().st_size
