"""`bastion evidence`: a bundle that proves itself elsewhere."""

from __future__ import annotations

import hashlib
import json
import stat
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bastion.cli.evidence import evidence
from bastion.cli.verify import verify
from bastion.config.load import load
from tests.unit.config.site import Site
from tests.unit.recording.samples import SESSION
from tests.unit.recording.sealed import NODE, recorded


@pytest.fixture
def site(tmp_path: Path) -> Any:
    made: Any = Site(tmp_path)
    made.make_key("recording")
    made.edit("[recording]\n", '[recording]\nsigning_key = "recording"\n')
    day = tmp_path / "recordings" / "2027-01-15"
    day.mkdir(parents=True)
    (day / f"{SESSION}.rec").write_bytes(recorded(replace(NODE, signer=made.keys["recording"])))
    made.write("audit.jsonl", json.dumps({"ts": "2027", "event": "session_ended", "session": SESSION}) + "\n")
    return made


def run(site: Any, out: Path, session: str = SESSION[:4]) -> Result:
    return CliRunner().invoke(evidence, ["--config", str(site.config), "-o", str(out), session])


def test_a_bundle_holds_the_recording_and_proves_itself_elsewhere(site: Any, tmp_path: Path) -> None:
    out, there = tmp_path / "evidence.zip", tmp_path / "there"
    done = run(site, out)
    assert done.exit_code == 0, done.output
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    with zipfile.ZipFile(out) as bundle:
        bundle.extractall(there)
    manifest = json.loads((there / "manifest.json").read_text())
    assert set(manifest["files"]) == {f"{SESSION}.rec", "verify.json", "keys.pub", "audit.jsonl"}
    for name, said in manifest["files"].items():
        data = (there / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (said["size"], said["sha256"])
    assert manifest["config_digest"] == load(site.config).digest and manifest["header"]["identity"] == "alice"
    assert json.loads((there / "verify.json").read_text())["state"] == "whole"
    events = [json.loads(line) for line in (there / "audit.jsonl").read_text().splitlines()]
    assert {one["event"] for one in events} == {"session_ended", "recordings_read"}
    again = CliRunner().invoke(verify, [str(there / f"{SESSION}.rec"), "--keys", str(there / "keys.pub")])
    assert again.exit_code == 0, again.output


def test_what_does_not_verify_is_bundled_with_that_verdict(site: Any, tmp_path: Path) -> None:
    path = tmp_path / "recordings" / "2027-01-15" / f"{SESSION}.rec"
    file = bytearray(path.read_bytes())
    file[-200] ^= 1
    path.write_bytes(file)
    assert run(site, tmp_path / "evidence.zip").exit_code == 3
    with zipfile.ZipFile(tmp_path / "evidence.zip") as bundle:
        assert json.loads(bundle.read("verify.json"))["good"] is False
        assert bundle.read(f"{SESSION}.rec") == bytes(file)


def test_nothing_is_overwritten_and_nothing_made_without_a_session_or_a_log(
    site: Any, tmp_path: Path
) -> None:
    out = tmp_path / "evidence.zip"
    assert run(site, out, "zzzz").exit_code == 1 and not out.exists()
    out.write_text("mine")
    assert run(site, out).exit_code == 2 and out.read_text() == "mine"
    out.unlink()
    (tmp_path / "audit.jsonl").unlink()
    (tmp_path / "audit.jsonl").mkdir()
    assert run(site, out).exit_code == 3 and not out.exists()
