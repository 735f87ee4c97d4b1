"""The line that the process which asks says."""

from __future__ import annotations

from pathlib import Path

import pytest

from bastion.errors import InventoryReason
from bastion.inventories.report import LINE_MAX, Report, leave, left, read_report

REPORT = Report("cmdb", 1e9, InventoryReason.TLS, "no", 9e8, True, 3, 1, True)


def test_a_report_reads_back(tmp_path: Path) -> None:
    assert read_report(REPORT.line()) == REPORT and not REPORT.well
    assert left(tmp_path / "cmdb.json") is None
    leave(tmp_path / "cmdb.json", REPORT)
    assert left(tmp_path / "cmdb.json") == REPORT


@pytest.mark.parametrize("reason", [InventoryReason.TAKEN, InventoryReason.SAME])
def test_two_of_the_reasons_are_no_faults(reason: InventoryReason) -> None:
    assert Report("cmdb", 1.0, reason).well


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"no", b"[]", b"x" * (LINE_MAX + 1), REPORT.line().replace(b'"tls"', b'"other"'),
     REPORT.line().replace(b"1000000000.0", b'"x"')],
)  # fmt: skip
def test_anything_else_is_none(line: bytes) -> None:
    assert read_report(line) is None


def test_what_it_says_shows_as_itself() -> None:
    found = read_report(Report("cm\x1b[2Jdb", 1.0, InventoryReason.TLS, "a\x1b]0;x\x07\n").line())
    assert found is not None and found.name.isprintable() and found.text.isprintable()
