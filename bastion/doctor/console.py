"""The review console's own user (L4): may it read what it shows, and no key?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bastion.config.key_slots import ledger_path
from bastion.doctor.files import Kind, things
from bastion.doctor.findings import Area, Finding, Level, shell
from bastion.doctor.subject import ServiceUser, Subject
from bastion.install.layout import CONSOLE_USER
from bastion.modes import is_shared
from bastion.recording.listing import SUFFIX
from bastion.state.database import FILE_NAME

DAYS: Final = 31
"""Folders of days that are looked into, the newest."""


def examine_console(subject: Subject) -> Iterator[Finding]:
    """Nothing where nobody may sign in to a console, or where there is no such user: it is the gateway's then."""
    if not any(subject.config.console.groups.values()):
        return
    try:
        user = ServiceUser.of(CONSOLE_USER)
    except KeyError:
        return
    found = [
        *_keys(subject, user),
        *_proof(subject, user),
        *_accounts(subject, user),
        *_folders(subject, user),
        *_bucket(subject, user),
    ]
    yield from found
    if not found:
        yield Finding(Area.FILES, Level.OK, user.name, "the console reads recordings and state, and no key")


def _keys(subject: Subject, user: ServiceUser) -> Iterator[Finding]:
    for thing in things(subject):
        if thing.kind is Kind.KEY and _may(user, thing.path, 4):
            text = f"can be read by {user.name}, which needs no key"
            yield Finding(Area.FILES, Level.FAIL, str(thing.path), text, shell("chmod", "600", thing.path))


def _proof(subject: Subject, user: ServiceUser) -> Iterator[Finding]:
    """What it proves recordings by."""
    private = subject.config.recording.signing_key
    half = None if private is None else private.with_name(private.name + ".pub")
    for path in (ledger_path(subject.config), half):
        if path is not None and path.exists() and not _may(user, path, 4):
            line = f"{shell('chmod', 'o+x', path.parent)} && {shell('chmod', '644', path)}"
            text = f"cannot be read by {user.name}: it proves no recording"
            yield Finding(Area.FILES, Level.WARN, str(path), text, line)


def _accounts(subject: Subject, user: ServiceUser) -> Iterator[Finding]:
    path = subject.config.directory.embedded
    if path is not None and not _may(user, path, 4):
        line = f"{shell('chgrp', user.group, path)} && {shell('chmod', '640', path)}"
        yield Finding(
            Area.FILES, Level.FAIL, str(path), f"cannot be read by {user.name}: nobody signs in", line
        )


def _folders(subject: Subject, user: ServiceUser) -> Iterator[Finding]:
    config = subject.config
    folders = [config.recording.directory]
    if config.state.url is None:
        folders.append(config.state_folder)
    for folder in folders:
        if not _may(user, folder, 5) or not is_shared(folder.stat().st_mode):
            text = f"is not shared with {user.group}: what is made in it, {user.name} cannot read"
            line = f"{shell('chgrp', user.group, folder)} && {shell('chmod', '2750', folder)}"
            yield Finding(Area.FILES, Level.FAIL, str(folder), text, line)
    store = config.state_folder / FILE_NAME
    if config.state.url is None and store.exists() and not _may(user, store, 4):
        line = f"{shell('chgrp', user.group, store)} && {shell('chmod', '640', store)}"
        yield Finding(Area.FILES, Level.FAIL, str(store), f"cannot be read by {user.name}", line)
    closed = sum(1 for path in _recordings(config.recording.directory) if not _may(user, path, 4))
    if closed:
        text = f"{closed} recordings of the last {DAYS} days were made before it was shared with {user.group}"
        where = shell(config.recording.directory)
        line = (
            f"find {where} -name '*{SUFFIX}' -exec chgrp {user.group} {{}} + -exec chmod 640 {{}} + ; "
            f"find {where} -mindepth 1 -maxdepth 1 -name '2*' -exec chgrp {user.group} {{}} + -exec chmod 2750 {{}} +"
        )
        yield Finding(Area.FILES, Level.WARN, str(config.recording.directory), text, line)


def _bucket(subject: Subject, user: ServiceUser) -> Iterator[Finding]:
    """What is in a bucket is opened with a key of the console's own; that of the gateway writes there."""
    own, store = subject.config.console, subject.config.recording.store
    secret = own.bucket_secret_file or store.secret_file
    if store.bucket is None or secret is None:
        return
    if own.bucket_secret_file is None and _may(user, secret, 4):
        text = f"can be read by {user.name}, which needs one that only reads: console.bucket_secret_file"
        yield Finding(Area.FILES, Level.WARN, str(secret), text, shell("chmod", "600", secret))
    elif not _may(user, secret, 4) and os.path.exists(secret):
        text = f"cannot be read by {user.name}: what is in the bucket is not opened in the console"
        line = f"{shell('chown', user.name, secret)} && {shell('chmod', '600', secret)}"
        if own.bucket_secret_file is None:
            text, line = f"{text}. console.bucket_secret_file is for a key of its own", ""
        yield Finding(Area.FILES, Level.WARN, str(secret), text, line)


def _recordings(folder: Path) -> Iterator[Path]:
    days = sorted(folder.glob("[0-9]*-*-*"), reverse=True)[:DAYS]
    for day in days:
        yield from day.glob(f"*{SUFFIX}")


def _may(user: ServiceUser, path: Path, want: int) -> bool:
    """And every folder on the way to it may be entered."""
    real = Path(os.path.realpath(path))
    try:
        way = all(user.may(folder.stat(), 1) for folder in real.parents)
        return way and user.may(real.stat(), want)
    except OSError:
        return False
