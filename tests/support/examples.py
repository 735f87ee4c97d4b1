"""How many examples a property is tried with: a number for the whole suite, in proportion fewer for `make unit`."""

from __future__ import annotations

from hypothesis import settings

USUAL = 100  # what hypothesis takes by itself; the profile `quick` of tests/conftest.py has fewer


def examples(count: int, steps: int | None = None) -> settings:
    """`count` examples, each of at most `steps` steps of a state machine, in proportion to the profile in force."""
    count = max(1, count * settings.default.max_examples // USUAL)
    return (
        settings(max_examples=count)
        if steps is None
        else settings(max_examples=count, stateful_step_count=steps)
    )
