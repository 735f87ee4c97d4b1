"""`[login]`: chains that cannot work, or that say less than they seem to, are faults."""

from __future__ import annotations

import tomllib
from contextlib import suppress

import pytest

from bastion.config.login import Login
from bastion.options import At, Problems, Source, Unreadable, read


def login(text: str) -> tuple[Login, list[str]]:
    problems = Problems()
    made = Login()
    with suppress(Unreadable):
        made = read(Login, tomllib.loads(text), At(Source("bastion.toml"), problems))
    return made, [f"{error.key}: {error.problem}" for error in problems.errors]


def test_chains_are_in_the_order_in_which_they_are_given() -> None:
    made, faults = login('require = [["password", "publickey"], ["certificate"]]')
    assert not faults and made.chains == (("publickey", "password"), ("certificate",))


def test_others_are_asked_last() -> None:
    made, faults = login('require = [["oidc", "password"], ["radius", "totp", "publickey"]]')
    assert not faults and made.chains == (("password", "oidc"), ("publickey", "totp", "radius"))


def test_without_chains_the_methods_mean_what_they_meant() -> None:
    assert login('methods = ["publickey"]')[0].chains == (("certificate",), ("publickey",))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('require = [["totp"]]', "require[1]: is a code alone, which is half a proof"),
        ('require = [["password", "password"]]', "require[1]: names a factor twice, which is one factor"),
        (
            'require = [["publickey", "password"], ["password"]]',
            "require[1]: is never needed: password alone is enough already",
        ),
        (
            'methods = ["publickey"]\nrequire = [["publickey", "password"]]',
            "require[1]: password cannot be given by a method on offer",
        ),
        (
            'methods = ["password"]\nrequire = [["certificate", "password"]]',
            "require[1]: certificate cannot be given by a method on offer",
        ),
        ('require = [["oidc"]]', "require[1]: asks others about somebody who has proved nothing"),
        ('require = [["oidc", "radius"]]', "require[1]: asks others about somebody who has proved nothing"),
        (
            'require = [["publickey", "oidc"], ["publickey", "totp"]]',
            "require[2]: is never given: publickey, oidc goes on with oidc before",
        ),
        (
            'methods = ["publickey"]\nrequire = [["publickey", "radius"]]',
            "require[1]: radius cannot be given by a method on offer",
        ),
        (
            'methods = ["publickey", "keyboard-interactive"]\n'
            'require = [["sk-publickey", "password"], ["publickey", "totp"]]',
            "require[1]: can never be whole: where its password is due, keyboard-interactive asks for another one's"
            " code",
        ),
    ],
)
def test_chains_that_say_something_else(text: str, fault: str) -> None:
    assert login(text)[1] == [fault]


@pytest.mark.parametrize(
    "text",
    [
        'require = [["publickey", "password"], ["publickey", "totp"]]',  # by the method `password`
        'methods = ["publickey", "keyboard-interactive"]\nrequire = [["publickey", "password", "totp"]]',
        'methods = ["publickey", "keyboard-interactive"]\n'
        'require = [["publickey", "password"], ["certificate", "totp"]]',
    ],
)
def test_chains_that_can_be_whole(text: str) -> None:
    assert login(text)[1] == []
