"""Names of the algorithms that only a target may list by name (L0, pure; imports nothing).

They are never used at the front door. The set is closed: it is also a label of the meters, so whoever counts reads
these names without loading the algorithms.
"""

from __future__ import annotations

from typing import Final

LEGACY_KEX: Final = ("diffie-hellman-group14-sha1", "diffie-hellman-group-exchange-sha1")
LEGACY_HOST_KEYS: Final = ("ssh-rsa",)
LEGACY_CIPHERS: Final = ("aes256-cbc", "aes128-cbc", "3des-cbc")
LEGACY_MACS: Final = ("hmac-sha1",)
LEGACY_NAMES: Final = (*LEGACY_KEX, *LEGACY_HOST_KEYS, *LEGACY_CIPHERS, *LEGACY_MACS)
