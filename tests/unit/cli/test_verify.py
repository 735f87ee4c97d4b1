"""`bastion verify`: exit codes, and what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bastion.cli.verify import keys_of, verify
from bastion.config.load import load
from bastion.recording.keys import Sealing
from tests.unit.config.site import Site, rotating
from tests.unit.recording.samples import SESSION
from tests.unit.recording.sealed import NODE, recorded

OTHER = "zzzzzzzzzzzzzzzz"


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(verify, [str(word) for word in words])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "node.pub").write_text(NODE.signer.public.line() + "\n")
    day = tmp_path / "rec" / "2027-01-15"
    day.mkdir(parents=True)
    (day / f"{SESSION}.rec").write_bytes(recorded())
    (day / f"{OTHER}.rec").write_bytes(recorded(session=OTHER))
    return tmp_path


def test_good_ones(folder: Path) -> None:
    keys, where = ("--keys", folder / "node.pub"), ("--recordings", folder / "rec")
    done = run("--all", *where, *keys)
    assert done.exit_code == 0 and "2 of 2 are good" in done.output
    assert run(SESSION[:4], *where, *keys).exit_code == 0
    path = folder / "rec" / "2027-01-15" / f"{SESSION}.rec"
    (one,) = json.loads(run(path, *keys, "--json").output)
    assert (one["state"], one["good"], one["session_id"], one["node"]) == ("whole", True, SESSION, "gw1")


def test_a_bad_one_is_named_with_its_block(folder: Path) -> None:
    path = folder / "rec" / "2027-01-15" / f"{OTHER}.rec"
    file = bytearray(path.read_bytes())
    file[-200] ^= 1
    path.write_bytes(file)
    keys = ("--keys", folder / "node.pub")
    done = run("--all", "--recordings", folder / "rec", *keys)
    assert done.exit_code == 3 and "1 of 2 are good" in done.output
    (found,) = json.loads(run(path, *keys, "--json").output)
    assert found["bad_block"] == 12 and found["offset"] > 0 and found["state"] == "bad"
    path.unlink()
    moved = path.with_name(f"{OTHER}.rec")
    moved.write_bytes(recorded())
    assert run(moved, *keys).exit_code == 3


def test_an_unknown_key_and_an_older_format(folder: Path) -> None:
    (folder / "else.pub").write_text(Sealing.alone().signer.public.line() + "\n")
    path = folder / "rec" / "2027-01-15" / f"{SESSION}.rec"
    assert run(path, "--keys", folder / "else.pub").exit_code == 3
    assert run(path, "--keys", folder / "else.pub", "--keys", folder / "node.pub").exit_code == 0
    kept = Path(__file__).parent.parent / "recording" / "kept.rec"
    assert run(kept, "--keys", folder / "node.pub").exit_code == 3
    assert run(kept, "--keys", folder / "node.pub", "--unsigned-too").exit_code == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], 2),
        (["--all", "abcd"], 2),
        (["abcd"], 2),
        (["no.rec", "--keys", "node.pub"], 1),
        (["qqqq", "--keys", "node.pub", "--recordings", "rec"], 1),
        (["--all", "--keys", "node.pub", "--recordings", "empty"], 1),
        (["--all", "--keys", "missing.pub", "--recordings", "rec"], 2),
    ],
)
def test_what_is_not_there_and_what_is_wrong(
    folder: Path, words: list[str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "empty").mkdir()
    monkeypatch.chdir(folder)
    assert run(*words).exit_code == code


def test_the_keys_of_a_gateway_have_their_dates(tmp_path: Path) -> None:
    site: Any = Site(tmp_path)
    site.make_key("recording")
    site.edit("[recording]\n", '[recording]\nsigning_key = "recording"\n')
    first = site.keys["recording"].public
    assert [(one.public, one.since, one.until) for one in keys_of(load(site.config))] == [(first, 0.0, None)]
    new = rotating(site, "recording", ledger="keys.toml")
    known = keys_of(load(site.config))
    assert {one.public for one in known} == {first, new.public}
    assert next(one for one in known if one.public == new.public).since > 0
