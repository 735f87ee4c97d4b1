"""A hash that would cost too much, or that nothing can compute, is refused before it is."""

from __future__ import annotations

import argon2
import pytest

from bastion.auth.password_hashes import MAX_LANES, MAX_MEMORY, MAX_TIME, fault_of

SALT = "$c29tZXNhbHRzb21l$RdescudvJCsgt3ub+b0dWRWJTmaaJObG"


def test_what_the_library_makes_is_good() -> None:
    for memory, lanes in ((8, 1), (65536, 4)):
        made = argon2.PasswordHasher(time_cost=1, memory_cost=memory, parallelism=lanes)
        text = made.hash("x") if memory == 8 else f"$argon2id$v=19$m={memory},t=3,p={lanes}{SALT}"
        assert fault_of(text) == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not an argon2id hash"),
        ("correct horse", "is not an argon2id hash"),
        (f"$argon2i$v=19$m=64,t=3,p=4{SALT}", "is not an argon2id hash"),
        (f"$argon2id$v=19$m=64,t=3,p=4{SALT}\n", "is not an argon2id hash"),
        (f"$argon2id$v=19$m={MAX_MEMORY + 1},t=3,p=4{SALT}", "too much memory or time"),
        (f"$argon2id$v=19$m=64,t={MAX_TIME + 1},p=4{SALT}", "too much memory or time"),
        (f"$argon2id$v=19$m=9999,t=3,p={MAX_LANES + 1}{SALT}", "too much memory or time"),
        (f"$argon2id$v=19$m=31,t=3,p=4{SALT}", "does not allow"),
    ],
)
def test_what_is_wrong(text: str, words: str) -> None:
    assert words in fault_of(text)
