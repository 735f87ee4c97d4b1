"""One-time codes of break-glass accounts where the store is away (L2). Blocks, for a small file.

An emergency is when PostgreSQL may be away as well as the directory, so each gateway has a copy of what the store knows
of these few accounts, sealed as it is there. Invariants: the store judges wherever it answers; a code, and a recovery
code, is used at most once at this gateway, whichever of its processes is asked and whether the store is there for the
one and away for the other, for what was used is in the file before anybody is let in; and what was used here while the
store was away is used up there when it is back. The file is whole or not there, and what is not in it is not known.

What remains: while the store is away, a code that one gateway has taken is taken by another too, for as long as it is
shown; so is one that the store took from another gateway in the last seconds.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from sqlalchemy import delete, select, update

from bastion.auth.totp import TotpKey, is_recovery, normal, step_of
from bastion.errors import AuthReason, Refused
from bastion.state import json_file
from bastion.state.database import Database
from bastion.state.schema import TOTP, TOTP_RECOVERY

FILE: Final = "break-glass-codes.json"
LOCK: Final = "break-glass-codes.lock"
SIZE_MAX: Final = 1 << 20
"""Bytes of the file: an account has 1 KiB."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What is known of one account. `spent` are digests of recovery codes that were used while the store was away, and
    `taken` is the step of the last code that was."""

    sealed: str
    step: int
    recovery: tuple[str, ...] = ()
    spent: tuple[str, ...] = ()
    taken: int = 0


def keep_copy(database: Database, folder: Path, uids: Collection[str]) -> None:
    """Know what the store knows of these accounts, and tell it what was used meanwhile. Raises StateDown, OSError."""
    told = {uid: one for uid, one in _read(folder).items() if uid in uids}
    for uid, one in told.items():
        _tell(database, uid, one)
    there = _stored(database, uids)
    if not there and not told:
        return
    with _locked(folder):  # not while the store is asked: it may hang
        here = _read(folder)
        now = {uid: _merged(here.get(uid), one, told.get(uid)) for uid, one in there.items()}
        if now != here:
            _write(folder, now)


def _merged(here: Copied | None, there: Copied, told: Copied | None) -> Copied:
    """What is in the store, and what was used here since it was `told`."""
    if here is None or here.sealed != there.sealed:
        return there
    spent = tuple(digest for digest in here.spent if told is None or digest not in told.spent)
    recovery = tuple(digest for digest in there.recovery if digest in here.recovery)
    return Copied(there.sealed, max(here.step, there.step), recovery, spent, here.taken)


def _tell(database: Database, uid: str, known: Copied) -> None:
    """What was used here is used up in the store, too."""
    same = (TOTP.c.uid == uid, TOTP.c.sealed == known.sealed, TOTP.c.last_step < known.step)
    with database.read() as connection:
        behind = connection.execute(select(TOTP.c.uid).where(*same)).first() is not None
    if not behind and not known.spent:
        return
    with database.write() as connection:
        connection.execute(update(TOTP).where(*same).values(last_step=known.step))
        spent = TOTP_RECOVERY.c.uid == uid, TOTP_RECOVERY.c.digest.in_(known.spent)
        connection.execute(delete(TOTP_RECOVERY).where(*spent))


def _stored(database: Database, uids: Collection[str]) -> dict[str, Copied]:
    with database.read() as connection:
        rows = connection.execute(
            select(TOTP.c.uid, TOTP.c.sealed, TOTP.c.last_step).where(TOTP.c.uid.in_(uids))
        ).all()
        codes = connection.execute(
            select(TOTP_RECOVERY.c.uid, TOTP_RECOVERY.c.digest)
            .where(TOTP_RECOVERY.c.uid.in_([row.uid for row in rows]))
            .order_by(TOTP_RECOVERY.c.digest)
        ).all()
    return {
        row.uid: Copied(
            row.sealed, row.last_step, tuple(code.digest for code in codes if code.uid == row.uid)
        )
        for row in rows
    }


def use_copy(folder: Path, key: TotpKey, uid: str, answer: str, now: float) -> bool:
    """As `codes.use`, by what is known here. Raises Refused, and OSError: then nothing was used."""
    code = normal(answer)
    with _locked(folder):
        known = _read(folder)
        one = known.get(uid)
        if one is None:
            raise Refused(AuthReason.CODES_UNAVAILABLE, "the store of second factors does not answer")
        used = _used(one, key, uid, code, now)
        _write(folder, {**known, uid: used})
    return used.spent != one.spent


def _step_here(one: Copied, key: TotpKey, uid: str, code: str, now: float) -> int | None:
    """The step of a code that the store has taken; None: it is of a secret that is not known here yet."""
    try:
        return step_of(key.open(one.sealed, uid), code, now)
    except Refused:  # sealed with a key of before
        return None


def use_here_too(folder: Path, key: TotpKey, uid: str, answer: str, now: float) -> None:
    """The store has taken what was typed. Raises Refused when the copy has taken it before, of which the store had not
    heard yet; and OSError: then the copy cannot take it either."""
    code = normal(answer)
    with _locked(folder):
        known = _read(folder)
        one = known.get(uid)
        if one is None:
            return
        if is_recovery(code):
            digest = key.digest_of(code, uid)
            if digest in one.spent:
                raise Refused(AuthReason.BAD_CODE, "the recovery code was used")
            used = replace(one, recovery=tuple(each for each in one.recovery if each != digest))
        else:
            step = _step_here(one, key, uid, code, now)
            if step is None:
                return
            if step <= one.taken:
                raise Refused(AuthReason.CODE_USED, "the code, or a later one, was used already")
            used = replace(one, step=max(step, one.step))
        if used != one:
            _write(folder, {**known, uid: used})


def _used(one: Copied, key: TotpKey, uid: str, code: str, now: float) -> Copied:
    if is_recovery(code):
        digest = key.digest_of(code, uid)
        if digest not in one.recovery:
            raise Refused(AuthReason.BAD_CODE, "the recovery code is not right, or was used")
        left = tuple(each for each in one.recovery if each != digest)
        return replace(one, recovery=left, spent=(*one.spent, digest))
    step = step_of(key.open(one.sealed, uid), code, now)
    if step is None:
        raise Refused(AuthReason.BAD_CODE, "the code is not right")
    if step <= one.step:
        raise Refused(AuthReason.CODE_USED, "the code, or a later one, was used already")
    return replace(one, step=step, taken=step)


def _write(folder: Path, known: dict[str, Copied]) -> None:
    json_file.write(folder / FILE, {uid: asdict(one) for uid, one in known.items()})


def _read(folder: Path) -> dict[str, Copied]:
    """What is known; nothing of a file that is not there or damaged."""
    try:
        document = json_file.read(folder / FILE, SIZE_MAX)
    except (OSError, ValueError):
        return {}
    return dict(_entries(document)) if isinstance(document, dict) else {}


def _entries(document: dict[str, object]) -> Iterator[tuple[str, Copied]]:
    for uid, entry in document.items():
        match entry:
            case {
                "sealed": str(sealed),
                "step": int(step),
                "recovery": list(recovery),
                "spent": list(spent),
                **more,
            }:
                taken = more.get("taken")
                codes = tuple(map(str, recovery)), tuple(map(str, spent))
                yield uid, Copied(sealed, step, *codes, taken if isinstance(taken, int) else 0)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process, and one of its threads, at a time."""
    fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
