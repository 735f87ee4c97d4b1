"""Ansible over five hosts with ControlPersist: ping, copy, command; with pipelining and without."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ansible import ansible_missing, controlling
from tests.support.doors import FLEET, Door
from tests.support.trees import file_sum, make_file

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(ansible_missing()), reason=ansible_missing() or "available"),
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
    with controlling(
        door.world.folder, door.config, FLEET, door.environment(), pipelining=pipelining
    ) as controller:
        done = controller.play(play)
    assert done.returncode == 0, done.stdout + done.stderr
    for host in FLEET:
        assert f"SUM {host} {file_sum(source)}" in done.stdout
        assert file_sum(tmp_path / "target" / host) == file_sum(source)
        assert (tmp_path / "target" / host).stat().st_mode & 0o777 == 0o640
    # One connection to each host carried everything.
    recorded = watch.sessions(len(FLEET))
    assert sorted(one.header.target for one in recorded) == sorted(FLEET)
    assert all(len(one.channels()) >= 4 for one in recorded)
    if not pipelining:  # then the modules themselves go over sftp
        assert all(file_sum(source) in one.file_sums() for one in recorded)
