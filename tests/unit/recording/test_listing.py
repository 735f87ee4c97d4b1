"""Every session is listed, whatever became of it, and whatever lies beside it."""

from __future__ import annotations

import pytest

from bastion.recording.format import FormatError
from bastion.recording.store import Store
from tests.unit.recording.disk import OTHER, finish, say
from tests.unit.recording.samples import SESSION, TARGET, header, joined


def test_a_session_is_listed_from_its_first_moment_and_after_its_end(store: Store) -> None:
    recorder, writer = store.start(header())
    (entry,) = store.sessions()
    assert (entry.state, entry.header.identity, entry.reason) == ("live", "alice", "")
    say(recorder, writer, b"hello")
    (entry,) = store.sessions()
    assert (entry.state, entry.bytes) == ("live", 5)
    finish(recorder, writer, "killed")
    (entry,) = store.sessions()
    assert (entry.state, entry.bytes, entry.reason, entry.problem) == ("ended", 5, "killed", "")
    assert entry.size == entry.path.stat().st_size == writer.written
    with store.open(SESSION) as reader:
        assert joined(reader, 1, TARGET, 0) == b"hello" and reader.state == "complete"


def test_sessions_come_newest_first_and_since_leaves_out_the_older(store: Store) -> None:
    day = 86400
    for number, name in enumerate(("aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb", "cccccccccccccccc")):
        finish(*store.start(header(name, started_at=1_800_000_000.0 + number * day / 2)))
    assert [entry.path.stem[0] for entry in store.sessions()] == ["c", "b", "a"]
    assert [entry.path.stem[0] for entry in store.sessions(1_800_000_000.0 + day / 2)] == ["c", "b"]
    assert [entry.path.stem for entry in store.find("bb")] == ["bbbbbbbbbbbbbbbb"]


def test_one_bad_file_is_listed_as_such_and_hides_no_other(store: Store) -> None:
    finish(*store.start(header()))
    folder = store.directory / "2027-01-15"
    (folder / f"{OTHER}.rec").write_bytes(b"this is no recording")
    (folder / "yyyyyyyyyyyyyyyy.rec").write_bytes(b"")
    (folder / "notes.txt").write_text("somebody's own file")
    (folder / "xxxxxxxxxxxxxxxx.rec").symlink_to("/etc/passwd")
    states = {entry.path.stem[0]: (entry.state, entry.problem) for entry in store.sessions()}
    assert states["a"] == ("ended", "")
    assert states["z"] == ("damaged", "not a recording")
    assert states["y"] == ("truncated", "the file is empty")
    assert states["x"][0] == "damaged"
    assert len(states) == 4
    with pytest.raises(FormatError), store.open(OTHER):
        pass
