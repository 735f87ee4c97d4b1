"""`bastion hash-password`: make the hash that stands in the embedded directory's file."""

from __future__ import annotations

import sys

import argon2
import click

from bastion.auth.directory import MAX_PASSWORD_BYTES, check_password_shape
from bastion.errors import Refused


@click.command(name="hash-password")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the password as one line from stdin.")
def hash_password(from_stdin: bool) -> None:
    """Print the argon2id hash of a password, asked for twice.

    The hash goes into the users file of the embedded directory; the password is shown and stored nowhere.

    \b
    Example:
      $ bastion hash-password
      Password:
      Again:
      $argon2id$v=19$m=65536,t=3,p=4$...

    \b
    and in the users file:
      [users.alice]
      password = "$argon2id$v=19$m=65536,t=3,p=4$..."

    \b
    From a script:
      $ bastion hash-password --stdin < password.txt
    """
    password = _from_stdin() if from_stdin else _from_terminal()
    try:
        check_password_shape(password)
    except Refused as refused:
        raise _Fault(refused.text) from None
    click.echo(argon2.PasswordHasher().hash(password))


def _from_terminal() -> str:
    if not sys.stdin.isatty():
        raise _Fault("standard input is no terminal; use --stdin to read the password from it")
    password = _ask("Password")
    if password != _ask("Again"):
        raise _Fault("the two passwords are not the same")
    return password


def _ask(prompt: str) -> str:
    answer: str = click.prompt(prompt, hide_input=True, err=True, default="", show_default=False)
    return answer


def _from_stdin() -> str:
    # Room for a line end and one byte more than a password may have, so that a longer one is noticed.
    content = sys.stdin.buffer.read(MAX_PASSWORD_BYTES + 3)
    try:
        line = content.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise _Fault("the password is not UTF-8, or too long") from None
    if "\n" in line:
        raise _Fault("there is more than one line on standard input")
    return line


class _Fault(click.ClickException):
    """The call is wrong: one line on stderr, exit code 2."""

    exit_code = 2
