"""Typed commands, where no shell of the traces goes: bytes cut anywhere, forged marks, floods, gaps, sizes."""

from __future__ import annotations

import pytest

from bastion.recording.running import LONGEST_COMMAND, MOST_OPEN, Typed
from bastion.recording.typed import Typing
from tests.support.command_score import trace
from tests.support.command_traces import output_of

PROMPT = b"alice@web1:~$ "


def told(pieces: list[bytes], size: tuple[int, int] = (80, 24), input_kept: bool = False) -> list[Typed]:
    found: list[Typed] = []
    typing = Typing(size, input_kept, found.append)
    for number, piece in enumerate(pieces):
        typing.output(piece, float(number))
    typing.close(float(len(pieces)))
    return found


def texts(pieces: list[bytes]) -> list[str]:
    return [one.text for one in told(pieces)]


def test_a_command_has_its_prompt_and_its_times() -> None:
    first, second = told([PROMPT, b"ls", b"\r\n", b"a b\r\n", PROMPT, b"id\r\n"])
    assert (first.text, first.prompt, first.offset, first.start, first.end) == (
        "ls",
        PROMPT.decode(),
        0.0,
        2.0,
        4.0,
    )
    assert (second.text, second.end) == ("id", None)


@pytest.mark.parametrize("name", ["bash-plain", "osc-plain", "zsh-right-prompt"])
def test_bytes_may_be_cut_anywhere_in_a_mark(name: str) -> None:
    whole = output_of(trace(name))
    halves = [half for piece in whole for half in cut_in_marks(piece)]
    assert len(halves) > len(whole)
    assert [one.text for one in told(halves)] == [one.text for one in told(whole)]


def cut_in_marks(piece: bytes) -> list[bytes]:
    """In two, in the middle of the first sequence that frames or marks a line."""
    for mark in (b"\x1b[?2004", b"\x1b]133;", b"\x1b[?1"):
        if mark in piece:
            at = piece.index(mark) + len(mark) - 2
            return [piece[:at], piece[at:]] if at else [piece]
    return [piece]


def test_no_echo_no_command() -> None:
    assert texts([PROMPT, b"su\r\n", b"Password: ", b"\r\n", PROMPT, b"\r\n", PROMPT]) == ["su"]


def test_with_input_a_line_without_enter_is_none() -> None:
    found: list[Typed] = []
    typing = Typing((80, 24), True, found.append)
    for piece in (PROMPT, b"half", b"\r\nBroadcast message\r\n", PROMPT):
        typing.output(piece, 0.0)
    typing.close(1.0)
    assert found == []
    typing = Typing((80, 24), True, found.append)
    typing.output(PROMPT, 0.0)
    typing.typed(b"id\r")
    for piece in (b"id", b"\r\n", PROMPT):
        typing.output(piece, 1.0)
    typing.close(1.0)
    assert [one.text for one in found] == ["id"]


def test_a_question_that_comes_once_is_no_prompt_of_a_shell() -> None:
    assert texts([PROMPT, b"./setup", b"\r\n", b"name> ", b"bob", b"\r\n", PROMPT]) == ["./setup"]
    consoles = [b"name> ", b"bob", b"\r\n", b"name> ", b"eve", b"\r\n"]
    assert texts([PROMPT, b"./setup", b"\r\n", *consoles, PROMPT]) == ["bob", "./setup", "eve"]


def test_a_full_screen_program_has_no_commands() -> None:
    screen = [b"\x1b[?1049h\x1b[H\x1b[2J", b"root@x:~# ", b"rm -rf /", b"\r\n", b"root@x:~# ", b"\x1b[?1049l"]
    assert texts([PROMPT, b"vim x", b"\r\n", *screen, PROMPT]) == ["vim x"]


def test_a_forged_mark_counts_for_what_it_says() -> None:
    """docs/commands.md: whoever prints marks is believed. Without one of the beginning there is nothing to believe."""
    assert texts([b"\x1b]133;C\x07\x1b]133;D;0\x07", b"\x1b]133;D;999999\x07"]) == []


def test_floods_end_in_a_word_and_in_bounded_memory() -> None:
    found: list[Typed] = []
    typing = Typing((500, 500), False, found.append)
    known = [typing.output(PROMPT + b"\x1b[2J", 0.0) for _ in range(3000)]
    assert known.count(False) == 1 and known[0]
    assert typing.output(b"more", 1.0)


def test_what_is_open_and_what_is_long_is_bounded() -> None:
    pieces = []
    for number in range(MOST_OPEN + 10):
        name = chr(ord("a") + number % 26) * (1 + number // 26)
        pieces += [b"u@%s:~$ " % name.encode(), b"ssh next", b"\r\n"]
    assert len(told(pieces)) == MOST_OPEN + 10
    long = told([b"\x1b[?2004h", PROMPT, *[b"x" * 1000] * 30, b"\r\n\x1b[?2004l\r"])
    assert [len(one.text) for one in long] == [LONGEST_COMMAND]


def test_behind_a_gap_no_half_line_is_made_up() -> None:
    found: list[Typed] = []
    typing = Typing((80, 24), False, found.append)
    typing.output(PROMPT, 0.0)
    typing.output(b"rm -rf /tmp/", 0.0)
    typing.gap()
    typing.output(b"x\r\n", 1.0)
    typing.close(2.0)
    assert found == []
