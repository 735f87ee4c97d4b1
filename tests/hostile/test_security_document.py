"""docs/security.md names the tests that exist, and no test of a row is missing from it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.fuzz.targets import TARGETS
from tests.hostile.cost_of_strangers import ATTEMPTS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
FILES = [*(ROOT / "tests" / "hostile").glob("test_*.py"), *(ROOT / "tests" / "unit").rglob("test_*.py")]


def tests_in(*paths: Path) -> set[str]:
    return {name for path in paths for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)}


def rows() -> dict[str, list[str]]:
    """Row -> its cells."""
    found = {}
    for line in TEXT.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if cells and re.fullmatch(r"C\d+", cells[0]):
            found[cells[0]] = cells
    return found


def test_every_row_has_a_test_at_the_gateway() -> None:
    assert list(rows()) == [f"C{number}" for number in range(1, 25)]
    gateway = tests_in(ROOT / "tests" / "hostile" / "test_gateway_rows.py")
    for row, cells in rows().items():
        named = re.findall(r"`(test_\w+)`", cells[3])
        assert named and set(named) <= gateway, row
        assert all(f"c{int(row[1:]):02}" in name for name in named), row


def test_every_named_test_exists() -> None:
    existing = tests_in(*FILES)
    for row, cells in rows().items():
        assert set(re.findall(r"`(test_\w+)`", " ".join(cells))) <= existing, row


def test_every_test_of_a_row_is_named() -> None:
    at_gateway = tests_in(ROOT / "tests" / "hostile" / "test_gateway_rows.py")
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert at_gateway - named == {"test_c18_the_same_key_with_sha2_is_let_in"}


def test_every_fuzzing_target_and_every_cost_has_its_figures() -> None:
    for name in TARGETS:
        assert re.search(rf"^\| {name} \| [\d,]+ \|", TEXT, re.MULTILINE), name
    for name in ATTEMPTS:
        assert f"| {name.partition(' (')[0]}" in TEXT, name
