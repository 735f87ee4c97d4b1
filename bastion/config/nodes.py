# ruff: noqa: RUF009 - `option` declares a field, as `dataclasses.field` does
"""The section about the other gateways of the same company (L2)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from bastion.config.outputs import NODE_NAME, State
from bastion.errors import ConfigError
from bastion.net.mutual_tls import TlsFiles, context_of
from bastion.options import At, Scope, option
from bastion.options.kinds import ADDRESS, Address, choice, list_of, mapping_of, optional
from bastion.options.paths import FILE

MOST_PEERS: Final = 32
"""Other gateways: each asks each once a second."""

SOON: Final = 30 * 86400.0
"""Seconds before the end of a node's certificate from which on `check` warns."""

ROLES: Final = ("admin", "responder", "auditor", "approver")


@dataclass(frozen=True, slots=True)
class Nodes:
    """The other gateways, with which this one shares its locks and its live list (`docs/nodes.md`)."""

    listen: Address | None = option(
        optional(ADDRESS),
        "Where the other gateways connect to, in a network of the gateways' own.",
        default=None,
        example='"192.0.2.1:2323"',
        scope=Scope.RESTART,
    )
    certificate: Path | None = option(
        optional(FILE),
        "This gateway's certificate (PEM), with `state.node` as a DNS name in it. A new file is used from the next"
        " connection on.",
        default=None,
        example='"keys/node.crt"',
        scope=Scope.RESTART,
    )
    key: Path | None = option(
        optional(FILE), "Its private key.", default=None, example='"keys/node.key"', scope=Scope.RESTART
    )
    authority: Path | None = option(
        optional(FILE),
        "The certificate of the CA that signs those of the gateways, and of nothing else.",
        default=None,
        example='"keys/nodes_ca.crt"',
        scope=Scope.RESTART,
    )
    peers: Mapping[str, Address] = option(
        mapping_of(ADDRESS, NODE_NAME, '{ gw2 = "192.0.2.2:2323" }'),
        "The other gateways by name, and where each listens. Who is not in it is no node, whatever certificate it has.",
        default=MappingProxyType({}),
        example='{ gw2 = "192.0.2.2:2323" }',
        scope=Scope.RESTART,
    )
    roles: tuple[str, ...] = option(
        list_of(choice(*ROLES)),
        "What people at other gateways may be here, when they are it here too: an order that comes from another gateway"
        " is obeyed for an account of this machine of that name, with those of its roles that are in this list.",
        default=("admin", "responder", "auditor"),
        scope=Scope.RESTART,
    )

    @property
    def used(self) -> bool:
        """There are several gateways."""
        return bool(self.peers)

    @property
    def files(self) -> TlsFiles:
        """Of a section that is used."""
        assert self.certificate is not None and self.key is not None and self.authority is not None
        return TlsFiles(self.certificate, self.key, self.authority)

    def validate(self, at: At) -> None:
        needed = {
            "listen": self.listen,
            "certificate": self.certificate,
            "key": self.key,
            "authority": self.authority,
        }
        if not self.peers:
            for name, value in needed.items():
                if value is not None:
                    at.child(name).wrong("has no effect without peers", 'peers = { gw2 = "192.0.2.2:2323" }')
            return
        for name, value in needed.items():
            if value is None:
                at.child(name).wrong("is missing: there are peers", "listen, certificate, key and authority")
        if len(self.peers) > MOST_PEERS:
            at.child("peers").wrong(f"has {len(self.peers)} names", f"at most {MOST_PEERS}")


def nodes_faults(nodes: Nodes, state: State, now: float) -> Iterator[tuple[bool, str, str, str]]:
    """(is an error, key, problem, what is allowed) of what it needs elsewhere, and of the files that it names."""
    if not nodes.used or None in (nodes.listen, nodes.certificate, nodes.key, nodes.authority):
        return
    if state.name in nodes.peers:
        yield (
            True,
            "peers",
            f"has {state.name}, which is this gateway itself (state.node)",
            "the other gateways",
        )
    if state.url is None:
        yield True, "peers", "share their state in PostgreSQL: state.url is not set", "state.url"
    try:
        context_of(nodes.files, server=True)
    except ConfigError as error:
        yield True, "certificate", str(error), ""
        return
    yield from _certificate_faults(nodes, state.name, now)


def _certificate_faults(nodes: Nodes, name: str, now: float) -> Iterator[tuple[bool, str, str, str]]:
    from cryptography import x509  # 3 MB, where there is a certificate to look at
    from cryptography.x509.oid import ExtendedKeyUsageOID

    own, *_ = x509.load_pem_x509_certificates(nodes.files.certificate.read_bytes())
    try:
        found = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = set(found.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        names = set()
    file = os.fspath(nodes.files.certificate)
    if name not in names:
        shown = ", ".join(sorted(names)) or "none"
        yield True, "certificate", f"{file} has the names: {shown}", f"{name}, this gateway's, as a DNS name"
    if names & nodes.peers.keys():
        shown = ", ".join(sorted(names & nodes.peers.keys()))
        yield True, "certificate", f"{file} has a peer's name too: {shown}", "this gateway's name alone"
    left = own.not_valid_after_utc.timestamp() - now
    if left <= 0:
        yield True, "certificate", f"{file} has ended", "a certificate that is valid"
    elif left < SOON:
        yield False, "certificate", f"{file} ends in {left / 86400:.0f} days", "a new one"
    try:
        usage = own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} <= set(usage):
        yield (
            True,
            "certificate",
            f"{file} is not for both ends",
            "extendedKeyUsage serverAuth and clientAuth",
        )
