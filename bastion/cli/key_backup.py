"""`bastion keys export-backup` and `import-backup` (L4)."""

from __future__ import annotations

from pathlib import Path

import click

from bastion.ca import backup
from bastion.ca.files import create_file, unwritable
from bastion.ca.identities import identities_in
from bastion.ca.keys import read_text_lines
from bastion.ca.ledger import read_ledger
from bastion.cli.auditing import audited
from bastion.cli.key_list import whoever_runs_this, with_all
from bastion.cli.output import fail, printable
from bastion.cli.runtime import config_option, load_or_fail
from bastion.clock import SystemClock
from bastion.config.authorities import day
from bastion.config.key_backup import key_files, key_members, ledger_among, own_keys
from bastion.config.key_slots import ledger_path
from bastion.config.load import Config
from bastion.errors import ConfigError
from bastion.observe.events.keys import KeysImported

SEALED_MODE = 0o600


@click.command("export-backup")
@config_option
@click.option("--recipient", "-r", "named", multiple=True, metavar="AGE1...",
              help="Whom it is sealed for: an age or OpenSSH public key. May be given more than once.")  # fmt: skip
@click.option("--recipients-file", "-R", "listed", type=click.Path(path_type=Path, exists=True),
              help="A file with one recipient per line.")  # fmt: skip
@click.argument("file", type=click.Path(path_type=Path))
def export_backup(config_file: Path, named: tuple[str, ...], listed: Path | None, file: Path) -> None:
    """Write all keys of the gateway and their ledger into FILE, sealed with age.

    Nothing is written unsealed, and a FILE that is there is not overwritten. Passphrases of encrypted keys
    (passphrase_file) and keys behind an agent are not in it: keep them apart. `age --decrypt` opens it too.

    \b
    Exit codes: 0 done, 2 the call or a file is wrong.

    Example: bastion keys export-backup -c /etc/bastion/bastion.toml -r age1... keys.age
    """
    config = load_or_fail(config_file)
    now, by = SystemClock().time(), whoever_runs_this()
    try:
        lines = read_text_lines(listed) if listed is not None else []
        recipients = backup.recipients_for([*named, *lines])
        ledger = with_all(config, read_ledger(ledger_path(config)), now, by)
        members = key_members(config, ledger)
        sealed = backup.seal(members, recipients, now, by)
        _write(file, sealed)
    except ConfigError as error:
        fail(str(error), 2)
    found = sum(1 for member in members.values() if member.fingerprint)
    whom = f"{len(recipients)} recipient" + "s" * (len(recipients) != 1)
    click.echo(f"{printable(str(file))}: {found} private keys and the ledger, sealed for {whom}")


def _write(file: Path, sealed: bytes) -> None:
    try:
        create_file(file, sealed, SEALED_MODE)
    except FileExistsError:
        raise ConfigError(str(file), 0, "", "is there already: nothing was written") from None
    except OSError as error:
        raise unwritable(file, error) from None


@click.command("import-backup")
@config_option
@click.option("--identity", "-i", "identity", type=click.Path(path_type=Path, exists=True), required=True,
              help="The recipient's age key file or OpenSSH private key, closed to others (chmod 600).")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Open and compare everything, write nothing.")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def import_backup(config_file: Path, identity: Path, dry_run: bool, file: Path) -> None:
    """Put the keys in FILE where the configuration names them, with their ledger.

    No file is overwritten: when one is in the way, nothing at all is written. Every key is compared with the ledger
    in the backup and with one that is here already: a key that was retired does not come back.

    \b
    Exit codes: 0 done, 2 the call or a file is wrong, 3 the audit log cannot be written: nothing is changed.

    Example: bastion keys import-backup -c /etc/bastion/bastion.toml -i age.key keys.age
    """
    config = load_or_fail(config_file)
    try:
        sealed = backup.member_of(file).data
        opened = backup.unseal(sealed, identities_in(identity), str(file))
        paths = _allowed(config, opened.members, file)
        written = [] if dry_run else _placed(config, opened, paths)
    except ConfigError as error:
        fail(str(error), 2)
    click.echo(f"{printable(str(file))}: says it was made on {day(opened.made)} by {printable(opened.by)}")
    for path, member in paths.items():
        what = "written" if path in written else "not written" if dry_run else "there already"
        click.echo(f"  {what}: {printable(str(path))} {member.fingerprint}".rstrip())


def _placed(config: Config, opened: backup.Sealed, paths: dict[Path, backup.Member]) -> list[Path]:
    """The files that were written, after the line in the audit log. Raises ConfigError."""
    with audited(config.audit.file) as audit:
        shown = tuple(member.fingerprint for member in paths.values() if member.fingerprint)
        audit.emit(KeysImported(by=whoever_runs_this(), keys=shown, made_by=opened.by, made_at=opened.made))
        return backup.place(paths)


def _allowed(config: Config, members: dict[str, backup.Member], file: Path) -> dict[Path, backup.Member]:
    """Where each file goes, when nothing speaks against any of them. Raises ConfigError."""
    where = key_files(config)
    for name in members:
        if name not in where:
            problem = f"holds {name}, which this configuration names nowhere"
            raise ConfigError(str(file), 0, "", problem, "the configuration that it was made with")
    sealed = ledger_among(config, members, str(file))
    for name in backup.unknown_in(own_keys(config, members), sealed):
        raise ConfigError(str(file), 0, "", f"{name} is a key that its ledger does not know")
    for ledger in (sealed, read_ledger(ledger_path(config))):
        for name in backup.retired_in(members, ledger):
            raise ConfigError(str(file), 0, "", f"{name} was retired: it must not come back")
    return {where[name]: member for name, member in members.items()}
