"""The steps of the Containerfile, run in an empty Debian 12 as no builder is to be had, and what they end in.

What a builder does beside running them (layers, USER as its own step, the image's environment) is not tried here.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.interop.typed.machines import Chroot, Machine, machines_missing
from tests.support.world import poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.soak,
    pytest.mark.skipif(bool(machines_missing()), reason=machines_missing() or "available"),
]
ROOT = Path(__file__).resolve().parents[3]
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", "*.egg-info", "__pycache__", ".*_cache", "build", "dist", "demo"
)
STEP = 600.0


def instructions() -> list[tuple[str, str]]:
    """(instruction, its rest) of each line that is one."""
    lines = (ROOT / "Containerfile").read_text().splitlines()
    return [
        (word, rest) for word, _, rest in (line.partition(" ") for line in lines if line and line[0] != "#")
    ]


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Chroot]:
    beside = Machine(tmp_path / "beside")
    try:
        made = Chroot(beside, tmp_path / "debian")
        try:
            yield made
        finally:
            made.unmount()
            made.close()
    finally:
        beside.close()


def test_its_steps_make_a_gateway_that_serves(empty: Chroot) -> None:
    assert instructions()[0] == ("FROM", "debian:bookworm-slim")
    command: list[str] = []
    user = "root"
    for word, rest in instructions()[1:]:
        if word == "COPY":
            source, target = rest.split()
            shutil.copytree(ROOT / source, empty.folder / target.lstrip("/"), symlinks=True, ignore=LEFT_OUT)
        elif word == "RUN":
            done = empty.online(rest, STEP)
            assert done.returncode == 0, f"{rest}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        elif word == "USER":
            user = rest
        elif word in ("ENTRYPOINT", "CMD"):
            command += json.loads(rest)
        else:
            assert word in ("EXPOSE", "STOPSIGNAL")
    assert user == "bastion" and command[:2] == ["/usr/bin/bastion", "serve"]
    assert not list((empty.folder / "opt/bastion/image/bin").glob("pip*"))
    made = empty.run(
        "bastion init /etc/bastion --system --yes --user bastion --listen 127.0.0.1:2222"
        " --target web1=10.0.0.5 --login root"
    )
    assert made.returncode == 0, made.stdout + made.stderr
    serve = f"setpriv --reuid=bastion --regid=bastion --init-groups --bounding-set=-all {shlex.join(command)}"
    child = empty.terminal(serve)
    child.expect('"event": "ready"')
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    log = empty.folder / "var/log/bastion/audit.jsonl"
    poll(lambda: json.loads(log.read_text().splitlines()[-1])["event"] == "gateway_stopped", 20)
    assert log.stat().st_uid == 990
