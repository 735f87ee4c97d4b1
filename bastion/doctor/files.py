"""Owners and modes of everything that a configuration names (L4).

Whoever can write a deciding file decides who gets in; whoever can read a secret has it; and what the gateway's user
cannot reach does not work. Each fault comes with the one command that repairs it.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from bastion.ca.credentials import is_credential
from bastion.config.key_slots import ledger_path
from bastion.doctor.findings import Area, Finding, Level, shell
from bastion.doctor.subject import ServiceUser, Subject


class Kind(Enum):
    """What a file or folder has to be like."""

    DECIDES = "decides"  # readable by the service, writable by nobody else
    KEY = "key"  # private key: of the service, closed to group and others
    SECRET = "secret"  # readable by the service, closed to others
    WRITTEN = "written"  # folder that the service writes to, closed to others
    PASSED = "passed"  # folder that the service writes to, and that others look through


@dataclass(frozen=True, slots=True)
class Thing:
    """One path, and what it is in words."""

    path: Path
    what: str
    kind: Kind


def _held(agent: Path | None) -> Kind:
    """Of a key that is in an agent the file has the public half only."""
    return Kind.KEY if agent is None else Kind.DECIDES


def things(subject: Subject) -> list[Thing]:
    """Everything the configuration names, once."""
    config = subject.config
    found = [
        Thing(config.file, "the configuration", Kind.DECIDES),
        *(Thing(path, "the inventory", Kind.DECIDES) for path in config.inventory_paths),
        Thing(config.policy.file, "the rules", Kind.DECIDES),
        *(Thing(path, "a login CA's public half", Kind.DECIDES) for path in config.login_ca.files),
        *(Thing(path, "a host key of the gateway", Kind.KEY) for path in config.host_keys.files),
    ]
    ldap = config.directory.ldap
    optional: list[tuple[str | Path | None, str, Kind]] = [
        (config.targets.known_hosts, "host keys of targets", Kind.DECIDES),
        (config.login.revoked_keys, "revoked keys", Kind.DECIDES),
        (ledger_path(config), "the ledger of keys", Kind.DECIDES),
        (config.host_keys.passphrase_file, "the host keys' passphrase", Kind.SECRET),
        (config.upstream_ca.key, "the upstream CA", _held(config.upstream_ca.agent)),
        (config.upstream_ca.passphrase_file, "the upstream CA's passphrase", Kind.SECRET),
        (config.front_host_ca.key, "the front host CA", _held(config.front_host_ca.agent)),
        (config.front_host_ca.passphrase_file, "the front host CA's passphrase", Kind.SECRET),
        (config.recording.signing_key, "the recording key", Kind.KEY),
        (config.recording.signing_passphrase_file, "the recording key's passphrase", Kind.SECRET),
        (config.directory.embedded, "accounts", Kind.SECRET),
        (config.state.password_file, "the state store's password", Kind.SECRET),
        (config.recording.store.secret_file, "the S3 secret key", Kind.SECRET),
        (ldap.bind_password_file if ldap else None, "LDAP's password", Kind.SECRET),
    ]
    for target in config.inventory:
        secret = target.password.file if target.password else None
        optional.append((target.key_file, f"the key for {target.name}", Kind.KEY))
        optional.append((secret, f"the password for {target.name}", Kind.SECRET))
    found += [Thing(Path(path), what, kind) for path, what, kind in optional if path is not None]
    found.append(Thing(config.recording.directory, "recordings", Kind.WRITTEN))
    found.append(Thing(config.state_folder, "state", Kind.WRITTEN))
    control = config.control.place(config.file)
    if control is not None:
        found.append(Thing(control.parent, "the control socket's folder", Kind.PASSED))
    found.append(Thing(config.audit.file.parent, "the audit log's folder", Kind.WRITTEN))
    return list({thing.path: thing for thing in found}.values())


def examine_files(subject: Subject) -> Iterator[Finding]:
    """A finding for each fault, and one for all that is right."""
    right, known = 0, things(subject)
    for thing in known:
        faults = list(_faults(thing, subject.user))
        right += not faults
        yield from faults
    yield from _folders_above(known)
    yield from _kept_login_ca(subject)
    if right:
        yield Finding(
            Area.FILES, Level.OK, subject.user.name, f"{right} files and folders have right owners and modes"
        )


def _faults(thing: Thing, user: ServiceUser) -> Iterator[Finding]:
    try:
        status = os.stat(thing.path)
    except FileNotFoundError:
        return  # the check says so, with the key that names it
    except OSError as error:
        yield _fail(thing, f"cannot be looked at: {error.strerror}", "")
        return
    mode = stat.S_IMODE(status.st_mode)
    if is_credential(str(thing.path), status.st_uid):
        return  # systemd's: its group bits stand for the service's user
    if thing.kind is Kind.DECIDES:
        yield from _deciding(thing, status, mode, user)
    elif thing.kind is Kind.KEY:
        if mode & 0o077:
            yield _fail(thing, f"is open to others (mode {mode:04o})", shell("chmod", "600", thing.path))
        if user.uid != 0 and status.st_uid != user.uid:
            yield _fail(thing, f"belongs to {_name(status.st_uid)}, and {user.name} cannot read it",
                        shell("chown", user.name, thing.path))  # fmt: skip
    elif thing.kind is Kind.SECRET:
        if mode & 0o027:
            yield _fail(thing, f"lets others in (mode {mode:04o})", shell("chmod", "640", thing.path))
        elif not user.may(status, 4):
            line = f"{shell('chgrp', user.group, thing.path)} && {shell('chmod', '640', thing.path)}"
            yield _fail(thing, f"cannot be read by {user.name}", line)
    else:
        yield from _written(thing, status, mode, user)


def _deciding(thing: Thing, status: os.stat_result, mode: int, user: ServiceUser) -> Iterator[Finding]:
    if mode & 0o022:
        yield _fail(thing, f"can be written by others (mode {mode:04o})", shell("chmod", "go-w", thing.path))
    if status.st_uid not in (0, user.uid):
        yield _fail(thing, f"belongs to {_name(status.st_uid)}", shell("chown", "root", thing.path))
    elif status.st_uid == user.uid and user.as_root and user.uid != 0:
        text = f"belongs to {user.name}: a gateway that was broken into could change it"
        yield Finding(Area.FILES, Level.WARN, _subject(thing), text, shell("chown", "root", thing.path))
    if not user.may(status, 4):
        line = f"{shell('chgrp', user.group, thing.path)} && {shell('chmod', 'g+r', thing.path)}"
        yield _fail(thing, f"cannot be read by {user.name}", line)


def _written(thing: Thing, status: os.stat_result, mode: int, user: ServiceUser) -> Iterator[Finding]:
    if not stat.S_ISDIR(status.st_mode):
        yield _fail(thing, "is no folder", "")
        return
    if not user.may(status, 7):
        yield _fail(thing, f"belongs to {_name(status.st_uid)}, mode {mode:04o}: {user.name} cannot write to it",
                    shell("chown", f"{user.name}:{user.group}", thing.path))  # fmt: skip
    if mode & 0o022:
        yield _fail(
            thing, f"can be written by others (mode {mode:04o})", shell("chmod", "go-w,o-rx", thing.path)
        )
    elif mode & 0o005 and thing.kind is Kind.WRITTEN:
        text = f"can be read by everybody (mode {mode:04o})"
        yield Finding(Area.FILES, Level.WARN, _subject(thing), text, shell("chmod", "o-rx", thing.path))


def _folders_above(known: list[Thing]) -> Iterator[Finding]:
    """Who can write to a folder can put another file into its place. Sticky ones (/tmp) only let in new files."""
    seen: set[Path] = set()
    for thing in known:
        for folder in Path(os.path.realpath(thing.path)).parents:
            if folder in seen:
                continue
            seen.add(folder)
            try:
                mode = stat.S_IMODE(folder.stat().st_mode)
            except OSError:
                continue
            if not mode & 0o022:
                continue
            text = (
                f"can be written by others (mode {mode:04o}), and holds what the gateway needs: {thing.path}"
            )
            if mode & stat.S_ISVTX:
                yield Finding(Area.FILES, Level.WARN, str(folder), text, "")
            else:
                yield Finding(Area.FILES, Level.FAIL, str(folder), text, shell("chmod", "go-w", folder))


def _kept_login_ca(subject: Subject) -> Iterator[Finding]:
    """The private half of a login CA has no business where the gateway can read it."""
    for public in subject.config.login_ca.files:
        private = public.with_suffix("")
        if private == public or not private.is_file():
            continue
        status = private.stat()
        if subject.user.as_root and subject.user.uid != 0 and subject.user.may(status, 4):
            text = f"signs engineers' certificates, and {subject.user.name} can read it"
            line = f"{shell('chown', 'root', private)} && {shell('chmod', '600', private)}"
            yield Finding(Area.FILES, Level.WARN, str(private), text, line)


def _fail(thing: Thing, text: str, line: str) -> Finding:
    return Finding(Area.FILES, Level.FAIL, _subject(thing), text, line)


def _subject(thing: Thing) -> str:
    return f"{thing.path} ({thing.what})"


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
