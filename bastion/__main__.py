"""`python -m bastion` and the `bastion` console script."""

from __future__ import annotations

from typing import Any

from bastion.cli.main import cli


def _run_in_reactor(main: Any) -> Any:
    """The reactor for commands that need it, imported when one does."""
    from bastion.reactor import run_in_reactor

    return run_in_reactor(main)


def main() -> None:
    """Run the command line; the exit codes are listed in `bastion.cli.main`."""
    cli(prog_name="bastion", obj=_run_in_reactor)


if __name__ == "__main__":
    main()
