"""What the commands on recordings share (L4): where recordings are, and which session is meant."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from bastion.age import unseal
from bastion.ca.identities import identities_in
from bastion.cli.auditing import AuditedRecordings, tell_read
from bastion.cli.bucket import Elsewhere, in_bucket, is_url, of_url, store_of
from bastion.cli.copies import Copies
from bastion.cli.output import fail, printable, time_text
from bastion.config.console import Console
from bastion.config.outputs import Recording, read_section
from bastion.errors import ConfigError, StoreFault, StoreReason
from bastion.recording.format import SESSION_ID_LENGTH, FormatError
from bastion.recording.listing import Recordings, SessionEntry
from bastion.recording.unwrapping import DataKeys, Unwrap

EXIT_CODES = (
    "Exit codes: 0 done; 1 no such session or channel; 2 the call is wrong (an ambiguous id too); "
    "3 the recording is damaged, or not all that was asked for is in it; or the audit log "
    "cannot be written."
)
FOUND_CODES = (
    "Exit codes: 0 found; 1 nothing; 2 the call is wrong; 3 files or folders could not be read, or are damaged: "
    "they are named on standard error; or the audit log cannot be written."
)

# More candidates than this are not listed for an ambiguous id.
MOST_CANDIDATES = 10

_IDENTITIES = "bastion.identities"

F = TypeVar("F", bound=Callable[..., Any])


def recordings_options(command: F) -> F:
    """Adds `--config` and `--recordings`; the command gets `config` and `recordings`. Adds `--identity`, which
    `open_store` looks at.
    """
    command = click.option(
        "--identity",
        "-i",
        type=click.Path(path_type=Path),
        multiple=True,
        envvar="BASTION_IDENTITY",
        metavar="FILE",
        expose_value=False,
        callback=_keep_identities,
        help="An age identity that opens encrypted recordings (or BASTION_IDENTITY); may be given again.",
    )(command)
    command = click.option(
        "--recordings",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="The folder of recordings (instead of the one that --config names).",
    )(command)
    return click.option(
        "--config",
        "-c",
        type=click.Path(path_type=Path),
        envvar="BASTION_CONFIG",
        metavar="FILE",
        help="The gateway's config file (or BASTION_CONFIG).",
    )(command)


def open_store(config: Path | None, recordings: Path | None) -> Recordings:
    """The recordings that the options name. Ends the command when there is none.

    With a configuration its audit log has a line about it: now, or for a `session` that is asked for once it is found.
    """
    directory = recordings or _configured(config)
    if not directory.is_dir():
        fail(f"no folder of recordings at {directory}")
    if config is None:
        return Recordings(directory, unwrap=given_unwrap())
    if click.get_current_context().params.get("session") is None:
        tell_read(config, "")
    return AuditedRecordings(directory, config, given_unwrap())


def use_identities_of_console(config: Path | None) -> None:
    """Where no identity was given, those with which the console opens recordings, if they are this process's to read:
    they are its user's alone. May end the command."""
    meta = click.get_current_context().meta
    if config is None or meta.get(_IDENTITIES):
        return
    try:
        files = read_section(config, Console).identities
    except ConfigError as error:
        fail(str(error))
    if all(map(_is_ours_to_read, files)):
        meta[_IDENTITIES] = files


def _is_ours_to_read(file: Path) -> bool:
    return os.access(file, os.R_OK, effective_ids=True)


def given_unwrap() -> Unwrap | None:
    """Opens the keys of recordings with the identities that were given; None without any. May end the command."""
    return unwrap_by(click.get_current_context().meta.get(_IDENTITIES, ()))


def opener() -> Callable[[], Unwrap | None]:
    """What makes the same in another process."""
    return partial(unwrap_by, click.get_current_context().meta.get(_IDENTITIES, ()))


def unwrap_by(paths: Sequence[Path]) -> Unwrap | None:
    """Opens keys with the identities in these files. May end the command."""
    if not paths:
        return None
    try:
        return unwrap_with([identity for path in paths for identity in identities_in(path)])
    except ConfigError as error:
        fail(str(error))


def unwrap_with(identities: Sequence[Any]) -> Unwrap:
    """The data keys of a recording, if one of these age identities opens them."""

    def unwrap(wrapped: bytes) -> DataKeys | None:
        try:
            return DataKeys.joined(unseal(wrapped, identities))
        except (ValueError, FormatError):
            return None

    return unwrap


def _keep_identities(context: click.Context, _: click.Parameter, value: tuple[Path, ...]) -> None:
    context.meta[_IDENTITIES] = value


def _configured(config: Path | None) -> Path:
    if config is None:
        fail("where are the recordings? Give --recordings DIR or --config FILE")
    try:
        return read_section(config, Recording).directory
    except ConfigError as error:
        fail(str(error))


def tell_unreadable(path: Path, problem: str) -> None:
    """One line on standard error about a file or folder that was passed over."""
    click.echo(f"bastion: {printable(str(path))}: {printable(problem)}", err=True)


def find_session(store: Recordings, prefix: str, config: Path | None = None) -> SessionEntry:
    """The one session whose id begins with `prefix`, or that is at s3://bucket/key; ends the command when there is none
    or more than one. `config` names the bucket, out of which it is fetched."""
    if is_url(prefix):
        return _told_and_fetched(config, of_url(config, prefix))
    wanted = prefix.strip().lower()
    found = store.find(wanted, tell_unreadable)
    here = {entry.path.stem for entry in found}
    away = [] if found and len(wanted) == SESSION_ID_LENGTH else in_bucket(config, wanted)
    away = [one for one in away if one.session not in here]
    if not found and not away:
        fail(f"no session {prefix}", 1)
    if len(found) + len(away) > 1:
        _ambiguous(prefix, found, away)
    return found[0] if found else _told_and_fetched(config, away[0])


def _told_and_fetched(config: Path | None, one: Elsewhere) -> SessionEntry:
    """A copy that is there until the command ends."""
    copies = copies_of(config)
    if config is None or copies is None:
        fail(f"{one.url}: [recording.store] names no such bucket")
    tell_read(config, one.session)
    try:
        file = copies.bring(one)
    except StoreFault as fault:
        code = 3 if fault.reason is StoreReason.CHECKSUM else 2 if copies.is_another(one) else 1
        fail(printable(fault.text), code)
    entry = Recordings(file.parent).entry(file)
    assert entry is not None
    return replace(entry, url=one.url)


def copies_of(config: Path | None) -> Copies | None:
    """What reads recordings out of the bucket; None without one."""
    place = None if config is None else store_of(config)
    return None if place is None else Copies(place)


def _ambiguous(prefix: str, found: list[SessionEntry], away: list[Elsewhere]) -> NoReturn:
    lines = [
        f"  {entry.path.stem}  {time_text(entry.header.started_at)}  {who_and_where(entry)}"
        for entry in found
    ]
    lines += [f"  {one.session}  {one.url}" for one in away]
    if len(lines) > MOST_CANDIDATES:
        lines[MOST_CANDIDATES:] = [f"  and {len(lines) - MOST_CANDIDATES} more"]
    fail("\n".join([f"{prefix} means {len(found) + len(away)} sessions:", *lines]))


def who_and_where(entry: SessionEntry) -> str:
    """`alice deploy@web1`."""
    return f"{entry.header.identity} {entry.header.login}@{entry.header.target}"
