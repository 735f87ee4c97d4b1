"""Recordings into the index: what is new, what has changed, what is gone, what is damaged, what was interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pyrage
import pytest

from bastion.age import recipients_of
from bastion.ca.identities import identities_in
from bastion.cli.recordings import unwrap_with
from bastion.indexing.filling import Filled, Opener, fill, plan
from bastion.indexing.store import IndexFile
from bastion.indexing.words import Question
from bastion.recording.data_keys import DataKeyStock
from bastion.recording.listing import Recordings
from bastion.recording.store import Store
from bastion.recording.unwrapping import Unwrap
from tests.support.world import poll
from tests.unit.indexing.made import IDS, START, recorded
from tests.unit.recording.samples import header


def brought_up(folder: Path, jobs: int = 1, opener: Opener | None = None) -> list[Filled]:
    """As `bastion index` does it."""
    file = IndexFile(folder / "reading.db", make=True)
    todo = plan(file, Recordings(folder))
    for number in todo.forget:
        file.remove(number)
    done = list(fill(file.path, folder, todo.read, jobs, opener))
    file.close()
    return done


def found(folder: Path, words: str) -> list[tuple[str, float, str]]:
    file = IndexFile(folder / "reading.db")
    hits = list(file.search(Question.of(words), file.sessions()))
    file.close()
    return [(hit.session.id[0], hit.time, hit.text) for hit in hits]


def test_lines_are_those_that_a_terminal_showed(tmp_path: Path) -> None:
    recorded(tmp_path, 0, "$ rn\b \bm -rf /srv/old\nline two\n", "cat /etc/shadow")
    (done,) = brought_up(tmp_path)
    assert done.problem == "" and done.text > 20
    assert found(tmp_path, "rm srv") == [("a", 10.0, "$ rm -rf /srv/old")]
    file = IndexFile(tmp_path / "reading.db")
    ((session, command),) = file.commands(file.sessions())
    assert (session.identity, command.text, command.exit_status, command.at) == (
        "user0", "cat /etc/shadow", 3, START + 10,
    )  # fmt: skip
    assert "cat /etc/shadow" in session.ran
    assert list(file.fresh(Recordings(tmp_path)).values()) == [session]


def test_each_recording_is_read_once_and_again_when_it_has_changed(tmp_path: Path) -> None:
    path = recorded(tmp_path, 0, "first\n")
    assert len(brought_up(tmp_path)) == 1
    assert brought_up(tmp_path) == []
    recorded(tmp_path, 1, "second\n")
    assert [done.path for done in brought_up(tmp_path)] == [f"{path.parent.name}/{IDS[1]}.rec"]
    os.utime(path, ns=(1, 1))
    assert len(brought_up(tmp_path)) == 1 and len(found(tmp_path, "first")) == 1


def test_what_is_gone_leaves_it(tmp_path: Path) -> None:
    recorded(tmp_path, 0, "first\n").unlink()
    path = recorded(tmp_path, 1, "second\n")
    brought_up(tmp_path)
    path.unlink()
    file = IndexFile(tmp_path / "reading.db")
    assert file.fresh(Recordings(tmp_path)) == {}
    brought_up(tmp_path)
    assert found(tmp_path, "second") == [] and file.known() == {}


def test_a_session_that_runs_waits_for_its_end(tmp_path: Path) -> None:
    store = Store(tmp_path, disk_floor_bytes=0, sync_seconds=0.05)
    recorder, writer = store.start(header(IDS[0]))
    assert plan(IndexFile(tmp_path / "reading.db", make=True), store).running == 1
    writer.close(recorder.finish("killed"))
    assert store.close()
    assert len(brought_up(tmp_path)) == 1


def test_a_damaged_file_stops_nothing(tmp_path: Path) -> None:
    bad = recorded(tmp_path, 0, "before the damage\n" * 100)
    recorded(tmp_path, 1, "good\n")
    recorded(tmp_path, 2, "torn\n", end=False)
    data = bytearray(bad.read_bytes())
    data[-200] ^= 1
    bad.write_bytes(data)
    (tmp_path / bad.parent.name / f"{IDS[3]}.rec").write_bytes(b"garbage")
    os.mkfifo(tmp_path / bad.parent.name / f"{IDS[4]}.rec")
    done = {one.path[11]: one.problem for one in brought_up(tmp_path)}
    assert sorted(done) == ["a", "b", "c", "d", "e"]
    assert not done["b"] and not done["c"] and done["a"] and done["d"] and done["e"]
    assert found(tmp_path, "good") and found(tmp_path, "torn")
    assert brought_up(tmp_path) == [], "read once is enough"


def test_several_processes_find_the_same(tmp_path: Path) -> None:
    for place in range(6):
        recorded(tmp_path, place, f"word number{place}\n" * 500)
    assert len(brought_up(tmp_path, jobs=2)) == 6
    assert len(found(tmp_path, "word")) == 3000 and len(found(tmp_path, "number3")) == 500


_KILLED = """
import sys
from pathlib import Path
from tests.unit.indexing.test_filling import brought_up
brought_up(Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_a_run_that_was_killed_is_taken_up(tmp_path: Path) -> None:
    for place in range(4):
        recorded(tmp_path, place, f"word number{place} and more of it\n" * 20_000)
    file = IndexFile(tmp_path / "reading.db", make=True)
    run = subprocess.Popen([sys.executable, "-c", _KILLED, str(tmp_path)])
    poll(lambda: file.torn(), timeout=60, text="nothing was begun")
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert len(file.torn()) == 1
    file.close()
    brought_up(tmp_path)
    for place in range(4):
        assert len(found(tmp_path, f"number{place}")) == 20_000


def _read_identity(file: Path) -> Unwrap:
    return unwrap_with(identities_in(file))


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_is_encrypted_waits_for_an_identity(tmp_path: Path, jobs: int) -> None:
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "key.txt").write_text(f"{identity}\n")
    (tmp_path / "key.txt").chmod(0o600)
    store = Store(tmp_path / "rec", disk_floor_bytes=0)
    store.use(DataKeyStock(recipients_of([str(identity.to_public())]), 1))
    recorder, writer = store.start(header(IDS[0]))
    recorder.note("channel_opened", 1, {"kind": "session"})
    recorder.note("request_forwarded", 1, {"name": "exec", "detail": {"command": "cat plan"}})
    recorder.data(1, 1, 0, b"the secret plan\n")
    writer.write(recorder.take())
    writer.close(recorder.finish("client_closed"), recorder.link)
    assert store.close()
    (done,) = brought_up(tmp_path / "rec", jobs)
    assert "sealed to 1 recipient" in done.problem and found(tmp_path / "rec", "secret") == []
    (done,) = brought_up(tmp_path / "rec", jobs, partial(_read_identity, tmp_path / "key.txt"))
    assert done.problem == "" and [hit[2] for hit in found(tmp_path / "rec", "secret")] == ["the secret plan"]
