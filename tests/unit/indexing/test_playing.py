"""What an index tells a replay: channels, strings, commands, and where to open the file."""

from __future__ import annotations

import io
import json
import os
import sqlite3
from hashlib import sha256
from pathlib import Path

import pytest

from bastion.indexing.filling import fill, plan
from bastion.indexing.playing import IndexedSession, Played
from bastion.indexing.store import IndexFile, IndexUnfit
from bastion.recording import keyframes
from bastion.recording.channels import survey
from bastion.recording.commands import commands_of
from bastion.recording.listing import Recordings
from bastion.recording.pieces import pieces_of
from bastion.recording.redacting import NOTHING
from bastion.recording.render import strings_text, strings_words
from bastion.recording.seeking import Film
from bastion.recording.store import Store
from tests.unit.recording.made_terminals import ID, recorded_terminal, some_output


@pytest.fixture
def indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[IndexFile, Path]:
    monkeypatch.setattr(keyframes, "EVERY", 2000)
    monkeypatch.setattr(keyframes, "CELL_COST", 0)
    path = recorded_terminal(tmp_path, [*some_output(60), b"\x1b]0;title\x07\x1bkname\x1b\\"], other=True)
    file = IndexFile(tmp_path / "reading.db", make=True)
    store = Recordings(tmp_path)
    assert [one.problem for one in fill(file.path, tmp_path, plan(file, store).read, 1)] == [""]
    return file, path


def test_it_says_what_the_file_says(indexed: tuple[IndexFile, Path]) -> None:
    file, path = indexed
    found = IndexedSession.find(file, path, NOTHING.digest)
    assert found is not None and not found.problem
    with Store(path.parents[1]).open(ID) as reader:
        channels = survey(reader)
        assert found.played.channels.document() == channels.document()
        assert found.commands() == list(commands_of(reader)) != []
        assert strings_words(*found.played.strings[1]) == strings_text(reader, channels, 1) != ""
        with_index = Film(reader, channels.channels[1], stored=found.keyframe)
        shown = with_index.seek(50.0)
        assert with_index.opened_at is not None
        assert shown == Film(reader, channels.channels[1]).seek(50.0)


def test_it_is_asked_only_while_the_file_is_as_it_was(indexed: tuple[IndexFile, Path]) -> None:
    file, path = indexed
    assert IndexedSession.find(file, path.with_name("a" * 16 + ".rec"), NOTHING.digest) is None
    os.utime(path, ns=(1, 1))
    assert IndexedSession.find(file, path, NOTHING.digest) is None


def test_one_that_lies_elsewhere_is_known_by_its_size_and_its_digest(
    indexed: tuple[IndexFile, Path],
) -> None:
    file, path = indexed
    data, name = path.read_bytes(), Path(path.name)
    path.unlink()
    digest, other = sha256(data).hexdigest(), "0" * 64
    for known in (digest, f"{other} {digest}", ""):
        found = IndexedSession.find(file, name, NOTHING.digest, len(data), known)
        assert found is not None and found.played.pieces == pieces_of(io.BytesIO(data)), known
    assert IndexedSession.find(file, name, NOTHING.digest, len(data), other) is None
    assert IndexedSession.find(file, name, NOTHING.digest, len(data) + 1, digest) is None
    assert IndexedSession.find(file, name, NOTHING.digest) is None


def test_an_index_of_before_has_no_pieces(indexed: tuple[IndexFile, Path]) -> None:
    file, path = indexed
    found = IndexedSession.find(file, path, NOTHING.digest)
    assert found is not None
    document = json.loads(found.played.pack())
    del document["pieces"]
    assert Played.unpack(json.dumps(document)).pieces is None
    for wrong in ({}, [], {"size": 5, "whole": "", "digests": ""}):
        with pytest.raises(ValueError):
            Played.unpack(json.dumps({**document, "pieces": wrong}))


def test_a_removed_session_leaves_no_keyframe(indexed: tuple[IndexFile, Path]) -> None:
    file, _ = indexed
    (number,) = file.sessions()
    assert file.keyframe(number, 1, 50.0) is not None and file.keyframe(number, 1, 0.5) is None
    file.remove(number)
    with sqlite3.connect(file.path) as database:
        assert [
            database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("keyframes", "screens")
        ] == [0, 0]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"strings":[[1]],"channels":[]}', '{"strings":[],"channels":[{"id":1}]}']
)
def test_what_cannot_be_read_is_the_indexs_fault(indexed: tuple[IndexFile, Path], text: str) -> None:
    file, path = indexed
    with pytest.raises(ValueError):
        Played.unpack(text)
    with sqlite3.connect(file.path) as database:
        database.execute("UPDATE sessions SET played = ?", (text or " ",))
    with pytest.raises(IndexUnfit, match="damaged"):
        IndexedSession.find(file, path, NOTHING.digest)
