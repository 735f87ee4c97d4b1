"""The blocks of docs/operators.md that are typed: `<!-- typed: WHO WHAT -->` above a fenced block."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "operators.md"


class Block(NamedTuple):
    """`name` is "gateway init"; `lines` are what is typed."""

    name: str
    lines: tuple[str, ...]

    @property
    def line(self) -> str:
        """The one line of it."""
        (line,) = self.lines
        return line


def typed_blocks(text: str = "") -> dict[str, Block]:
    """All of them, in their order. A mark without a block below it is an error."""
    text = text or DOCUMENT.read_text(encoding="utf-8")
    found: dict[str, Block] = {}
    for mark in re.finditer(r"<!-- typed: (.+?) -->\n(?:```sh\n(.*?)\n```)?", text, re.DOTALL):
        assert mark[2] is not None and mark[1] not in found, f"typed: {mark[1]}: no block below it, or twice"
        found[mark[1]] = Block(mark[1], tuple(mark[2].splitlines()))
    return found
