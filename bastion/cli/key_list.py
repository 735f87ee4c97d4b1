"""`bastion keys list`, and what its sisters need too (L4)."""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bastion.ca.keys import load_public_keys
from bastion.ca.ledger import Entry, KeyName, Ledger, read_ledger
from bastion.ca.slots import load_slot
from bastion.cli.output import fail, printable, write_json, write_table
from bastion.cli.runtime import config_option, load_or_fail
from bastion.clock import SystemClock
from bastion.config.authorities import day, title
from bastion.config.key_slots import ledger_path, login_slots, signing_slots
from bastion.config.load import Config
from bastion.errors import ConfigError
from bastion.wire.keys import PublicKey

HEADINGS = ("KEY", "STATE", "FINGERPRINT", "FILE", "ACTIVE FROM", "UNTIL", "BY")


@click.command("list")
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON list.")
def list_keys(config_file: Path, as_json: bool) -> None:
    """Show every key with its fingerprint, its state and its dates; retired ones too.

    \b
    Exit codes: 0 done, 2 a file is wrong or cannot be read.

    Example: bastion keys list --config /etc/bastion/bastion.toml
    """
    config = load_or_fail(config_file)
    try:
        ledger = read_ledger(ledger_path(config))
        rows = _rows(config, ledger)
    except ConfigError as error:
        fail(str(error), 2)
    if as_json:
        write_json(rows)
        return
    write_table(
        HEADINGS,
        [_cells(row) for row in rows],
        flexible=("FILE", "BY"),
        colours={"STATE": {"retired": "red"}},
    )


def _rows(config: Config, ledger: Ledger) -> list[dict[str, Any]]:
    """One for each key in use, in the order of the configuration, then the retired ones. Raises ConfigError."""
    now = SystemClock().time()
    rows = []
    for name, public, path in keys_in_use(config, ledger):
        entry = ledger.find(public)
        state = "active, not in the ledger" if entry is None else str(entry.standing(now))
        rows.append(_row(name, public, state, str(path), entry))
    for entry in ledger.entries:
        if entry.retired is not None:
            rows.append(_row(entry.name, entry.public, "retired", "", entry))
    return rows


def keys_in_use(config: Config, ledger: Ledger) -> list[tuple[KeyName, PublicKey, Path]]:
    """Every key that this configuration uses now or will, and the file that it is in. Raises ConfigError."""
    found = []
    for slot in signing_slots(config):
        staged = load_slot(slot, ledger)
        found += [
            (slot.name, key, path) for key, path in zip(staged.publics, (slot.path, slot.next), strict=False)
        ]
    for slot in login_slots(config):
        found += [(slot.name, key, slot.path) for key in load_public_keys(slot.path)]
    return found


def _row(name: KeyName, public: PublicKey, state: str, path: str, entry: Entry | None) -> dict[str, Any]:
    dates = {field: None if entry is None else getattr(entry, field) for field in _DATES}
    return {
        "key": title(name, public.type),
        "type": public.type,
        "state": state,
        "fingerprint": public.fingerprint(),
        "file": path,
        **dates,
        "by": "" if entry is None else entry.by,
    }


_DATES = ("made", "active_from", "retire_after", "retired")


def _cells(row: dict[str, Any]) -> Sequence[str]:
    until = row["retired"] or row["retire_after"]
    moments = (row["active_from"], until)
    begins, ends = ("" if moment is None else day(moment) for moment in moments)
    return row["key"], row["state"], row["fingerprint"], row["file"], begins, ends, row["by"]


def whoever_runs_this() -> str:
    """The account to write into the ledger: with sudo, both."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid {uid}"
    behind = os.environ.get("SUDO_USER", "")
    return printable(f"{name} (sudo by {behind})" if behind and not uid else name)[:128]


def with_all(config: Config, ledger: Ledger, now: float, by: str) -> Ledger:
    """The ledger with every key in use in it. Raises ConfigError."""
    for name, public, path in keys_in_use(config, ledger):
        if ledger.find(public) is None:
            made = min(now, path.stat().st_mtime)
            ledger = ledger.added(Entry(name, public, made, by, made))
    return ledger
