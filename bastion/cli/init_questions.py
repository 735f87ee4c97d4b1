"""What `bastion init` asks (L4): every question has an option, and on a terminal those that no option answers are put.

Questions go to standard error, so that what is printed can be piped. A password is read without echo, never from
the command line.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import argon2
import click

from bastion.age import parse_recipient
from bastion.auth.directory import MAX_PASSWORD_BYTES, check_password_shape
from bastion.ca.keys import load_public_keys
from bastion.cli.output import fail
from bastion.errors import ConfigError, Refused
from bastion.install.answers import (
    Answers,
    BadAnswer,
    NewTarget,
    read_account,
    read_login,
    read_place,
    read_target,
)
from bastion.install.authorities import make_password
from bastion.net.local_addresses import source_towards
from bastion.policy.patterns import address_of

T = TypeVar("T")
ACCOUNT: Final = "admin"
PASSWORD_GROUPS: Final = 5  # 85 bits: nobody guesses a hash of it
LISTEN: Final = "0.0.0.0:2222"
DEFAULT_PORT: Final = 2222
LOOKUP_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The options as they were typed; None or empty where there was none."""

    listen: tuple[str, ...]
    public: str | None
    metrics: str | None
    account: str | None
    password_file: str | None
    targets: tuple[str, ...]
    logins: tuple[str, ...]
    egress: tuple[str, ...]
    recipients: tuple[str, ...]
    login_ca: Path | None


@dataclass(frozen=True, slots=True)
class Gathered:
    """The answers, and the password when it was made here and has to be shown."""

    answers: Answers
    password: str


def gather(given: Given, asking: bool) -> Gathered:
    """All answers; with `asking` those that are missing are asked for on the terminal. Exits 2 for a bad one."""
    listen = tuple(_read("--listen", read_place, text, DEFAULT_PORT) for text in given.listen or (LISTEN,))
    public = _ask(
        given.public, "Name that engineers type for this gateway", socket.gethostname(), asking,
        lambda text: read_place(text, listen[0].port), "--public",
    )  # fmt: skip
    targets = tuple(_read("--target", read_target, text) for text in given.targets)
    logins = tuple(_read("--login", read_login, text) for text in given.logins)
    if asking and not targets:
        targets = _ask_target()
    if asking and targets and not logins:
        logins = (_ask(None, f"Account on {targets[0].name} to log in to", "root", True, read_login, ""),)
    account = _ask(
        given.account, "Name of the first account, for breaking glass", ACCOUNT, asking, read_account, "--account"
    )  # fmt: skip
    hashed, shown = _password(given.password_file, account, asking)
    recipients = given.recipients
    if asking and not recipients:
        recipients = _ask_recipient()
    for recipient in recipients:
        try:
            parse_recipient(recipient)
        except ValueError as error:
            fail(f"--recipient {recipient[:12]}... {error}")
    answers = Answers(
        listen=listen,
        public=public,
        account=account,
        password_hash=hashed,
        targets=targets,
        logins=logins,
        egress=_egress(given.egress, targets),
        recipients=tuple(dict.fromkeys(recipients)),
        login_ca=_login_ca(given.login_ca),
        metrics=None if given.metrics is None else _read("--metrics", read_place, given.metrics, 9722),
    )
    return Gathered(answers, shown)


def _read(option: str, read: Callable[..., T], *words: object) -> T:
    try:
        return read(*words)
    except BadAnswer as error:
        fail(f"{option}: {error}")


def _ask(
    given: str | None, question: str, default: str, asking: bool, read: Callable[[str], T], option: str
) -> T:
    """The option's value, or the answer on the terminal (asked again until it can be used), or the default."""
    if given is not None or not asking:
        return _read(option, read, default if given is None else given)
    while True:
        try:
            return read(click.prompt(question, default=default, err=True))
        except BadAnswer as error:
            click.echo(f"  {error}", err=True)


def _ask_target() -> tuple[NewTarget, ...]:
    text = _ask(None, "First target, such as web1=10.0.0.5 (- for none yet)", "-", True, _target_or_none, "")
    return () if text is None else (text,)


def _target_or_none(text: str) -> NewTarget | None:
    return None if text == "-" else read_target(text)


def _ask_recipient() -> tuple[str, ...]:
    def read(text: str) -> tuple[str, ...]:
        if text == "-":
            return ()
        try:
            return (parse_recipient(text).text,)
        except ValueError as error:
            raise BadAnswer(str(error)) from None

    return _ask(None, "age recipient for encrypted recordings (- for none yet)", "-", True, read, "")


def _password(file: str | None, account: str, asking: bool) -> tuple[str, str]:
    """(its hash, the password itself when it was made here)."""
    typed = ""
    if file is not None:
        typed = _from_file(file)
    elif asking:
        typed = _from_terminal(account)
    made = "" if typed else make_password(PASSWORD_GROUPS)
    try:
        check_password_shape(typed or made)
    except Refused as refused:
        fail(f"the password of {account}: {refused.text}")
    return argon2.PasswordHasher().hash(typed or made), made


def _from_terminal(account: str) -> str:
    """Asked twice; "" for one that is to be made."""
    while True:
        typed: str = click.prompt(
            f"Password of {account} (empty: one is made)", hide_input=True, default="", show_default=False, err=True
        )  # fmt: skip
        if not typed:
            return ""
        if typed == click.prompt("Again", hide_input=True, default="", show_default=False, err=True):
            return typed
        click.echo("  the two are not the same", err=True)


def _from_file(name: str) -> str:
    """The first line of a file, or of standard input for `-`."""
    try:
        if name == "-":
            content = sys.stdin.buffer.readline(MAX_PASSWORD_BYTES + 3)
        else:
            with open(name, "rb") as file:
                content = file.readline(MAX_PASSWORD_BYTES + 3)
        line = content.decode("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"--password-file {name}: {getattr(error, 'strerror', None) or 'is not UTF-8'}")
    if not line:
        fail(f"--password-file {name}: there is no password in its first line")
    return line


def _login_ca(path: Path | None) -> str:
    """The public keys of a CA that is there already, as lines; "" when one is to be made."""
    if path is None:
        return ""
    try:
        return "".join(f"{key.line()} {path.stem}\n" for key in load_public_keys(path))
    except ConfigError as error:
        fail(f"--login-ca: {error}")


def _egress(given: Sequence[str], targets: Sequence[NewTarget]) -> tuple[str, ...]:
    """The addresses that targets see: those that were said, or where the kernel would connect from."""
    found = list(given)
    for text in given:
        try:
            ipaddress.ip_network(text)
        except ValueError:
            fail(f"--egress {text}: is no address and no network, such as 192.0.2.10 or 192.0.2.0/28")
    if not given:
        found = [source for target in targets if (source := _source(target.host))]
    return tuple(dict.fromkeys(found))


def _source(host: str) -> str:
    """Where a connection to `host` would come from; "" when that cannot be known within LOOKUP_SECONDS."""
    found: list[str] = []

    def look() -> None:
        address = address_of(host)
        if address is None:
            try:
                address = address_of(str(socket.getaddrinfo(host, 22, type=socket.SOCK_STREAM)[0][4][0]))
            except OSError:
                return
        if address is not None:
            found.append(source_towards(address))

    thread = threading.Thread(target=look, daemon=True)  # a resolver may hang for longer than anybody waits
    thread.start()
    thread.join(LOOKUP_SECONDS)
    return found[0] if found else ""


def confirm(question: str) -> bool:
    """A yes on the terminal; an empty answer is no."""
    return click.confirm(question, default=False, err=True)
