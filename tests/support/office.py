"""Many people behind one address who log in with passwords, some of whom mistype theirs and then type it right."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed

from argon2 import PasswordHasher

from tests.support.world import PASSWORD, World

PEOPLE = 100


def accounts() -> str:
    """Lines for users.toml."""
    hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    return "".join(
        f'[users.p{number}]\nid = "u-{number}"\npassword = "{hashed}"\ngroups = ["ops"]\n'
        for number in range(PEOPLE)
    )


def log_in(world: World, logins: int, typos: int, at_once: int) -> Iterator[str]:
    """How each of `logins` ended, "in" or the last words. `typos` people mistype their first password."""
    mistyped = set(random.Random(1).sample(range(PEOPLE), typos))
    with ThreadPoolExecutor(at_once) as pool:
        made = [
            pool.submit(_log_in, world, f"p{number % PEOPLE}", number in mistyped) for number in range(logins)
        ]
        for one in as_completed(made):
            yield one.result()


def _log_in(world: World, name: str, mistype: bool) -> str:
    if mistype:
        assert world.ask(f"{name}+root+web1", "wrong").returncode == 255
    done = world.ask(f"{name}+root+web1", PASSWORD)
    return "in" if done.returncode == 0 else done.stderr.decode()[-200:]


def check_nobody_else_was_refused(world: World, typos: int) -> None:
    """Nothing was refused but the passwords that were wrong, and no connection was turned away."""
    assert world.audit("connection_refused") == [] and world.audit("refused") == []
    refused = Counter(line["reason"] for line in world.audit("auth") if line["result"] == "refused")
    assert refused == Counter(bad_password=typos)
