"""Played from any time on: the screen that is painted is the one that was there."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from bastion.recording import keyframes, seeking
from bastion.recording.channels import survey
from bastion.recording.keyframes import Keyframe, Keyframes
from bastion.recording.reader import Place, Reader
from bastion.recording.render import by_channel
from bastion.recording.seeking import Film
from bastion.recording.snapshots import KeptTerminal
from tests.unit.recording.made_terminals import recorded_terminal, some_output


class Kept:
    """Keyframes as an index gives them."""

    def __init__(self, made: list[Keyframe]) -> None:
        self.made = made
        self.asked: list[float] = []

    def keyframe(self, channel: int, time: float) -> tuple[float, Place, bytes | None] | None:
        self.asked.append(time)
        moments = [one for one in self.made if one.time <= time]
        screens = [one.screens[channel] for one in moments if channel in one.screens]
        return (moments[-1].time, moments[-1].place, screens[-1] if screens else None) if moments else None


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return recorded_terminal(tmp_path_factory.mktemp("seeking"), some_output(120), other=True).read_bytes()


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyframes, "EVERY", 2000)
    monkeypatch.setattr(keyframes, "CELL_COST", 0)


def stored(file: bytes) -> Kept:
    made: list[Keyframe] = []
    reader = Reader(io.BytesIO(file))
    for _ in by_channel(
        reader, survey(reader), None, screens=False, keyframes=Keyframes(reader, made.append)
    ):
        pass
    return Kept(made)


def film(file: bytes, channel: int = 1, **more: Any) -> Film:
    reader = Reader(io.BytesIO(file))
    return Film(reader, survey(reader).channels[channel], **more)


def seen(text: str, size: tuple[int, int] = (80, 24)) -> list[str]:
    terminal = KeptTerminal(*size, lambda row, lost: None)
    terminal.feed(text.encode(), 0.0)
    return [row.text for row in terminal.screen]


def played_to(file: bytes, seconds: float, channel: int = 1) -> str:
    """What a reader's terminal got that watched it from the beginning."""
    one, text = film(file, channel), ""
    while (frame := one.next()) is not None and frame.time <= seconds:
        text += one.show()
    return text


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("channel", [1, 2])
def test_a_seek_paints_what_was_there_and_goes_on(file: bytes, channel: int) -> None:
    kept = stored(file)
    for seconds in (0.0, 0.5, 7.0, 30.5, 55.25, 99.0, 120.5, 500.0):
        for where in (None, kept):
            one = film(file, channel, stored=where and where.keyframe)
            shown = one.seek(seconds)
            assert one.time == seconds
            assert (one.opened_at is not None) == (where is not None and seconds > 10)
            assert seen(shown) == seen(played_to(file, seconds, channel)), seconds
            rest = ""
            while one.next() is not None:
                rest += one.show()
            assert seen(shown + rest) == seen(played_to(file, 1e9, channel)), seconds


@pytest.mark.usefixtures("often")
def test_seeks_forth_and_back_land_where_one_seek_does(file: bytes) -> None:
    for more in ({}, {"stored": stored(file).keyframe}, {"drawn": True}):
        one = film(file, **more)
        for seconds in (50.0, 20.0, 21.0, 100.0, 3.0, 99.5):
            shown = one.seek(seconds)
            if more.get("drawn") and one.next() is not None:
                one.show()
                assert one.painted()
                shown = one.seek(seconds)
            assert seen(shown) == seen(film(file).seek(seconds)), seconds


@pytest.mark.usefixtures("often")
def test_what_was_drawn_once_is_come_back_to_without_reading_it_again(
    file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = film(file)
    one.seek(110.0)
    assert one.opened_at is None
    one.seek(90.0)
    assert one.opened_at is not None and 60 < one.opened_at <= 90
    monkeypatch.setattr(seeking, "REMEMBERED", 20_000)
    small = film(file)
    small.seek(110.0)
    assert seen(small.seek(90.0)) == seen(film(file).seek(90.0))


def test_all_channels_and_those_without_a_terminal_are_read_from_the_beginning(file: bytes) -> None:
    kept = stored(file)
    one = film(file, 3, stored=kept.keyframe)
    assert "up 5 days" in seen(one.seek(60.0)) and not kept.asked
    every = film(file, 1, whole=True, size=(200, 50))
    lines = seen(every.seek(2.75), (200, 50))
    assert "up 5 days" in lines and any(line.startswith("line 1 of text") for line in lines)
    assert seen(every.seek(0.0), (200, 50)) != lines and seen(every.seek(2.75), (200, 50)) == lines
    while every.next() is not None:
        every.show()
    assert every.undo()


class Wrong(Kept):
    def keyframe(self, channel: int, time: float) -> tuple[float, Place, bytes | None] | None:
        found = super().keyframe(channel, time)
        assert found is not None
        return (found[0], found[1], b"rubbish") if self.made[0].time else found


@pytest.mark.usefixtures("often")
def test_a_keyframe_that_does_not_fit_is_not_used(file: bytes) -> None:
    kept = stored(file)
    moved = [
        Keyframe(one.time, Place(one.place.offset + 3, one.place.sequence), one.screens) for one in kept.made
    ]
    for wrong in (Kept(moved), Wrong(kept.made)):
        one = film(file, stored=wrong.keyframe)
        assert seen(one.seek(80.0)) == seen(played_to(file, 80.0)) and one.opened_at is None


def test_a_screen_that_costs_too_much_is_said_not_drawn(tmp_path: Path) -> None:
    data = recorded_terminal(tmp_path, [b"\x1b[2J" * 4000] * 60 + [b"the end"]).read_bytes()
    one = film(data)
    assert "made to cost too much to draw" in one.seek(60.5)
    assert one.show() == "the end"
