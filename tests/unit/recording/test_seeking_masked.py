"""A masked replay that begins in the middle shows what one from the beginning shows, and never a secret."""

from __future__ import annotations

import io
from typing import Any

import orjson
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bastion.recording import keyframes
from bastion.recording.channels import survey
from bastion.recording.keyframes import Keyframe, Keyframes
from bastion.recording.reader import Reader
from bastion.recording.redacted import RedactedReader, reading
from bastion.recording.redacting import NOTHING, Redaction
from bastion.recording.render import by_channel
from bastion.recording.seeking import Film
from tests.unit.recording.samples import SESSION, TARGET, Tape
from tests.unit.recording.test_redacted import ALL
from tests.unit.recording.test_render import open_shell
from tests.unit.recording.test_seeking import Kept, seen

SECRET = b"hunter2horse"
KEY = b"-----BEGIN RSA PRIVATE KEY-----\r\n%s-----END RSA PRIVATE KEY-----\r\n" % (
    b"hunter2horse0123\r\n" * 9
)
TEXTS = [
    b"$ ls\r\n",
    b"plain \x1b[31mwords\x1b[m in a line\r\n" * 3,
    b"\x1b[2J\x1b[5;5H",
    b"\x1b[?1049h\x1b[44m",
    b"\x1b[?1049l",
    b"password=" + SECRET,
    b"$ export TOKEN=" + SECRET + b" more\r\n",
    b"--password \x1b[1mhunter\x1b[m2horse\r\n",
    b"curl https://me:" + SECRET + b"@web1/\r\n",
    b"secret=huxt\b\bnter2horse \r\n",
    "secret=漢字hunter2horse x\r\n".encode(),
    b"\x1b]0;mysql -phunter2horse\x07",
    KEY,
]
STEPS = st.lists(
    st.tuples(st.sampled_from(TEXTS), st.integers(1, 40), st.sampled_from([1, 1, 1, 2]), st.booleans()),
    min_size=1,
    max_size=12,
)


def recorded(steps: list[tuple[bytes, int, int, bool]]) -> bytes:
    """Two terminals: each text on one of them, in pieces of so many bytes, some of several in one block."""
    tape = Tape()
    for channel in (1, 2):
        open_shell(tape, channel)
    for text, size, channel, together in steps:
        for at in range(0, len(text), size):
            tape.clock.advance(0.5)
            tape.recorder.data(channel, TARGET, 0, text[at : at + size])
            if not together:
                tape.burst()
    return tape.end().file


def opened(file: bytes, redaction: Redaction = ALL) -> Reader:
    return reading(redaction, unmasked=True)(io.BytesIO(file), SESSION)


def indexed(file: bytes) -> tuple[Kept, bytes]:
    """What `bastion index` keeps: keyframes and masks."""
    made: list[Keyframe] = []
    reader = opened(file)
    assert isinstance(reader, RedactedReader)
    keeping = Keyframes(reader, made.append)
    for _ in by_channel(reader, survey(reader), None, screens=False, keyframes=keeping):
        pass
    return Kept(made), reader.masks()


def masked(file: bytes, masks: bytes) -> RedactedReader:
    reader = opened(file)
    assert isinstance(reader, RedactedReader)
    reader.masked_by(masks)
    return reader


def rest(film: Film) -> str:
    text = ""
    while film.next() is not None:
        text += film.show()
    return text


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyframes, "EVERY", 1)
    monkeypatch.setattr(keyframes, "CELL_COST", 0)


@given(STEPS, st.lists(st.floats(0, 1), min_size=1, max_size=4))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_from_a_keyframe_as_from_the_beginning(
    steps: list[tuple[bytes, int, int, bool]], moments: list[float]
) -> None:
    file = recorded(steps)
    kept, masks = indexed(file)
    plain = opened(file)
    channels, length = survey(plain), plain.tail().time_us / 1e6
    for channel in (1, 2):
        for moment in moments:
            there = Film(masked(file, masks), channels.channels[channel], stored=kept.keyframe)
            slow = Film(opened(file), channels.channels[channel])
            one, two = there.seek(moment * length), slow.seek(moment * length)
            assert one == two
            assert slow.opened_at is None
            one, two = one + rest(there), two + rest(slow)
            assert one == two and "ter2h" not in one and not any("ter2h" in line for line in seen(one))


def test_a_secret_on_both_sides_of_a_keyframe() -> None:
    said = b"PASSWORD=" + SECRET + b" end\r\n"
    steps = [
        step for at in range(len(said)) for step in ((said[at : at + 1], 1, 1, False), (b"x", 1, 2, False))
    ]
    file = recorded([(b"$ ls\r\n", 9, 1, False), *steps])
    kept, masks = indexed(file)
    channel = survey(opened(file)).channels[1]
    opened_at = set()
    for number in range(2, 2 * len(said)):
        film = Film(masked(file, masks), channel, stored=kept.keyframe)
        text = film.seek(0.5 * number + 0.1)
        opened_at.add(film.opened_at)
        assert seen(text)[1] in "PASSWORD=[redacted:password] end"
        assert "PASSWORD=[redacted:password] end" in seen(text + rest(film))
    assert len(opened_at) > 2 * len(SECRET)
    clear = Film(opened(file, NOTHING), channel)
    assert "PASSWORD=hunter2horse end" in seen(clear.seek(99.0))


def test_seeks_without_an_index_come_back_to_what_was_drawn() -> None:
    file = recorded([(text, 7, 1, False) for text in TEXTS])
    film = Film(opened(file), survey(opened(file)).channels[1])
    film.seek(20.0)
    for seconds in (12.0, 18.5, 3.0, 19.0):
        shown = film.seek(seconds)
        assert film.opened_at is not None
        assert shown == Film(opened(file), survey(opened(file)).channels[1]).seek(seconds)


def test_what_was_typed_unseen_has_one_beginning() -> None:
    file = recorded([(b"$ ls\r\n", 1, 1, False)])
    kept, _ = indexed(file)
    place = kept.made[-1].place
    assert opened(file).begin_at(place)
    shy = reading(ALL)(io.BytesIO(file), SESSION)
    assert not shy.begin_at(place) and shy.begin_at(None)


def test_a_block_that_is_damaged_later_uncovers_nothing() -> None:
    steps = [(b"secret=" + SECRET + b"\r\n" + b"x" * 30, 9, 1, False)] * 6
    file = recorded(steps)
    _, masks = indexed(file)
    places = [place for place in range(len(file)) if file.startswith(b"xxxxxxxxx", place)]
    for place in places[:: len(places) // 5]:
        broken = file[:place] + b"y" + file[place + 1 :]
        reader = masked(broken, masks)
        text = b"".join(event.payload for event in reader if event.channel == 1)
        assert reader.damage and b"hunter" not in text and b"2horse" not in text


def test_what_came_after_the_index_is_not_shown() -> None:
    tape = Tape()
    open_shell(tape)
    tape.recorder.data(1, TARGET, 0, b"password=hun")
    tape.burst()
    _, masks = indexed(tape.file)
    tape.recorder.data(1, TARGET, 0, b"ter2horse\r\n")
    tape.burst()
    text = b"".join(event.payload for event in masked(tape.end().file, masks) if event.channel == 1)
    assert b"ter2" not in text and text.endswith(b"[redacted:not-indexed]")


def test_it_says_how_many_without_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    file = recorded([(text, 7, 1, False) for text in TEXTS])
    _, masks = indexed(file)
    said = opened(file)
    assert isinstance(said, RedactedReader) and said.masked_text
    reader = masked(file, masks)
    monkeypatch.setattr(RedactedReader, "_read", lambda *_: pytest.fail("it was read"))
    assert reader.masked_text == said.masked_text


def packed(**other: Any) -> bytes:
    document = {
        "known": [1, 2],
        "count": 1,
        "tally": {"password": 1},
        "names": ["password"],
        "blocks": [1],
        "events": [0],
        "starts": [0],
        "ends": [4],
        "shown": [1],
        **other,
    }
    return zstandard.compress(orjson.dumps(document))


@pytest.mark.parametrize(
    "masks",
    [
        b"",
        b"rubbish",
        packed(known=[1]),
        packed(known=None),
        packed(tally=[]),
        packed(tally={"\x1b[2J": 1}),
        packed(names=["\x1b[2J"]),
        packed(names=[]),
        packed(blocks=[-1]),
        packed(blocks=[1, 2]),
        packed(ends=["1"]),
        packed(shown=[2]),
    ],
)
def test_what_are_no_masks_is_refused(masks: bytes) -> None:
    file = recorded([(b"$ ls\r\n", 9, 1, False)])
    assert masked(file, packed()).tally == {"password": 1}
    with pytest.raises(ValueError):
        masked(file, masks)
