"""What of `bastion.toml` must be known before anything else is read (L2): how many processes there are to be."""

from __future__ import annotations

import os
from pathlib import Path

from bastion.config.document import open_document
from bastion.config.sections import Sections
from bastion.options import At, Problems, Unreadable, read


def read_sections(file: Path) -> Sections | None:
    """The sections of the file alone, without what they name; None for a file with faults, which `load` tells of."""
    problems = Problems()
    opened = open_document(file, problems)
    if opened is None:
        return None
    document, source = opened
    try:
        sections: Sections = read(Sections, document, At(source, problems))
    except Unreadable:
        return None
    return None if problems.errors else sections


def workers_of(sections: Sections) -> int:
    """How many processes serve: as configured, or one for each processor that this one may use."""
    return sections.process.workers or len(os.sched_getaffinity(0))
