"""The process that detects, from its configuration to its end. `tests/interop/test_detections.py` runs it whole."""

from __future__ import annotations

import json
import os
import queue
from pathlib import Path
from typing import Any

import pytest

from bastion.assembly import detecting
from bastion.assembly.alone import STOP
from bastion.detect.report import Report, read_line
from bastion.detect.whereabouts import NoDatabase
from bastion.errors import ConfigError
from bastion.state.database import Database, Place
from bastion.state.schema_version import check_schema
from tests.unit.config.site import Site


class Made(Site):
    """A configuration whose process is told to end before it has begun."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.write("bastion.toml", self.config.read_text() + "[detections]\nrun = true\n")
        self.write("audit.jsonl", "")
        database = Database(Place(folder / "recordings" / "state"))
        check_schema(database)
        database.close()
        self.said: list[bytes] = []

    def serve(self) -> int:
        events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        events.put(STOP)
        return detecting._serve(self.config, events)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    one = Made(tmp_path)
    monkeypatch.setattr(detecting, "_say", one.said.append)
    return one


def test_it_ends_when_it_is_told_to_and_has_kept_how_far_it_was(made: Made) -> None:
    made.write(
        "audit.jsonl", json.dumps({"ts": "2026-11-02T00:00:00.000Z", "event": "gateway_started"}) + "\n"
    )
    assert made.serve() == 0
    (report,) = map(read_line, made.said)
    assert isinstance(report, Report) and report.read_at > 0
    assert (made.folder / "recordings" / "state" / detecting.LOCK_NAME).exists()
    assert made.serve() == 0, "its lock went with it"


def test_what_is_no_file_is_not_followed(made: Made) -> None:
    """A pipe would be read by two."""
    (made.folder / "audit.jsonl").unlink()
    os.mkfifo(made.folder / "audit.jsonl")
    with pytest.raises(ConfigError, match=r"audit\.file"):
        made.serve()


def test_a_database_of_addresses_that_is_gone_is_told(made: Made) -> None:
    made.write("bastion.toml", made.config.read_text() + 'geoip = "absent.mmdb"\n')
    with pytest.raises(NoDatabase, match=r"absent\.mmdb"):
        made.serve()
