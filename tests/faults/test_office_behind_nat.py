"""Many people behind one address log in with passwords, and some mistype theirs: nobody else is refused."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from argon2 import PasswordHasher

from tests.support.sshd import sshd_missing
from tests.support.world import PASSWORD, World, running

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

PEOPLE, LOGINS, TYPOS, AT_ONCE = 100, 500, 25, 8


def accounts() -> str:
    hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    return "".join(
        f'[users.p{number}]\nid = "u-{number}"\npassword = "{hashed}"\ngroups = ["ops"]\n'
        for number in range(PEOPLE)
    )


def test_five_hundred_logins_from_one_address_with_typos() -> None:
    """On two workers with the penalties as they are by default. Each typo is of another person, who then types right;
    with 20 of them in ten minutes the address would be blocked if they were counted on."""
    mistyped = set(random.Random(1).sample(range(PEOPLE), TYPOS))
    with running(workers=2, users=accounts()) as world, ThreadPoolExecutor(AT_ONCE) as pool:

        def login(number: int) -> str:
            return _login(world, f"p{number % PEOPLE}", number < PEOPLE and number in mistyped)

        ended = Counter(pool.map(login, range(LOGINS)))
        refused = [line for line in world.audit("connection_refused") if line["reason"] == "penalty"]
        reasons = Counter(line["reason"] for line in world.audit("auth") if line["result"] == "refused")
    assert ended == {"in": LOGINS} and refused == []
    assert reasons["bad_password"] == TYPOS and not reasons["throttled"], reasons


def _login(world: World, name: str, mistype: bool) -> str:
    if mistype:
        assert world.ask(f"{name}+root+web1", "wrong").returncode == 255
    done = world.ask(f"{name}+root+web1", PASSWORD)
    return "in" if done.returncode == 0 else done.stderr.decode()[-200:]
