"""`bastion rewrap`: who may open recordings is changed, one that cannot be is named and holds up no other."""

from __future__ import annotations

import json
from pathlib import Path

import pyrage
import pytest
from click.testing import CliRunner, Result

from bastion.age import recipients_of
from bastion.cli.recordings import unwrap_with
from bastion.cli.rewrap import rewrap
from bastion.recording.data_keys import DataKeyStock
from bastion.recording.format import FormatError
from bastion.recording.listing import Recordings
from bastion.recording.store import Store
from tests.unit.cli.made import FIRST, SECOND, header, start_and_end

ANNA, BERT, CARL = (pyrage.x25519.Identity.generate() for _ in range(3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "anna").write_text(f"{ANNA}\n")
    (tmp_path / "anna").chmod(0o600)
    store = Store(tmp_path / "rec", disk_floor_bytes=0)
    for session, identity in ((FIRST, ANNA), (SECOND, BERT)):
        store.use(DataKeyStock(recipients_of([str(identity.to_public())]), 1))
        start_and_end(store, header(session, "alice", "web1"))
    store.use(None)
    assert store.close()
    return tmp_path


def run(folder: Path, *words: str) -> Result:
    fixed = ["--recordings", str(folder / "rec"), "-i", str(folder / "anna")]
    return CliRunner().invoke(rewrap, [*fixed, *words])


def opens(folder: Path, session: str, identity: object) -> bool:
    try:
        with Recordings(folder / "rec", unwrap=unwrap_with([identity])).open(session) as reader:
            return next(iter(reader), None) is not None
    except FormatError:
        return False


def test_one_is_added_and_another_dropped(folder: Path) -> None:
    carl, anna = str(CARL.to_public()), str(ANNA.to_public())
    done = run(folder, "--add", carl, "--drop", anna, "--all", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert found == {"rewrapped": 1, "looked_at": 2, "failed": {SECOND: "none of the identities opens it"}}
    assert opens(folder, FIRST, CARL) and not opens(folder, FIRST, ANNA) and opens(folder, SECOND, BERT)


def test_exactly_those_of_a_file(folder: Path) -> None:
    (folder / "r.txt").write_text(f"{BERT.to_public()}\n{CARL.to_public()}\n")
    done = run(folder, "--to", str(folder / "r.txt"), FIRST)
    assert done.exit_code == 0 and "1 of 1 recordings have other recipients now" in done.output
    assert opens(folder, FIRST, BERT) and not opens(folder, FIRST, ANNA)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--all"], "say whom"),
        (["--all", "--add", "age1nonsense"], "--add"),
        (["--add", "age1nonsense"], "name sessions"),
        (["--all", "--to", "missing"], "cannot be read"),
    ],
)
def test_wrong_calls_change_nothing(folder: Path, words: list[str], text: str) -> None:
    done = run(folder, *words)
    assert done.exit_code == 2 and text in done.output
    assert opens(folder, FIRST, ANNA)
