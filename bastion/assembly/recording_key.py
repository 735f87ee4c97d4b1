"""The key that vouches for recordings, as the gateway uses it (L4).

Invariant: a gateway without a signing key does not start. Where none is configured it makes one in the folder of its
state, once: of several workers that start together all use the first's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from bastion.ca.files import unwritable
from bastion.ca.keys import write_private_key
from bastion.ca.ledger import KeyName
from bastion.ca.slots import Staged
from bastion.clock import Clock
from bastion.config.key_slots import load_staged, recording_key_path
from bastion.config.load import Config
from bastion.config.material import Material
from bastion.errors import ConfigError
from bastion.options import ConfigErrors
from bastion.recording.data_keys import DataKeyStock
from bastion.recording.keys import Sealing
from bastion.wire.keys import PrivateKey


def sealing_of(config: Config, material: Material, clock: Clock) -> Callable[[], Sealing]:
    """What says with which key the next recording is sealed. Raises ConfigError."""
    staged = material.recording or _made(config)
    return lambda: Sealing(staged.at(clock.time()), config.state.name)


def data_keys_of(config: Config, material: Material) -> DataKeyStock | None:
    """Keys for the next recordings, made here: it blocks. Raises ConfigErrors when nothing can be wrapped for the
    recipients, which a plugin that is missing or refuses can bring about.
    """
    if not material.recipients:
        return None
    stock = DataKeyStock(material.recipients)
    try:
        stock.fill()
    except ValueError as error:
        path = str(config.recording.recipients)
        raise ConfigErrors([ConfigError(path, 0, "", str(error), "age-plugin-NAME on the PATH")]) from None
    return stock


def _made(config: Config) -> Staged:
    path = recording_key_path(config)
    try:
        os.makedirs(path.parent, mode=0o700, exist_ok=True)
        with suppress(FileExistsError):  # another worker was quicker
            write_private_key(path, PrivateKey.generate_ed25519(), "bastion recordings")
    except OSError as error:
        raise unwritable(path, error) from None
    return load_staged(config, KeyName.RECORDING)[0]
