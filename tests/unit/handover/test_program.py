"""How this program is started again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bastion.handover.program import leave_parent, own_program, resolved


def test_a_script_is_started_by_the_path_that_started_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("1.0", "2.0"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "bastion").touch()
    current = tmp_path / "current"
    current.symlink_to("1.0")
    program = own_program(str(current / "bastion"))
    assert program == (f"{current}/bastion",)
    assert resolved(program) == f"{tmp_path}/1.0/bastion"
    current.unlink()
    current.symlink_to("2.0")
    assert resolved(program) == f"{tmp_path}/2.0/bastion"
    current.unlink()
    assert resolved(program) == ""
    monkeypatch.chdir(tmp_path)
    assert own_program("2.0/bastion") == (f"{tmp_path}/2.0/bastion",)


def test_a_module_is_started_as_one() -> None:
    assert own_program("/usr/lib/python3/bastion/__main__.py") == (sys.executable, "-m", "bastion")


@pytest.mark.slow
def test_nobodys_child_is_in_the_group_of_the_process_that_was_started() -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        leave_parent()
        os.write(writing, f"{os.getpgid(0)} {os.getpid()}".encode())
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    os.close(writing)
    group, pid = map(int, os.read(reading, 100).split())
    os.close(reading)
    assert group == child and pid != child
