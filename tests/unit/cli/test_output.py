"""Tables fit, names cannot move the cursor, colour stays off where nobody looks."""

from __future__ import annotations

import json

import pytest

from bastion.cli import output
from bastion.observe.audit import escape
from bastion.wire.printable import printable as safe_printable


def test_control_characters_c1_bidi_and_surrogates_are_escaped() -> None:
    text = "a\x1b[2Jb\x9bc\u202ed\udc80e\n"
    assert output.printable(text) == "a\\x1b[2Jb\\x9bc\\u202ed\\udc80e\\x0a"


@pytest.mark.parametrize("char", "\u061c\u200e\u200f\u2028\u202a\u202e\u2066\u2069\ufeff\x0e\x0f\x85\x9b")
def test_what_reorders_or_shifts_is_escaped_by_every_way_to_a_terminal(char: str) -> None:
    written = f"a\\x{ord(char):02x}" if ord(char) < 256 else f"a\\u{ord(char):04x}"
    assert output.printable(f"a{char}b") == safe_printable(f"a{char}b") == f"{written}b"
    assert char not in escape(f"a{char}b") or char < " "  # the audit log; C0 is JSON's own to escape


def test_plain_text_and_kept_characters_stay() -> None:
    assert output.printable("zoë 東京") == "zoë 東京"
    assert output.printable("one\ntwo\t", keep="\n") == "one\ntwo\\x09"


def test_table_fits_the_width_by_cutting_flexible_columns(capsys: pytest.CaptureFixture[str]) -> None:
    output.write_table(
        ["ID", "TARGET", "BYTES"],
        [["abc", "a-very-long-target-name", "12"], ["defghi", "b", "3456"]],
        right=["BYTES"],
        flexible=["TARGET"],
        width=24,
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["ID      TARGET     BYTES", "abc     a-very-l…     12", "defghi  b           3456"]


def test_table_is_not_cut_when_output_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.write_table(["NAME"], [["x" * 300]], flexible=["NAME"])
    assert "x" * 300 in capsys.readouterr().out


def test_table_escapes_cells_and_uses_no_colour_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.write_table(["S"], [["\x1b[31mred"], ["live"]], colours={"S": {"live": "green"}})
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\\x1b[31mred" in out


def test_json_is_ascii_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    output.write_json({"name": "zoë\x9b\n"})
    out = capsys.readouterr().out
    assert out.isascii() and out.count("\n") == 1 and json.loads(out) == {"name": "zoë\x9b\n"}


def test_fail_carries_the_exit_code_and_escapes_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(output.CommandFailed) as caught:
        output.fail("no such \x1b]0;x\x07 thing", 1)
    assert caught.value.exit_code == 1
    caught.value.show()
    assert capsys.readouterr().err == "bastion: no such \\x1b]0;x\\x07 thing\n"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 20, "1.0 MiB"), (5 << 40, "5.0 TiB")],
)
def test_sizes_read_in_binary_units(count: int, text: str) -> None:
    assert output.size_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0.0s"), (0.44, "0.4s"), (59.9, "59s"), (725, "12:05"), (10807, "3:00:07")]
)
def test_durations_read_like_a_clock(seconds: float, text: str) -> None:
    assert output.duration_text(seconds) == text


def test_times_are_utc() -> None:
    assert output.time_text(0) == "1970-01-01 00:00:00Z"
