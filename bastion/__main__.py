"""`python -m bastion` and the `bastion` console script."""

from __future__ import annotations

from bastion.cli.main import cli


def main() -> None:
    """Run the command line; the exit codes are listed in `bastion.cli.main`."""
    cli(prog_name="bastion")


if __name__ == "__main__":
    main()
