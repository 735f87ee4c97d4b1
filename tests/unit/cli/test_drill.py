"""`bastion drill`: an identity opens a fresh recording and those that are there, or is told that it does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyrage
import pytest
from click.testing import CliRunner, Result

from bastion.age import recipients_of
from bastion.cli.drill import drill
from bastion.recording.data_keys import DataKeyStock
from bastion.recording.store import Store
from tests.unit.cli.made import FIRST, SECOND, header, start_and_end
from tests.unit.config.site import Site

ANNA, BERT = (pyrage.x25519.Identity.generate() for _ in range(2))


class Made(Site):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for name, identity in (("anna", ANNA), ("bert", BERT)):
            file = folder / name
            file.write_text(f"{identity}\n")
            file.chmod(0o600)
        (folder / "r.txt").write_text(f"{ANNA.to_public()}\n")
        self.edit("[recording]\n", '[recording]\nrecipients = "r.txt"\n')
        store = Store(folder / "recordings", disk_floor_bytes=0)
        stock = DataKeyStock(recipients_of([str(BERT.to_public())]), 1)
        start_and_end(store, header(FIRST, "alice", "web1"))  # not encrypted
        store.use(stock)
        start_and_end(store, header(SECOND, "bob", "web1"))  # encrypted to another
        assert store.close()
        stock.stop()

    def drill(self, *words: str) -> Result:
        return CliRunner().invoke(drill, ["--config", str(self.config), *words])


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def test_who_can_open_what(made: Made) -> None:
    done = made.drill("-i", str(made.folder / "anna"), "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.exit_code == 1 and found["tried"] == 3 and list(found["failed"]) == [SECOND]
    assert "sealed to 1 recipient" in found["failed"][SECOND]
    done = made.drill("-i", str(made.folder / "bert"), "--json")
    assert done.exit_code == 1 and list(json.loads(done.stdout)["failed"]) == ["a fresh recording"]
    done = made.drill("-i", str(made.folder / "anna"), "-i", str(made.folder / "bert"))
    assert done.exit_code == 0 and "3 of 3 open" in done.output


def test_what_is_missing_is_said(made: Made) -> None:
    assert "--identity" in made.drill().output
    made.edit('recipients = "r.txt"\n', "")
    done = made.drill("-i", str(made.folder / "anna"))
    assert done.exit_code == 2 and "recording.recipients is not set" in done.output
