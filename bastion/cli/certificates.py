"""`bastion certificates`: those that were issued to people who had logged in (L4)."""

from __future__ import annotations

from pathlib import Path

import click

from bastion.cli.control_client import ControlClient
from bastion.cli.output import time_text, write_json, write_table
from bastion.cli.runtime import config_option
from bastion.clock import SystemClock
from bastion.control.codec import to_json
from bastion.control.orders import CertificatesAsked, IssuedCertificate, LocksAsked
from bastion.policy.locks import Lock, LockKind

HEADINGS = ("NAME", "STATE", "ISSUED", "UNTIL", "FACTORS", "SOURCE", "KEY", "SERIAL@CA")


@click.group()
def certificates() -> None:
    """Certificates issued to people who had logged in: docs/certificates.md."""


@certificates.command(
    "list", epilog="Exit 0: done; 1: you may not; 2: the call is wrong; 3: no gateway answers."
)
@config_option
@click.option("--user", default="", metavar="NAME", help="Only those of this account.")
@click.option("--all", "ended", is_flag=True, help="Those too that have ended, for 90 days.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def listing(config_file: Path, user: str, ended: bool, as_json: bool) -> None:
    """List the certificates that were issued, the newest first.

    What stands under SERIAL@CA is what `bastion lock certificate` takes; so is the key.

    Example: bastion certificates list --config /etc/bastion/bastion.toml --user alice
    """
    with ControlClient(config_file) as client:
        found = client.ask(CertificatesAsked(user, ended)).certificates
        locks = client.ask(LocksAsked()).locks
    now = SystemClock().time()
    states = [_state(one, locks, now) for one in found]
    if as_json:
        rows = [{**to_json(one), "state": state} for one, state in zip(found, states, strict=True)]
        write_json({"certificates": rows})
        return
    cells = [
        (
            one.name,
            state,
            time_text(one.issued_at),
            time_text(one.ends_at),
            ",".join(one.factors),
            one.source,
            one.key,
            one.lock,
        )
        for one, state in zip(found, states, strict=True)
    ]
    write_table(HEADINGS, cells, flexible=("KEY", "SERIAL@CA"), colours={"STATE": {"locked": "red"}})


def _state(one: IssuedCertificate, locks: tuple[Lock, ...], now: float) -> str:
    """Whether it logs anybody in now, as far as locks and time go."""
    if one.ends_at <= now:
        return "ended"
    names = {
        (LockKind.USER, one.name),
        *((LockKind.CERTIFICATE, name) for name in (one.lock, one.key, one.key_id)),
    }
    return (
        "locked" if any((lock.kind, lock.value) in names and lock.holds(now) for lock in locks) else "valid"
    )
