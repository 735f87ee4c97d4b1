"""Who has looked, from logs of any kind and size."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import orjson
import pytest

from bastion.console import looked as module
from bastion.console.looked import looks_at
from tests.unit.cli.made import FIRST, SECOND


def line(number: int, session: str = FIRST, event: str = "recordings_read", **more: object) -> bytes:
    made = {"ts": f"2026-12-01T08:{number:02}:00Z", "event": event, "session": session, "by": f"ada{number}"}
    return orjson.dumps(made | {"command": "console play", "source": "192.0.2.7"} | more) + b"\n"


def never() -> bool:
    return False


def test_looks_are_those_of_the_session_newest_first_over_rotated_files(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    old = tmp_path / "audit.jsonl.1.gz"
    old.write_bytes(gzip.compress(line(1) + line(2, SECOND)))
    os.utime(old, (1, 1))
    log.write_bytes(
        line(3) + b"torn {" + FIRST.encode() + b"recordings_read\n" + line(4, event="session_started") + line(5)
        + line(6, SECOND, asked=f"session {FIRST}")
    )  # fmt: skip
    found, cut = looks_at(FIRST, [log, log], never)
    assert [one["by"] for one in found] == ["ada5", "ada3", "ada1"] and not cut
    assert found[0] == {
        "ts": "2026-12-01T08:05:00Z",
        "by": "ada5",
        "command": "console play",
        "source": "192.0.2.7",
    }


def test_a_log_of_its_own_is_read_beside_the_gateways(tmp_path: Path) -> None:
    own, gateway = tmp_path / "console.jsonl", tmp_path / "audit.jsonl"
    own.write_bytes(line(2))
    gateway.write_bytes(line(1, command="replay", by="root"))
    found, cut = looks_at(FIRST, [own, gateway, tmp_path / "none.jsonl"], never)
    assert [one["by"] for one in found] == ["ada2", "root"] and not cut


def test_what_is_not_read_in_time_or_not_readable_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_bytes(line(1) * 10)
    assert looks_at(FIRST, [log], lambda: True) == ([], True)
    monkeypatch.setattr(module, "CHECK", 2)
    late = iter([False, False, True])
    found, cut = looks_at(FIRST, [log], lambda: next(late))
    assert len(found) == 4 and cut
    (tmp_path / "audit.jsonl.1.gz").write_bytes(b"\x1f\x8bnot")
    found, cut = looks_at(FIRST, [log], never)
    assert len(found) == 10 and cut
    monkeypatch.setattr(module, "MOST_LOOKS", 3)
    assert len(looks_at(FIRST, [log], never)[0]) == 3
