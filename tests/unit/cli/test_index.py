"""`bastion index`."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pyrage
import pytest
from click.testing import CliRunner

from bastion.age import recipients_of
from bastion.cli import recordings
from bastion.cli.index import index
from bastion.recording.data_keys import DataKeyStock
from bastion.recording.store import Store
from tests.unit.cli.made import FIRST, header, run, start_and_end
from tests.unit.config.site import Site
from tests.unit.indexing.made import recorded


def test_what_is_new_is_read_and_what_is_gone_leaves_it(tmp_path: Path) -> None:
    paths = [recorded(tmp_path, place, "hello\n") for place in range(2)]
    result = run(index, tmp_path)
    assert result.exit_code == 0 and result.stdout.startswith("2 recordings read"), result.output
    assert (tmp_path / "index" / "reading.db").stat().st_mode & 0o777 == 0o600
    paths[0].unlink()
    told = json.loads(run(index, tmp_path, "--json").stdout)
    assert (told["read"], told["forgotten"], told["running"], told["problems"]) == (0, 1, 0, 0)


def test_a_damaged_recording_is_named_and_is_exit_code_3(tmp_path: Path) -> None:
    path = recorded(tmp_path, 0, "hello\n")
    (path.parent / ("b" * 16 + ".rec")).write_bytes(b"garbage")
    result = run(index, tmp_path)
    assert result.exit_code == 3 and "bbbbbbbbbbbbbbbb.rec" in result.stderr
    assert run(index, tmp_path).exit_code == 0


def test_two_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    assert run(index, tmp_path).exit_code == 0
    with (tmp_path / "index" / "reading.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = run(index, tmp_path)
    assert result.exit_code == 2 and "another `bastion index`" in result.stderr


@pytest.mark.slow
def test_with_the_identities_of_the_console_it_reads_what_is_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may read them: the console's user. Others name the recordings that stay closed."""
    site, identity = Site(tmp_path), pyrage.x25519.Identity.generate()
    site.edit("[recording]", '[console]\nidentities = ["age.key"]\n[recording]')
    site.write("age.key", f"{identity}\n", 0o600)
    store = Store(tmp_path / "recordings", disk_floor_bytes=0, sync_seconds=0.05)
    store.use(DataKeyStock(recipients_of([str(identity.to_public())]), 1))
    start_and_end(store, header(FIRST, "alice", "web1"))
    assert store.close()
    with monkeypatch.context() as others:
        others.setattr(recordings, "_is_ours_to_read", lambda file: False)  # root may read everything
        closed = CliRunner().invoke(index, ["--config", str(site.config)])
    assert closed.exit_code == 3 and "sealed to 1 recipient" in closed.stderr
    done = CliRunner().invoke(index, ["--config", str(site.config), "--json"])
    assert done.exit_code == 0 and json.loads(done.stdout)["read"] == 1, done.output


def test_an_index_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run(index, tmp_path, "--index", str(tmp_path / "file" / "reading.db"))
    assert result.exit_code == 2 and "reading.db" in result.stderr
