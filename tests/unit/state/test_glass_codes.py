"""Codes of break-glass accounts where the store is away: used once, and known up there when it is back."""

from __future__ import annotations

import threading
from pathlib import Path

import pyotp
import pytest
from sqlalchemy import delete

from bastion.auth.totp import TotpKey, new_recovery_codes, new_secret, step_of
from bastion.errors import AuthReason, Refused
from bastion.state.codes import enrol, listed, use, use_and_know
from bastion.state.database import Database
from bastion.state.glass_codes import FILE, LOCK, SIZE_MAX, keep_copy, use_copy
from bastion.state.schema import TOTP
from tests.support.state import rows
from tests.unit.state.test_codes import ALICE, KEY, NOW, Bench

UID = ALICE.uid


@pytest.fixture
def bench(database: Database) -> Bench:
    return Bench(database)


def used(folder: Path, answer: str, uid: str = UID, now: float = NOW) -> object:
    try:
        return use_copy(folder, KEY, uid, answer, now)
    except Refused as refused:
        return refused.reason


def test_what_the_store_knows_is_known_here(bench: Bench, tmp_path: Path) -> None:
    assert used(tmp_path, bench.code()) is AuthReason.CODES_UNAVAILABLE
    keep_copy(bench.database, tmp_path, [UID])
    assert used(tmp_path, bench.code(NOW + 300)) is AuthReason.BAD_CODE
    assert used(tmp_path, bench.code()) is False
    assert used(tmp_path, bench.code()) is AuthReason.CODE_USED
    assert used(tmp_path, bench.code(NOW - 30)) is AuthReason.CODE_USED
    assert used(tmp_path, bench.code(), uid="u-2") is AuthReason.CODES_UNAVAILABLE
    assert used(tmp_path, bench.recovery[0]) is True
    assert used(tmp_path, bench.recovery[0]) is AuthReason.BAD_CODE
    data = (tmp_path / FILE).read_bytes()
    assert bench.secret.encode() not in data and bench.recovery[1].encode() not in data
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / FILE, tmp_path / LOCK)} == {0o600}


def test_what_was_used_here_is_used_there_when_it_is_back(bench: Bench, tmp_path: Path) -> None:
    keep_copy(bench.database, tmp_path, [UID])
    assert used(tmp_path, bench.code()) is False and used(tmp_path, bench.recovery[0]) is True
    keep_copy(bench.database, tmp_path, [UID])
    (row,) = rows(bench.database, TOTP)
    assert row["last_step"] == step_of(bench.secret, bench.code(), NOW)
    assert bench.outcome(bench.code()) is AuthReason.CODE_USED
    assert bench.outcome(bench.recovery[0]) is AuthReason.BAD_CODE
    assert [one.recovery for one in listed(bench.database)] == [len(bench.recovery) - 1]
    data = (tmp_path / FILE).read_bytes()
    keep_copy(bench.database, tmp_path, [UID])
    assert (tmp_path / FILE).read_bytes() == data and used(tmp_path, bench.recovery[0]) is AuthReason.BAD_CODE


def test_what_was_used_there_is_used_here(bench: Bench, tmp_path: Path) -> None:
    keep_copy(bench.database, tmp_path, [UID])
    assert use(bench.database, KEY, UID, bench.code(), NOW) is False
    assert use(bench.database, KEY, UID, bench.recovery[0], NOW) is True
    keep_copy(bench.database, tmp_path, [UID])
    assert used(tmp_path, bench.code()) is AuthReason.CODE_USED
    assert used(tmp_path, bench.recovery[0]) is AuthReason.BAD_CODE


def test_what_is_used_while_the_store_is_asked_stays_used(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_copy(bench.database, tmp_path, [UID])
    from bastion.state import glass_codes

    asked = glass_codes._stored

    def slowly(database: Database, uids: list[str]) -> object:
        found = asked(database, uids)
        assert used(tmp_path, bench.code()) is False and used(tmp_path, bench.recovery[0]) is True
        return found

    monkeypatch.setattr(glass_codes, "_stored", slowly)
    keep_copy(bench.database, tmp_path, [UID])
    monkeypatch.undo()
    assert used(tmp_path, bench.code()) is AuthReason.CODE_USED
    assert used(tmp_path, bench.recovery[0]) is AuthReason.BAD_CODE
    keep_copy(bench.database, tmp_path, [UID])
    assert bench.outcome(bench.code()) is AuthReason.CODE_USED
    assert bench.outcome(bench.recovery[0]) is AuthReason.BAD_CODE


def judged(bench: Bench, folder: Path, answer: str, now: float = NOW) -> object:
    """By the store, which is there for whoever asks."""
    try:
        return use_and_know(bench.database, KEY, UID, answer, now, folder, [UID])
    except Refused as refused:
        return refused.reason


def test_what_the_copy_has_taken_the_store_does_not_take_in_its_first_moment(
    bench: Bench, tmp_path: Path
) -> None:
    keep_copy(bench.database, tmp_path, [UID])
    assert used(tmp_path, bench.code()) is False and used(tmp_path, bench.recovery[0]) is True
    assert judged(bench, tmp_path, bench.code(NOW - 30)) is AuthReason.CODE_USED, "one before it"
    assert judged(bench, tmp_path, bench.recovery[0]) is AuthReason.BAD_CODE
    keep_copy(bench.database, tmp_path, [UID])
    assert judged(bench, tmp_path, bench.code()) is AuthReason.CODE_USED
    assert judged(bench, tmp_path, bench.code(NOW + 30)) is False
    assert judged(bench, tmp_path, bench.recovery[1]) is True


def test_what_the_store_has_taken_the_copy_does_not_take(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bastion.state import codes

    keep_copy(bench.database, tmp_path, [UID])
    monkeypatch.setattr(codes, "keep_copy", lambda *args: None)  # as where the store goes away in that moment
    assert (
        judged(bench, tmp_path, bench.code()) is False and judged(bench, tmp_path, bench.recovery[0]) is True
    )
    assert used(tmp_path, bench.code()) is AuthReason.CODE_USED
    assert used(tmp_path, bench.recovery[0]) is AuthReason.BAD_CODE


def test_whoever_looks_at_the_store_between_the_two_keeps_nobody_out(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bastion.state import codes

    keep_copy(bench.database, tmp_path, [UID])
    there = codes.use

    def looked_at(*args: object) -> bool:
        recovery = there(*args)  # type: ignore[arg-type]
        keep_copy(bench.database, tmp_path, [UID])
        return recovery

    monkeypatch.setattr(codes, "use", looked_at)
    assert (
        judged(bench, tmp_path, bench.code()) is False and judged(bench, tmp_path, bench.recovery[0]) is True
    )


def test_a_code_of_a_secret_that_the_copy_does_not_know_is_for_the_store(
    bench: Bench, tmp_path: Path
) -> None:
    assert judged(bench, tmp_path, bench.code()) is False, "nothing is known"
    assert used(tmp_path, bench.code(NOW + 30), now=NOW + 30) is False
    secret, recovery = new_secret(), new_recovery_codes()
    assert enrol(bench.database, KEY, ALICE, secret, recovery, replace=True)
    assert judged(bench, tmp_path, pyotp.TOTP(secret).at(int(NOW))) is False
    assert judged(bench, tmp_path, recovery[0]) is True


def test_a_copy_that_another_key_has_sealed_keeps_nobody_out_whom_the_store_lets_in(
    bench: Bench, tmp_path: Path
) -> None:
    keep_copy(bench.database, tmp_path, [UID])
    other, secret, recovery = TotpKey(b"o" * 32), new_secret(), new_recovery_codes()
    assert enrol(bench.database, other, ALICE, secret, recovery, replace=True)
    code = pyotp.TOTP(secret).at(int(NOW))
    assert use_and_know(bench.database, other, UID, code, NOW, tmp_path, [UID]) is False
    assert use_and_know(bench.database, other, UID, recovery[0], NOW, tmp_path, [UID]) is True


def test_of_many_at_once_one_is_let_in(bench: Bench, tmp_path: Path) -> None:
    keep_copy(bench.database, tmp_path, [UID])
    results: list[object] = []
    code, ready = bench.code(), threading.Barrier(8)

    def run() -> None:
        ready.wait(10)
        results.append(used(tmp_path, code))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(map(str, results)) == sorted(["False", *[str(AuthReason.CODE_USED)] * 7])


def test_a_secret_that_is_replaced_or_taken_away_is_no_longer_known(bench: Bench, tmp_path: Path) -> None:
    keep_copy(bench.database, tmp_path, [UID])
    assert used(tmp_path, bench.recovery[0]) is True
    secret, recovery = new_secret(), new_recovery_codes()
    assert enrol(bench.database, KEY, ALICE, secret, recovery, replace=True)
    keep_copy(bench.database, tmp_path, [UID])
    assert used(tmp_path, bench.code()) is AuthReason.BAD_CODE
    assert used(tmp_path, pyotp.TOTP(secret).at(int(NOW))) is False
    assert used(tmp_path, recovery[0]) is True
    with bench.database.write() as connection:
        connection.execute(delete(TOTP))
    keep_copy(bench.database, tmp_path, [UID])
    assert used(tmp_path, recovery[1]) is AuthReason.CODES_UNAVAILABLE


def test_accounts_that_are_none_leave_no_file(bench: Bench, tmp_path: Path) -> None:
    keep_copy(bench.database, tmp_path, [])
    keep_copy(bench.database, tmp_path, ["u-2"])
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"u-1": {}}', b'{"u-1": {"sealed": 1}}', b" " * (SIZE_MAX + 1)]
)
def test_a_damaged_file_lets_nobody_in_and_is_made_anew(bench: Bench, tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE).write_bytes(data)
    assert used(tmp_path, bench.code()) is AuthReason.CODES_UNAVAILABLE
    keep_copy(bench.database, tmp_path, [UID])
    assert used(tmp_path, bench.code()) is False
