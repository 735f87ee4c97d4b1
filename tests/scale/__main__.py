"""`make simulate`: the tables of docs/scaling.md; `--set processors=4` (and so on) changes an input."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields, replace

from tests.scale import bench, day, inputs
from tests.scale.inputs import Inputs


def changed(given: Inputs, assignment: str) -> Inputs:
    """With `NAME=VALUE` of one of its parts. Raises ValueError."""
    name, equals, value = assignment.partition("=")
    for part in fields(given):
        values = getattr(given, part.name)
        if equals and any(one.name == name for one in fields(values)):
            return replace(given, **{part.name: replace(values, **{name: float(value)})})
    raise ValueError(f"{assignment}: no such input; NAME=VALUE, with a name of tests/scale/inputs.py")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.scale", description=__doc__)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="another input")
    parser.add_argument("--engineers", action="append", type=int, help="1000, 10000 and 100000 unless given")
    chosen = parser.parse_args(arguments)
    given = Inputs()
    try:
        for assignment in chosen.set:
            given = changed(given, assignment)
    except ValueError as error:
        parser.error(str(error))
    sizes = tuple(chosen.engineers or day.SIZES)
    tables = (inputs.table(given), day.table(given, sizes), day.breaking(given), bench.table())
    print("\n\n".join("\n".join(rows) for rows in tables))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
