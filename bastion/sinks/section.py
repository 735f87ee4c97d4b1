# ruff: noqa: RUF009 - `option` declares a field, as `dataclasses.field` does
"""The options of a sink of the audit log (L2). Commands that look at the log read them too: nothing heavy here."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from bastion.net.urls import url
from bastion.observe.labels import SINK_KINDS
from bastion.options import At, Kind, declarations, option
from bastion.options.kinds import (
    ADDRESS,
    BOOLEAN,
    Address,
    choice,
    duration,
    integer,
    mapping_of,
    optional,
    sections_by_name,
    text,
)
from bastion.options.paths import FILE

SINK_NAME: Final = re.compile(r"\A[a-z][a-z0-9_-]{0,31}\Z")
SINKS_MAX: Final = 8
"""Sinks of one gateway: each has a thread, and reads the log by itself."""

BATCH_MAX: Final = 1000
"""Lines of one delivery."""

FACILITIES: Final[Mapping[str, int]] = MappingProxyType({
    "daemon": 3, "auth": 4, "authpriv": 10, "audit": 13,
    "local0": 16, "local1": 17, "local2": 18, "local3": 19,
    "local4": 20, "local5": 21, "local6": 22, "local7": 23,
})  # fmt: skip
"""RFC 5424 section 6.2.1."""

HTTP: Final = ("loki", "elastic", "otlp")
_NETWORK: Final = ("syslog", *HTTP)

# For which kinds an option is; one that is not named is for all.
_ONLY_FOR: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({
    "url": HTTP, "token_file": HTTP, "token_scheme": HTTP,
    "address": ("syslog",), "tls": ("syslog",), "server_name": ("syslog",),
    "ca_file": _NETWORK, "client_certificate": _NETWORK, "client_key": _NETWORK,
    "facility": ("syslog", "journald"), "namespace": ("journald",), "confirm": ("journald",),
    "tenant": ("loki",), "labels": ("loki",), "index": ("elastic",),
})  # fmt: skip

_URL: Kind[str] = url(
    "URL",
    "URL of a sink",
    "https://HOST[:PORT][/PATH], without a password; http:// on loopback alone",
    loopback=True,
    query=False,
    longest=1024,
)
_LABEL = re.compile(r"\A[a-zA-Z_][a-zA-Z0-9_]{0,62}\Z")
_LABEL_VALUE = re.compile(r"\A[A-Za-z0-9._:/-]{1,128}\Z")
_INDEX = re.compile(r"\A[a-z0-9][a-z0-9._-]{0,127}\Z")
_WORD = re.compile(r"\A[A-Za-z0-9._-]{1,64}\Z")
_HOST = re.compile(r"\A[A-Za-z0-9._:-]{1,253}\Z")


@dataclass(frozen=True, slots=True)
class Sink:
    """Where every line of the audit log goes besides, with its place in the chain as its id (`docs/audit-sinks.md`).
    NAME is yours to choose; another NAME begins anew."""

    kind: str = option(
        choice(*SINK_KINDS),
        '"journald" is this machine\'s journal; "syslog" is RFC 5424 over TLS (RFC 5425); the others are HTTP: Loki\'s'
        " push, Elasticsearch's bulk, OpenTelemetry's OTLP as JSON.",
        example='"syslog"',
    )
    url: str | None = option(
        optional(_URL),
        "HTTP: where it is, without the path of its API: `/loki/api/v1/push`, `/_bulk` or `/v1/logs` is added.",
        default=None,
        example='"https://loki.example.com"',
    )
    address: Address | None = option(
        optional(ADDRESS),
        "Syslog: name and port of the server.",
        default=None,
        example='"logs.example.com:6514"',
    )
    tls: bool = option(BOOLEAN, "Syslog: with TLS. Without it on loopback alone.", default=True)
    server_name: str | None = option(
        optional(text("name", _HOST, "a host name or an address")),
        "Syslog: the name that the server's certificate must have. Not set: that of `address`.",
        default=None,
        example='"logs.example.com"',
    )
    ca_file: Path | None = option(
        optional(FILE),
        "CAs, one of which the server's certificate must be of. Not set: those of the system.",
        default=None,
        example='"logs_ca.pem"',
    )
    client_certificate: Path | None = option(
        optional(FILE),
        "Certificate (PEM, its chain behind it) that the gateway shows.",
        default=None,
        example='"logs_client.pem"',
    )
    client_key: Path | None = option(
        optional(FILE),
        "Its private key (PEM), without a passphrase and closed to others.",
        default=None,
        example='"credential:logs_client"',
    )
    token_file: Path | None = option(
        optional(FILE),
        "HTTP: file with a token in its first line, closed to others, for the header `Authorization`. Read each time.",
        default=None,
        example='"credential:logs"',
    )
    token_scheme: str = option(
        choice("Bearer", "ApiKey", "Basic"),
        'HTTP: what the token is. Of "Basic" the file has NAME:PASSWORD.',
        default="Bearer",
    )
    tenant: str | None = option(
        optional(text("tenant", _WORD, "letters, digits and . _ -")),
        "Loki: the tenant, sent as `X-Scope-OrgID`.",
        default=None,
        example='"security"',
    )
    labels: Mapping[str, str] = option(
        mapping_of(
            text("label", _LABEL_VALUE, "letters, digits and . _ : / -"), _LABEL, "a label = its value"
        ),
        "Loki: labels beside `job`, `node` and `event`.",
        default=MappingProxyType({}),
        example='{ env = "prod" }',
    )
    index: str = option(
        text("index", _INDEX, "lower-case letters, digits and . _ -"),
        "Elasticsearch: the index or data stream.",
        default="bastion-audit",
    )
    facility: str = option(choice(*FACILITIES), "Syslog and journald: the facility.", default="authpriv")
    namespace: str | None = option(
        optional(text("namespace", _WORD, "letters, digits and . _ -")),
        "Journald: the namespace. Not set: the machine's own journal.",
        default=None,
        example='"bastion"',
    )
    confirm: bool = option(
        BOOLEAN,
        "Journald: a line counts as delivered when `journalctl` shows it, which needs the right to read the journal."
        " Else when the kernel has taken it: what a limit of journald drops is then lost.",
        default=True,
    )
    batch: int = option(integer(1, BATCH_MAX), "Lines of one delivery, at most.", default=500)
    timeout: float = option(
        duration(1, 300), "How long one delivery may take, from beginning to end.", default=30.0
    )

    @property
    def verified_name(self) -> str:
        """Whose certificate the server of syslog must show."""
        return self.server_name or (self.address.host if self.address else "")

    @property
    def place(self) -> str:
        """Where it is, for people."""
        if self.kind == "journald":
            return f"journald{' ' + self.namespace if self.namespace else ''}"
        return self.url or str(self.address)

    @property
    def in_the_clear(self) -> bool:
        """Without TLS: on this machine alone, which `validate` sees to."""
        return self.url.startswith("http:") if self.url else not self.tls

    def validate(self, at: At) -> None:
        for declared in declarations(Sink):
            kinds = _ONLY_FOR.get(declared.name, SINK_KINDS)
            if self.kind not in kinds and getattr(self, declared.name) != declared.default:
                words = " or ".join(f'kind = "{kind}"' for kind in kinds)
                at.child(declared.name).wrong("has no effect with this kind", words)
        if self.kind in HTTP and self.url is None:
            at.child("url").wrong("is required with this kind", _URL.allowed)
        if self.kind == "syslog" and self.address is None:
            at.child("address").wrong("is required with this kind", ADDRESS.allowed)
        if self.kind == "syslog" and not self.tls and self.address and not _is_here(self.address.host):
            at.child("tls").wrong("without TLS whoever is between reads and changes lines", "tls = true")
        if (self.client_certificate is None) != (self.client_key is None):
            missing = "client_key" if self.client_key is None else "client_certificate"
            at.child(missing).wrong("is missing: a certificate and its key go together", "both, or neither")
        if self.in_the_clear:
            for name in ("ca_file", "client_certificate", "server_name"):
                if getattr(self, name) is not None:
                    at.child(name).wrong("has no effect without TLS", "https://, or tls = true")


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def digest_of(sinks: Mapping[str, Sink], log: Path, node: str) -> str:
    """One word for which sinks there are of which log, and how lines go there; "" of none."""
    if not sinks:
        return ""
    return hashlib.sha256(repr((sorted(sinks.items()), str(log), node)).encode()).hexdigest()


SINKS: Kind[Mapping[str, Sink]] = sections_by_name(
    Sink, SINK_NAME, "[audit.sinks.NAME]: lower-case letters, digits, _ and -", SINKS_MAX
)
