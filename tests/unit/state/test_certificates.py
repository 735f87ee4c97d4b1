"""Certificates in the store: whose they are, which key is whose, and how many somebody may have."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bastion.auth.totp import TotpKey, new_recovery_codes, new_secret
from bastion.errors import IssueReason, Refused
from bastion.state import codes
from bastion.state.certificates import MOST_VALID, REMEMBERED, Issued, keep, listed
from bastion.state.database import Database

NOW = 1_800_000_000.0
ALICE = Issued(
    "SHA256:ca", 1 << 62, "u-1", "alice", "alice@gw", "SHA256:key", "publickey", NOW - 60, NOW, NOW + 3600,
    "192.0.2.1", "gw",
)  # fmt: skip


def refused(database: Database, row: Issued) -> IssueReason:
    with pytest.raises(Refused) as refusal:
        keep(database, row)
    assert isinstance(refusal.value.reason, IssueReason)
    return refusal.value.reason


def test_what_is_kept_is_listed_by_name_and_by_id(database: Database) -> None:
    keep(database, ALICE)
    keep(database, replace(ALICE, serial=2, issued_at=NOW + 1))
    keep(database, replace(ALICE, serial=3, uid="u-2", name="bob", fingerprint="SHA256:bobs"))
    assert [one.serial for one in listed(database, name="alice")] == [2, 1 << 62]
    assert [one.name for one in listed(database, uid="u-2")] == ["bob"]
    assert len(listed(database)) == 3 and listed(database, ends_after=NOW + 3600) == []
    assert listed(database, uid="u-1")[1] == ALICE and ALICE.lock == f"{1 << 62}@SHA256:ca"


def test_a_key_is_one_persons_as_long_as_it_is_remembered(database: Database) -> None:
    keep(database, ALICE)
    assert refused(database, replace(ALICE, serial=2, uid="u-2", name="bob")) is IssueReason.KEY_OF_ANOTHER
    # a name that somebody else has now inherits nothing, not even a key
    assert refused(database, replace(ALICE, serial=2, uid="u-3")) is IssueReason.KEY_OF_ANOTHER
    later = ALICE.ends_at + REMEMBERED + 1
    keep(database, replace(ALICE, serial=2, uid="u-2", name="bob", issued_at=later, ends_at=later + 60))
    assert [one.name for one in listed(database)] == ["bob"]


def test_nobody_has_more_than_so_many_that_are_valid(database: Database) -> None:
    for serial in range(1, MOST_VALID + 1):
        keep(database, replace(ALICE, serial=serial))
    assert refused(database, ALICE) is IssueReason.TOO_MANY_VALID
    keep(database, replace(ALICE, uid="u-2", name="bob", fingerprint="SHA256:bobs"))
    later = replace(ALICE, issued_at=ALICE.ends_at, ends_at=ALICE.ends_at + 60)
    keep(database, replace(later, serial=(1 << 62) + 1))


def test_a_second_factor_that_was_taken_away_is_carried_no_further(database: Database) -> None:
    coded = replace(ALICE, factors="publickey,totp")
    assert refused(database, coded) is IssueReason.CHAIN_MISSING
    key, who = TotpKey(b"k" * 32), codes.Enrolled("alice", "u-1", NOW - 3600, "root")
    codes.enrol(database, key, who, new_secret(), new_recovery_codes())
    keep(database, coded)
    codes.forget(database, "alice", "u-1")
    codes.enrol(database, key, replace(who, made_at=NOW), new_secret(), new_recovery_codes())
    assert refused(database, replace(coded, serial=2)) is IssueReason.CHAIN_MISSING
    assert [one.serial for one in listed(database)] == [1 << 62]
