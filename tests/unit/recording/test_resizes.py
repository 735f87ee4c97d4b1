"""Window sizes of a recording: each with its time, those that make sense, so many."""

from __future__ import annotations

import pytest

from bastion.recording import resizes
from bastion.recording.resizes import Resizes
from tests.unit.recording.samples import Tape, full
from tests.unit.recording.test_render import open_shell


def sized(*sizes: tuple[int, int]) -> Tape:
    tape = Tape(full())
    open_shell(tape)
    for cols, rows in sizes:
        tape.clock.advance(1)
        tape.recorder.note("window_changed", 1, {"cols": cols, "rows": rows})
    tape.out(b"window_changed is no note here")
    return tape.end()


def found(tape: Tape) -> list[tuple[float, int, int, int]]:
    watching = Resizes()
    events = list(tape.events())
    assert list(watching.watch(events)) == events, "they pass as they are"
    return [tuple(one) for one in watching.found]  # type: ignore[misc]


def test_sizes_have_times_and_bounds() -> None:
    begun = found(sized((100, 30), (0, 5), (9999, 9999)))
    assert [one[1:] for one in begun] == [(1, 100, 30), (1, 1000, 500)]
    assert begun[1][0] - begun[0][0] == pytest.approx(2)


def test_they_are_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resizes, "MOST", 3)
    assert len(found(sized(*[(80 + number, 24) for number in range(9)]))) == 3
