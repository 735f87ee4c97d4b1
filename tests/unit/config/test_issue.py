"""`[issue]`: what could never issue anything, or would for less than it seems, is a fault."""

from __future__ import annotations

import tomllib
from contextlib import suppress

import pytest

from bastion.auth.embedded import parse_users
from bastion.config.issue import Issue, bound_by_name, never_given
from bastion.config.login import Login
from bastion.options import At, Problems, Source, Unreadable, read

KEY = 'key = "keys/issuing_ca"\n'


def issue(text: str) -> tuple[Issue, list[str]]:
    problems = Problems()
    made = Issue()
    with suppress(Unreadable):
        made = read(Issue, tomllib.loads(text), At(Source("bastion.toml"), problems))
    return made, [f"{error.key}: {error.problem}" for error in problems.errors]


def test_by_default_nothing_is_issued() -> None:
    made, faults = issue("")
    assert not faults and made.chains == () and made.key is None and made.keys == "own"


def test_the_chains_stand_in_the_order_in_which_they_are_given() -> None:
    made, faults = issue(KEY + 'require = [["totp", "publickey"]]\nlifetime = "12h"')
    assert not faults and made.chains == (("publickey", "totp"),) and made.lifetime == 43200


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (KEY, "require: is not set, and issue.key is: no certificate could be issued"),
        (
            'require = [["publickey"]]',
            "key: is not set, and issue.require is: no certificate could be issued",
        ),
        (KEY + 'require = [["totp"]]', "require[1]: is a second factor alone, which is half a proof"),
        (
            KEY + 'require = [["publickey", "publickey"]]',
            "require[1]: names a factor twice, which is one factor",
        ),
        (KEY + 'require = [["palm"]]', 'require[1][1]: unknown value "palm"'),
        (KEY + 'require = [["publickey"]]\nlifetime = "2d"', "lifetime: 172800.0 is not from 5m to 1d"),
    ],
)
def test_a_section_that_cannot_be(text: str, fault: str) -> None:
    faults = issue(text)[1]
    assert len(faults) == 1 and faults[0].startswith(fault.partition(":")[0] + ":"), faults


def test_a_chain_that_no_login_gives_is_told() -> None:
    made = issue(KEY + 'require = [["publickey", "totp"], ["publickey"], ["password", "totp"]]')[0]
    assert never_given(made, Login(require=(("sk-publickey", "totp"),))) == (2,)
    assert never_given(made, Login()) == (0, 2), "without chains one proof is a login, and no more is asked"


def test_accounts_that_have_only_a_name_are_named() -> None:
    users = parse_users(
        '[users.alice]\nid = "u-1"\n[users.bob]\n[users.carol]\n[users.backup]\nkind = "service"\nowner = "x"\n'
        'expires = 2099-01-01\nsources = ["192.0.2.0/24"]\n',
        "users.toml",
    )
    made = issue(KEY + 'require = [["publickey"]]')[0]
    text = bound_by_name(made, users)
    assert text.startswith("has accounts without an id: bob, carol; certificates")
    assert bound_by_name(Issue(), users) == ""
    many = parse_users("".join(f"[users.u{number}]\n" for number in range(9)), "users.toml")
    assert "u4 and 4 more;" in bound_by_name(made, many)
