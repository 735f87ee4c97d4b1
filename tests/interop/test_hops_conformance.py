"""The conversations in `sessions/` and the tools in `tools/` once more, with the target behind two hops."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.doors import BEHIND
from tests.support.sshd import sshd_missing

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
pytestmark = [
    pytest.mark.interop,
    pytest.mark.soak,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]


@pytest.mark.parametrize("folder", ["sessions", "tools"])
def test_everything_works_behind_two_hops(folder: str) -> None:
    if os.environ.get(BEHIND):
        pytest.skip("this is that run")
    command = [
        sys.executable,
        "-m",
        "pytest",  # -q stands in setup.cfg; twice, and it does not say how many passed
        "-m",
        "not soak",
        "-p",
        "no:cacheprovider",
        str(HERE / folder),
    ]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, BEHIND: "1"}, capture_output=True, text=True, timeout=3600
    )
    assert done.returncode == 0, done.stdout[-20_000:]
    assert " passed" in done.stdout
