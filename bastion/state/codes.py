"""Second factors in the state store (L2): enrolled, checked, used once, and taken away. Everything here blocks.

Invariants: what is enrolled hangs on the immutable id of an identity, never on a name; a code, and a recovery code,
is used at most once by however many processes and gateways ask at the same moment: whoever changes the row has it, and
no code of an earlier step is taken after that of a later one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, delete, or_, select, update
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from bastion.auth.directory import Asker
from bastion.auth.totp import TotpKey, is_recovery, normal, step_of
from bastion.auth.workers import DeadlinePassed, Workers
from bastion.clock import Clock
from bastion.errors import AuthReason, Refused
from bastion.state.database import Database, StateDown
from bastion.state.glass_codes import keep_copy, use_copy, use_here_too
from bastion.state.schema import TOTP, TOTP_RECOVERY
from bastion.state.store import StateStore

DAY: Final = 86400

COPY_SECONDS: Final = 5.0
"""Seconds that a code of a break-glass account may take to be judged while the store is away."""

LIST_MAX: Final = 10_000
"""Rows of a listing: one for each person who logs in with codes."""

_log = Logger(namespace="bastion.state")


@dataclass(frozen=True, slots=True)
class Enrolled:
    """Who has a second factor, since when and by whom; how many recovery codes are left."""

    name: str
    uid: str
    made_at: float
    made_by: str
    recovery: int = 0


def is_enrolled(database: Database, uid: str) -> bool:
    """Has this identity a second factor? Raises StateDown."""
    with database.read() as connection:
        return _has_one(connection, uid)


def _has_one(connection: Connection, uid: str) -> bool:
    return connection.execute(select(TOTP.c.uid).where(TOTP.c.uid == uid)).first() is not None


def enrol(
    database: Database,
    key: TotpKey,
    who: Enrolled,
    secret: str,
    codes: Sequence[str],
    step: int = 0,
    replace: bool = False,
) -> bool:
    """Keep this secret and these recovery codes, in the place of those that are there with `replace`; else False when
    the identity has one already. `step` is that of a code that was shown. Raises StateDown."""
    with database.write() as connection:
        if _has_one(connection, who.uid) and not replace:
            return False
        for table in (TOTP, TOTP_RECOVERY):  # of an invitation, too
            connection.execute(delete(table).where(table.c.uid == who.uid))
        connection.execute(
            TOTP.insert().values(
                uid=who.uid,
                name=who.name,
                sealed=key.seal(secret, who.uid),
                made_at=who.made_at,
                made_by=who.made_by,
                last_step=step,
            )
        )
        rows = [{"uid": who.uid, "digest": key.digest_of(normal(code), who.uid)} for code in codes]
        connection.execute(TOTP_RECOVERY.insert(), rows)
    return True


def invite(database: Database, key: TotpKey, uid: str, code: str, now: float) -> bool:
    """Keep this code for somebody who has no second factor, in the place of an earlier one; False: he has one. It is
    good once, until the end of the next day (UTC). Raises StateDown."""
    with database.write() as connection:
        if _has_one(connection, uid):
            return False
        connection.execute(delete(TOTP_RECOVERY).where(TOTP_RECOVERY.c.uid == uid))
        digest = _invitation(key, uid, normal(code), int(now // DAY))
        connection.execute(TOTP_RECOVERY.insert().values(uid=uid, digest=digest))
    return True


def _invitation(key: TotpKey, uid: str, code: str, day: int) -> str:
    """The day is part of what is kept, and so after the next one nothing has it any more."""
    return key.digest_of(f"invitation {day} {code}", uid)


def _use_invitation(connection: Connection, key: TotpKey, uid: str, code: str, now: float) -> None:
    """Raises Refused(NOT_ENROLLED): it is none."""
    today = int(now // DAY)
    digests = [_invitation(key, uid, code, day) for day in (today, today - 1)]
    spent = delete(TOTP_RECOVERY).where(TOTP_RECOVERY.c.uid == uid, TOTP_RECOVERY.c.digest.in_(digests))
    if connection.execute(spent).rowcount != 1:
        raise Refused(AuthReason.NOT_ENROLLED, "no second factor is set up")


def forget(database: Database, name: str, uid: str) -> int:
    """Take away what was enrolled under this name, or for this id ("" when it has none); how many. Raises StateDown."""
    with database.write() as connection:
        meant = or_(TOTP.c.name == name, TOTP.c.uid == uid)
        uids = list(connection.execute(select(TOTP.c.uid).where(meant)).scalars())
        connection.execute(delete(TOTP_RECOVERY).where(TOTP_RECOVERY.c.uid.in_(uids)))
        connection.execute(delete(TOTP).where(TOTP.c.uid.in_(uids)))
    return len(uids)


def listed(database: Database) -> list[Enrolled]:
    """Who has a second factor, by name. Raises StateDown."""
    with database.read() as connection:
        rows = connection.execute(
            select(TOTP.c.name, TOTP.c.uid, TOTP.c.made_at, TOTP.c.made_by)
            .order_by(TOTP.c.name)
            .limit(LIST_MAX)
        ).all()
        left: dict[str, int] = {}
        for uid in connection.execute(select(TOTP_RECOVERY.c.uid)).scalars():
            left[uid] = left.get(uid, 0) + 1
    return [Enrolled(*row, recovery=left.get(row.uid, 0)) for row in rows]


def use(database: Database, key: TotpKey, uid: str, answer: str, now: float) -> bool:
    """Use up what was typed; True: it was a recovery code, or of an invitation. Raises Refused with the reason, and
    StateDown."""
    code = normal(answer)
    with database.write() as connection:
        row = connection.execute(select(TOTP.c.sealed).where(TOTP.c.uid == uid)).first()
        if row is None:
            _use_invitation(connection, key, uid, code, now)
            return True
        if is_recovery(code):
            spent = delete(TOTP_RECOVERY).where(
                TOTP_RECOVERY.c.uid == uid, TOTP_RECOVERY.c.digest == key.digest_of(code, uid)
            )
            if connection.execute(spent).rowcount != 1:
                raise Refused(AuthReason.BAD_CODE, "the recovery code is not right, or was used")
            return True
        step = step_of(key.open(row.sealed, uid), code, now)
        if step is None:
            raise Refused(AuthReason.BAD_CODE, "the code is not right")
        same = (TOTP.c.uid == uid, TOTP.c.sealed == row.sealed)  # and not one that was enrolled a moment ago
        spent_step = update(TOTP).where(*same, TOTP.c.last_step < step).values(last_step=step)
        if connection.execute(spent_step).rowcount != 1:
            raise Refused(AuthReason.CODE_USED, "the code, or a later one, was used already")
    return False


def use_and_know(
    database: Database,
    key: TotpKey,
    uid: str,
    answer: str,
    now: float,
    folder: Path,
    emergency: Collection[str],
) -> bool:
    """As `use`, of one of the accounts `emergency`, whose codes the copy in `folder` knows: what that has taken while
    the store was away is used."""
    recovery = use(database, key, uid, answer, now)
    with suppress(OSError):
        use_here_too(folder, key, uid, answer, now)
    with suppress(StateDown, OSError):  # what is known here is then a few seconds older
        keep_copy(database, folder, emergency)
    return recovery


class StoredCodes:
    """What `auth.attempt` asks about codes: `use` in the store's own thread."""

    __slots__ = ("_clock", "_emergency", "_key", "_state", "_threads")

    def __init__(
        self,
        state: StateStore,
        key: TotpKey,
        clock: Clock,
        emergency: Collection[str] = (),
        threads: Workers | None = None,
    ) -> None:
        """`emergency` are the ids of accounts whose codes this gateway judges itself while the store is away, in a
        thread of `threads` (`state.glass_codes`)."""
        self._state, self._key, self._clock = state, key, clock
        self._emergency, self._threads = emergency, threads

    def check(self, uid: str, answer: str, asker: Asker) -> Deferred[bool]:
        """Use up what was typed; True: it was a recovery code. Fails with Refused, also when the store is away."""
        now = self._clock.time()
        if self._threads is None or uid not in self._emergency:
            used = self._state.decide(lambda database: use(database, self._key, uid, answer, now), asker)
            return used.addErrback(_refused)
        folder, emergency = self._state.place.folder, self._emergency

        used = self._state.decide(
            lambda database: use_and_know(database, self._key, uid, answer, now, folder, emergency), asker
        )
        return used.addErrback(self._by_copy, uid, answer, now, self._threads).addErrback(_refused)

    def _by_copy(
        self, failure: Failure, uid: str, answer: str, now: float, threads: Workers
    ) -> Deferred[bool]:
        if not isinstance(failure.value, StateDown | DeadlinePassed):
            failure.raiseException()
        _log.warn(
            "the state store is away: a code of break-glass account {uid} is judged by the copy", uid=uid
        )
        folder = self._state.place.folder
        return threads.run(lambda: use_copy(folder, self._key, uid, answer, now), COPY_SECONDS)


def _refused(failure: Failure) -> bool:
    if isinstance(failure.value, Refused):
        failure.raiseException()
    raise Refused(AuthReason.CODES_UNAVAILABLE, "the store of second factors does not answer") from None
