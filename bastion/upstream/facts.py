"""What is known of a target's leg once it stands, and why it could not: values and words for people.

`UpstreamConnected` is noted at the beginning of every recording, shown by `bastion target test`, and says
which legacy algorithms are in use, so that nobody has to find out from packets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bastion.wire.kexinit import Mismatch, Negotiated
from bastion.wire.legacy import LEGACY_NAMES
from bastion.wire.printable import printable

# Names of a target's offer that one refusal repeats, list by list: the line stands in a banner.
SHOWN_NAMES = 6


@dataclass(frozen=True, slots=True)
class UpstreamConnected:
    """The target let us in. Ciphers and MACs are by direction; a MAC is "" where the cipher authenticates.

    `peer_version` is the target's own line, to be shown only escaped. `login_method` is what let us in,
    `credential` where the proof came from: certificate, key_file, or a password's file, command or asked.
    `legacy` are the names of the legacy list in use, the login's own signature included.
    """

    peer_version: str
    kex: str
    host_key_algorithm: str
    cipher_to_target: str
    cipher_from_target: str
    mac_to_target: str
    mac_from_target: str
    strict_kex: bool
    login_method: str
    credential: str
    legacy: tuple[str, ...] = ()


class HopPassed(NamedTuple):
    """A hop on the way that let us in: its name, the fingerprint of its host key, what was agreed. `charge` says who
    pays for the key exchanges that it asks for (`KeyExchange.charge`)."""

    name: str
    host_key: str
    facts: UpstreamConnected
    charge: Callable[[Callable[[int], None]], None]


@dataclass(frozen=True, slots=True)
class TargetBanner:
    """The target's words before the login was done, shown to the engineer (`wire.printable.banner_lines`);
    `missing` bytes of them were not.
    """

    text: str
    missing: int


def connected(
    peer_version: bytes, agreed: Negotiated, method: str, credential: str, login_legacy: tuple[str, ...]
) -> UpstreamConnected:
    """The facts of one leg; we are its client."""
    used = {*agreed.legacy, *login_legacy}
    return UpstreamConnected(
        peer_version=peer_version.decode("ascii", "replace"),
        kex=agreed.kex,
        host_key_algorithm=agreed.host_key,
        cipher_to_target=agreed.cipher_c2s,
        cipher_from_target=agreed.cipher_s2c,
        mac_to_target=agreed.mac_c2s,
        mac_from_target=agreed.mac_s2c,
        strict_kex=agreed.strict,
        login_method=method,
        credential=credential,
        legacy=tuple(name for name in LEGACY_NAMES if name in used),
    )


def mismatch_text(found: Sequence[Mismatch]) -> str:
    """Everything that is missing in one line, with the key to set when that would help."""
    parts = []
    for one in found:
        shown = ", ".join(one.offered[:SHOWN_NAMES]) or "nothing"
        more = ", ..." if len(one.offered) > SHOWN_NAMES else ""
        parts.append(f"no common {one.what}: the target offers only {shown}{more}")
    text = printable("; ".join(parts))
    remedies = [one.remedy for one in found]
    if not all(remedies):
        return text + ", which is not supported here"
    listed = ", ".join(f'"{name}"' for name in remedies)
    return f"{text}; if it cannot be upgraded: legacy = [{listed}] in its table"
