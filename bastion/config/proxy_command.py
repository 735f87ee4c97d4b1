"""A program that a target may be reached through, as an option's value (L2)."""

from __future__ import annotations

import re

from bastion.options import At, Kind, shown
from bastion.options.kinds import list_of, text


def _read_proxy_command(value: object, at: At) -> tuple[str, ...]:
    words = list_of(text(), at_least=1).read(value, at)
    if not words[0].startswith("/") or "%" in words[0]:
        raise at.child(0).wrong(f"{shown(words[0])} is not an absolute path", PROXY_COMMAND.allowed)
    for index, word in enumerate(words):
        if re.sub("%[hpr%]", "", word).count("%"):
            problem = f"{shown(word)} has a % that stands for nothing"
            raise at.child(index).wrong(problem, PROXY_COMMAND.allowed)
    return words


PROXY_COMMAND: Kind[tuple[str, ...]] = Kind(
    "command",
    "a program with an absolute path and its arguments; %h, %p, %r and %% stand for what they say",
    _read_proxy_command,
    list_of(text()).write,
)
