"""What a target's table may say about legacy algorithms and passwords, and what is wrong about the rest."""

from __future__ import annotations

import tomllib

import pytest

from bastion.options import Source
from bastion.options.positions import key_lines
from bastion.options.source import ConfigErrors
from bastion.policy.targets import Target, parse_targets
from bastion.wire.keys import PrivateKey
from bastion.wire.legacy import LEGACY_NAMES

HEAD = '[targets.web1]\nhost = "web1.example.com"\n'


def one(text: str) -> Target:
    return parse_targets(tomllib.loads(HEAD + text), Source("targets.toml", "/etc/bastion")).targets[0]


def fault(text: str, count: int = 1) -> str:
    source = Source("targets.toml", "/etc/bastion", key_lines(HEAD + text))
    with pytest.raises(ConfigErrors) as refused:
        parse_targets(tomllib.loads(HEAD + text), source)
    assert len(refused.value.errors) == count, str(refused.value)
    return str(refused.value.errors[0])


def test_every_legacy_name_can_be_listed() -> None:
    listed = ", ".join(f'"{name}"' for name in LEGACY_NAMES)
    assert one(f"legacy = [{listed}]").legacy == LEGACY_NAMES
    assert one("").legacy == ()


@pytest.mark.parametrize(
    "name", ["aes256-ctr", "ssh-dss", "none", "diffie-hellman-group1-sha1", "AES256-CBC"]
)
def test_other_names_are_refused_with_place_and_choices(name: str) -> None:
    text = fault(f'legacy = ["ssh-rsa",\n "{name}"]')
    assert text.startswith(
        ("targets.toml:4: targets.web1.legacy[2]: ", "targets.toml:3: targets.web1.legacy[2]: ")
    )
    assert name in text and all(known in text for known in LEGACY_NAMES)


def test_a_typing_error_is_helped() -> None:
    assert 'did you mean "aes256-cbc"?' in fault('legacy = ["aes256-cdc"]')


def test_the_three_sources_of_a_password() -> None:
    password = one('password = { file = "secrets/web1" }').password
    assert password is not None and password.file == "/etc/bastion/secrets/web1"
    password = one(
        '[targets.web1.password]\ncommand = ["/usr/bin/pass", "{target}/{login}"]\ntimeout = "2s"'
    ).password
    assert password is not None
    assert (password.command, password.timeout) == (("/usr/bin/pass", "{target}/{login}"), 2.0)
    password = one("password = { ask = true }").password
    assert password is not None and password.ask


@pytest.mark.parametrize(
    "table",
    ["{}", "{ ask = false }", '{ ask = true, file = "x" }', '{ file = "x", command = ["/bin/x"] }'],
)
def test_there_is_exactly_one_source(table: str) -> None:
    assert "needs exactly one source" in fault(f"password = {table}")


@pytest.mark.parametrize(
    "command, words",
    [
        ("[]", "must not be empty"),
        ('["pass", "x"]', "is not an absolute path"),
        ('["/usr/bin/pass", "{user}"]', "a placeholder that does not exist"),
        ('["/usr/bin/pass", "{target}{source}"]', "a placeholder that does not exist"),
        ('"/usr/bin/pass"', "must be a list"),
    ],
)
def test_a_command_is_a_list_with_an_absolute_path_and_known_placeholders(command: str, words: str) -> None:
    assert words in fault(f"password = {{ command = {command} }}")


def test_braces_that_are_no_placeholder_stay() -> None:
    password = one('password = { command = ["/bin/x", "{1..3}", "a{target}b"] }').password
    assert password is not None and password.command == ("/bin/x", "{1..3}", "a{target}b")


def test_one_way_to_log_in() -> None:
    assert "logged in to in one way" in fault('key_file = "k"\npassword = { ask = true }')


@pytest.mark.parametrize("extra", ['legacy = ["ssh-rsa"]', "password = { ask = true }", 'key_file = "k"'])
def test_a_gateway_is_never_logged_in_to(extra: str) -> None:
    assert "never logged in to" in fault(f'kind = "gateway"\n{extra}')


def test_what_a_target_asks_comes_after_whatever_it_was_given() -> None:
    assert one("ask = true").ask and not one("").ask
    assert one("ask = true\npassword = { ask = true }").ask
    assert "never logged in to" in fault('ask = true\nkind = "gateway"')


def test_what_a_machine_is_does_not_hang_on_its_name() -> None:
    def machine(name: str, text: str) -> str:
        tables = tomllib.loads(f"[targets.{name}]\n{text}")
        (target,) = parse_targets(tables, Source("targets.toml"))
        return target.machine

    here = 'host = "10.0.0.5"\nport = 2222'
    assert machine("web1", here) == machine("web2", here) == "10.0.0.5:2222"
    keys = [PrivateKey.generate_ed25519().public.line() for _ in range(2)]
    one, two = (machine("web1", f'{here}\nhost_keys = ["{key}"]') for key in keys)
    assert len({one, two, "10.0.0.5:2222"}) == 3
    both = [f'{here}\nhost_keys = ["{first}", "{second}"]' for first, second in (keys, reversed(keys))]
    assert machine("web1", both[0]) == machine("web1", both[1])
