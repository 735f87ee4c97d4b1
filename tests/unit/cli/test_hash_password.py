"""`bastion hash-password`, from standard input and from a terminal."""

from __future__ import annotations

import sys

import argon2
import pexpect
import pytest
from click.testing import CliRunner

from bastion.auth.embedded import parse_users
from bastion.cli.hash_password import hash_password

pytestmark = pytest.mark.slow


def run(content: str | bytes) -> tuple[int, str]:
    found = CliRunner().invoke(hash_password, ["--stdin"], input=content)
    return found.exit_code, found.output


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_stdin_gives_a_hash_that_the_users_file_takes(ending: str) -> None:
    code, output = run("correct horse" + ending)
    assert code == 0
    assert argon2.PasswordHasher().verify(output.strip(), "correct horse")
    assert "alice" in parse_users(f'[users.alice]\npassword = "{output.strip()}"', "users.toml")


@pytest.mark.parametrize(
    "content", ["", "\n", "  \n", "two\nlines\n", "nul\0inside", "x" * 1025, "x" * 5000, b"\xff\n"]
)
def test_what_no_login_could_send_is_refused(content: str | bytes) -> None:
    code, output = run(content)
    assert code == 2
    assert output.startswith("Error: ") and "$argon2id$" not in output


def test_help_has_an_example() -> None:
    output = CliRunner().invoke(hash_password, ["--help"]).output
    assert "Example:" in output and "$ bastion hash-password" in output


def terminal() -> pexpect.spawn[str]:
    return pexpect.spawn(sys.executable, ["-m", "bastion", "hash-password"], encoding="utf-8", timeout=20)


def test_a_terminal_is_asked_twice_and_shows_nothing() -> None:
    with terminal() as asked:
        asked.expect("Password: ")
        asked.sendline("correct horse")
        asked.expect("Again: ")
        asked.sendline("correct horse")
        asked.expect(pexpect.EOF)
        shown = asked.before or ""
    assert "horse" not in shown
    assert argon2.PasswordHasher().verify(shown.strip(), "correct horse")


def test_two_different_answers_are_no_password() -> None:
    with terminal() as asked:
        for prompt, answer in (("Password: ", "one"), ("Again: ", "other")):
            asked.expect(prompt)
            asked.sendline(answer)
        asked.expect("not the same")
        asked.expect(pexpect.EOF)
        asked.wait()
        assert asked.exitstatus == 2


def test_without_a_terminal_it_says_what_to_do() -> None:
    found = CliRunner().invoke(hash_password, [])
    assert found.exit_code == 2 and "--stdin" in found.output
