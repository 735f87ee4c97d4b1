"""A world whose gateway is started from a path that leads to one version or another, as /opt/bastion/current does."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.support.jump import JumpWorld
from tests.support.world import World, poll

SCRIPT = """#!{python}
import sys
import bastion
bastion.__version__ = "{version}"
{more}
from bastion.__main__ import main
main()
"""


class Versions(JumpWorld):
    """`install` puts a version beside the others, `switch` leads the path to it, `upgrade` hands over to it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for version in ("1.0", "2.0"):
            self.install(version)
        self.switch("1.0")
        self.program = (str(self.folder / "current" / "bastion"),)
        self.started: list[int] = []  # every process that was the gateway, in order

    def install(self, version: str, more: str = "") -> None:
        """A version of the gateway, which runs the lines `more` first."""
        folder = self.folder / version
        folder.mkdir(exist_ok=True)
        script = folder / "bastion"
        script.write_text(SCRIPT.format(python=sys.executable, version=version, more=more))
        script.chmod(0o755)

    def switch(self, version: str) -> None:
        new = self.folder / "current.new"
        new.symlink_to(version)
        new.replace(self.folder / "current")

    def start(self, *command: str, **options: Any) -> World:
        super().start(*command, **options)
        self.started = [self.pid]
        return self

    @property
    def main(self) -> int:
        """The process that is the gateway now."""
        return self.started[-1]

    def tell(self, number: signal.Signals) -> None:
        os.kill(self.main, number)

    def upgrade(self, version: str, number: signal.Signals = signal.SIGUSR2) -> int:
        """Lead the path to `version` and hand over to it; the pid of its process."""
        self.switch(version)
        before = len(self.audit("handed_over"))
        self.tell(number)
        line = self.outcome("handed_over", before)
        assert line["version"] == version
        self.started.append(line["pid"])
        poll(
            lambda: f'"{version}"' in str(list(self.metrics())),
            timeout=20,
            text="the new version shows no metrics",
        )
        return int(line["pid"])

    def outcome(self, event: str, after: int = 0) -> dict[str, Any]:
        """The audit line of a handover. A new gateway has 30 s until it is ready."""
        found: list[dict[str, Any]] = poll(lambda: self.audit(event)[after:], 45, f"no {event}")
        return found[-1]

    def gone(self, pid: int) -> bool:
        """Has a process ended? Those whose parent is this one are still to be waited for."""
        if self._process is not None and pid == self._process.pid:
            return self._process.poll() is not None
        return not Path(f"/proc/{pid}").exists()

    def wait_gone(self, pid: int, timeout: float = 20.0) -> None:
        poll(lambda: self.gone(pid), timeout, f"process {pid} is still there")

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End all of them."""
        for pid in self.started[1:]:
            if not self.gone(pid):
                os.kill(pid, number)
        others, self.started = self.started[1:], []
        super().kill(number)
        for pid in others:
            self.wait_gone(pid)
