"""What a look at something says (L4, values)."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import StrEnum

from bastion.errors import BastionError


class Level(StrEnum):
    """How it is. A warning works today."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Area(StrEnum):
    """What is looked at, in the order in which it is told; the words of `--only`."""

    PROGRAM = "program"
    CONFIG = "config"
    FILES = "files"
    KEYS = "keys"
    PORTS = "ports"
    DIRECTORY = "directory"
    DISK = "disk"
    BUCKET = "bucket"
    SINKS = "sinks"
    CLOCK = "clock"
    LIMITS = "limits"
    NAMES = "names"
    TARGETS = "targets"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Finding:
    """`subject` is what it is about (a path, a target), `text` how it is, `type` the line that repairs it or shows
    more, for a shell; "" where there is none."""

    area: Area
    level: Level
    subject: str
    text: str
    type: str = ""


class CannotLook(BastionError):
    """A part could not be looked at at all; the text says why."""


def shell(*words: object) -> str:
    """Words as one line for a shell."""
    return shlex.join(map(str, words))
