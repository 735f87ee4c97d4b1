"""`bastion serve` (L5): in this process, or by a supervisor and several workers.

How many processes there are to be is read first, and only what this one needs is loaded: a supervisor has nothing of
SSH in it.
"""

from __future__ import annotations

from pathlib import Path

import click

from bastion.cli.runtime import config_option
from bastion.config.start import read_sections, workers_of
from bastion.handover.program import leave_parent
from bastion.handover.taking import predecessor_of
from bastion.loading import loading


@click.command(short_help="run the gateway")
@config_option
@click.option("--trace-messages", is_flag=True, help="As [log] trace = true, whatever the file says.")
@click.option(
    "--successor", hidden=True, help="Where a successor finds what the process before it hands over."
)
@click.option("--worker", hidden=True, help="Where a worker finds what its supervisor has given it.")
def serve(config_file: Path, trace_messages: bool, successor: str | None, worker: str | None) -> None:
    """Run the gateway in the foreground.

    Prints one JSON line when it is ready; the operator's log goes to standard error. SIGHUP reloads the
    configuration. SIGTERM lets sessions finish, see [limits] drain_timeout; a second one, or SIGINT, ends it at once.

    Example: bastion serve --config /etc/bastion/bastion.toml
    """
    if worker is not None:
        with loading():
            from bastion.supervisor.memory import Inherited
            from bastion.supervisor.worker import run_worker

        run_worker(config_file, trace_messages, Inherited.read(worker))
        return
    if successor is not None:
        leave_parent()
    sections = read_sections(config_file)
    if sections is None or workers_of(sections) == 1:
        with loading():
            from bastion.running import run

        run(config_file, trace_messages, predecessor_of(successor))
        return
    with loading():
        from bastion.supervisor.running import run_supervisor

    run_supervisor(config_file, trace_messages, sections, workers_of(sections), predecessor_of(successor))
