"""What the process says of its sinks: read back as it was, and nothing else is taken for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bastion.observe.labels import SinkReason
from bastion.sinks.report import BEHIND_LONG, FILE_NAME, LINE_MAX, SILENT, Report, leave, left, read_report

NOW = 1_800_000_000.0
GOOD = Report("siem", "loki", NOW, 7, results={"delivered": 3}, sent=9)
BAD = replace(
    GOOD,
    name="logs",
    reason=SinkReason.TLS,
    text="there: TLS",
    lines=12,
    size=4096,
    oldest=NOW - 90,
    ending=True,
)


def test_it_is_read_back(tmp_path: Path) -> None:
    for report in (GOOD, BAD):
        assert read_report(report.line()) == report
    assert left(tmp_path) == ()
    leave(tmp_path, [GOOD, BAD])
    assert left(tmp_path) == (GOOD, BAD) and (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "line",
    [
        b"", b"{}", b"[]", b"x" * (LINE_MAX + 1),
        GOOD.line().replace(b'"loki"', b'"kafka"'),
        GOOD.line().replace(b'"siem"', b'"../x"'),
        GOOD.line().replace(b'"reason":"delivered"', b'"reason":"fine"'),
        GOOD.line().replace(b'"sent":9', b'"sent":"x"'),
        GOOD.line().replace(b'"results":{', b'"results":[').replace(b'3}', b'3]'),
    ],
)  # fmt: skip
def test_anything_else_is_none(line: bytes) -> None:
    assert read_report(line) is None


def test_results_that_are_no_reasons_are_not_counted() -> None:
    found = read_report(GOOD.line().replace(b'"delivered":3', b'"delivered":3,"evil":9'))
    assert found is not None and found.results == {"delivered": 3}


def test_how_it_is() -> None:
    assert GOOD.well(NOW) and not BAD.well(NOW) and not GOOD.well(NOW + SILENT + 1)
    assert not replace(GOOD, ending=True).well(NOW)
    assert replace(GOOD, lines=1, oldest=NOW - 5).well(NOW)
    assert not replace(GOOD, lines=1, oldest=NOW - BEHIND_LONG - 1).well(NOW)


def test_in_words() -> None:
    assert GOOD.words(NOW) == "siem: nothing waits"
    assert BAD.words(NOW) == (
        "logs: 12 lines, 4 KiB, 90 s behind; tls: there: TLS;"
        " the oldest file of the log has not gone there, and may be removed next"
    )
    assert "3 lines refused and 4 lost" in replace(GOOD, refused=3, lost=4).words(NOW)
    assert GOOD.words(NOW + 1000) == "siem: nothing was heard of it for 1000 s"
