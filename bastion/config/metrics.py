# ruff: noqa: RUF009 - `option` declares a field, as `dataclasses.field` does
"""The section about the pages that Prometheus and load balancers read: where they are, and who may read them (L2)."""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bastion.auth.password_hashes import fault_of
from bastion.errors import ConfigError
from bastion.net.tls import context_of
from bastion.options import At, Scope, option
from bastion.options.kinds import ADDRESS, Address, list_of, optional, or_off, text
from bastion.options.paths import FILE

MOST_TARGETS: Final = 50
"""Targets with figures of their own: each is four lines of the page, in each gateway."""

MOST_USERS: Final = 32

USERS_SIZE: Final = 64 << 10

_TARGET: Final = text("name", re.compile(r"\A[a-z0-9._-]{1,253}\Z"), "names of the inventory")
_USER: Final = re.compile(r"\A[A-Za-z0-9._-]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Metrics:
    """The pages that Prometheus and load balancers read: `/metrics`, `/healthz`, `/readyz`."""

    listen: Address | None = option(
        or_off(ADDRESS),
        "Address and port of /metrics.",
        default=Address("127.0.0.1", 9722),
        scope=Scope.RESTART,
    )
    tls_certificate: Path | None = option(
        optional(FILE),
        "Certificate (PEM, its chain behind it) to speak TLS with. Read again when the file changes. Not set: HTTP.",
        default=None,
        example='"metrics.crt"',
        scope=Scope.RESTART,
    )
    tls_key: Path | None = option(
        optional(FILE),
        "Its private key (PEM), without a passphrase and closed to others.",
        default=None,
        example='"metrics.key"',
        scope=Scope.RESTART,
    )
    users: Path | None = option(
        optional(FILE),
        "File of who may read /metrics, by basic authentication: lines of `NAME:HASH`, the hash from"
        " `bastion hash-password`. Who gives no name reads the first word of /healthz and /readyz, and nothing else."
        " Not set: everybody who reaches the port.",
        default=None,
        example='"metrics.users"',
        scope=Scope.RESTART,
    )
    targets: tuple[str, ...] = option(
        list_of(_TARGET),
        f"Targets with figures of their own, by name: at most {MOST_TARGETS}. Others are in the sums only.",
        default=(),
        example='["db1", "web1"]',
        scope=Scope.RESTART,
    )

    def validate(self, at: At) -> None:
        if (self.tls_certificate is None) != (self.tls_key is None):
            missing = "tls_key" if self.tls_key is None else "tls_certificate"
            at.child(missing).wrong("is missing: TLS needs both", "tls_certificate and tls_key, or neither")
        if len(self.targets) > MOST_TARGETS:
            at.child("targets").wrong(f"has {len(self.targets)} names", f"at most {MOST_TARGETS}")


def read_users(path: Path) -> Mapping[str, str]:
    """Name -> argon2id hash. Raises ConfigError, which says nothing of what stands in the file."""
    name = os.fspath(path)
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
            if mode & 0o027:
                raise ConfigError(name, 0, "", f"mode {mode:04o} lets others in", "0600 or 0640")
            lines = os.read(descriptor, USERS_SIZE).decode("utf-8").splitlines()
        finally:
            os.close(descriptor)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise ConfigError(name, 0, "", f"cannot be read: {why}") from None
    users: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        user, _, hashed = line.strip().partition(":")
        fault = fault_of(hashed)
        if not _USER.match(user):
            raise ConfigError(name, number, "", "does not begin with a name", "NAME:HASH")
        if fault:
            raise ConfigError(name, number, "", f"the hash {fault}", "the output of `bastion hash-password`")
        users[user] = hashed
    if not 0 < len(users) <= MOST_USERS:
        raise ConfigError(name, 0, "", f"has {len(users)} names", f"NAME:HASH, 1 to {MOST_USERS} lines")
    return users


def metrics_faults(metrics: Metrics, targets: Collection[str]) -> Iterator[tuple[bool, str, str, str]]:
    """(is an error, key, problem, what is allowed) of the files that it names, and what it would give away."""
    if metrics.users is not None:
        try:
            read_users(metrics.users)
        except ConfigError as error:
            yield True, "users", str(error), ""
        if metrics.tls_certificate is None and metrics.listen is not None and not _is_here(metrics.listen):
            yield False, "users", "passwords cross the network as they are", "tls_certificate, tls_key"
    if metrics.tls_certificate is not None and metrics.tls_key is not None:
        try:
            context_of(metrics.tls_certificate, metrics.tls_key)
        except ConfigError as error:
            yield True, "tls_certificate", str(error), ""
    for name in metrics.targets:
        if name not in targets:
            yield False, "targets", f"{name} is no target of the inventory", ""


def _is_here(address: Address) -> bool:
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return address.host == "localhost"
