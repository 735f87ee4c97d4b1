"""Judging OpenSSH certificates (L1, pure): engineers' and hosts'. Being written."""

from __future__ import annotations

from dataclasses import dataclass

from bastion.auth.restrictions import AddressList


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What a checked user certificate says, for audit and policy. `valid_before` None = no end."""

    key_id: str
    serial: int
    ca_fingerprint: str
    fingerprint: str
    valid_before: int | None
    force_command: str | None
    source_addresses: AddressList | None
    extensions: frozenset[str]
