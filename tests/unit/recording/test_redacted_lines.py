"""Secrets that only a screen has in one piece."""

from __future__ import annotations

import io
from collections import Counter

import pytest

from bastion.recording import redacted_lines
from bastion.recording.changes import changes
from bastion.recording.channels import survey
from bastion.recording.redacted import reading
from bastion.recording.redacted_lines import full, masked_rows, redacted
from bastion.recording.redacting import Redaction
from bastion.recording.render import plain_text, screen_lines
from bastion.recording.transcript import Line, Mark
from tests.unit.recording.samples import SESSION
from tests.unit.recording.test_redacted import shell

ALL = Redaction.of()
AWS = "AKIAIOSFODNN7EXAMPLE"


def views(*pieces: bytes) -> tuple[str, str, str]:
    """As text, as screens, and what a page's player has."""
    reader = reading(ALL, unmasked=True)(io.BytesIO(shell(pieces).end().file), SESSION)
    channels = survey(reader)
    chosen = channels.channels[1]
    player = "\n".join(text for change in changes(reader, channels, 1) for text in change.rows.values())
    return (
        "".join(plain_text(reader, channels, chosen)),
        "\n".join(screen_lines(reader, channels, chosen)),
        player,
    )


@pytest.mark.parametrize(
    "data",
    [
        f"\x1b[5;9HFODNN7EXAMPLE \x1b[5;1H {AWS[:7]}\r\n".encode(),  # the end was there before the beginning
        b"\x1b[2J" + b"".join(b"\x1b[3;%dH%c" % (place + 1, char) for place, char in enumerate(AWS.encode())),
        b"\x1b[H" + b"x" * 89 + b" " + AWS[:10].encode() + b"\x1b[2;1H" + AWS[10:].encode(),  # as vim wraps
        b"\x1b[Hx\x1b[1;91H" + AWS[:10].encode() + b"\x1b[2;1H" + AWS[10:].encode() + b"\r\n",
        b"y" * 89 + b" " + AWS.encode() + b"\r\n",
    ],
)
def test_what_was_put_together_on_the_screen(data: bytes) -> None:
    for view in views(data):
        assert "[redacted:" in view
        assert AWS not in view.replace("\n", "") and AWS[10:] not in view and "FODNN7" not in view


def test_what_only_the_screen_had_is_counted_at_the_end() -> None:
    text, _, _ = views(b"\x1b[H" + b"x" * 89 + b" " + AWS[:10].encode() + b"\x1b[2;1H" + AWS[10:].encode())
    assert "1 secret" not in text.split("\n")[2]
    assert "secret" not in text or "as they stood on the screen" in text


def line(text: str, **more: bool) -> Line:
    return Line(1.0, text, **more)


def told(*records: Line | Mark, cols: int = 20) -> list[str]:
    return [record.text for _, record in redacted(((1, record, cols) for record in records), ALL)]


def test_wrapped_lines_are_one() -> None:
    found = told(line("say password=abcdefg"), line("hij end", wrapped=True), line("password=x"))
    assert found[:3] == ["say password=[redacted:password]", " end", "password=[redacted:password]"]
    assert found[3].startswith("2 secrets are masked (password 2) as they stood on the screen")


def test_order_and_number_stay() -> None:
    records = [line("a"), Mark(1.0, "token=abc"), line("b", ends=False), line("c"), line("x" * 20), line("d")]
    assert told(*records) == ["a", "token=[redacted:password]", "b", "c", "x" * 20, "d"]


def test_a_key_over_many_lines() -> None:
    key = ["-----BEGIN PRIVATE KEY-----", "abcd", "efgh", "-----END PRIVATE KEY-----", "after"]
    found = told(*map(line, key), cols=80)
    assert found[:5] == [key[0] + "[redacted:private-key]", "", "", key[3], "after"]


def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redacted_lines, "LONGEST_HELD", 1000)
    monkeypatch.setattr(redacted_lines, "OVERLAP", 100)
    rows = ["x" * 20] * 200
    rows[100:102] = ["x" * 9 + " " + AWS[:10], AWS[10:] + " " + "x" * 9]
    found = told(*(line(row, wrapped=place > 0) for place, row in enumerate(rows)))
    assert len(found) == 201 and found[100] == "x" * 9 + " [redacted:aws-key]" and found[101] == " " + "x" * 9


def test_rows_that_are_full() -> None:
    assert full("x" * 20, 20) and full("漢" * 10, 20) and not full("x" * 19, 20) and not full("x", 0)
    tally = Counter[str]()
    assert masked_rows(["password=abcdefghijk", "lm"], 20, ALL, tally) == ("password=[redacted:password]", "")
    assert masked_rows(["password=abc", "lm"], 20, ALL, tally) == ("password=[redacted:password]", "lm")
    assert tally == {"password": 2}
