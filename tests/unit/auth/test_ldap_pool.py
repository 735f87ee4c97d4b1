"""Connections that wait: few, young, quiet, and closed when they are not."""

from __future__ import annotations

from typing import Any

import pytest

from bastion.auth.ldap_pool import MAX_AGE, MAX_IDLE, ServicePool


class Link:
    def __init__(self, quiet: bool = True) -> None:
        self.quiet, self.renewed, self.closed = quiet, 0, 0

    def is_quiet(self) -> bool:
        return self.quiet

    def renew(self) -> None:
        self.renewed += 1

    def close(self) -> None:
        self.closed += 1


def pool(*links: Any, limit: int = 2, opened: float = 0.0, now: float = 0.0) -> ServicePool:
    made = ServicePool(limit)
    for link in links:
        made.give(link, opened, now)
    return made


def test_the_one_used_last_is_taken_first_and_renewed() -> None:
    first, second = Link(), Link()
    waiting = pool(first, second)
    taken = [waiting.take(1.0), waiting.take(1.0)]
    assert [one and one.link for one in taken] == [second, first]
    assert (first.renewed, second.renewed, first.closed) == (1, 1, 0)
    assert waiting.take(1.0) is None


def test_no_more_wait_than_there_are_places() -> None:
    links = [Link() for _ in range(3)]
    assert len(pool(*links)) == 2
    assert [link.closed for link in links] == [0, 0, 1]


@pytest.mark.parametrize(("opened", "since", "now"), [(0.0, 0.0, MAX_IDLE), (0.0, MAX_AGE - 1, MAX_AGE)])
def test_what_has_waited_too_long_or_is_too_old_is_closed(opened: float, since: float, now: float) -> None:
    asked, swept = Link(), Link()
    assert pool(asked, opened=opened, now=since).take(now) is None
    waiting = pool(swept, opened=opened, now=since)
    waiting.sweep(now - 0.1)
    assert (len(waiting), swept.closed) == (1, 0)
    waiting.sweep(now)
    assert (len(waiting), swept.closed, asked.closed) == (0, 1, 1)


def test_an_old_one_finds_no_place() -> None:
    old = Link()
    assert len(pool(old, now=MAX_AGE)) == 0 and old.closed == 1


def test_one_that_said_something_unasked_is_never_used_again() -> None:
    quiet, loud = Link(), Link(quiet=False)
    taken = pool(quiet, loud).take(1.0)
    assert taken is not None and taken.link is quiet  # type: ignore[comparison-overlap]
    assert (loud.closed, loud.renewed) == (1, 0)


def test_closed_it_keeps_nothing() -> None:
    early, late = Link(), Link()
    waiting = pool(early)
    waiting.close()
    waiting.give(late, 0.0, 0.0)  # type: ignore[arg-type]
    assert (len(waiting), early.closed, late.closed) == (0, 1, 1)
