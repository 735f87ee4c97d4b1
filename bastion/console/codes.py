"""Who judges one-time codes for the console (L4): the store, by the key of second factors, or a gateway.

A console that may not read `totp.key_file` asks the gateway over the control socket, and so needs neither the key nor
the right to write to the store. Invariant: a code is good once, for every gateway and console together, either way.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeAlias

from twisted.internet.defer import Deferred

from bastion.auth.codes import Codes
from bastion.auth.directory import Asker
from bastion.auth.factors import CODE
from bastion.auth.totp import TotpKey
from bastion.ca.secrets import read_secret_file
from bastion.config.load import Config
from bastion.console.gateway import GatewaySocket
from bastion.console.reads import Reads, Trouble
from bastion.control.proving import UseCode
from bastion.errors import AuthReason, ConfigError, Refused

CodesFrom: TypeAlias = Callable[[str], Codes]
"""What checks codes that come from a source."""


def codes_of(config: Config, reads: Reads, gateway: GatewaySocket) -> CodesFrom | None:
    """None: no code is asked for. Raises ConfigError."""
    path = config.totp.key_file
    if not any(CODE in chain for chain in config.console.require):
        return None
    if path is None:
        text = "asks for codes, and [totp] key_file is not set"
        raise ConfigError(str(config.file), 0, "console.require", text, '[["password"]]')
    if not os.access(path, os.R_OK, effective_ids=True):
        if config.control.socket is not None:
            return lambda source: _by_gateway(gateway, source)
        text = f"{path} cannot be read, and there is no [control] socket at which the gateway judges codes"
        raise ConfigError(str(config.file), 0, "totp.key_file", text)
    try:
        key = TotpKey(read_secret_file(path, "key of second factors"))
    except ValueError as error:
        raise ConfigError(str(config.file), 0, "totp.key_file", f"the first line of {path} {error}") from None
    by_store = reads.codes(key)
    return lambda source: by_store


def _by_gateway(gateway: GatewaySocket, source: str) -> Codes:
    async def ask(uid: str, answer: str) -> bool:
        try:
            used = await gateway.ask(UseCode(uid, source, answer))
            reason = AuthReason(used.reason)
        except (Trouble, ValueError):
            raise Refused(AuthReason.CODES_UNAVAILABLE, "no gateway says whether the code is right") from None
        if reason is not AuthReason.OK:
            raise Refused(reason, f"the gateway did not take the code: {reason}")
        return used.recovery

    def check(uid: str, answer: str, asker: Asker) -> Deferred[bool]:
        return Deferred.fromCoroutine(ask(uid, answer))

    return check
