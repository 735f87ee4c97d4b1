"""What second factors need of the files that a configuration names: keys and secrets, read and checked (L2).

Beside the sections that name the files, and not in them: a supervisor reads the sections and loads no cryptography.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import MappingProxyType
from typing import Final

from bastion.auth.embedded import Users
from bastion.auth.factors import CODE, OIDC, RADIUS
from bastion.auth.https import trusting
from bastion.auth.totp import TotpKey
from bastion.ca.secrets import read_secret_file
from bastion.config.further_factors import Oidc, Radius
from bastion.config.login import Login, Totp
from bastion.config.sections import Sections
from bastion.errors import ConfigError
from bastion.policy.rules import Rule

LIBRARIES: Final = MappingProxyType({OIDC: "joserfc", RADIUS: "pyrad"})
"""What verifies ID tokens, what reads RADIUS packets. They come with extras, so that who has neither installs none."""

SHORTEST: Final = 16
"""Bytes of a RADIUS secret (RFC 2865 section 3)."""

Wrong = Callable[[tuple[str, ...], str, str], None]
"""Takes the option's path, the problem, and what may stand there."""


@dataclass(frozen=True, slots=True)
class SecondFactors:
    """What was read. `tls` is for the identity provider; without it, and without a secret, a factor is off."""

    totp_key: TotpKey | None = field(default=None, repr=False)
    oidc_secret: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = None
    radius_secret: bytes = field(default=b"", repr=False)


def read_second_factors(config: Sections, rules: Iterable[Rule], users: Users, wrong: Wrong) -> SecondFactors:
    """All of it; `wrong` hears of every fault."""
    rules = tuple(rules)
    totp_key: TotpKey | None = None
    try:
        totp_key = read_totp_key(config.totp, config.login, rules, users)
    except ConfigError as error:
        wrong(tuple((error.key or "totp.key_file").split(".")), error.problem, error.allowed)
    for factor, option, on in (
        (OIDC, "issuer", config.oidc.issuer is not None),
        (RADIUS, "servers", bool(config.radius.servers)),
    ):
        asking = "" if on else _who_asks(factor, config.login, rules)
        library = LIBRARIES[factor]
        if on and find_spec(library) is None:
            text = f"needs the library {library}, which is not installed"
            wrong((factor, option), text, f"pip install 'bastion-gateway[{factor}]'")
        if asking:
            wrong((factor, option), f"is not set, and {asking} asks for {factor}", f"[{factor}]")
    oidc_secret, tls = oidc_client(config.oidc, wrong)
    return SecondFactors(totp_key, oidc_secret, tls, _radius(config.radius, wrong))


def _who_asks(factor: str, login: Login, rules: Iterable[Rule]) -> str:
    if any(factor in chain for chain in login.require):
        return "login.require"
    return next((f'rule "{rule.name}"' for rule in rules if factor in rule.factors), "")


def oidc_client(oidc: Oidc, wrong: Wrong) -> tuple[str, ssl.SSLContext | None]:
    """The client's secret, and what its provider's certificate is checked with; `wrong` hears of every fault."""
    if oidc.issuer is None:
        return "", None
    secret, tls = "", None
    if oidc.client_secret_file is not None:
        try:
            secret = read_secret_file(oidc.client_secret_file, "client's secret").decode()
        except (ConfigError, UnicodeDecodeError) as error:
            wrong(("oidc", "client_secret_file"), str(error), "chmod 600 FILE")
    try:
        tls = trusting(oidc.ca_file)
    except OSError as error:  # ssl.SSLError is one
        wrong(("oidc", "ca_file"), f"cannot be used ({type(error).__name__})", "a PEM file")
    return secret, tls


def _radius(radius: Radius, wrong: Wrong) -> bytes:
    if radius.secret_file is None or not radius.servers:
        return b""
    try:
        secret = read_secret_file(radius.secret_file, "RADIUS secret")
    except ConfigError as error:
        wrong(("radius", "secret_file"), str(error), "chmod 600 FILE")
        return b""
    if len(secret) < SHORTEST:
        text = f"the first line of {radius.secret_file} has {len(secret)} characters, and needs {SHORTEST}"
        wrong(("radius", "secret_file"), text, "openssl rand -base64 24")
    return secret


def read_totp_key(
    totp: Totp, login: Login, rules: Iterable[Rule] = (), users: Users = MappingProxyType({})
) -> TotpKey | None:
    """What seals the secrets, if there is a file for it. Raises ConfigError, also where chains, rules or break-glass
    accounts need one, or a method that is not on offer."""
    _check_methods(login, users)
    path, makes = totp.key_file, "openssl rand -base64 32 > FILE; chmod 600 FILE"
    if path is None:
        asking = _who_asks(CODE, login, rules)
        if asking:
            raise ConfigError("", 0, "", f"is not set, and {asking} asks for totp", makes)
        for user in users.values():
            if user.break_glass:
                raise ConfigError(
                    "", 0, "", f"is not set, and the break-glass account {user.name} needs codes", makes
                )
        return None
    try:
        return TotpKey(read_secret_file(path, "key of second factors"))
    except ConfigError as error:
        raise ConfigError("", 0, "", str(error), makes) from None
    except ValueError as error:
        raise ConfigError("", 0, "", f"the first line of {path} {error}", makes) from None


def _check_methods(login: Login, users: Users) -> None:
    """Raises ConfigError: nobody could break the glass, which would be noticed on the day that somebody has to."""
    special = next((user.name for user in users.values() if user.break_glass), "")
    for method in ("publickey", "keyboard-interactive") if special else ():
        if method not in login.methods:
            text = f"has no {method}, by which the break-glass account {special} logs in"
            raise ConfigError("", 0, "login.methods", text, '["publickey", "keyboard-interactive"]')
