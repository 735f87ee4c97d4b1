"""What the files that a configuration names hold: keys, known hosts, users (L2).

Read once, by the check, and used as it was read: nothing can change between what was checked and what is in
force. Invariant: a `Material` belongs to a configuration without errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from bastion.age import Recipient
from bastion.auth.ca_scope import CaScopes
from bastion.auth.embedded import Users
from bastion.auth.revocation import NOTHING_REVOKED, Revocation
from bastion.ca.agent import AgentSigner
from bastion.ca.known_hosts import KnownHosts
from bastion.ca.slots import Staged
from bastion.config.second_factors import SecondFactors
from bastion.wire.keys import PrivateKey, PublicKey

_NO_KEYS: Mapping[str, PrivateKey] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Material:
    """`known_hosts` has the pins of the inventory too; `target_keys` is target name -> the key to log in with."""

    host_keys: tuple[Staged, ...] = ()
    host_keys_changing: bool = False  # one is being rotated, or was
    login_cas: tuple[PublicKey, ...] = ()
    ca_scopes: CaScopes = field(default_factory=CaScopes)
    upstream_ca: Staged | None = None
    front_host_ca: Staged | None = None
    issuing_ca: Staged | None = None
    recording: Staged | None = None
    recipients: tuple[Recipient, ...] = ()
    in_agents: tuple[AgentSigner, ...] = ()  # of these, the keys that are in an agent
    known_hosts: KnownHosts = field(default_factory=KnownHosts, repr=False)
    revocation: Revocation = NOTHING_REVOKED
    users: Users | None = field(default=None, repr=False)  # with the hashes of their passwords
    second: SecondFactors = field(default_factory=SecondFactors)
    target_keys: Mapping[str, PrivateKey] = field(default_factory=lambda: _NO_KEYS)
