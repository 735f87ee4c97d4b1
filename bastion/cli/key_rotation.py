"""`bastion keys rotate` and `retire`: one key takes another's place, and who must know of it (L4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from bastion.ca import rotation
from bastion.ca.agent import AgentSigner
from bastion.ca.keys import generate_like, load_public_keys
from bastion.ca.ledger import Entry, KeyName
from bastion.ca.rotation import Change, Desk
from bastion.ca.slots import Slot, load_key
from bastion.cli.auditing import audited
from bastion.cli.client_config import facts_for_clients
from bastion.cli.key_list import whoever_runs_this
from bastion.cli.output import fail, printable, write_json
from bastion.cli.runtime import config_option, load_or_fail
from bastion.cli.target_config import facts_for_targets
from bastion.clock import SystemClock
from bastion.config.authorities import day, title
from bastion.config.key_slots import ledger_path, login_slots, signing_slots
from bastion.config.load import Config
from bastion.errors import AgentFailed, ConfigError
from bastion.observe.events.keys import KeyChanged
from bastion.options.kinds import seconds_of
from bastion.setup_texts.client import known_hosts
from bastion.setup_texts.sshfp import sshfp
from bastion.setup_texts.target import target_config
from bastion.wire.keys import PublicKey

OVERLAP: Final = "14d"
"""Two weeks: who was on holiday has logged in since."""

RELOAD: Final = "reload the gateway (SIGHUP, systemctl reload bastion)"

MUST_LEARN: Final = {
    KeyName.HOST_KEYS: (
        "clients with UpdateHostKeys (OpenSSH's default) learn the new key at their next login; others need the"
        " lines of `bastion client-config`, DNS those of `bastion client-config --for sshfp`",
    ),
    KeyName.UPSTREAM_CA: (
        "every target needs both lines of `bastion target-config` in its file of TrustedUserCAKeys",
    ),
    KeyName.FRONT_HOST_CA: (
        "every engineer needs both @cert-authority lines: `ssh bastion setup openssh`, or `bastion client-config`",
    ),
    KeyName.LOGIN_CA: ("from now on certificates are to be signed with the new key",),
    KeyName.ISSUE: ("nobody has to learn it; every gateway with this CA needs the new key before it signs",),
    KeyName.RECORDING: (
        "whoever verifies recordings elsewhere needs the new public half beside the old one: `bastion keys list`",
    ),
}
MAY_FORGET: Final = {
    KeyName.HOST_KEYS: "the old key's lines in known_hosts and its SSHFP records may go: `bastion client-config`",
    KeyName.UPSTREAM_CA: "take the old line out of every target: `bastion target-config` prints what stays",
    KeyName.FRONT_HOST_CA: "the old @cert-authority lines must go: `bastion client-config` prints what stays",
    KeyName.LOGIN_CA: "certificates by the old key are refused",
    KeyName.ISSUE: "certificates by the old key are refused: their owners log in and get new ones",
    KeyName.RECORDING: "keep its public half: old recordings are verified with it",
}


@click.command()
@config_option
@click.option("--overlap", default=OVERLAP, show_default=True, metavar="TIME",
              help="How long both are trusted before the new key signs; 0 for a key that was stolen.")  # fmt: skip
@click.option("--switch", is_flag=True, help="The new key, begun before, signs from now on.")
@click.option(
    "--withdraw", is_flag=True, help="Give the rotation up: the new key is retired before it signed."
)
@click.option("--public", type=click.Path(path_type=Path, exists=True),
              help="login_ca, and keys in an agent: the file with the new one's public half.")  # fmt: skip
@click.option(
    "--old", default="", metavar="SHA256:...", help="login_ca: which key goes, when there are several."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.argument("name")
def rotate(
    config_file: Path,
    overlap: str,
    switch: bool,
    withdraw: bool,
    public: Path | None,
    old: str,
    as_json: bool,
    name: str,
) -> None:
    """Let a new key take the place of NAME: host_ed25519, host_rsa, host_ecdsa, upstream_ca, front_host_ca, login_ca,
    recording, issue.

    The new key is made (of the same type) and trusted at once; the old one signs until the overlap ends, and then
    every gateway process with these files changes over in the same second. The last step is `bastion keys retire`.
    Run again after an interruption, it goes on where it was; a rotation that has begun is not begun again.

    \b
    Exit codes: 0 done, 2 the call or a file is wrong, 3 the audit log cannot be written: nothing is changed.

    \b
    Examples:
      bastion keys rotate -c /etc/bastion/bastion.toml upstream_ca --overlap 7d
      bastion keys rotate -c /etc/bastion/bastion.toml login_ca --public new_ca.pub
    """
    config = load_or_fail(config_file)
    seconds = seconds_of(int(overlap) if overlap.isdecimal() else overlap)
    if seconds is None or (switch and withdraw):
        fail("--overlap is a time such as 14d, and --switch and --withdraw exclude each other")
    with _desk(config) as desk:
        slot = _slot(config, name)
        if slot.name is KeyName.LOGIN_CA:
            entry = _begin_login(config, desk, public, old, desk.now + seconds)
        elif withdraw:
            entry = rotation.withdraw(slot, desk)
        elif switch:
            entry = rotation.switch(slot, desk)
        else:
            entry = rotation.begin(slot, desk, desk.now + seconds, _maker(slot, public))
    _tell(entry, _after(entry, desk.now), _to_paste(config, entry), as_json)


def _maker(slot: Slot, public: Path | None) -> rotation.Make:
    """How the new key is come by. Raises ConfigError when it has to be made elsewhere."""
    if slot.agent is None:
        if public is not None:
            raise ConfigError(str(public), 0, "", "the new key of this one is made here", "no --public")
        return generate_like
    if public is None:
        raise ConfigError(str(slot.agent), 0, "", "the new key is made in the agent", "--public NEW.pub")
    new = _only_key(public)
    try:
        AgentSigner(slot.agent, new, str(slot.name)).look()
    except AgentFailed as failed:
        raise ConfigError(str(public), 0, "", failed.text) from None
    return lambda old: new


def _only_key(file: Path) -> PublicKey:
    found = load_public_keys(file)
    if len(found) != 1:
        raise ConfigError(str(file), 0, "", f"holds {len(found)} keys", "the one new key")
    return found[0]


def _begin_login(config: Config, desk: Desk, public: Path | None, old: str, until: float) -> Entry:
    if public is None:
        raise ConfigError("login_ca", 0, "", "only its public half is here", "--public NEW_CA.pub")
    new = _only_key(public)
    slot, going = _login_key(config, old, new)
    return rotation.begin_login(slot, desk, going, new, until)


def _login_key(config: Config, old: str, but: PublicKey | None = None) -> tuple[Slot, PublicKey]:
    """The login CA with that fingerprint, or the only one beside `but`. Raises ConfigError."""
    found = [(slot, key) for slot in login_slots(config) for key in load_public_keys(slot.path)]
    fits = [(slot, key) for slot, key in found if key != but and old in ("", key.fingerprint())]
    if len(fits) == 1:
        return fits[0]
    listed = ", ".join(key.fingerprint() for _, key in found) or "none"
    raise ConfigError("login_ca", 0, "", f"which one goes? There are {listed}", "--old SHA256:...")


def _after(entry: Entry, now: float) -> list[str]:
    """What is to be done next, in the order in which it is."""
    name = title(entry.name, entry.public.type)
    if entry.retired is not None:
        return [RELOAD]
    if entry.name is KeyName.LOGIN_CA:
        return [
            RELOAD,
            *MUST_LEARN[entry.name],
            "`bastion keys retire login_ca --old SHA256:...` ends the old one",
        ]
    if entry.active_from <= now:
        return [RELOAD, f"`bastion keys retire {name}`, once nothing goes wrong"]
    return [
        RELOAD,
        *MUST_LEARN[entry.name],
        f"the new key signs from {day(entry.active_from)} on, by itself; --switch makes it sign at once",
        f"then `bastion keys retire {name}`",
    ]


@click.command()
@config_option
@click.option(
    "--old", default="", metavar="SHA256:...", help="login_ca: which key goes, when there are several."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.argument("name")
def retire(config_file: Path, old: str, as_json: bool, name: str) -> None:
    """End the rotation of NAME: the old key is deleted here, and never taken again.

    Its public half stays in the ledger with its dates. It is refused while the new key does not sign yet.

    \b
    Exit codes: 0 done, 2 the call or a file is wrong, 3 the audit log cannot be written: nothing is changed.

    Example: bastion keys retire -c /etc/bastion/bastion.toml upstream_ca
    """
    config = load_or_fail(config_file)
    with _desk(config) as desk:
        slot = _slot(config, name)
        if slot.name is KeyName.LOGIN_CA:
            slot, key = _login_going(config, old, desk)
            entry = rotation.retire_login(slot, desk, key)
        else:
            entry = rotation.retire(slot, desk)
    _tell(entry, [RELOAD, MAY_FORGET[entry.name]], _to_paste(config, entry), as_json)


def _login_going(config: Config, old: str, desk: Desk) -> tuple[Slot, PublicKey]:
    """The login CA that goes: the one that is named, or that the ledger says is outgoing."""
    if not old:
        with desk.open() as ledger:
            going = [one for one in ledger.kept(KeyName.LOGIN_CA) if one.retire_after is not None]
        if len(going) == 1:
            old = going[0].public.fingerprint()
            slots = login_slots(config)
            if all(going[0].public not in load_public_keys(slot.path) for slot in slots):
                return slots[0], going[
                    0
                ].public  # somebody was interrupted: the line is gone, the ledger not written
    return _login_key(config, old)


def _slot(config: Config, name: str) -> Slot:
    """What `bastion keys list` calls so. Raises ConfigError."""
    slots: Sequence[Slot] = (*signing_slots(config), *login_slots(config))
    names: dict[str, Slot] = {}
    for slot in slots:
        kind = load_key(slot, slot.path).public.type if slot.name is KeyName.HOST_KEYS else ""
        names.setdefault(title(slot.name, kind), slot)
    if name not in names:
        raise ConfigError(str(config.file), 0, "", f"no key is called {printable(name)}", ", ".join(names))
    return names[name]


@contextmanager
def _desk(config: Config) -> Iterator[Desk]:
    """A desk whose changes stand in the audit log before they are in force. Ends the command when one cannot be."""
    # Whole seconds, as they are written: what is compared with them later was read from the file.
    now, by = float(int(SystemClock().time())), whoever_runs_this()
    with audited(config.audit.file) as audit:

        def tell(change: Change) -> None:
            event = KeyChanged(
                step=change.step,
                key=title(change.name, change.old.type),
                by=by,
                old=change.old.fingerprint(),
                new="" if change.new is None else change.new.fingerprint(),
                overlap_until=change.until,
            )
            audit.emit(event)

        try:
            yield Desk(ledger_path(config), now, by, tell)
        except ConfigError as error:
            fail(str(error), 2)


def _to_paste(config: Config, entry: Entry) -> str:
    """What targets or clients need from now on, as text; empty when there is nothing, or nobody knows what is typed."""
    try:
        if entry.name is KeyName.UPSTREAM_CA:
            return target_config(facts_for_targets(config))
        if entry.name in (KeyName.LOGIN_CA, KeyName.RECORDING, KeyName.ISSUE):
            return ""
        facts = facts_for_clients(config)
    except ConfigError as error:
        return f"# {printable(str(error))}\n"
    records = sshfp(facts) if entry.name is KeyName.HOST_KEYS else ""
    return "\n".join(["# known_hosts", *known_hosts(facts), ""]) + (f"# DNS\n{records}" if records else "")


def _tell(entry: Entry, steps: list[str], paste: str, as_json: bool) -> None:
    if as_json:
        answer: dict[str, Any] = {
            "key": title(entry.name, entry.public.type),
            "fingerprint": entry.public.fingerprint(),
            "public": entry.public.line(),
            "active_from": entry.active_from,
            "retired": entry.retired,
            "next": steps,
            "paste": paste,
        }
        write_json(answer)
        return
    state = "retired" if entry.retired is not None else f"signs from {day(entry.active_from)} on"
    if entry.name is KeyName.LOGIN_CA and entry.retired is None:
        state = "trusted"
    click.echo(f"{title(entry.name, entry.public.type)}: {entry.public.fingerprint()} {state}")
    click.echo("Now:")
    for number, step in enumerate(steps, 1):
        click.echo(f"  {number}. {step}")
    if paste:
        click.echo(f"\n{paste}", nl=False)
