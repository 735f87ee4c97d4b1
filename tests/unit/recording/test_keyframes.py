"""Keyframes: where they stand, and that a recording read from one shows what it shows from its beginning."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from bastion.recording import keyframes as module
from bastion.recording.channels import survey
from bastion.recording.frames import frames
from bastion.recording.keyframes import Keyframe, Keyframes
from bastion.recording.reader import Place, Reader
from bastion.recording.render import by_channel
from bastion.recording.snapshots import KeptTerminal
from tests.unit.recording.made_terminals import recorded_terminal, some_output


def keyframes_of(reader: Reader) -> list[Keyframe]:
    made: list[Keyframe] = []
    for _ in by_channel(
        reader, survey(reader), None, screens=False, keyframes=Keyframes(reader, made.append)
    ):
        pass
    return made


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    monkeypatch.setattr(module, "EVERY", 500)
    monkeypatch.setattr(module, "CELL_COST", 0)
    path = recorded_terminal(tmp_path, some_output(200), other=True, resized=True)
    return Reader(io.BytesIO(path.read_bytes()))


def test_a_screen_read_from_a_keyframe_is_that_of_the_whole(reader: Reader) -> None:
    made, channels = keyframes_of(reader), survey(reader).channels
    assert len(made) > 20
    whole = KeptTerminal(80, 24, lambda row, lost: None)
    ends = {}
    for frame in frames(reader, 1):
        ends.setdefault(reader.place, whole.state())  # before the first step of each block
        if frame.kind.value == "o":
            whole.feed(frame.data, 0.0)
        elif frame.kind.value == "r":
            cols, rows = frame.data.split(b"x")
            whole.resize(int(cols), int(rows))
    for one in made:
        if 1 not in one.screens or one.place not in ends:
            continue
        there = KeptTerminal.unpack(one.screens[1])
        assert there.state() == ends[one.place]
        assert reader.begin_at(one.place)
        for frame in frames(reader, 1, channels[1]):
            if frame.kind.value == "o":
                there.feed(frame.data, 0.0)
            elif frame.kind.value == "r":
                cols, rows = frame.data.split(b"x")
                there.resize(int(cols), int(rows))
        assert there.state() == whole.state()


def test_a_screen_is_kept_again_only_when_it_has_changed(reader: Reader) -> None:
    made = keyframes_of(reader)
    assert [one.place for one in made] == sorted(one.place for one in made)
    assert any(1 not in one.screens for one in made) and any(2 not in one.screens for one in made)


def test_a_place_that_is_none_is_not_begun_at(reader: Reader) -> None:
    place = keyframes_of(reader)[3].place
    for wrong in (
        Place(place.offset + 1, place.sequence),
        Place(place.offset, place.sequence + 1),
        Place(0, 0),
        Place(10**12, 1),
    ):
        assert not reader.begin_at(wrong)
    first = next(iter(reader)).time_us
    assert reader.begin_at(place) and next(iter(reader)).time_us > first
    with reader.aside():
        assert next(iter(reader)).time_us == first
    assert reader.begin_at(None) and next(iter(reader)).time_us == first


def test_one_that_costs_too_much_is_kept_as_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY", 2000)
    path = recorded_terminal(tmp_path, [b"\x1b[2J" * 4000] * 60)
    made = keyframes_of(Reader(io.BytesIO(path.read_bytes())))
    assert made[0].screens[1] and made[-1].screens[1] == b""
