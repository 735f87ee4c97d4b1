"""ansible-playbook as a controller: its settings and hosts, and an end to the connections that it leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")

# All that is not said here is as Ansible has it: compression asked for, one shared connection for each host that
# persists for 60 s, ten seconds for a connection to be there.
SETTINGS = """
[defaults]
host_key_checking = true
forks = {forks}
interpreter_python = {python}
local_tmp = {folder}/local
[ssh_connection]
pipelining = {pipelining}
transfer_method = {transfer}
ssh_common_args = -F {config}
control_path_dir = {folder}/cp
"""


def ansible_missing() -> str:
    """Why no playbook can run here, or ""."""
    return "" if PLAYBOOK.exists() else "ansible-core is not installed (the extra `test`)"


@dataclass(frozen=True)
class Controller:
    """Runs playbooks on `hosts`, which the ssh_config `config` knows. `folder` is short, for the sockets in it."""

    folder: Path
    config: Path
    hosts: Sequence[str]
    environment: Mapping[str, str]
    forks: int = 5
    pipelining: bool = False
    transfer: str = "smart"

    def play(self, playbook: Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """One run to its end, with what it printed."""
        command = [str(PLAYBOOK), "-i", str(self.folder / "hosts"), str(playbook)]
        told = {"ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"), "ANSIBLE_HOME": str(self.folder / "home")}
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL,
            env={**self.environment, **told, "LC_ALL": "C.UTF-8"}, cwd=playbook.parent,
        )  # fmt: skip

    def end_masters(self) -> None:
        """The shared connections would persist."""
        for socket in (self.folder / "cp").iterdir():
            stop = ["ssh", "-F", str(self.config), "-o", f"ControlPath={socket}", "-O", "exit", "any"]
            subprocess.run(stop, capture_output=True, timeout=30, env=dict(self.environment))


@contextmanager
def controlling(below: Path, config: Path, hosts: Sequence[str], environment: Mapping[str, str], *,
                forks: int = 5, pipelining: bool = False, transfer: str = "smart") -> Iterator[Controller]:  # fmt: skip
    """A controller in a folder of its own below `below`; its connections are ended afterwards."""
    folder = below / f"a{os.urandom(2).hex()}"
    folder.mkdir()
    made = Controller(folder, config, hosts, environment, forks, pipelining, transfer)
    (folder / "ansible.cfg").write_text(
        SETTINGS.format(python=sys.executable, folder=folder, config=config, forks=forks, pipelining=pipelining,
                        transfer=transfer)
    )  # fmt: skip
    (folder / "hosts").write_text("\n".join(hosts) + "\n")
    try:
        yield made
    finally:
        made.end_masters()
