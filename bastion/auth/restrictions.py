"""What a credential forbids (L1, pure): one value for certificates and authorised keys alike.

Invariant: `intersect` only ever narrows. Restrictions of every factor are intersected, never replaced
(CVE-2026-39828), and a list that is present but empty matches nothing (x/crypto b9229ec).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

from bastion.errors import AuthReason, ProtocolError, Refused
from bastion.wire.interning import one_of_equal
from bastion.wire.key_options import (
    ALL_PERMITS,
    PERMIT_PORT_FORWARDING,
    KeyOptions,
)

if TYPE_CHECKING:  # who only compares addresses loads no cryptography
    from bastion.wire.keys import AuthorizedKey

# Entries of one source list: a certificate of 64 KiB could carry thousands, each compared at every login.
MAX_SOURCES = 256

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Item = TypeVar("_Item")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def normal_address(text: str) -> _Address:
    """A peer's address as one value: no zone, ::ffff:a.b.c.d as IPv4. ProtocolError when it is none."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        raise ProtocolError("not an IP address") from None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@dataclass(frozen=True, slots=True)
class AddressList:
    """Addresses from which a credential works. `text` is what the credential says; no entry = nobody.

    `networks`, `patterns` carry (negated, what); a negated match refuses whatever else matches
    (ssh_config(5), PATTERNS).
    """

    text: str
    networks: tuple[tuple[bool, _Network], ...]
    patterns: tuple[tuple[bool, str], ...] = ()

    @classmethod
    def from_cidr_list(cls, text: str) -> Self:
        """The strict list of the source-address critical option (PROTOCOL.certkeys): addresses and CIDR only.

        Raises ProtocolError: no blanks, no wildcards, no negation, no host bits below the prefix.
        """
        entries = text.split(",") if text else []
        return cls(text, tuple((False, _network(entry)) for entry in _bounded(entries)))

    @classmethod
    def from_patterns(cls, entries: tuple[str, ...]) -> Self:
        """The patterns of an authorised key's from= (sshd(8)): addresses, CIDR, * and ?, ! negates.

        Host names are refused with ProtocolError: the gateway never asks the DNS who somebody is.
        """
        networks: list[tuple[bool, _Network]] = []
        patterns: list[tuple[bool, str]] = []
        for entry in _bounded(list(entries)):
            negated = entry.startswith("!")
            body = entry[1:] if negated else entry
            if "*" not in body and "?" not in body:
                networks.append((negated, _network(body)))
            elif re.fullmatch(r"[0-9.*?]+|[0-9A-Fa-f:.*?]*:[0-9A-Fa-f:.*?]*", body):
                patterns.append((negated, body.lower()))
            else:
                raise ProtocolError("from= takes addresses and address patterns, not host names")
        return cls(",".join(entries), tuple(networks), tuple(patterns))

    def matches(self, address: str) -> bool:
        """True when the peer's address is on the list and no negated entry names it."""
        try:
            peer = normal_address(address)
        except ProtocolError:
            return False
        shown = str(peer)
        found = False
        for negated, network in self.networks:
            if peer.version == network.version and peer in network:
                if negated:
                    return False
                found = True
        for negated, pattern in self.patterns:
            if wildcard_match(pattern, shown):
                if negated:
                    return False
                found = True
        return found


def wildcard_match(pattern: str, text: str) -> bool:
    """OpenSSH's match_pattern: * any run, ? any one character, nothing else special. Time O(len * len)."""
    at = place = 0
    star = restart = -1
    while place < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, restart = at, place
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[place]):
            at += 1
            place += 1
        elif star >= 0:
            restart += 1
            at, place = star + 1, restart
        else:
            return False
    return all(char == "*" for char in pattern[at:])


def _bounded(entries: list[str]) -> list[str]:
    if len(entries) > MAX_SOURCES:
        raise ProtocolError("source address list is too long")
    return entries


def _network(text: str) -> _Network:
    """One address or CIDR network; strict, and netmask notation or zones are refused."""
    if not re.fullmatch(r"[0-9A-Fa-f.:]+(?:/[0-9]{1,3})?", text):
        raise ProtocolError("not an address or CIDR network")
    try:
        # sshd compares within one family, and takes a peer of ::ffff:a.b.c.d for an IPv4 one: an entry that is
        # written as a mapped address matches nobody there, and so it does here.
        return ipaddress.ip_network(text, strict=True)
    except ValueError:
        raise ProtocolError("not an address or CIDR network") from None


@dataclass(frozen=True, slots=True)
class PermitOpen:
    """One permitopen list: forwards may go to these (host, port) only, port None = any."""

    destinations: tuple[tuple[str, int | None], ...]

    def allows(self, host: str, port: int) -> bool:
        wanted = host.lower()
        return any(name in ("*", wanted) and number in (None, port) for name, number in self.destinations)


@dataclass(frozen=True, slots=True)
class Restrictions:
    """Everything the credentials of one login forbid. The default forbids nothing; policy still decides.

    `force_command` replaces every shell, exec and subsystem. `source_addresses` and `permit_open` hold one
    list per credential; each must match. `extensions` are the permits left, by their certificate names.
    `valid_before` is in seconds since the epoch, exclusive; None = no end.
    """

    force_command: str | None = None
    source_addresses: tuple[AddressList, ...] = ()
    extensions: frozenset[str] = ALL_PERMITS
    valid_before: int | None = None
    permit_open: tuple[PermitOpen, ...] = ()

    @classmethod
    def of_key_options(cls, options: KeyOptions) -> Self:
        """What an authorised key's options forbid. Refused(KEY_OPTIONS) for a from= that names hosts."""
        try:
            sources = () if options.sources is None else (AddressList.from_patterns(options.sources),)
        except ProtocolError:
            raise Refused(AuthReason.KEY_OPTIONS, "the key's from= option cannot be honoured") from None
        opens = () if options.permit_open is None else (PermitOpen(options.permit_open),)
        return cls(options.command, sources, options.permits, options.expires_at, opens)

    def check(self, source_address: str, now: float) -> None:
        """Refused(KEY_OPTIONS) when the credential has ended or may not be used from this address."""
        if self.ended(now):
            raise Refused(AuthReason.KEY_OPTIONS, "this credential has expired")
        if not self.allows_source(source_address):
            raise Refused(AuthReason.KEY_OPTIONS, "this credential may not be used from this address")

    def permits(self, extension: str) -> bool:
        """True when every credential allows e.g. `permit-pty`."""
        return extension in self.extensions

    def allows_source(self, address: str) -> bool:
        """The one place where a source address is judged, for every method (CVE-2026-46595)."""
        return all(addresses.matches(address) for addresses in self.source_addresses)

    def allows_open(self, host: str, port: int) -> bool:
        """May a local forward go to `host:port`, as far as permitopen and the forwarding permit say?"""
        if not self.permits(PERMIT_PORT_FORWARDING):
            return False
        return all(permit.allows(host, port) for permit in self.permit_open)

    def ended(self, now: float) -> bool:
        """True from the first second at which a credential is no longer valid; no skew is allowed."""
        return self.valid_before is not None and now >= self.valid_before

    def intersect(self, other: Restrictions) -> Restrictions:
        """What both allow. Two different forced commands cannot both be obeyed: Refused(KEY_OPTIONS)."""
        commands = {c for c in (self.force_command, other.force_command) if c is not None}
        if len(commands) > 1:
            raise Refused(AuthReason.KEY_OPTIONS, "two credentials force different commands")
        ends = [end for end in (self.valid_before, other.valid_before) if end is not None]
        return Restrictions(
            force_command=commands.pop() if commands else None,
            source_addresses=_union(self.source_addresses, other.source_addresses),
            extensions=one_of_equal(self.extensions & other.extensions),
            valid_before=min(ends) if ends else None,
            permit_open=_union(self.permit_open, other.permit_open),
        )


def _union(first: tuple[_Item, ...], second: tuple[_Item, ...]) -> tuple[_Item, ...]:
    """Both tuples, each item once, in order."""
    return tuple(dict.fromkeys(first + second))


def check_authorized_key(authorised: AuthorizedKey, now: float, source_address: str) -> Restrictions:
    """Judge one authorised key before its signature counts; return what it restricts.

    Raises Refused(KEY_OPTIONS) when an option is not honoured, expired or not matched.
    """
    if authorised.options.verify_required and not authorised.key.is_security_key:
        raise Refused(AuthReason.KEY_OPTIONS, "the key's verify-required option is for security keys only")
    restrictions = Restrictions.of_key_options(authorised.options)
    restrictions.check(source_address, now)
    return restrictions
