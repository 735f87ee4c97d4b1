"""How this program is called again."""

import shlex
import subprocess

import pytest

from bastion.install.program import command, program


@pytest.mark.slow
def test_the_line_works_in_a_shell_whatever_is_in_it(tmp_path):
    assert subprocess.run([*program(), "--version"], capture_output=True).returncode == 0
    line = command("check", "--config", tmp_path / "a b'c")
    assert shlex.split(line)[-1] == f"{tmp_path}/a b'c"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True)
    assert done.returncode == 2 and f"{tmp_path}/a b'c" in done.stderr
