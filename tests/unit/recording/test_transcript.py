"""Output as lines: what left a screen, in order and once, and plain output as it came."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.recording import grid, transcript
from bastion.recording.transcript import (
    LONGEST_LINE,
    Line,
    Mark,
    PlainLines,
    Record,
    Screen,
    ScreenLines,
    as_text,
    is_enter,
    typed_enter,
)


def lines(*pieces: bytes, size: tuple[int, int] = (20, 4)) -> str:
    """The text of a terminal's output."""
    screen = ScreenLines(size, screens=False)
    records: list[Record] = []
    for now, piece in enumerate(pieces):
        records += screen.output(piece, float(now))
    return "".join(as_text(iter([*records, *screen.finish()]), times=False))


def plain(*pieces: bytes) -> str:
    output = PlainLines()
    records = [record for piece in pieces for record in output.output(piece, 0.0)]
    return "".join(as_text(iter([*records, *output.finish()]), times=False))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"one\r\ntwo\r\n", "one\ntwo\n"),
        (b"lx\b\x1b[Ks -l\r\n", "ls -l\n"),
        (b"50%\r100%\r\n", "100%\n"),
        (b"a command that is too long for it\r\n", "a command that is to\no long for it\n"),
        (b"1\r\n2\r\n3\r\n4\r\n5\r\n6", "1\n2\n3\n4\n5\n6\n"),
        (b"gone\x1b[H\x1b[2Jnew", "gone\n[bastion: the screen is cleared here]\nnew\n"),
        (b"gone\x1b[H\x1b[J\x1b[Jnew", "gone\n[bastion: the screen is cleared here]\nnew\n"),
        (
            b"$ vim\r\n\x1b[?1049hedited\x1b[?1049l$ ",
            "$ vim\n[bastion: alternate screen]\n\nedited\n[bastion: main screen again]\n$\n",
        ),
        (
            b"\x1b[?1049h1\r\n2\r\n3\r\n4\r\n5\x1b[?1049l",
            "[bastion: alternate screen]\n1\n2\n3\n4\n5\n[bastion: main screen again]\n",
        ),
        (b"a\x1bkrm -rf /\x1b\\b\r\n", "ab\n[bastion: hidden by ESC k in some terminals: rm -rf /]\n"),
        (b"[bastion: not ours]", "\\x5bbastion: not ours]\n"),
        ("\u202erm".encode(), "\\u202erm\n"),
        (b"", ""),
    ],
)
def test_what_a_terminal_showed(data: bytes, text: str) -> None:
    assert lines(data) == text


def test_reset_in_the_alternate_screen_is_the_main_screen_again() -> None:
    text = lines(b"$ vim\r\n\x1b[?1049hedited", b"\x1bcafter\r\nmore")
    assert text.startswith("$ vim\n[bastion: alternate screen]\n\nedited\n[bastion: main screen again]\n")
    assert text.endswith("after\nmore\n")


def test_lines_have_the_time_of_their_last_change_and_screens_are_those_at_enter() -> None:
    screen = ScreenLines((10, 3), screens=True)
    records = [*screen.output(b"$ l", 1.0), *screen.output(b"s", 2.0), *screen.entered(2.5)]
    records += [
        *screen.output(b"\r\nfile\r\n", 3.0),
        *screen.entered(3.5),
        *screen.entered(3.6),
        *screen.finish(),
    ]
    shots = [record for record in records if isinstance(record, Screen)]
    assert [(shot.time, shot.why, shot.lines) for shot in shots] == [
        (2.5, "enter", ("$ ls", "", "")),
        (3.5, "enter", ("$ ls", "file", "")),
        (3.0, "end", ("$ ls", "file", "")),
    ]
    assert shots[0].cursor == (4, 0) and shots[0].size == (10, 3)
    kept = [(record.time, record.text) for record in records if isinstance(record, Line)]
    assert kept == [(2.0, "$ ls"), (3.0, "file")]
    assert "".join(as_text(iter(records), times=True)) == "     2.000  $ ls\n     3.000  file\n"


def test_words_of_ours_stand_where_they_came() -> None:
    screen = ScreenLines((20, 4), screens=False)
    records = [*screen.output(b"one\r\n", 0.0), *screen.mark("5 minutes left", 1.0)]
    records += [*screen.output(b"two", 2.0), *screen.mark("bye", 3.0), *screen.finish()]
    assert (
        "".join(as_text(iter(records), times=False))
        == "one\n[bastion: 5 minutes left]\ntwo\n[bastion: bye]\n"
    )


def test_settled_lines_are_not_given_out_twice() -> None:
    screen = ScreenLines((20, 4), screens=False)
    records = [*screen.output(b"one\r\ntwo\r\nthr", 0.0), *screen.settle(), *screen.settle()]
    records += [*screen.output(b"ee", 1.0), *screen.resize((30, 10), 1.0), *screen.finish()]
    assert "".join(as_text(iter(records), times=False)) == "one\ntwo\nthree\n"


def test_a_screen_that_costs_too_much_becomes_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "ROWS_FREE", 1000)
    monkeypatch.setattr(grid, "ROWS_PER_BYTE", 0)
    text = lines(b"before\r\n", b"\x1b#8\x1b[2J" * 1000, b"after\r\n")
    assert "made to cost too much" in text and text.endswith("after\n")


def test_plain_output_keeps_what_returns_would_hide() -> None:
    assert plain(b"one\r\ntwo\rover\n\x1b[31mred\x1b[0m\tx\b\n") == "one\ntwo\nover\nred\tx\\x08\n"
    assert plain(b"a\x1bXhid", b"den\x1b\\b") == "[bastion: hidden by ESC X in some terminals: hidden]\nab\n"
    assert plain(b"caf\xc3") == "caf\n"
    whole = b"x" * (3 * LONGEST_LINE)
    assert plain(*(whole[at : at + 1000] for at in range(0, len(whole), 1000))) == whole.decode() + "\n"


def test_a_string_without_end_is_told_in_pieces() -> None:
    text = plain(b"\x1bX" + b"y" * (2 * LONGEST_LINE), b"z" * LONGEST_LINE, b"z" * LONGEST_LINE)
    assert text.count("hidden by ESC X") >= 2 and text.count("yy") == LONGEST_LINE


def test_enter_as_it_is_echoed_and_typed() -> None:
    assert is_enter(b"\r\n") and is_enter(b"\x1b[?2004l\r\nout") and not is_enter(b"out\r\n")
    assert typed_enter(b"ls\r") and not typed_enter(b"ls")


@given(
    st.lists(st.binary(max_size=12) | st.sampled_from([b"\x1b[2J", b"\x1b[?1049h", b"\x1bX", b"\r\n", b"ab"]))
)
def test_text_never_holds_a_control_but_tab_and_newline(pieces: list[bytes]) -> None:
    for text in (lines(*pieces), plain(*pieces)):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)


def test_what_is_given_out_is_a_record() -> None:
    assert transcript.safe("[BASTION: x") == "\\x5bBASTION: x" and Mark(0.0, "x").text == "x"
