"""Writes the tables of docs/metrics.md: `python -m tests.support.metrics_document docs/metrics.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from bastion.console import figures
from bastion.observe.family import Family, Kind, Merge
from bastion.observe.meters import PREFIX, Meters
from bastion.observe.per_target import PerTarget

FAMILIES = "## Families\n\n"
CONSOLE = "`bastion_budget_refusals_total`, `bastion_build_info` and `process_*`:\n\n"
LABELS = "## Values of labels\n\n"
LINES = "the number of series is fixed: "

OVER_PROCESSES = {Merge.SUM: "added up", Merge.MAX: "the largest", Merge.EARLIEST: "the earliest"}


@cache
def declared() -> tuple[Family, ...]:
    return Meters().families


@cache
def of_the_console() -> tuple[Family, ...]:
    """On the console's page alone."""
    return figures.FAMILIES


@cache
def series() -> frozenset[str]:
    """Every name that a query may have."""
    parts = ("_bucket", "_sum", "_count")
    meters = Meters()
    PerTarget(meters, ["web1"])
    meters.families = (*meters.families, *of_the_console())
    named = {PREFIX + family.name for family in meters.families}  # those of single targets too
    return named | frozenset(
        PREFIX + family.name + part
        for family in meters.families
        for part in (parts if family.kind is Kind.HISTOGRAM else ("",))
    )


def lines_of(family: Family) -> int:
    """How many lines of a page the family is, comments apart."""
    each = family.width + 1 if family.kind is Kind.HISTOGRAM else 1
    return each * sum(1 for _ in family.combinations())


def families_table(families: Iterable[Family]) -> Iterator[str]:
    yield "| name | type | labels | of several processes | what it is |"
    yield "|---|---|---|---|---|"
    for family in families:
        labels = ", ".join(f"`{label.name}`" for label in family.labels)
        together = OVER_PROCESSES[family.merge]
        yield f"| `{PREFIX}{family.name}` | {family.kind} | {labels} | {together} | {family.help} |"


def labels_table(families: Iterable[Family]) -> Iterator[str]:
    """A row for each set of values; `build_info` has values of its own in every build."""
    sets: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for family in families:
        for label in family.labels if family.name != "build_info" else ():
            sets.setdefault((label.name, label.values), []).append(family.name)
    yield "| label | of | values |"
    yield "|---|---|---|"
    for (name, values), names in sorted(sets.items()):
        of = ", ".join(f"`{PREFIX}{one}`" for one in names)
        yield f"| `{name}` | {of} | {', '.join(f'`{value}`' for value in values)} |"


def renew(text: str) -> str:
    """`text` with both tables, and the number of lines, as they are now."""
    families = declared()
    console = of_the_console()
    tables = (
        (FAMILIES, families_table(families)),
        (CONSOLE, families_table(console)),
        (LABELS, labels_table(families)),
    )
    for head, rows in tables:
        begins = text.index(head) + len(head)
        text = text[:begins] + "\n".join(rows) + text[text.index("\n\n", begins) :]
    begins = text.index(LINES) + len(LINES)
    count = f"{sum(map(lines_of, families)):,} lines"
    return text[:begins] + count + text[text.index(".", begins) :]


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(renew(document.read_text(encoding="utf-8")), encoding="utf-8")
