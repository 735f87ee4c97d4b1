"""Each message that docs/troubleshooting.md quotes is one that the program prints."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
VARIES = re.compile(r"\b[A-Z]{2,}\b")
"""A word in capitals stands for what differs each time, unless it stands there in the source."""


@cache
def texts() -> tuple[str, ...]:
    """Every text of the source; where a value goes in stands a NUL."""
    found = []
    for path in sorted((ROOT / "bastion").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.sub(r"\{\w+(?::[^}]*)?\}", "\0", node.value))
            elif isinstance(node, ast.JoinedStr):
                parts = (one.value if isinstance(one, ast.Constant) else "\0" for one in node.values)
                found.append("".join(map(str, parts)))
    return tuple(found)


def messages() -> list[str]:
    """What is quoted in the first column of the tables whose head is `message`."""
    found: list[str] = []
    inside = False
    for line in PAGE.splitlines():
        if not line.startswith("|"):
            inside = False
        elif line.startswith("| message |"):
            inside = True
        elif inside and not set(line) <= set("|- "):
            found += re.findall(r"`([^`]+)`", line.split(" | ")[0])
    return found


def words(message: str, between: str) -> list[str]:
    """Its pieces that do not vary, without the marks at their ends."""
    pieces = re.split(between, message.removeprefix("bastion: "))
    return [piece.strip(" ;:,().") for piece in pieces if re.search(r"\w{3}", piece)]


def is_printed(message: str) -> bool:
    """Its words stand in one text of the source, in this order; or it is put together of texts that stand there."""
    in_order = re.compile(".*".join(map(re.escape, words(message, VARIES.pattern))), re.DOTALL)
    if any(in_order.search(text) for text in texts()):
        return True
    parts = words(message, rf"{VARIES.pattern}|[:;] ")
    return len(parts) > 1 and all(any(part in text for text in texts()) for part in parts)


@pytest.mark.parametrize("message", messages())
def test_a_message_that_is_quoted_is_printed(message: str) -> None:
    assert is_printed(message)


def test_there_are_many_and_an_invented_one_is_noticed() -> None:
    assert len(messages()) > 60
    assert not is_printed("the flux capacitor of HOST is empty")
    assert not is_printed("no common target for you")
