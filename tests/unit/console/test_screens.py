"""A watched session as rows of text: what comes is drawn, and nothing that acts leaves."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from bastion.console.screens import LARGEST, MOST_SCREENS, MOST_WORDS, LiveScreens
from bastion.recording.changes import Change
from bastion.recording.redacting import NOTHING, Redaction
from tests.unit.console.conftest import MARKUP, TRICKS
from tests.unit.recording.samples import SYNC, Tape


class Watched:
    """A session that a gateway shows."""

    def __init__(self, redaction: Redaction = NOTHING) -> None:
        self.tape = Tape()
        self.screens = LiveScreens(redaction)
        self.sent = 0

    def opened(self, channel: int = 1, cols: int = 80, rows: int = 24) -> Watched:
        recorder = self.tape.recorder
        recorder.note("channel_opened", channel, {"kind": "session"})
        size = {"term": "xterm", "cols": cols, "rows": rows}
        recorder.note("request_forwarded", channel, {"name": "pty-req", "detail": size})
        recorder.note("request_forwarded", channel, {"name": "shell", "detail": {}})
        self.tape.burst()
        return self

    def event(self, **more: Any) -> None:
        """What has been recorded since the last time."""
        data, self.sent = self.tape.file[self.sent :], len(self.tape.file)
        self.screens.take({"blocks": b64encode(data).decode(), **more})

    def begin(self, **more: Any) -> None:
        self.event(sync=SYNC.hex(), told=True, skipped=False, **more)

    def say(self, data: bytes, channel: int = 1) -> None:
        self.tape.out(data, channel)
        self.event()

    def changes(self) -> list[Change]:
        return self.screens.changes()[0]

    def text(self) -> str:
        return "\n".join(row for change in self.changes() for row in change.rows.values())


def test_the_history_and_then_what_comes_as_changed_rows() -> None:
    watched = Watched().opened()
    watched.tape.out(b"before\r\n")
    watched.begin()
    assert watched.screens.told is True
    picture = watched.changes()[-1]
    assert (picture.rows[0], picture.size, picture.cursor) == ("before", (80, 24), (0, 1))
    watched.say(b"after\xc3\xa9 ")
    (picture,) = watched.changes()
    assert (picture.rows, picture.size, picture.cursor) == ({1: "after\u00e9"}, None, (7, 1))
    assert watched.changes() == []


def test_many_pieces_are_one_picture() -> None:
    watched = Watched().opened()
    watched.begin()
    watched.changes()
    for number in range(100):
        watched.say(b"%d\r\n" % number)
        watched.tape.clock.advance(1)
    (picture,) = [one for one in watched.changes() if one.rows]
    assert picture.rows[22] == "99" and len(picture.rows) <= 24


@pytest.mark.parametrize("trick", TRICKS)
def test_nothing_that_acts_leaves(trick: bytes) -> None:
    watched = Watched().opened()
    watched.begin()
    watched.say(trick + MARKUP.encode() + b"\x1b[31mred\x1b[0m\r\n")
    found = watched.changes()
    text = "".join([*(row for one in found for row in one.rows.values()), *(one.note for one in found)])
    assert "red" in text and "alert" in text
    assert all(char.isprintable() for char in text), ascii(text)


def test_a_tail_whose_beginning_is_missing_is_drawn_at_the_size_of_now() -> None:
    watched = Watched().opened(cols=120, rows=40)
    watched.sent = len(watched.tape.file)  # all of that was cut off
    watched.tape.out(b"\x1b[39;119Hx")
    watched.begin(terminals={"1": [120, 40]})
    picture = watched.changes()[-1]
    assert picture.size == (120, 40) and picture.rows[38].endswith("x") and len(picture.rows[38]) == 119


def test_sizes_are_followed_and_bounded() -> None:
    watched = Watched().opened()
    watched.begin()
    watched.tape.recorder.note("window_changed", 1, {"cols": 1 << 20, "rows": 1 << 20})
    watched.tape.burst()
    watched.say(b"x")
    assert watched.changes()[-1].size == LARGEST


def test_secrets_are_masked_on_the_screen_and_in_words() -> None:
    watched = Watched(Redaction.of(("aws-key",))).opened()
    watched.begin()
    watched.say(b"key AK\x1b[mIAABCDEFGHIJKLMNOP ")
    assert "AKIAABCDEFGHIJKLMNOP" not in watched.text()


def test_so_many_channels_are_drawn_and_the_oldest_is_told_to_be_gone() -> None:
    watched = Watched()
    for channel in range(1, MOST_SCREENS + 3):
        watched.opened(channel)
    watched.begin()
    for channel in range(1, MOST_SCREENS + 3):
        watched.say(b"hello", channel)
    found, gone = watched.screens.changes()
    assert gone == [1, 2] and {one.channel for one in found if one.rows} == set(range(3, MOST_SCREENS + 3))


def test_what_was_left_out_is_said() -> None:
    watched = Watched().opened()
    watched.event(sync=SYNC.hex(), told=False, skipped=True)
    assert watched.screens.told is False
    watched.event(dropped=7)
    said = [one.note for one in watched.changes() if one.note]
    assert any("some of it was too much" in note for note in said)
    assert any("7 blocks were too much" in note for note in said)


def test_words_that_wait_are_few() -> None:
    watched = Watched().opened()
    watched.begin()
    for _ in range(100):
        watched.event(dropped=1)
    assert len([one for one in watched.changes() if one.note]) == MOST_WORDS


@pytest.mark.parametrize(
    "event",
    [
        {"blocks": "%%"},
        {"blocks": "", "sync": "zz"},
        {"blocks": "", "sync": "00", "terminals": {"x": [1, 2]}},
        {"blocks": "", "sync": "00", "terminals": {"1": [1]}},
        {"blocks": "", "sync": "00", "terminals": [1]},
    ],
)
def test_a_gateway_that_speaks_oddly_is_told_of(event: dict[str, Any]) -> None:
    screens = LiveScreens(NOTHING)
    screens.take(event)
    assert "cannot be read" in screens.changes()[0][0].note


def test_a_block_that_has_changed_is_told_of_and_the_next_is_drawn() -> None:
    watched = Watched().opened()
    watched.begin()
    watched.tape.out(b"damaged-one")
    damaged = watched.tape.file[watched.sent :].replace(b"damaged", b"dammmed")
    watched.sent = len(watched.tape.file)
    watched.screens.take({"blocks": b64encode(damaged).decode()})
    watched.say(b"whole")
    assert any("damaged" in one.note for one in watched.changes())
