"""`[issue]`: what could never issue anything, or would for less than it seems, is a fault."""

from __future__ import annotations

import tomllib
from contextlib import suppress

import pytest

from bastion.config.issue import Issue, never_given
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
        (KEY + 'require = [["totp"]]', "require[1]: is a code alone, which is half a proof"),
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
