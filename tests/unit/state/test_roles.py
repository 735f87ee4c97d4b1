"""What the roles of PostgreSQL may. In a real one: tests/faults/test_state_away.py."""

from __future__ import annotations

from bastion.state.database import Database
from bastion.state.roles import (
    CONSOLE,
    GATEWAY,
    KEPT,
    LOCKING,
    RAN,
    READ,
    READER,
    RIGHTS,
    SHOWN,
    TOLD,
    VERSION,
    VOIDING,
    Granted,
    grant_rights,
)
from bastion.state.schema import METADATA

SECRET = {"totp", "totp_recovery"}


def test_every_table_is_somebody_s_to_read_or_a_secret_of_the_gateway() -> None:
    assert READ < SHOWN and set(METADATA.tables) > SHOWN - VERSION
    assert set(METADATA.tables) - SHOWN >= SECRET


def test_only_the_gateway_writes_and_a_console_what_it_keeps_itself() -> None:
    assert "INSERT, UPDATE, DELETE" not in RIGHTS[READER]
    for verb in ("INSERT", "UPDATE", "DELETE"):
        assert RIGHTS[CONSOLE][verb] > KEPT
    assert not KEPT & (SHOWN | SECRET)
    assert RIGHTS[GATEWAY]["INSERT, UPDATE, DELETE"] == set(METADATA.tables), "nor does it change its version"


def test_a_console_adds_what_reviewers_leave_and_changes_nothing_of_it() -> None:
    rights = RIGHTS[CONSOLE]
    assert set(rights) == {"SELECT", "INSERT", "DELETE", "UPDATE", LOCKING, RAN, TOLD, VOIDING}
    assert rights["INSERT"] <= rights["SELECT"] and {"review_notes", "review_marks"} < rights["INSERT"]
    assert rights["DELETE"] == {"review_tags", "holds", "saved_searches", "saved_hits"} | KEPT
    assert rights["UPDATE"] == {"hold_lifts"} | KEPT
    assert rights[LOCKING] == {"recordings"}
    assert rights[RAN] == {"saved_searches"} and rights[TOLD] == {"saved_hits"}
    assert rights[VOIDING] == {"deletions"}, "of what two people want deleted it can say nothing else"
    for verb in ("INSERT", "DELETE", "UPDATE"):
        assert "deletions" not in rights[verb]


def test_a_file_has_no_roles(database: Database) -> None:
    assert grant_rights(database) == Granted()
