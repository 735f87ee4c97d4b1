"""`python -m bastion` and the `bastion` console script."""

from __future__ import annotations

from typing import Any

from bastion.cli.main import cli


class _Runtime:
    """The reactor for commands that need it, imported when one does."""

    def run(self, main: Any) -> Any:
        from bastion.app import ReactorRuntime

        return ReactorRuntime().run(main)


def main() -> None:
    """Run the command line; the exit codes are listed in `bastion.cli.main`."""
    cli(prog_name="bastion", obj=_Runtime())


if __name__ == "__main__":
    main()
