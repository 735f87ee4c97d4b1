"""Second factors in the store: one use each, whoever asks at the same moment, and none without the store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyotp
import pytest
from sqlalchemy import Connection, update

from bastion.auth.directory import OPERATOR
from bastion.auth.totp import TotpKey, new_recovery_codes, new_secret, step_of
from bastion.clock import FixedClock
from bastion.errors import AuthReason, Refused
from bastion.state import codes as module
from bastion.state.codes import Enrolled, StoredCodes, enrol, forget, listed, use
from bastion.state.database import Database, Place
from bastion.state.schema import TOTP, TOTP_RECOVERY
from tests.support.state import closed_store, rows
from tests.unit.auth.threads import outcome

KEY = TotpKey(b"k" * 32)
NOW = 1_700_000_010.0
ALICE = Enrolled("alice", "u-1", NOW, "root (uid 0)")


class Bench:
    """Alice has a second factor."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.secret, self.recovery = new_secret(), new_recovery_codes()
        assert enrol(database, KEY, ALICE, self.secret, self.recovery)

    def code(self, now: float = NOW) -> str:
        return pyotp.TOTP(self.secret).at(int(now))

    def outcome(self, answer: str, uid: str = "u-1", now: float = NOW, key: TotpKey = KEY) -> object:
        try:
            return use(self.database, key, uid, answer, now)
        except Refused as refused:
            return refused.reason


@pytest.fixture
def bench(database: Database) -> Bench:
    return Bench(database)


def test_a_code_is_used_once_and_none_before_it_is_used_after(bench: Bench) -> None:
    assert bench.outcome(f" {bench.code()[:3]} {bench.code()[3:]}") is False
    assert bench.outcome(bench.code()) is AuthReason.CODE_USED
    assert bench.outcome(bench.code(NOW - 30)) is AuthReason.CODE_USED
    assert bench.outcome(bench.code(NOW + 30)) is False
    assert bench.outcome(bench.code(NOW + 30), now=NOW + 30) is AuthReason.CODE_USED


def test_wrong_ones(bench: Bench) -> None:
    assert bench.outcome(bench.code(NOW + 300)) is AuthReason.BAD_CODE
    assert bench.outcome("abcd-efgh-ijkl-mnop") is AuthReason.BAD_CODE
    assert bench.outcome(bench.code(), key=TotpKey(b"o" * 32)) is AuthReason.CODES_UNAVAILABLE
    assert bench.outcome(bench.code()) is False, "what was refused has used nothing up"


def test_a_name_that_is_used_again_inherits_nothing(bench: Bench) -> None:
    assert bench.outcome(bench.code(), uid="u-2") is AuthReason.NOT_ENROLLED
    assert bench.outcome(bench.recovery[0], uid="u-2") is AuthReason.NOT_ENROLLED
    assert enrol(bench.database, KEY, replace(ALICE, uid="u-2"), new_secret(), new_recovery_codes())
    assert bench.outcome(bench.code(), uid="u-2") is AuthReason.BAD_CODE
    assert bench.outcome(bench.recovery[0], uid="u-2") is AuthReason.BAD_CODE


def test_recovery_codes_are_used_once_each(bench: Bench) -> None:
    assert [bench.outcome(code) for code in bench.recovery] == [True] * 10
    assert {bench.outcome(code) for code in bench.recovery} == {AuthReason.BAD_CODE}
    assert [one.recovery for one in listed(bench.database)] == [0]


def test_what_is_at_rest_is_no_secret(bench: Bench) -> None:
    held = repr(rows(bench.database, TOTP)) + repr(rows(bench.database, TOTP_RECOVERY))
    for secret in (bench.secret, *bench.recovery, *(code.replace("-", "") for code in bench.recovery)):
        assert secret not in held


def test_enrolled_once_listed_and_forgotten(bench: Bench) -> None:
    assert not enrol(bench.database, KEY, ALICE, new_secret(), new_recovery_codes()), "the first one stays"
    assert listed(bench.database) == [replace(ALICE, recovery=10)]
    assert forget(bench.database, "bob", "") == 0 and forget(bench.database, "alice", "") == 1
    assert rows(bench.database, TOTP) == rows(bench.database, TOTP_RECOVERY) == []
    assert bench.outcome(bench.code()) is AuthReason.NOT_ENROLLED


@pytest.mark.parametrize("what", ["code", "recovery"])
def test_of_many_at_once_one_has_it(bench: Bench, place: Place, what: str) -> None:
    """Eight gateways of one store, and one code that was seen on the way."""
    answer = bench.code() if what == "code" else bench.recovery[0]
    begin, found = threading.Barrier(8), list[object]()

    def ask() -> None:
        database = Database(place)
        begin.wait(10)
        try:
            found.append(use(database, KEY, "u-1", answer, NOW))
        except Refused as refused:
            found.append(refused.reason)
        finally:
            database.close()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 8 and sum(isinstance(one, bool) for one in found) == 1


def test_a_code_of_the_factor_that_was_taken_away_is_none_of_the_next(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL shows a transaction what another has committed: here it is its own, between its two steps."""
    code, connections = bench.code(), list[Connection]()

    class Watched(Database):
        @contextmanager
        def write(self) -> Iterator[Connection]:
            with bench.database.write() as connection:
                connections.append(connection)
                yield connection

    def enrolled_again(secret: str, typed: str, now: float) -> int | None:
        connections[0].execute(update(TOTP).values(sealed=KEY.seal(new_secret(), "u-1"), last_step=0))
        return step_of(secret, typed, now)

    monkeypatch.setattr(module, "step_of", enrolled_again)
    with pytest.raises(Refused) as refused:
        use(Watched(bench.database.place), KEY, "u-1", code, NOW)
    assert refused.value.reason is AuthReason.CODE_USED


def test_nobody_gets_in_while_the_store_is_away(tmp_path: Path) -> None:
    asked = StoredCodes(closed_store(), KEY, FixedClock()).check("u-1", "123456", OPERATOR)
    refused = outcome(asked)
    assert isinstance(refused, Refused) and refused.reason is AuthReason.CODES_UNAVAILABLE


def test_an_invitation_is_a_code_that_is_good_once(database: Database) -> None:
    code = new_recovery_codes()[0]
    assert module.invite(database, KEY, "u-1", "abcd-efgh-ijkl-mnop", NOW)
    assert module.invite(database, KEY, "u-1", code, NOW), "a newer one takes its place"

    def outcome(answer: str, uid: str = "u-1", now: float = NOW) -> object:
        try:
            return use(database, KEY, uid, answer, now)
        except Refused as refused:
            return refused.reason

    for refused in (
        ("abcd-efgh-ijkl-mnop",),
        ("123456",),
        (code, "u-2"),
        (code, "u-1", NOW + 2 * module.DAY),
    ):
        assert outcome(*refused) is AuthReason.NOT_ENROLLED  # type: ignore[arg-type]
    assert outcome(code.upper(), now=NOW + module.DAY) is True
    assert outcome(code) is AuthReason.NOT_ENROLLED
    assert listed(database) == []


def test_who_has_a_second_factor_is_not_invited_and_enrolment_ends_an_invitation(database: Database) -> None:
    code = new_recovery_codes()[0]
    assert module.invite(database, KEY, "u-1", code, NOW) and not module.is_enrolled(database, "u-1")
    bench = Bench(database)
    assert module.is_enrolled(database, "u-1") and bench.outcome(code) is AuthReason.BAD_CODE
    assert not module.invite(database, KEY, "u-1", code, NOW)
    assert listed(database)[0].recovery == len(bench.recovery)


def test_another_one_takes_the_place_with_its_codes_and_the_step_that_was_shown(bench: Bench) -> None:
    secret, codes = new_secret(), new_recovery_codes()
    assert not enrol(bench.database, KEY, ALICE, secret, codes)
    step = int(NOW) // 30
    assert enrol(bench.database, KEY, ALICE, secret, codes, step=step, replace=True)
    assert bench.outcome(bench.recovery[0]) is AuthReason.BAD_CODE
    bench.secret = secret
    assert bench.outcome(bench.code()) is AuthReason.CODE_USED
    assert bench.outcome(codes[0]) is True and bench.outcome(bench.code(NOW + 30)) is False
