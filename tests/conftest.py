"""For every test: an error that a Deferred ended with and nobody waited for fails the test it comes up in.

Nor does any property test look at the clock: hypothesis has a deadline for each example and a check of its own
speed, and both fail on a machine that is merely busy.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from twisted.logger import LogEvent, globalLogPublisher

# The same examples in every run: what `make test` says does not depend on chance. `make fuzz` looks for new ones.
settings.register_profile(
    "no clock", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("no clock")
settings.register_profile(
    "explore", settings.get_profile("no clock"), derandomize=False, max_examples=300, print_blob=True
)
# For `make unit`: a tenth of the examples, of every property (tests/support/examples.py).
settings.register_profile("quick", settings.get_profile("no clock"), max_examples=10)


def pytest_configure() -> None:
    """Collecting makes millions of objects, none of which goes: looking for garbage meanwhile takes a third of it."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Nor is it looked for among those afterwards, by what runs."""
    gc.freeze()
    gc.enable()


UNHANDLED = "Unhandled error in Deferred"


@pytest.fixture(autouse=True)
def no_error_is_lost() -> Iterator[None]:
    """Twisted reports such an error when the Deferred is freed: at once, where there is no circle."""
    lost: list[str] = []

    def note(event: LogEvent) -> None:
        failure = event.get("log_failure")
        if str(event.get("log_format", "")).startswith(UNHANDLED):
            lost.append(UNHANDLED)
        elif lost and failure is not None:  # Twisted tells the two in two events
            lost.append(failure.getTraceback())

    observer: Any = note
    globalLogPublisher.addObserver(observer)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observer)
    assert lost == [], "\n".join(lost)
