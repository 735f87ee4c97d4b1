"""The key that seals the secrets of second factors, read from its file (L2).

Beside the section that names the file, and not in it: a supervisor reads the sections and loads no cryptography.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

from bastion.auth.embedded import Users
from bastion.auth.factors import CODE
from bastion.auth.totp import TotpKey
from bastion.ca.secrets import read_secret_file
from bastion.config.login import Login, Totp
from bastion.errors import ConfigError
from bastion.policy.rules import Rule


def read_totp_key(
    totp: Totp, login: Login, rules: Iterable[Rule] = (), users: Users = MappingProxyType({})
) -> TotpKey | None:
    """What seals the secrets, if there is a file for it. Raises ConfigError, also where chains, rules or break-glass
    accounts need one, or a method that is not on offer."""
    _check_methods(login, users)
    path, makes = totp.key_file, "openssl rand -base64 32 > FILE; chmod 600 FILE"
    if path is None:
        if any(CODE in chain for chain in login.require):
            raise ConfigError("", 0, "", "is not set, and login.require asks for totp", makes)
        for rule in rules:
            if CODE in rule.factors:
                raise ConfigError("", 0, "", f'is not set, and rule "{rule.name}" asks for totp', makes)
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
