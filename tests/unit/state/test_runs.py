"""How commands ended is left for the metrics: whole or not at all, and nobody trusts the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from bastion.state.runs import FILE_NAME, SIZE_MAX, Run, leave_run, left_runs


def test_each_task_has_its_last_run(tmp_path: Path) -> None:
    assert left_runs(tmp_path) == {}
    leave_run(tmp_path, "verify", Run(1_800_000_000.25, 3))
    leave_run(tmp_path, "index", Run(1_800_000_001.0, 0))
    leave_run(tmp_path, "verify", Run(1_800_000_002.0, 0))
    assert left_runs(tmp_path) == {"verify": Run(1_800_000_002.0, 0), "index": Run(1_800_000_001.0, 0)}
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b'{"verify": 1}',
        b'{"verify": {"at": 1}}',
        b'{"verify": {"at": "x", "faults": 0}}',
        b'{"verify": {"at": -1, "faults": 0}}',
        b'{"verify": {"at": 1e300, "faults": 0}}',
        b'{"verify": {"at": 1, "faults": null}}',
        b" " * SIZE_MAX + b"{}",
    ],
)
def test_what_cannot_be_read_is_as_none_and_is_replaced(tmp_path: Path, text: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(text)
    assert left_runs(tmp_path) == {}
    leave_run(tmp_path, "verify", Run(1.0, 0))
    assert left_runs(tmp_path) == {"verify": Run(1.0, 0)}


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text('{"verify": {"at": 1, "faults": 0}}')
    (tmp_path / FILE_NAME).symlink_to("other")
    assert left_runs(tmp_path) == {}
