"""The files of `systemd/`: systemd's own verdict on them, and that the commands in them are commands."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "systemd"
UNITS = sorted([*FOLDER.glob("*.service"), *FOLDER.glob("*.socket"), *FOLDER.glob("*.timer")])
COMMANDS = [
    (unit.name, words.split())
    for unit in UNITS
    for words in re.findall(r"^Exec\w+=/usr/bin/bastion (.*)$", unit.read_text(), re.MULTILINE)
]
BASTION = Path(sys.executable).with_name("bastion")
EXPOSURES = {"bastion": 1.2, "bastion-console": 1.4}
"""docs/service.md states them."""

analyze = shutil.which("systemd-analyze")
needs_analyze = pytest.mark.skipif(analyze is None, reason="no systemd-analyze")


def test_the_package_carries_them() -> None:
    carried = resources.files("bastion").joinpath("data", "systemd")
    assert {path.name for path in carried.iterdir()} == {path.name for path in FOLDER.iterdir()}


@pytest.mark.slow
@needs_analyze
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    for unit in UNITS:  # it looks for the program too
        text = unit.read_text().replace("/usr/bin/bastion", str(BASTION))
        (tmp_path / unit.name).write_text(text)
    copies = [str(tmp_path / unit.name) for unit in UNITS]
    done = subprocess.run(
        [str(analyze), "verify", "--man=no", *copies], capture_output=True, text=True, timeout=60
    )
    said = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "bastion" in line]
    assert (done.returncode, said) == (0, [])


@pytest.mark.slow
@needs_analyze
@pytest.mark.parametrize(("name", "exposure"), EXPOSURES.items())
def test_the_sandbox_is_as_tight_as_the_documents_say(name: str, exposure: float) -> None:
    command = [str(analyze), "security", "--offline=true", "--no-pager", str(FOLDER / f"{name}.service")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    found = re.search(rf"Overall exposure level for {name}\.service: ([0-9.]+)", done.stdout)
    assert found is not None, done.stderr
    assert float(found[1]) == exposure
    assert f"**{exposure}**" in (ROOT / "docs" / "service.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(("unit", "words"), COMMANDS)
def test_what_they_start_is_a_command_with_those_options(unit: str, words: list[str]) -> None:
    done = subprocess.run([str(BASTION), words[0], "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, unit
    options = [word for word in words[1:] if word.startswith("-")]
    assert [option for option in options if option not in done.stdout] == []


def test_they_start_commands_at_all() -> None:
    assert ("bastion-console.service", ["console", "--config", "/etc/bastion/bastion.toml"]) in COMMANDS
    assert ("bastion.service", ["serve", "--config", "/etc/bastion/bastion.toml"]) in COMMANDS


def test_no_unit_closes_what_is_shared_with_the_console() -> None:
    """systemd gives a StateDirectory= its mode and owner at each start, which would undo the sharing."""
    for unit in UNITS:
        text = unit.read_text()
        for folder in re.findall(r"(?m)^StateDirectory=(.*)$", text):
            assert (unit.name, folder) == (unit.name, "bastion")
            assert "StateDirectoryMode=0711\n" in text, unit.name


@pytest.mark.parametrize("tool", ["systemd-sysusers", "systemd-tmpfiles"])
def test_users_and_folders_are_read(tool: str, tmp_path: Path) -> None:
    program = shutil.which(tool)
    if program is None:
        pytest.skip(f"no {tool}")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\nbastion:x:997:997::/:/bin/sh\n")
    (tmp_path / "etc" / "group").write_text("root:x:0:\nbastion:x:997:\n")
    name = "bastion.sysusers" if tool == "systemd-sysusers" else "bastion.tmpfiles"
    dry = ["--dry-run"] if tool == "systemd-sysusers" else ["--create"]
    done = subprocess.run(
        [program, f"--root={tmp_path}", *dry, str(FOLDER / name)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr.replace("Would ", "").count("rror")) == (0, 0), done.stderr
    if dry == ["--create"]:
        folder = tmp_path / "var" / "lib" / "bastion" / "recordings"
        assert (folder.stat().st_mode & 0o7777, folder.stat().st_uid) == (0o700, 997)
        folder.chmod(0o2750)  # shared with the console's group since
        subprocess.run([program, f"--root={tmp_path}", "--create", str(FOLDER / name)], timeout=60)
        assert folder.stat().st_mode & 0o7777 == 0o2750
