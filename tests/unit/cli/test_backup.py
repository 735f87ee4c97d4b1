"""`bastion backup`: what is made opens, proves that it is whole, and makes the same gateway where nothing is."""

from __future__ import annotations

from pathlib import Path

import pyrage
import pytest
from click.testing import CliRunner, Result

from bastion.cli.backup import backup
from bastion.cli.check import check
from bastion.state.changes import apply
from bastion.state.database import Database, Place
from bastion.state.rows import Lock, lock_added
from bastion.state.schema import LOCKS
from bastion.state.schema_version import check_schema
from tests.support.state import rows
from tests.unit.config.site import Site

pytestmark = pytest.mark.slow


class Made(Site):
    """A site with a state store in it, and an age identity."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "site")
        self.out = folder / "backup"
        self.database = Database(Place(self.folder / "recordings" / "state"))
        check_schema(self.database)
        with self.database.write() as connection:
            apply(connection, [lock_added(Lock("user", "bob", "s3cret word", "carol", 1.0))])
        key = pyrage.x25519.Identity.generate()
        self.recipient = str(key.to_public())
        self.identity = folder / "age.key"
        self.identity.write_text(f"{key}\n")
        self.identity.chmod(0o600)

    def run(self, *words: str | Path) -> Result:
        return CliRunner().invoke(backup, [str(word) for word in words])

    def create(self) -> Result:
        return self.run("create", "-c", self.config, "-r", self.recipient, self.out)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    (tmp_path / "site").mkdir()
    return Made(tmp_path)


def test_a_backup_is_sealed_whole_and_closed_to_others(made: Made) -> None:
    result = made.create()
    assert result.exit_code == 0, result.output
    assert {path.name for path in made.out.iterdir()} == {"gateway.age", "state.age"}
    assert made.out.stat().st_mode & 0o777 == 0o700
    for path in made.out.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        data = path.read_bytes()
        assert data.startswith(b"age-encryption.org/v1") and b"s3cret" not in data and b"OPENSSH" not in data
    verified = made.run("verify", "-i", made.identity, made.out)
    assert verified.exit_code == 0, verified.output
    assert "whole" in verified.stdout and "1 locks" in verified.stdout


def test_a_folder_that_is_there_is_not_written_to(made: Made) -> None:
    made.out.mkdir()
    result = made.create()
    assert result.exit_code == 2 and "there already" in result.stderr and list(made.out.iterdir()) == []


def test_a_backup_for_nobody_is_none(made: Made) -> None:
    result = made.run("create", "-c", made.config, made.out)
    assert result.exit_code == 2 and not made.out.exists()


def test_a_backup_that_fails_leaves_nothing(made: Made) -> None:
    made.database.close()
    (made.folder / "recordings" / "state" / "state.db").write_bytes(b"garbage " * 1000)
    result = made.create()
    assert result.exit_code == 3 and not made.out.exists()


@pytest.mark.parametrize("name", ["gateway.age", "state.age"])
@pytest.mark.parametrize("how", ["flip", "cut", "gone", "of another"])
def test_what_is_not_whole_does_not_verify_and_is_not_restored(
    made: Made, name: str, how: str, tmp_path: Path
) -> None:
    assert made.create().exit_code == 0
    file = made.out / name
    data = bytearray(file.read_bytes())
    if how == "flip":
        data[-40] ^= 1
        file.write_bytes(data)
    elif how == "cut":
        file.write_bytes(data[:-20])
    elif how == "gone":
        file.unlink()
    else:
        with made.database.write() as connection:
            apply(connection, [lock_added(Lock("user", "zoe", "", "", 1.0))])
        made.run("create", "-c", made.config, "-r", made.recipient, tmp_path / "second")
        file.write_bytes((tmp_path / "second" / name).read_bytes())
    verified = made.run("verify", "-i", made.identity, made.out)
    assert verified.exit_code == 1 and str(made.out) in verified.stderr
    into = tmp_path / "new"
    assert made.run("restore", "-i", made.identity, "--into", into, made.out).exit_code == 1
    assert not into.exists()


def test_whoever_is_no_recipient_opens_nothing(made: Made, tmp_path: Path) -> None:
    assert made.create().exit_code == 0
    other = tmp_path / "other.key"
    other.write_text(f"{pyrage.x25519.Identity.generate()}\n")
    other.chmod(0o600)
    assert made.run("verify", "-i", other, made.out).exit_code == 1


def test_a_gateway_is_restored_where_nothing_is_and_passes_its_check(made: Made, tmp_path: Path) -> None:
    assert made.create().exit_code == 0
    into = tmp_path / "new"
    result = made.run("restore", "-i", made.identity, "--into", into, made.out)
    assert result.exit_code == 0, result.output
    for path in made.folder.iterdir():
        copy = into / path.name
        if path.is_file() and copy.exists() and path.name != "keys.toml":
            assert copy.read_bytes() == path.read_bytes()
    assert (into / "host_key").stat().st_mode & 0o777 == 0o600
    checked = CliRunner().invoke(check, ["--config", str(into / "bastion.toml")])
    assert checked.exit_code == 0, checked.output
    restored = Database(Place(into / "recordings" / "state"))
    assert rows(restored, LOCKS) == rows(made.database, LOCKS)
    restored.close()
    again = made.run("restore", "-i", made.identity, "--into", into, made.out)
    assert again.exit_code == 2 and "there already" in again.stderr


def test_a_file_in_the_way_stops_it_before_anything_is_written(made: Made, tmp_path: Path) -> None:
    assert made.create().exit_code == 0
    into = tmp_path / "new"
    into.mkdir()
    (into / "policy.toml").write_text("# mine\n")
    result = made.run("restore", "-i", made.identity, "--into", into, made.out)
    assert result.exit_code == 2 and "policy.toml" in result.stderr
    assert {path.name for path in into.iterdir()} == {"policy.toml"}
    assert (into / "policy.toml").read_text() == "# mine\n"
