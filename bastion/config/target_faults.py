"""What `bastion check` says of single targets, beside what their tables cannot be read for (L2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bastion.ca.secrets import check_program, read_secret_file
from bastion.errors import ConfigError
from bastion.policy.targets import Target, TargetPassword

Fault = tuple[bool, str, str, str]
"""Whether it is an error, the key, the problem, what is allowed."""


def same_place(target: Target, first: str) -> Iterator[Fault]:
    """Two targets at one place are one machine: rules for the one can be walked round by the other's name."""
    if first != target.name:
        text = f"{target.address} is where target {first} is already: rules and records see two machines"
        yield False, "host", text, f"an alias of {first}"


def password_faults(password: TargetPassword) -> Iterator[Fault]:
    """The secret is read and dropped; a command is looked at and not run."""
    try:
        if password.file is not None:
            read_secret_file(password.file)
        elif password.command is not None:
            check_program(password.command[0])
    except ConfigError as error:
        yield True, "password", str(error), ""


def program_faults(commands: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Of the programs that lead to targets: the problem, and the name."""
    for name, words in commands.items():
        try:
            check_program(words[0], f"the program {words[0]}")
        except ConfigError as error:
            yield error.problem, name


def hop_faults(target: Target, egress: bool) -> Iterator[Fault]:
    """Of a target that others are behind; `egress`: certificates say where they may be used from."""
    if target.hop_login is not None and egress and not target.hop_egress:
        text = "certificates for what is behind it would work from any address until they expire"
        yield False, "hop_login", text, "hop_egress: the addresses that it connects from"
