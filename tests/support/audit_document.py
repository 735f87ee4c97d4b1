"""Writes the table of docs/audit.md from the events: `python -m tests.support.audit_document docs/audit.md`."""

from __future__ import annotations

import sys
from pathlib import Path

from bastion.observe.events import table

HEAD = "| event | says"


def renew(text: str) -> str:
    """`text` with its table of events as they are now."""
    begins = text.index(HEAD)
    return text[:begins] + "\n".join(table()) + text[text.index("\n\n", begins) :]


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(renew(document.read_text(encoding="utf-8")), encoding="utf-8")
