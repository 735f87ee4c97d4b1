"""`bastion` commands run in this process: the same command line, without a second for a process of their own.

For commands that tests look at results with. What a command does with a terminal, signals or the reactor wants a
process (`World.bastion` starts one for all that are not named here).
"""

from __future__ import annotations

import subprocess
import threading

from click.testing import CliRunner

from bastion.cli.main import cli

HERE = frozenset(
    (
        *("check", "client-config", "explain", "export", "hold", "inventory", "keys", "kill", "live", "lock"),
        *("locks", "penalties", "reload", "sessions", "state", "status", "target-config", "unlock", "verify"),
    )
)
"""They ask for no reactor, and leave nothing behind in the process."""

_one_at_a_time = threading.Lock()  # standard output is the process's


def run_here(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """What a process of this command would have ended with. Raises what it would have died of."""
    with _one_at_a_time:
        done = CliRunner().invoke(cli, arguments, prog_name="bastion")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return subprocess.CompletedProcess(
        ["bastion", *arguments], done.exit_code, done.stdout_bytes, done.stderr_bytes
    )
