"""Which part of an SSH user name is the account."""

from __future__ import annotations

import pytest

from bastion.auth.names import account_part


@pytest.mark.parametrize(
    "user", ["alice", "Alice", "alice+web1", "alice web1", "ALICE+root+web1", "alice web+1"]
)
def test_the_account_stands_in_front_and_has_no_case(user: str) -> None:
    assert account_part(user) == "alice"


def test_guesses_at_an_account_count_under_its_other_names_too() -> None:
    assert account_part("Alice@corp.example+web1") == account_part("alice") == "alice"


@pytest.mark.parametrize("user", ["", "+web1", " web1"])
def test_no_account_is_an_empty_one(user: str) -> None:
    assert account_part(user) == ""
