"""`bastion backup`: a whole gateway (configuration, keys, state) sealed with age, and one made from it (L4)."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pyrage

from bastion import __version__
from bastion.age import Recipient, keys_of
from bastion.ca import backup as sealed_files
from bastion.ca.files import create_file
from bastion.ca.identities import identities_in
from bastion.ca.keys import read_text_lines
from bastion.ca.ledger import read_ledger
from bastion.cli.key_list import whoever_runs_this, with_all
from bastion.cli.output import fail, printable
from bastion.cli.runtime import config_option, load_or_fail
from bastion.cli.stores import open_state
from bastion.clock import SystemClock
from bastion.config.authorities import day
from bastion.config.key_slots import ledger_path
from bastion.config.outputs import Recording, State, read_section
from bastion.config.whole_backup import gateway_members, placed
from bastion.errors import ConfigError
from bastion.state.database import FILE_NAME, Database, Place, StateDown, password_of
from bastion.state.snapshot import check_free, look, put, take

GATEWAY = "gateway.age"
STATE = "state.age"
ABOUT = "backup.json"
MODE = 0o600
EXIT_CODES = (
    "Exit codes: 0 done; 1 the backup does not open or is not whole; 2 the call or a file is wrong, or something is in "
    "the way; 3 the state store cannot be used."
)

_identity = click.option(
    "--identity",
    "-i",
    "identity",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="A recipient's age key file or OpenSSH private key, closed to others (chmod 600).",
)
_folder = click.argument("folder", type=click.Path(path_type=Path))


@click.group()
def backup() -> None:
    """Back up configuration, keys and state of a gateway, check a backup, restore one.

    Not in it: recordings and the audit log (copy their folders), and passwords and passphrases in files of their own.
    """


@dataclass(frozen=True, slots=True)
class _Opened:
    """A backup that was opened: its files, what it says of itself, and the copy of the state in a folder of its own."""

    made: float
    by: str
    members: dict[str, sealed_files.Member]
    config: str
    rows: dict[str, int]
    revision: int
    state: Path


@backup.command(epilog=EXIT_CODES)
@config_option
@click.option("--recipient", "-r", "named", multiple=True, metavar="AGE1...",
              help="Whom it is sealed for: an age or OpenSSH public key. May be given more than once.")  # fmt: skip
@click.option("--recipients-file", "-R", "listed", type=click.Path(path_type=Path, exists=True),
              help="A file with one recipient per line.")  # fmt: skip
@_folder
def create(config_file: Path, named: tuple[str, ...], listed: Path | None, folder: Path) -> None:
    """Write a backup into FOLDER, a new folder: gateway.age and state.age, sealed for the recipients.

    The gateway may run. The state is copied as it is at one moment.

    Example: bastion backup create -c /etc/bastion/bastion.toml -r age1... /backup/2026-11-23
    """
    config = load_or_fail(config_file)
    now, by = SystemClock().time(), whoever_runs_this()
    try:
        recipients = sealed_files.recipients_for(
            [*named, *(read_text_lines(listed) if listed is not None else [])]
        )
        ledger = with_all(config, read_ledger(ledger_path(config)), now, by)
        name, members = gateway_members(config, ledger)
        with _fresh(folder) as place, open_state(config_file) as stored, _scratch(place) as scratch:
            copy = take(stored.database, scratch)
            revision, rows = look(scratch)
            about = {"config": name, "version": __version__, "revision": revision, "rows": rows}
            members[ABOUT] = sealed_files.Member(json.dumps(about).encode(), MODE)
            create_file(place / GATEWAY, sealed_files.seal(members, recipients, now, by), MODE)
            _seal_file(copy, place / STATE, recipients)
    except ConfigError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or folder}: {error.strerror}")
    keys = sum(1 for member in members.values() if member.fingerprint)
    click.echo(
        f"{printable(str(folder))}: {len(members) - 1} files, {keys} private keys among them, and "
        f"{sum(rows.values())} rows of state, sealed for {len(recipients)}"
    )


@backup.command(epilog=EXIT_CODES)
@_identity
@_folder
def verify(identity: Path, folder: Path) -> None:
    """Prove that the backup in FOLDER opens and is whole: every file, every key, the state and its rows.

    Example: bastion backup verify -i age.key /backup/2026-11-23
    """
    with _opened(folder, identity, exit_code=1) as found:
        keys = sum(1 for member in found.members.values() if member.fingerprint)
        click.echo(
            f"{printable(str(folder))}: whole; says it was made on {day(found.made)} by {printable(found.by)}\n"
            f"  {len(found.members)} files, {keys} private keys among them\n"
            f"  state of schema {found.revision}: "
            + ", ".join(f"{count} {name}" for name, count in sorted(found.rows.items()))
        )


@backup.command(epilog=EXIT_CODES)
@_identity
@click.option("--into", type=click.Path(path_type=Path), required=True,
              help="The folder for the configuration, /etc/bastion for example.")  # fmt: skip
@click.option(
    "--outside", is_flag=True, help="Restore files that were outside of that folder to their own places."
)
@_folder
def restore(identity: Path, into: Path, outside: bool, folder: Path) -> None:
    """Make a gateway from the backup in FOLDER: configuration and keys into a folder, state where that says.

    Nothing is overwritten: when a file or a state store is in the way nothing at all is written. Files that are there
    with the same bytes are none. With PostgreSQL the schema must be there (`bastion state migrate`) and empty.

    Example: bastion backup restore -i age.key --into /etc/bastion /backup/2026-11-23
    """
    with _opened(folder, identity, exit_code=1) as found:
        try:
            paths = placed(found.members, into, outside, str(folder))
            into.mkdir(parents=True, exist_ok=True)
            with _database(found, into) as database:
                check_free(database)
                for path in paths:
                    path.parent.mkdir(parents=True, exist_ok=True)
                written = sealed_files.place(paths)
                put(found.state, database)
                where = str(database.place)
        except ConfigError as error:
            fail(str(error))
        except StateDown as error:
            fail(error.text, 2)
        except OSError as error:
            fail(f"{error.filename or into}: {error.strerror}")
    for path, member in paths.items():
        what = "written" if path in written else "there already"
        click.echo(f"  {what}: {printable(str(path))} {member.fingerprint}".rstrip())
    click.echo(f"  written: {sum(found.rows.values())} rows of state into {printable(where)}")


@contextmanager
def _database(found: _Opened, into: Path) -> Iterator[Database]:
    """The store that the configuration in the backup names, seen from its new folder. Raises ConfigError."""
    beside = into / f".restore-{secrets.token_hex(6)}.toml"
    create_file(beside, found.members[found.config].data, MODE)
    try:
        state, recordings = read_section(beside, State), read_section(beside, Recording).directory
    finally:
        beside.unlink()
    place = Place.chosen(recordings, state.directory, state.url, state.password_file)
    database = Database(place, password_of(place))
    try:
        yield database
    finally:
        database.close()


@contextmanager
def _opened(folder: Path, identity: Path, exit_code: int) -> Iterator[_Opened]:
    """The backup in a folder, opened and compared; the command ends when it is not whole."""
    try:
        identities = identities_in(identity)
    except ConfigError as error:
        fail(str(error))
    with tempfile.TemporaryDirectory(prefix="bastion-backup-") as scratch:
        try:
            yield _open(folder, identities, Path(scratch))
        except ConfigError as error:
            fail(str(error), exit_code)
        except StateDown as error:
            fail(f"{folder / STATE}: {error.text}", exit_code)
        except OSError as error:
            fail(f"{error.filename or folder}: {error.strerror}", exit_code)


def _open(folder: Path, identities: list[Any], scratch: Path) -> _Opened:
    sealed = sealed_files.unseal(
        sealed_files.member_of(folder / GATEWAY).data, identities, str(folder / GATEWAY)
    )
    members = dict(sealed.members)
    about = members.pop(ABOUT, None)
    try:
        said = json.loads(about.data) if about is not None else {}
        config, rows = str(said["config"]), {str(name): int(count) for name, count in said["rows"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError(str(folder / GATEWAY), 0, "", "is no backup of a whole gateway") from None
    if config not in members:
        raise ConfigError(str(folder / GATEWAY), 0, "", "has no configuration in it")
    _open_file(folder / STATE, scratch / FILE_NAME, identities)
    revision, found = look(scratch)
    if found != rows:
        raise ConfigError(
            str(folder / STATE), 0, "", "is not of the same moment: it holds other numbers of rows"
        )
    return _Opened(sealed.made, sealed.by, members, config, rows, revision, scratch)


def _seal_file(source: Path, target: Path, recipients: list[Recipient]) -> None:
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
    with open(source, "rb") as clear, open(fd, "wb") as made:
        pyrage.encrypt_io(clear, made, keys_of(recipients))
        made.flush()
        os.fsync(fd)


def _open_file(source: Path, target: Path, identities: list[Any]) -> None:
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
    with open(source, "rb") as sealed, open(fd, "wb") as made:
        try:
            pyrage.decrypt_io(sealed, made, list(identities))
        except (pyrage.DecryptError, OSError) as error:
            problem = f"cannot be opened: {error}"
            raise ConfigError(str(source), 0, "", problem, "the identity of a recipient") from None


@contextmanager
def _fresh(folder: Path) -> Iterator[Path]:
    """A folder that was not there; gone again when making it fails."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        raise ConfigError(str(folder), 0, "", "is there already: nothing was written") from None
    try:
        yield folder
    except BaseException:
        for name in (GATEWAY, STATE):
            (folder / name).unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()
        raise


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder for what is not sealed yet, closed to others."""
    with tempfile.TemporaryDirectory(prefix=".unsealed-", dir=folder) as name:
        yield Path(name)
