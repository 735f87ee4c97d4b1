"""What a recording may do to the terminal of whoever looks at it: show, and nothing else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.recording.controls import LONGEST_SEQUENCE, ControlParser
from bastion.recording.screen import DisplayFilter
from bastion.recording.terminal import Terminal


def shown(data: bytes) -> str:
    return DisplayFilter().feed(data)


DANGEROUS = {
    "cursor position report (DSR)": b"\x1b[6n",
    "private status report": b"\x1b[?6n",
    "device attributes": b"\x1b[c",
    "secondary device attributes": b"\x1b[>c",
    "tertiary device attributes": b"\x1b[=c",
    "terminal id": b"\x1bZ",
    "answerback": b"\x05",
    "request parameters": b"\x1b[x",
    "title report": b"\x1b[21t",
    "window size report": b"\x1b[18t",
    "resize": b"\x1b[8;100;100t",
    "iconify": b"\x1b[2t",
    "mode query (DECRQM)": b"\x1b[?25$p",
    "soft reset": b"\x1b[!p",
    "xtversion": b"\x1b[>q",
    "setting query (DECRQSS)": b"\x1bP$qm\x1b\\",
    "termcap query": b"\x1bP+q544e\x1b\\",
    "user-defined keys": b"\x1bP0;1|17/6964\x1b\\",
    "title": b"\x1b]0;rm -rf\x07",
    "title with ST": b"\x1b]2;x\x1b\\",
    "font (OSC 50)": b"\x1b]50;?\x07",
    "clipboard (OSC 52)": b"\x1b]52;c;cm0=\x07",
    "colour query": b"\x1b]10;?\x07",
    "palette": b"\x1b]4;1;?\x07",
    "link": b"\x1b]8;;file:///etc\x07",
    "notification": b"\x1b]9;hello\x07",
    "iTerm2 (OSC 1337)": b"\x1b]1337;ReportCellSize\x07",
    "mouse": b"\x1b[?1000h\x1b[?1006h\x1b[?1003;1015h",
    "focus reports": b"\x1b[?1004h",
    "bracketed paste": b"\x1b[?2004h",
    "application cursor keys": b"\x1b[?1h",
    "application keypad": b"\x1b=",
    "key modes": b"\x1b[>4;2m\x1b[>1u\x1b[=1u\x1b[?u",
    "132 columns": b"\x1b[?3h",
    "keyboard lock": b"\x1b[2h",
    "line feed mode": b"\x1b[20h",
    "frozen display": b"\x1b[?2026h",
    "scrollback erased": b"\x1b[3J\x1b[03J\x1b[?3J",
    "mouse highlight": b"\x1b[1;2;3;4;5T",
    "printer": b"\x1b[5i",
    "cursor style": b"\x1b[3 q",
    "left and right margins": b"\x1b[?69h\x1b[5;10s",
    "checksum report": b"\x1b[1;1;1;1;1;1*y",
    "8-bit CSI": b"\xc2\x9b6n",
    "bell, xon, xoff, del, nul": b"\x07\x11\x13\x7f\x00",
    "huge repeat": b"\x1b[99999999999b\x1b[99999b",
}


# What some terminals show of a string, and others swallow: it is shown, in reverse video.
DISPUTED = {
    b"\x1bX rm -rf /\x1b\\": "[ESC X:  rm -rf /]",
    b"\x1b_Gi=1,a=q;AAAA\x1b\\": "[ESC _: Gi=1,a=q;AAAA]",
    b"\x1b^x\x07y\x1b\\": "[ESC ^: x\\x07y]",
    b"\x1bkx\x1b\\": "[ESC k: x]",
    b"\x1b]0;x\r\nrm -rf /\x07": "[ESC ]: 0;x\\x0d\\x0arm -rf /]",
    b"\x1bPq\nhidden\x1b\\": "[ESC P: q\\x0ahidden]",
    b"\xc2\x9d52;c;cm0=\x07": "[U+009D: 52;c;cm0=]",
    b"\xc2\x90$qm\xc2\x9c": "[U+0090: $qm]",
    b"\xc2\x98x\xc2\x9c": "[U+0098: x]",
    b"\x1b]0;" + b"x" * 5000 + b"\x07": "[ESC ]: 0;" + "x" * 5000 + "]",
    "\x1bk\u202e\x1b\\".encode(): "[ESC k: \\u202e]",
}


@pytest.mark.parametrize("data", DISPUTED, ids=repr)
def test_what_some_terminals_show_of_a_string_is_shown_with_a_mark(data: bytes) -> None:
    expected = f"a\x1b[7m{DISPUTED[data]}\x1b[27mb"
    assert shown(b"a" + data + b"b") == expected
    display = DisplayFilter()
    assert "".join(display.feed(bytes([byte])) for byte in b"a" + data + b"b") == expected


def test_a_string_that_bytes_are_missing_from_ends_there() -> None:
    display = DisplayFilter()
    assert display.feed(b"\x1bXone") == "\x1b[7m[ESC X: one"
    display.skip()
    assert display.feed(b"two") == "]\x1b[27mtwo"


@pytest.mark.parametrize("name", DANGEROUS)
def test_nothing_that_answers_or_acts_is_let_through(name: str) -> None:
    data = DANGEROUS[name]
    assert shown(b"a" + data + b"b") == "ab"
    display = DisplayFilter()
    assert "".join(display.feed(bytes([byte])) for byte in b"a" + data + b"b") == "ab"  # cut anywhere


@pytest.mark.parametrize(
    "data",
    [
        b"\x1b[1;31mred\x1b[0m",
        b"\x1b[38:2::1:2:3mrgb",
        b"\x1b[2J\x1b[H\x1b[10;20Hx\x1b[K",
        b"\x1b[?1049h\x1b[?25l\x1b[1;20r\x1b[?25h\x1b[?1049l",
        b"\x1b7\x1b8\x1b[s\x1b[u\x1bM\x1bD",
        b"\x1b[4h\x1b[4l\x1b[3@\x1b[2P\x1b[5X\x1b[L\x1b[M",
        "naïve 東京 \U0001f600\r\n\t\b".encode(),
    ],
)
def test_drawing_is_let_through_unchanged(data: bytes) -> None:
    assert shown(data) == data.decode()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x1b(0lqk\x1b(Blqk", "\u250c\u2500\u2510lqk"),  # xterm's smacs and rmacs
        (b"\x1b)0a\x0eqx\x0fq", "a\u2500\u2502q"),  # those of screen, tmux, vt100
        (b"\x0elqk", "lqk"),  # G1 is ASCII until something is put there
        (b"\x1b(0\x1b7\x1b(Bq\x1b8q", "\x1b7q\x1b8\u2500"),  # the saved cursor has its set
        (b"\x1b)0\x0eq\x1bcq", "\u2500" + "{clear}" + "q"),
        (b"\x1b(A#", "\xa3"),
        ("\x1b(0\u6771q".encode(), "\u6771\u2500"),
    ],
)
def test_character_sets_are_drawn_and_never_changed(data: bytes, expected: str) -> None:
    cleared = shown(b"\x1bc")
    assert shown(data) == expected.replace("{clear}", cleared)


BIDI = "\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\U000e0041"


@pytest.mark.parametrize("char", BIDI)
def test_what_would_reorder_a_line_is_written_out(char: str) -> None:
    written = f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
    assert shown(f"rm {char}txt.exe".encode()) == f"rm {written}txt.exe"


def test_real_text_of_any_script_stays() -> None:
    real = "\u05e9\u05dc\u05d5\u05dd \u0633\u0644\u0627\u0645 \u0645\u06cc\u200c\u062e"
    real += " \U0001f468\u200d\U0001f4bb \u2764\ufe0f"
    assert shown(real.encode()) == real


def test_mixed_modes_keep_only_the_harmless_ones() -> None:
    assert shown(b"\x1b[?25;1000;7;2004h") == "\x1b[?25;7h"


def test_a_full_reset_becomes_a_clear_screen() -> None:
    assert "\x1bc" not in shown(b"\x1bc") and shown(b"\x1bc").endswith("\x1b[H\x1b[2J")


def test_controls_inside_a_sequence_are_obeyed_and_the_sequence_goes_on() -> None:
    assert shown(b"\x1b[3\n1mx") == "\n\x1b[31mx"


def test_cancel_ends_a_sequence_and_a_string() -> None:
    assert shown(b"\x1b[31\x18mA\x1b]0;title\x1aB") == "mAB"


def test_an_escape_inside_a_string_begins_a_new_sequence() -> None:
    assert shown(b"\x1b]0;title\x1b[31mred") == "\x1b[31mred"


def test_invalid_utf8_is_replaced_not_passed_on() -> None:
    assert shown(b"a\x9b6nb\xff") == "a\ufffd6nb\ufffd"


def test_a_sequence_longer_than_any_real_one_is_dropped_in_constant_memory() -> None:
    parser = ControlParser()
    assert parser.feed(b"\x1b[" + b"1;" * 100_000) == []
    assert len(parser._held) <= LONGEST_SEQUENCE
    assert [token.body for token in parser.feed(b"mok")] == ["ok"]


def test_after_a_gap_a_cut_sequence_is_not_continued() -> None:
    display = DisplayFilter()
    display.feed(b"\x1b]0;never ends")
    display.skip()
    assert display.feed(b"$ ") == "$ "


ALLOWED = re.compile(
    "(?:[^\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200e\u200f]|[\b\t\n\v\f\r]|\x1b[78DEHM]|\x1b#8"
    "|\x1b\\[[0-9;:]*[@A-HI-MPSTXZ`abdefgmrsu]|\x1b\\[\\?[0-9;:]*[JK]|\x1b\\[4[hl]|\x1b\\[\\?[0-9;]*[hl])*"
)

fragments = st.lists(
    st.one_of(
        st.binary(max_size=6),
        st.sampled_from(
            [
                b"\x1b",
                b"\x1b[",
                b"\x1b]",
                b"\x1bP",
                b"\x1b\\",
                b"\xc2\x9b",
                b"\xc2\x9d",
                b"?",
                b"\x18",
                b"\x0e",
                b"\x0f",
                b"\x1b(0",
                b"\x1b)0",
                b"\x1b(A",
                "\u202e".encode(),
                "\u2066".encode(),
            ]
        ),
        st.sampled_from(list(DANGEROUS.values())),
        st.text(alphabet="0123456789;:hlmnctpJKT", max_size=5).map(str.encode),
    ),
    max_size=20,
)


@given(fragments)
def test_only_the_allow_list_ever_comes_out(parts: list[bytes]) -> None:
    display = DisplayFilter()
    out = "".join(display.feed(part) for part in parts)
    assert ALLOWED.fullmatch(out), out
    for mode in re.findall(r"\x1b\[\?([0-9;]*)[hl]", out):
        assert set(mode.split(";")) <= {"5", "6", "7", "25", "47", "1047", "1048", "1049"}
    assert out == shown(b"".join(parts))  # however it was cut


def test_undo_brings_back_what_was_changed() -> None:
    display = DisplayFilter()
    assert "1049" not in display.undo() and "\x1b[0m" in display.undo() and "\x1b[?25h" in display.undo()
    display.feed(b"\x1b[?1049h\x1b[?5h\x1b[4h\x1b[2;5r\x1b[?25l")
    undone = display.undo()
    for sequence in ("\x1b[?1049l", "\x1b[?5l", "\x1b[4l", "\x1b[r", "\x1b[?25h"):
        assert sequence in undone
    display.feed(b"\x1b[?1049l\x1b[?5l\x1b[4l\x1b[r")
    assert "1049" not in display.undo() and "\x1b[r" not in display.undo()


@pytest.mark.parametrize("data", [b"\x1b[3g", b"\x1b[5G\x1bH", b"\x1b[3g\x1b[5G\x1bH\x1bc"])
@pytest.mark.parametrize("cols", [80, 83])
def test_tab_stops_are_followed_and_brought_back(data: bytes, cols: int) -> None:
    display, terminal = DisplayFilter(), Terminal(cols, 24, lambda row, lost: None)
    assert display.undo().count("\x1bH") == 0
    terminal.feed(display.feed(data).encode(), 0.0)
    terminal.feed(display.undo().encode() + b"\r\n\ta\tb\r" + b"\t" * 9 + b"\x1b[Dc", 0.0)
    line = terminal.screen[terminal.y].text
    assert (line.index("a"), line.index("b"), line.index("c")) == (8, 16, 71)
