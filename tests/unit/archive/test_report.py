"""A report is a line that only a report is read from, and a file that is whole."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bastion.archive.report import FILE_NAME, LINE_MAX, SILENT, Report, leave, left, read_report
from bastion.errors import StoreReason
from tests.support.examples import examples

NOW = 1_800_000_000.0
counts = st.integers(0, 1 << 50)
times = st.floats(0, 1e11)
reports = st.builds(
    Report,
    at=times, pid=counts, waiting=counts, size=counts, oldest=times, running=counts, failing=counts,
    trouble=st.text("abc :", max_size=50), sent=counts,
    results=st.dictionaries(st.sampled_from([str(one) for one in StoreReason]), counts),
)  # fmt: skip


@examples(100)
@given(report=reports)
def test_a_line_is_read_back(report: Report) -> None:
    line = report.line()
    assert line.endswith(b"\n") and len(line) <= LINE_MAX and read_report(line) == report


@examples(100)
@given(
    data=st.one_of(
        st.binary(max_size=100), st.sampled_from([b"{}", b"[]", b'{"at": "x"}', b" " * LINE_MAX * 2])
    )
)
def test_anything_else_is_none(data: bytes) -> None:
    assert read_report(data) is None


def test_what_stands_in_the_words_never_acts_on_a_terminal_nor_becomes_a_label() -> None:
    told = Report(NOW, 1, trouble="\x1b[31m" + "x" * 5000, results={"ok": 1, "invented": 2})
    report = read_report(told.line())
    assert report is not None and "\x1b" not in report.trouble and len(report.trouble) < 400
    assert report.results == {"ok": 1}


def test_the_file_has_the_last_one_whole(tmp_path: Path) -> None:
    assert left(tmp_path) is None
    for number in (1, 2):
        leave(tmp_path, Report(NOW, 7, waiting=number))
    report = left(tmp_path)
    assert report is not None and report.waiting == 2
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o077 == 0
    (tmp_path / FILE_NAME).write_bytes(b"{")
    assert left(tmp_path) is None


def test_people_read_what_waits_and_why() -> None:
    assert Report(NOW, 1).text(NOW) == "nothing waits"
    report = Report(NOW, 1, waiting=12, size=3 << 20, oldest=NOW - 5, trouble="no route", failing=1)
    assert (
        report.text(NOW)
        == "no route; 12 recordings wait, 3 MiB, the oldest for 5 s; 1 of them fail by themselves"
    )
    assert not report.well(NOW) and Report(NOW, 1, waiting=12).well(NOW)
    assert not Report(NOW, 1).well(NOW + SILENT + 1)
    assert "has said nothing for 61 s" in Report(NOW, 1).text(NOW + SILENT + 1)
