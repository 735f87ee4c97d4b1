"""The seam between the lobby and those of its commands that wait for something: what they get, and what they answer."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred

from bastion.auth.outside import Ask
from bastion.doors.door import Outer


@dataclass(frozen=True, slots=True)
class Answer:
    """Text with LF line ends, and the exit status; `error` goes to standard error."""

    text: str
    status: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One command on one channel of `outer`. `text` stands behind its name; `line` reads one line of the client's, once
    (`one_line.OneLine.read`); `ask` asks whoever is there (`lobby_talk.Talk.ask`), and what comes after is for it."""

    outer: Outer
    text: str
    line: Callable[[], Deferred[str]]
    ask: Ask | None = None


Command = Callable[[Call], Coroutine[Any, Any, Answer]]
"""Answers a call. What it raises is a fault of ours; it is cancelled when the client leaves."""
