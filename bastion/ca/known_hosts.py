"""The hosts whose keys the gateway knows: OpenSSH's known_hosts, read strictly (sshd(8)). L2.

Invariants: nothing is trusted on first use; a line that cannot be read is an error and never skipped, because
it may be the one that revokes, and all such lines of a file are told at once; a well-formed line about a type of
key that is never negotiated (ssh-dss) is left out with a warning, as OpenSSH does; @revoked counts for the key, for
the key inside a certificate and for the CA that signed it (CVE-2026-42508). Only `pins.pin` writes, nothing here
does.
"""

from __future__ import annotations

import base64
import hmac
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from bastion.auth.certificates import check_host_certificate
from bastion.auth.restrictions import wildcard_match
from bastion.ca.keys import read_text_lines
from bastion.errors import ConfigError, ProtocolError, Refused
from bastion.options import ConfigErrors
from bastion.wire.certificates import CERTIFICATE_TYPES, SIGNATURE_OF_CERTIFICATE, Certificate
from bastion.wire.data import Reader
from bastion.wire.keys import (
    KEY_TYPES,
    SIGNATURE_ALGORITHMS,
    PublicKey,
    decode_base64,
    parse_public_line,
    split_blanks,
)

HASH_MAGIC = "|1|"
DEFAULT_PORT = 22
MAX_LINE = 16 * 1024
"""Characters of one line: an RSA-16384 key is 2.8 KiB, the rest is names."""


MAX_TYPE = 64
"""Characters of a key type (RFC 4251 section 6)."""

_CERTIFICATE_TYPE = re.compile(r"-cert-v[0-9]+@")

MAX_REMEMBERED = 8192
"""Names whose lines are remembered: those of a large inventory, with and without port."""


class Outcome(StrEnum):
    """How one host key was judged. Only the first three let a connection go on."""

    CA_OK = "ca_ok"
    PINNED_OK = "pinned_ok"
    SSHFP_OK = "sshfp_ok"  # not by these lines: by DNS (`upstream.sshfp`)
    UNKNOWN = "unknown"
    CHANGED = "changed"
    REVOKED = "revoked"
    CERT_INVALID = "cert_invalid"


class Marker(StrEnum):
    """The first word of a line, when it is one."""

    NONE = ""
    CERT_AUTHORITY = "@cert-authority"
    REVOKED = "@revoked"


@dataclass(frozen=True, slots=True)
class HostKeyVerdict:
    """`fingerprint` is the key's that was shown; `known` are (type, fingerprint) of the host's pinned keys.

    `text` is one line for a person; it is ours, not the peer's bytes.
    """

    outcome: Outcome
    fingerprint: str
    known: tuple[tuple[str, str], ...] = ()
    text: str = ""

    @property
    def accepted(self) -> bool:
        return self.outcome in (Outcome.CA_OK, Outcome.PINNED_OK, Outcome.SSHFP_OK)

    @property
    def known_fingerprints(self) -> tuple[str, ...]:
        """`SHA256:... (ssh-ed25519)`, one per pinned key, for messages."""
        return tuple(f"{fingerprint} ({kind})" for kind, fingerprint in self.known)


@dataclass(frozen=True, slots=True)
class Line:
    """One line that names keys. `patterns` is the names field as written; `number` is 1-based."""

    number: int
    marker: Marker
    patterns: str
    key: PublicKey
    comment: str = ""

    def matches(self, name: str) -> bool:
        """Does the names field mean `name` (lower case, `[host]:port` form included)? One ! match says no."""
        if self.patterns.startswith(HASH_MAGIC):
            salt, digest = _salt_and_digest(self.patterns)
            return hmac.digest(salt, name.encode("utf-8"), "sha1") == digest
        found = False
        for pattern in self.patterns.lower().split(","):
            negated = pattern.startswith("!")
            if wildcard_match(pattern[1:] if negated else pattern, name):
                if negated:
                    return False
                found = True
        return found


def plain_key(blob: bytes) -> PublicKey:
    """The host key in the blob that a server has shown: a key, or the one in its certificate. Raises ProtocolError."""
    if Reader(blob).name() in CERTIFICATE_TYPES:
        return Certificate.parse(blob).key
    return PublicKey.parse(blob)


def lookup_name(host: str, port: int) -> str:
    """How OpenSSH writes a host into known_hosts: bare for port 22, `[host]:port` otherwise, lower case."""
    host = host.lower()
    return host if port == DEFAULT_PORT else f"[{host}]:{port}"


def hash_name(name: str, salt: bytes) -> str:
    """`|1|salt|HMAC-SHA1(salt, name)`, OpenSSH's hashed form. SHA-1 only hides names here."""
    digest = hmac.digest(salt, name.encode("utf-8"), "sha1")
    return (
        HASH_MAGIC + base64.b64encode(salt).decode("ascii") + "|" + base64.b64encode(digest).decode("ascii")
    )


def _salt_and_digest(field_text: str) -> tuple[bytes, bytes]:
    """The two halves of a hashed name whose form was checked when it was read."""
    salt, digest = field_text[len(HASH_MAGIC) :].split("|")
    return decode_base64(salt), decode_base64(digest)


class _Index:
    """Finds the lines about a name without matching every pattern: a dial may not stop the reactor for it.

    Names written out are looked up; hashes and wildcards are walked once per name and remembered.
    """

    __slots__ = ("_found", "_hashed", "_literal", "_patterns")

    def __init__(self, lines: Iterable[Line]) -> None:
        self._literal: dict[str, list[Line]] = {}
        self._hashed: list[tuple[bytes, bytes, Line]] = []
        self._patterns: list[Line] = []
        self._found: dict[str, tuple[Line, ...]] = {}
        for line in lines:
            if line.patterns.startswith(HASH_MAGIC):
                self._hashed.append((*_salt_and_digest(line.patterns), line))
            elif any(char in line.patterns for char in "*?!"):
                self._patterns.append(line)
            else:
                for name in set(line.patterns.lower().split(",")):
                    self._literal.setdefault(name, []).append(line)

    def about(self, name: str) -> tuple[Line, ...]:
        """All lines that mean `name`, in no particular order."""
        found = self._found.get(name)
        if found is None:
            raw = name.encode("utf-8")
            hashed = [line for salt, want, line in self._hashed if hmac.digest(salt, raw, "sha1") == want]
            matched = [line for line in self._patterns if line.matches(name)]
            found = (*self._literal.get(name, ()), *hashed, *matched)
            if len(self._found) >= MAX_REMEMBERED:
                self._found.clear()
            self._found[name] = found
        return found


@dataclass(frozen=True, slots=True)
class KnownHosts:
    """The lines of one or more known_hosts files; immutable, swapped whole at a reload."""

    lines: tuple[Line, ...] = ()
    # What was left out and where, for the operator.
    warnings: tuple[ConfigError, ...] = ()
    # Made at the first question: `with_keys` in a loop over an inventory asks none.
    _made: list[_Index] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def _index(self) -> _Index:
        if not self._made:
            self._made.append(_Index(self.lines))
        return self._made[0]

    @classmethod
    def parse(cls, text: str, source: str = "known_hosts") -> Self:
        """Read the text of a file. Raises ConfigErrors with `source` and the line of every fault."""
        lines: list[Line] = []
        faults: list[ConfigError] = []
        warnings: list[ConfigError] = []
        for number, raw in enumerate(text.split("\n"), 1):
            line = raw.strip(" \t\r")
            if line and not line.startswith("#"):
                try:
                    lines.append(_read_line(line, number, source))
                except _Foreign as foreign:
                    # A revoked key of such a type is never accepted anyway: nothing is lost, nothing to say.
                    if not foreign.revoked:
                        warnings.append(foreign.warning)
                except ConfigError as fault:
                    faults.append(fault)
        if faults:
            raise ConfigErrors(faults)
        return cls(tuple(lines), tuple(warnings))

    @classmethod
    def load(cls, *paths: str | os.PathLike[str]) -> Self:
        """Read files. Unreadable or missing is a ConfigError: without the file, revocations would be lost."""
        found = [cls.parse("\n".join(read_text_lines(path)), os.fspath(path)) for path in paths]
        return cls(
            tuple(line for one in found for line in one.lines),
            tuple(warning for one in found for warning in one.warnings),
        )

    def with_keys(self, host: str, port: int, key_lines: Iterable[str], source: str) -> Self:
        """These lines plus pins that an inventory holds itself, as public key lines. Raises ConfigError."""
        name = lookup_name(host, port)
        try:
            added = [_read_line(f"{name} {line}", 0, source) for line in key_lines]
        except _Foreign as foreign:
            raise foreign.warning from None
        return type(self)((*self.lines, *added), self.warnings)

    def joined(self, others: Iterable[Self]) -> Self:
        """These lines and those of the others, in that order."""
        parts = (self, *others)
        return type(self)(
            tuple(line for part in parts for line in part.lines),
            tuple(warning for part in parts for warning in part.warnings),
        )

    def check(self, names: Sequence[str], port: int, blob: bytes, now: float) -> HostKeyVerdict:
        """Judge the key or certificate `blob` of the host known by `names` (all meaning this one host).

        A port other than 22 is looked up as `[name]:port`; when that knows nothing, the bare name may still
        vouch, as in OpenSSH, and an authority of the bare name that has signed a certificate which is not good says
        why it is not. Raises ProtocolError for a blob that cannot be read.
        """
        certificate: Certificate | None = None
        if Reader(blob).name() in CERTIFICATE_TYPES:
            certificate = Certificate.parse(blob)
        key = certificate.key if certificate is not None else PublicKey.parse(blob)
        bare = [name.lower() for name in names]
        full = [lookup_name(name, port) for name in names]
        if self._revoked({*bare, *full}, key, certificate):
            return HostKeyVerdict(
                Outcome.REVOKED, key.fingerprint(), (), "the key or its authority is revoked"
            )
        if key.is_security_key:
            return HostKeyVerdict(Outcome.UNKNOWN, key.fingerprint(), (), "security keys cannot be host keys")
        verdict = self._judge(full, bare, key, certificate, now)
        if verdict.outcome is Outcome.UNKNOWN and full != bare:
            without_port = self._judge(bare, bare, key, certificate, now)
            if without_port.accepted or without_port.outcome is Outcome.CERT_INVALID:
                return without_port
        return verdict

    def algorithms_for(self, names: Sequence[str], port: int) -> tuple[str, ...]:
        """Host key algorithms in the order in which they can be verified: certificates first when a CA is
        known for the host, then those of the pinned keys, then the rest. Security keys are left out.
        """
        wanted = {lookup_name(name, port) for name in names} | {name.lower() for name in names}
        certified = [name for name in SIGNATURE_OF_CERTIFICATE if not name.startswith("sk-")]
        plain = [
            a for kind, names_ in SIGNATURE_ALGORITHMS.items() for a in names_ if not kind.startswith("sk-")
        ]
        pinned = [
            a for line in self._matching(wanted, Marker.NONE) for a in line.key.algorithms if a in plain
        ]
        has_ca = bool(self._matching(wanted, Marker.CERT_AUTHORITY))
        order = (*certified, *pinned, *plain) if has_ca else (*pinned, *plain)
        return tuple(dict.fromkeys(order))

    def pinned(self, names: Sequence[str], port: int) -> tuple[PublicKey, ...]:
        """The plain keys known for a host."""
        wanted = {lookup_name(name, port) for name in names}
        return tuple(dict.fromkeys(line.key for line in self._matching(wanted, Marker.NONE)))

    def _matching(self, names: Iterable[str], marker: Marker) -> list[Line]:
        """The lines with this marker about any of the names, as the files have them in order."""
        found = {
            id(line): line for name in names for line in self._index.about(name) if line.marker is marker
        }
        return sorted(found.values(), key=lambda line: line.number)

    def _revoked(self, names: Iterable[str], key: PublicKey, certificate: Certificate | None) -> bool:
        suspects = {key} if certificate is None else {key, certificate.signature_key}
        return any(line.key in suspects for line in self._matching(names, Marker.REVOKED))

    def _judge(
        self, names: Sequence[str], hosts: Sequence[str], key: PublicKey, cert: Certificate | None, now: float
    ) -> HostKeyVerdict:
        """One look-up: `names` find the lines, `hosts` (without port) must be in the certificate."""
        shown = key.fingerprint()
        detail = "no key of this host is known"
        outcome = Outcome.UNKNOWN
        if cert is not None:
            authorities = [line.key for line in self._matching(names, Marker.CERT_AUTHORITY)]
            if cert.signature_key in authorities:
                try:
                    check_host_certificate(cert, authorities, hosts, now)
                    return HostKeyVerdict(Outcome.CA_OK, shown, (), f"signed as {_shown(hosts)}")
                except Refused as refusal:
                    outcome, detail = Outcome.CERT_INVALID, refusal.text
        known = tuple(dict.fromkeys(line.key for line in self._matching(names, Marker.NONE)))
        listed = tuple((old.type, old.fingerprint()) for old in known)
        if key in known:
            # Also when a certificate is not good: the plain key inside it was pinned by somebody.
            return HostKeyVerdict(Outcome.PINNED_OK, shown, listed, "the key is pinned")
        if outcome is Outcome.UNKNOWN and known:
            # Of another type too: an attacker picks the type, and "unknown" would invite a new pin.
            outcome, detail = Outcome.CHANGED, "the host showed another key than the known one"
        return HostKeyVerdict(outcome, shown, listed, detail)


class _Foreign(Exception):
    """A well-formed line about a type of key that is never negotiated."""

    def __init__(self, warning: ConfigError, revoked: bool) -> None:
        super().__init__()
        self.warning, self.revoked = warning, revoked


def _shown(hosts: Sequence[str]) -> str:
    return hosts[0] if hosts else "nobody"


def _read_line(text: str, number: int, source: str) -> Line:
    """Read `[marker] names type base64 [comment]`."""

    def wrong(problem: str) -> ConfigError:
        return ConfigError(source, number, "", problem, "[@cert-authority|@revoked] names type base64")

    if len(text) > MAX_LINE:
        raise wrong("line is too long")
    if any(ord(char) < 0x20 and char != "\t" for char in text):
        raise wrong("line holds control characters")
    words = split_blanks(text, 1)
    marker = Marker.NONE
    if words[0].startswith("@"):
        if words[0] not in (Marker.CERT_AUTHORITY, Marker.REVOKED):
            raise wrong("unknown marker")
        marker = Marker(words[0])
        words = split_blanks(words[1], 1) if len(words) == 2 else []
    if len(words) != 2:
        raise wrong("host names and a key were expected")
    problem = _names_problem(words[0])
    if problem:
        raise wrong(problem)
    if _is_foreign(words[1]):
        warning = wrong("is left out: keys of this type are never negotiated")
        raise _Foreign(warning, marker is Marker.REVOKED)
    try:
        key, comment = parse_public_line(words[1])
    except ProtocolError as error:
        raise wrong(error.text) from None
    return Line(number, marker, words[0], key, comment)


def _is_foreign(text: str) -> bool:
    """Is `type base64 [comment]` well formed, of a type of plain key that is not one of ours?

    A certificate is none: whoever wrote one here, after @revoked perhaps, meant something by it.
    """
    words = split_blanks(text, 2)
    if len(words) < 2 or words[0] in KEY_TYPES or _CERTIFICATE_TYPE.search(words[0]):
        return False
    try:
        return Reader(decode_base64(words[1])).text(MAX_TYPE) == words[0]
    except ProtocolError:
        return False


def _names_problem(names: str) -> str:
    """What is wrong with a names field; "" = nothing."""
    if not names.startswith("|"):
        patterns = [name.removeprefix("!") for name in names.split(",")]
        return "" if all(patterns) else "an empty host name"
    parts = names[len(HASH_MAGIC) :].split("|")
    if not names.startswith(HASH_MAGIC) or len(parts) != 2:
        return "a hashed name is |1|salt|hash"
    try:
        sizes = [len(decode_base64(part)) for part in parts]
    except ProtocolError:
        return "a hashed name is not base64"
    return "" if sizes == [20, 20] else "a hashed name has a salt and a hash of 20 bytes"
