"""`bastion policy versions` and `show`, and what `why --at` judges by: policies that were in force (L4)."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import click

from bastion.cli.output import fail, printable, time_text, write_json, write_table
from bastion.cli.runtime import config_option
from bastion.cli.stores import open_state
from bastion.config.versions import BadVersion, KeptPolicy, PolicyVersion, judge_by, unpack
from bastion.errors import ConfigError
from bastion.policy.rules import Policy
from bastion.policy.targets import Inventory
from bastion.state.database import Database
from bastion.state.versions import PolicyLoad, digests_beginning, in_force_at, loads, packed_text

SHOWN: Final = 12
"""Characters of a digest in a table; `show` takes as many as make it the only one."""

_DIGEST: Final = re.compile(r"[0-9a-f]{4,64}")
_HEADINGS: Final = ("IN FORCE FROM", "NODE", "BY", "POLICY", "CONFIGURATION", "BASTION")


@dataclass(frozen=True, slots=True)
class AtThatTime:
    """What judged at some moment, and since when."""

    load: PolicyLoad
    rules: Policy
    inventory: Inventory

    @property
    def sentence(self) -> str:
        one = self.load
        since = f"in force on {one.node} from {time_text(one.loaded_at)} (by {one.loaded_by})"
        return f"policy {one.digest[:SHOWN]}, {since}"


def judging_at(config: Path, moment: float) -> AtThatTime:
    """The policy that was in force on this gateway. Ends the command where none is known: 1, and with 2 or 3 where one
    cannot be read."""
    with open_state(config) as stored:
        load = in_force_at(stored.database, stored.node, moment)
        if load is None:
            kept = [one for one in loads(stored.database) if one.node == stored.node]
            first = f"the first that is known is from {time_text(kept[-1].loaded_at)}" if kept else "none is"
            fail(f"no policy of {stored.node} is kept for {time_text(moment)}: {first}", 1)
        kept_policy = _kept(stored.database, load.digest)
    try:
        return AtThatTime(load, *judge_by(kept_policy))
    except ConfigError as error:
        fail(
            f"policy {load.digest[:SHOWN]} was in force, and this version of bastion does not take it: {error}"
        )


def _kept(database: Database, digest: str) -> KeptPolicy:
    packed = packed_text(database, digest)
    if not packed:
        fail(
            f"policy {digest[:SHOWN]} was in force, and its text is not there: it was too large to be kept", 1
        )
    try:
        return unpack(PolicyVersion(digest, packed))
    except BadVersion as bad:
        fail(f"policy {digest[:SHOWN]} cannot be judged by: {bad.text}", 3)


@click.command(
    epilog="Exit codes: 0 listed; 1 there are none; 2 the call or a file is wrong; 3 no state store."
)
@config_option
@click.option("--json", "as_json", is_flag=True, help="Write one JSON document.")
def versions(config_file: Path, as_json: bool) -> None:
    """List which policies were in force, on which gateway and since when, newest first.

    A row is a start or a reload. POLICY is of policy and inventory as they were read, CONFIGURATION of bastion.toml
    with both. The newest 10,000 are listed.

    Example: bastion policy versions --config /etc/bastion/bastion.toml
    """
    with open_state(config_file) as stored:
        found = loads(stored.database)
    if as_json:
        write_json({"versions": [asdict(one) for one in found]})
    else:
        rows = (
            (
                time_text(one.loaded_at),
                one.node,
                one.loaded_by,
                one.digest[:SHOWN],
                one.config[:SHOWN],
                one.version,
            )
            for one in found
        )
        write_table(_HEADINGS, rows)
    raise SystemExit(0 if found else 1)


@click.command(
    epilog="Exit codes: 0 shown; 1 no such version; 2 the call or a file is wrong; 3 it cannot be read."
)
@config_option
@click.option("--json", "as_json", is_flag=True, help="Write one JSON document.")
@click.argument("digest")
def show(config_file: Path, as_json: bool, digest: str) -> None:
    """Print what a policy said that was in force: the files as they were read. DIGEST may be its beginning.

    Example: bastion policy show 3f2a9c --config /etc/bastion/bastion.toml
    """
    wanted = digest.strip().lower()
    if _DIGEST.fullmatch(wanted) is None:
        fail(f"{digest!r} is no digest: give at least 4 of its characters, 0-9 and a-f")
    with open_state(config_file) as stored:
        found = digests_beginning(stored.database, wanted)
        if len(found) != 1:
            fail(
                f"{len(found)} policies begin with {wanted}" if found else f"no policy is called {wanted}", 1
            )
        kept = _kept(stored.database, found[0])
    if as_json:
        write_json(_document(found[0], kept))
        return
    for one in (kept.policy, *kept.inventory):
        click.echo(printable(f"# {one.file}"))
        for line in one.text.splitlines():
            click.echo(printable(line, keep="\t"))


def _document(digest: str, kept: KeptPolicy) -> dict[str, Any]:
    return {"digest": digest, **asdict(kept)}
