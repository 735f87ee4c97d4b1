"""How cases are written: a table of what must be told and one of what must not, each case a few steps of a tale."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from bastion.errors import Detection
from tests.support.tales import Told

Case = Callable[[Told], object]
LEAST = 10  # of each


def table(must: Mapping[str, Case], must_not: Mapping[str, Case]) -> Any:
    """Both tables as parameters of one test."""
    assert len(must) >= LEAST and len(must_not) >= LEAST

    def params() -> Iterator[Any]:
        for told, cases in ((True, must), (False, must_not)):
            for name, case in cases.items():
                yield pytest.param(case, told, id=f"{'told' if told else 'not'}: {name}")

    return pytest.mark.parametrize(("case", "told"), list(params()))


def judge(kind: Detection, case: Case, told: bool, tale: Told) -> None:
    """After what the tale has told already: does the case add a finding of that kind that explains itself?"""
    tale.found.clear()
    case(tale)
    found = tale.of(kind)
    assert bool(found) is told, [one.document() for one in tale.found]
    for one in found:
        assert one.expected and one.came and one.sessions, one
        assert len(one.id) == 8 and one.level in ("alert", "notice")


def settings(tale: Told, **changed: Any) -> None:
    """Other settings from here on."""
    from dataclasses import replace

    tale.settings = replace(tale.settings, **changed)
    tale.detector._settings = tale.settings
