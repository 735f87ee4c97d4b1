"""What of PromQL the tests of rules and dashboards look at: names of series and the labels that are asked of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

SELECTOR = re.compile(r"\b(?P<name>(?:(?:job|instance):)?bastion_[a-z0-9_:]+|up)\b(?:\{(?P<labels>[^}]*)\})?")
LABEL = re.compile(r'(?P<name>[a-z_]+)\s*(?P<op>=~|!~|!=|=)\s*"(?P<value>(?:[^"\\]|\\.)*)"')
OF_THE_SCRAPE = {"job", "instance"}


class Asked(NamedTuple):
    """One label of a selector: `op` is as it stands there."""

    name: str
    op: str
    value: str

    def fits(self, value: str) -> bool:
        """Does this label select series with that value?"""
        found = re.fullmatch(self.value, value) is not None if "~" in self.op else self.value == value
        return found is not self.op.startswith("!")


def selectors(expression: str) -> Iterator[tuple[str, list[Asked]]]:
    """(name of the series, what is asked of its labels), of every selector in it."""
    for found in SELECTOR.finditer(expression):
        labels = [
            Asked(*label.group("name", "op", "value")) for label in LABEL.finditer(found["labels"] or "")
        ]
        yield found["name"], [label for label in labels if label.name not in OF_THE_SCRAPE]
