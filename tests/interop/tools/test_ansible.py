"""Ansible over five hosts with ControlPersist: ping, copy, command; with pipelining and without."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.doors import FLEET, Door
from tests.support.trees import file_sum, make_file

ANSIBLE = Path(sys.executable).with_name("ansible-playbook")
pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(not ANSIBLE.exists(), reason="ansible-core is not installed (the extra `test`)"),
]

PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - ping:
    - copy: {{ src: "{source}", dest: "{folder}/{{{{ inventory_hostname }}}}", mode: "0640" }}
    - command: sha256sum {folder}/{{{{ inventory_hostname }}}}
      register: sum
    - debug: {{ msg: "SUM {{{{ inventory_hostname }}}} {{{{ sum.stdout.split()[0] }}}}" }}
"""
SETTINGS = """
[defaults]
host_key_checking = true
forks = 5
interpreter_python = {python}
local_tmp = {folder}/local
[ssh_connection]
pipelining = {pipelining}
ssh_args = -F {config} -o ControlMaster=auto -o ControlPersist=60s
control_path_dir = {folder}/cp
"""


@contextmanager
def playing(door: Door, folder: Path, pipelining: bool) -> Iterator[dict[str, str]]:
    """The environment of a controller; its masters are ended afterwards."""
    folder.mkdir()
    settings = folder / "ansible.cfg"
    settings.write_text(
        SETTINGS.format(python=sys.executable, folder=folder, pipelining=pipelining, config=door.config)
    )
    (folder / "hosts").write_text("\n".join(FLEET) + "\n")
    yield {"ANSIBLE_CONFIG": str(settings), "ANSIBLE_HOME": str(folder / "home"), "LC_ALL": "C.UTF-8"}
    for socket in (folder / "cp").iterdir():
        stop = door.command("ssh", "-o", f"ControlPath={socket}", "-O", "exit", "any")
        subprocess.run(stop, capture_output=True, timeout=30, env=door.environment())


WAYS = [
    pytest.param("direct", True, id="direct-pipelining"),
    pytest.param("jump", True, id="jump-pipelining"),
    pytest.param("direct", False, id="direct-plain"),
    pytest.param("jump", False, id="jump-plain", marks=pytest.mark.soak),
]


@pytest.mark.parametrize("name, pipelining", WAYS)
def test_a_playbook_on_five_hosts(
    doors: dict[str, Door], tmp_path: Path, name: str, pipelining: bool
) -> None:
    door = doors[name]
    source = make_file(tmp_path / "source", 300_000)
    (tmp_path / "target").mkdir()
    play = tmp_path / "play.yml"
    play.write_text(PLAYBOOK.format(source=source, folder=tmp_path / "target"))
    watch = door.watch()
    # A short folder, because of the sockets in it.
    folder = door.world.folder / f"a{os.urandom(2).hex()}"
    with playing(door, folder, pipelining) as environment:
        command = [str(ANSIBLE), "-i", str(folder / "hosts"), str(play)]
        done = door.run(command, environment=environment, timeout=120, folder=tmp_path)
    shown = done.stdout.decode()
    assert done.returncode == 0, shown + done.stderr.decode()
    for host in FLEET:
        assert f"SUM {host} {file_sum(source)}" in shown
        assert file_sum(tmp_path / "target" / host) == file_sum(source)
        assert (tmp_path / "target" / host).stat().st_mode & 0o777 == 0o640
    # One connection to each host carried everything.
    recorded = watch.sessions(len(FLEET))
    assert sorted(one.header.target for one in recorded) == sorted(FLEET)
    assert all(len(one.channels()) >= 4 for one in recorded)
    if not pipelining:  # then the modules themselves go over sftp
        assert all(file_sum(source) in one.file_sums() for one in recorded)
