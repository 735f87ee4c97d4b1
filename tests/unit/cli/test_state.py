"""`bastion state` on a store made here, and `bastion sessions` from its index."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bastion.cli.sessions import sessions
from bastion.cli.state import state
from bastion.recording.store import Store
from tests.unit.cli.made import FIRST, SECOND, THIRD, header, record


class Made:
    """A configuration of the sections that commands read, and two recordings, one without an end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "bastion.toml"
        self.config.write_text(
            '[recording]\ndirectory = "rec"\n[audit]\nfile = "audit.jsonl"\n[state]\nnode = "gw1"\n'
        )
        self.store = Store(folder / "rec", disk_floor_bytes=0, sync_seconds=0.05)
        record(self.store, header(FIRST, "alice", "web1"))
        record(self.store, header(SECOND, "bob", "web2", 1_800_000_060.0), end=False)

    def run(self, *words: str) -> Result:
        command = sessions if words[0] == "sessions" else state
        arguments = [*words[1:], "--config", str(self.config)]
        return CliRunner().invoke(command, arguments)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    one = Made(tmp_path)
    yield one
    assert one.store.close()


def test_check_rebuild_and_check_again(made: Made) -> None:
    before = made.run("state", "check")
    assert before.exit_code == 1
    assert f"{FIRST}: has a file and no row" in before.stdout and "2 differences" in before.stdout
    assert made.run("state", "rebuild-index").stdout.startswith("2 rows added, 0 corrected")
    after = made.run("state", "check")
    assert after.exit_code == 0 and "no differences" in after.stdout
    document = json.loads(made.run("state", "check", "--json").stdout)
    assert document["differences"] == [] and document["store"].endswith("rec/state/state.db")


def test_rows_that_are_owed_are_named(made: Made) -> None:
    made.run("state", "rebuild-index")
    (made.folder / "rec" / "state" / "h.1.owed").write_text("x\n")
    assert "rows are owed: h.1.owed" in made.run("state", "check").stdout


def test_migrate_says_what_it_did(made: Made) -> None:
    assert "was not there and is" in made.run("state", "migrate").stdout
    assert "already" in made.run("state", "migrate").stdout


@pytest.mark.parametrize("word", ["check", "migrate", "rebuild-index"])
def test_a_store_that_is_no_store_ends_the_command_with_3(made: Made, word: str) -> None:
    (made.folder / "rec" / "state").mkdir()
    (made.folder / "rec" / "state" / "state.db").write_bytes(b"garbage " * 1000)
    result = made.run("state", word)
    assert result.exit_code == 3 and "not a database" in result.stderr


def test_a_fault_in_the_file_ends_it_with_2(made: Made) -> None:
    made.config.write_text(made.config.read_text() + 'url = "nonsense"\n')
    result = made.run("state", "check")
    assert result.exit_code == 2 and "state.url" in result.stderr


def test_sessions_come_from_the_index_and_look_as_those_from_the_files(made: Made) -> None:
    files = made.run("sessions").stdout
    made.run("state", "rebuild-index")
    assert made.run("sessions").stdout == files
    fields = json.loads(made.run("sessions", "--json").stdout)[0]
    assert fields["kind"] == "session" and fields["node"] == "gw1" and Path(fields["file"]).exists()
    record(made.store, header(THIRD, "al\x1b]0;x\x07ce", "db1", 1_800_090_000.0))
    again = made.run("sessions")
    assert THIRD in again.stdout.splitlines()[1] and "\x1b" not in again.stdout, "it has no row yet"
    assert len(made.run("sessions", "--user", "alice").stdout.splitlines()) == 2
    assert len(made.run("sessions", "--live").stdout.splitlines()) == 1


def test_without_an_index_that_can_be_read_the_files_are_listed_and_it_is_told(made: Made) -> None:
    made.run("state", "rebuild-index")
    (made.folder / "rec" / "state" / "state.db").write_bytes(b"garbage " * 1000)
    result = made.run("sessions")
    assert result.exit_code == 0 and FIRST in result.stdout
    assert "the index cannot be read" in result.stderr
    shutil.rmtree(made.folder / "rec" / "state")
    assert made.run("sessions").stderr == ""
