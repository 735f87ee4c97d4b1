"""Lines of the log: which are of interest, and what they say."""

from __future__ import annotations

import pytest

from bastion.detect.lines import WANTED, parsed, wanted


@pytest.mark.parametrize(
    ("line", "is_wanted"),
    [
        (b'{"ts":"2026-11-02T00:00:00.000Z","event":"auth","user":"alice"}', True),
        (b'{"ts": "2026-11-02T00:00:00.000Z", "event": "auth"}', True),
        (b'{"ts":"2026-11-02T00:00:00.000Z","event":"detection","finding":"a"}', False),
        (b'{"ts":"2026-11-02T00:00:00.000Z","event":"detection_muted"}', False),
        (b'{"event":"detection","came":"\\"event\\":\\"auth\\""}', False),
    ],
)
def test_what_no_detection_looks_at_is_not_parsed(line: bytes, is_wanted: bool) -> None:
    """Their own findings least of all."""
    assert bool(WANTED.search(line)) is is_wanted
    assert bool(wanted(("detection",)).search(line)) is (is_wanted or b'"event":"detection"' in line)


def test_a_line_has_a_time() -> None:
    at, event = parsed(b'{"ts":"2026-11-02T00:00:00.500Z","event":"auth"}')
    assert (at, event["event"]) == (1_793_577_600.5, "auth")


@pytest.mark.parametrize("line", [b"", b"{", b'{"event":"auth"}', b'{"ts":"soon","event":"auth"}', b"[]"])
def test_what_is_torn_is_told(line: bytes) -> None:
    with pytest.raises(ValueError):
        parsed(line)
