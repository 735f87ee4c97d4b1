"""`bastion audit verify`, on a log as a gateway leaves it."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bastion.cli.audit import audit
from bastion.clock import FixedClock
from bastion.observe.audit import AuditLog
from bastion.observe.meters import Meters
from bastion.recording.booking import Books
from tests.support.audit_lines import Told


class World:
    def __init__(self, folder: Path) -> None:
        self.file, self.config = folder / "audit.jsonl", folder / "bastion.toml"
        self.recordings = folder / "recordings"
        self.recordings.mkdir()
        self.config.write_text(
            f'[audit]\nfile = "{self.file}"\n[recording]\ndirectory = "{self.recordings}"\n'
        )
        self.log = AuditLog(str(self.file), FixedClock(1_800_000_000.0), Meters())
        self.books = Books(self.recordings, "gw1", FixedClock(1_800_000_000.0))

    def say(self, count: int) -> None:
        for number in range(count):
            self.log.emit(Told("auth", user=f"user{number}"))

    def book(self) -> None:
        head = self.log.head
        assert head is not None
        self.books.logged(head.chain, head.serial, head.digest)
        self.books.write()

    def rotate(self) -> Path:
        rotated = self.file.with_name("audit.jsonl.1")
        self.file.rename(rotated)
        self.log.reopen()
        return rotated

    def verify(self, *arguments: str) -> Result:
        return CliRunner().invoke(audit, ["verify", *arguments], env={"BASTION_CONFIG": ""})

    def document(self) -> dict[str, Any]:
        return dict(json.loads(self.verify("-c", str(self.config), "--json").stdout))


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.say(5)
    made.book()
    return made


def test_a_whole_log_is_0_with_its_rotated_files(world: World) -> None:
    rotated = world.rotate()
    world.say(3)
    world.book()
    packed = rotated.with_name("audit.jsonl.2.gz")
    packed.write_bytes(gzip.compress(rotated.read_bytes()))
    rotated.unlink()
    os.utime(packed, (1, 1))
    done = world.verify("-c", str(world.config))
    assert done.exit_code == 0, done.output
    assert "whole: 9 lines in 2 files, 3 heads compared" in done.output
    document = world.document()
    assert document["whole"] and [one["last"] for one in document["chains"]] == [4, 3]


def test_a_changed_line_is_3_and_named_first(world: World) -> None:
    world.file.write_bytes(world.file.read_bytes().replace(b"user2", b"userX"))
    done = world.verify(str(world.file))
    assert done.exit_code == 3
    assert done.output.startswith(f"{world.file}:3: changed: ")
    assert "no ledger was looked at" in done.output


def test_only_a_ledger_shows_that_the_end_is_gone(world: World) -> None:
    lines = world.file.read_bytes().splitlines(keepends=True)
    world.file.write_bytes(b"".join(lines[:3]))
    assert world.verify(str(world.file)).exit_code == 0
    (ledger,) = world.recordings.glob("ledger.*")
    done = world.verify(str(world.file), "--ledger", str(ledger))
    assert done.exit_code == 3
    assert done.output.startswith(
        f"{world.file}:3: truncated: the chain ends with line 2, and ledger.gw1.jsonl"
    )
    assert world.document()["findings"][0]["fault"] == "truncated"


def test_a_log_that_was_emptied_is_missed(world: World) -> None:
    world.file.write_bytes(b"")
    done = world.verify("-c", str(world.config))
    assert done.exit_code == 3 and "is in none of the files" in done.output


def test_a_rotated_file_that_lost_its_end_is_shown_by_the_next_one(world: World) -> None:
    rotated = world.rotate()
    lines = rotated.read_bytes().splitlines(keepends=True)
    rotated.write_bytes(b"".join(lines[:-1]))
    done = world.verify(str(rotated), str(world.file))
    assert done.exit_code == 3 and "truncated" in done.output


def test_nothing_named_is_2_and_no_log_or_a_broken_ledger_is_3(world: World) -> None:
    assert world.verify().exit_code == 2
    (ledger,) = world.recordings.glob("ledger.*")
    ledger.write_bytes(b"x" + ledger.read_bytes())
    assert world.verify("-c", str(world.config)).exit_code == 3
    world.file.unlink()
    assert world.verify("-c", str(world.config)).exit_code == 3


def test_the_schema_is_printed() -> None:
    done = CliRunner().invoke(audit, ["schema"])
    assert json.loads(done.stdout)["definitions"]["auth"]["properties"]["method"]["type"] == "string"
