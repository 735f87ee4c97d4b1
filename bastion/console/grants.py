"""One line in the audit log for each opening of a recording, however many parts of it are looked at (L4, pure).

A player asks for one part after the other. The line is written when it opens a recording; it covers the parts that the
same visit asks of the same recording within SECONDS, and then the next part writes a line of its own. Invariant: a
grant gives no right; role, account and locks are asked for each part as for every page.
"""

from __future__ import annotations

from typing import Final

from bastion.console.visits import Visit

SECONDS: Final = 900.0
"""That a line covers: whoever looks for two hours leaves eight."""

MOST: Final = 16
"""Recordings of one visit; beyond, the oldest is opened anew."""


def opened(visit: Visit, session: str, now: float) -> None:
    """A line about it stands, of `now` (monotonic seconds)."""
    visit.opened.pop(session, None)
    visit.opened[session] = now + SECONDS
    while len(visit.opened) > MOST:
        del visit.opened[next(iter(visit.opened))]


def is_open(visit: Visit, session: str, now: float) -> bool:
    """Does a line cover this part?"""
    return now < visit.opened.get(session, 0.0)
