"""The version exchange (RFC 4253 section 4.2) and algorithm negotiation (section 7.1).

Invariants: everything a peer can send here is limited before it is kept; what is negotiated is always a name
from our own list, never empty and never "none" (compression apart, which is always "none"); the markers of
strict kex and ext-info are recognised and never negotiated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self

from bastion.errors import ProtocolError
from bastion.wire.ciphers import (
    COMPAT_CIPHERS,
    COMPAT_MACS,
    FRONT_CIPHERS,
    FRONT_MACS,
    authenticates,
)
from bastion.wire.data import NAMELIST_LIMIT, Reader, boolean, byte, namelist, uint32
from bastion.wire.kex import COMPAT_KEX, FRONT_KEX
from bastion.wire.legacy import LEGACY_CIPHERS, LEGACY_HOST_KEYS, LEGACY_KEX, LEGACY_MACS, LEGACY_NAMES
from bastion.wire.numbers import MSG_KEXINIT, Disconnect

VERSION_LINE_LIMIT = 255
"""Bytes of the identification line with CR LF (RFC 4253 section 4.2)."""

BANNER_LINES_LIMIT = 1024
"""Lines a server may send before its identification, as in golang.org/x/crypto/ssh and OpenSSH."""

BANNER_BYTES_LIMIT = 8 * 1024
"""Bytes of all those lines together."""

KEXINIT_LIMIT = 32 * 1024
"""Bytes of a KEXINIT payload; the longest in the field are below 8 KiB. It is kept for the exchange hash."""

NAMES_LIMIT = 256
"""Names in one list of a KEXINIT; OpenSSH with everything on offers about 40."""

REMEMBERED_OFFERS = 32
"""What peers offer, apart from the cookie, is the same for every client and server of one version: so many are
kept as they were read. Whoever sends others makes nobody's exchange costlier than a first one."""

REMEMBERED_SIZE = 4 * 1024
"""Bytes of an offer that is remembered; OpenSSH's are below 1.7 KiB. As many names as fit take 110 KiB in memory,
so the worst case is 3.5 MiB."""

STRICT_CLIENT = "kex-strict-c-v00@openssh.com"  # OpenSSH PROTOCOL 1.10
STRICT_SERVER = "kex-strict-s-v00@openssh.com"
EXT_INFO_CLIENT = "ext-info-c"  # RFC 8308 section 2.1
EXT_INFO_SERVER = "ext-info-s"
# RFC 4251 section 6: names of 1-64 printable US-ASCII characters, no comma. One match, not Reader.namelist:
# that costs 100 us for a usual KEXINIT, which anybody may send.
_NAMES = re.compile(rb"[!-+\--~]{1,64}(?:,[!-+\--~]{1,64})*")

MARKERS = frozenset((STRICT_CLIENT, STRICT_SERVER, EXT_INFO_CLIENT, EXT_INFO_SERVER))


class VersionReader:
    """Reads the peer's identification line.

    Only a client takes other lines before it (`client_role`), and only a client takes "1.99" as "2.0"
    (RFC 4253 section 5.1). The first line that begins with "SSH-" ends it: a second one would be read as a
    packet and refused.
    """

    def __init__(self, client_role: bool) -> None:
        self.version: bytes | None = None
        self._client_role = client_role
        self._line = bytearray()
        self._banner_lines = 0
        self._banner_bytes = 0

    def feed(self, data: bytes | memoryview) -> bytes | None:
        """None while the line is incomplete; then, with `version` set, the bytes that came after it.

        Raises `ProtocolError`; then, and after the end, it must not be fed again.
        """
        raw, at = bytes(data), 0
        while True:
            newline = raw.find(b"\n", at)
            self._line += raw[at : newline if newline >= 0 else len(raw)]
            self._check_line(newline >= 0)
            if newline < 0:
                return None
            at = newline + 1
            if self._line.startswith(b"SSH-"):
                self.version = self._parse(bytes(self._line))
                return raw[at:]
            self._banner_lines += 1
            self._banner_bytes += len(self._line) + 1
            self._line.clear()

    def _check_line(self, complete: bool) -> None:
        """Refuse as soon as it is certain that no good line can come of it."""
        line = self._line
        if line.startswith(b"SSH-"):
            if len(line) + 1 > VERSION_LINE_LIMIT:
                raise _bad_version()
            return
        may_become = not complete and b"SSH-".startswith(line)
        if not self._client_role and not may_become:
            raise _bad_version()
        lines, size = self._banner_lines + complete, self._banner_bytes + len(line) + complete
        if lines > BANNER_LINES_LIMIT or size > BANNER_BYTES_LIMIT:
            raise _bad_version()

    def _parse(self, line: bytes) -> bytes:
        if line.endswith(b"\r"):  # RFC 4253 section 4.2: CR LF; a bare LF is taken from old implementations
            line = line[:-1]
        if line.translate(None, _VISIBLE):  # anything else is left
            raise _bad_version()
        _, protocol, software = line.split(b"-", 2) if line.count(b"-") >= 2 else (b"", b"", b"")
        allowed = (b"2.0", b"1.99") if self._client_role else (b"2.0",)
        if protocol not in allowed or not software:
            raise _bad_version()
        return line


_VISIBLE: Final = bytes(range(0x20, 0x7F))


def _bad_version() -> ProtocolError:
    return ProtocolError("no SSH 2.0 version line", Disconnect.PROTOCOL_VERSION_NOT_SUPPORTED)


@dataclass(frozen=True, slots=True)
class Algorithms:
    """What one side offers, in its order of preference."""

    kex: tuple[str, ...]
    host_keys: tuple[str, ...]
    ciphers: tuple[str, ...]
    macs: tuple[str, ...]

    def with_legacy(self, names: Iterable[str]) -> Algorithms:
        """With the legacy `names` last in each list: for one target. ValueError: not a legacy name."""
        chosen = tuple(names)
        if not set(chosen) <= set(LEGACY_NAMES):
            raise ValueError("not the name of a legacy algorithm")
        return Algorithms(
            self.kex + tuple(name for name in LEGACY_KEX if name in chosen),
            self.host_keys + tuple(name for name in LEGACY_HOST_KEYS if name in chosen),
            self.ciphers + tuple(name for name in LEGACY_CIPHERS if name in chosen),
            self.macs + tuple(name for name in LEGACY_MACS if name in chosen),
        )

    def without_legacy(self, keep: Iterable[str] = ()) -> Algorithms:
        """Without the legacy names, but for those in `keep`."""
        gone = set(LEGACY_NAMES) - set(keep)
        lists = (self.kex, self.host_keys, self.ciphers, self.macs)
        return Algorithms(*(tuple(name for name in names if name not in gone) for names in lists))

    @property
    def legacy(self) -> tuple[str, ...]:
        """The legacy names in any list: empty for everything but a target that lists some."""
        offered = {*self.kex, *self.host_keys, *self.ciphers, *self.macs}
        return tuple(name for name in LEGACY_NAMES if name in offered)


_CERTIFIED = "-cert-v01@openssh.com"
_FRONT_PLAIN_HOST_KEYS = ("ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256")
_ECDSA = ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")
FRONT_HOST_KEYS = (*(name + _CERTIFIED for name in _FRONT_PLAIN_HOST_KEYS), *_FRONT_PLAIN_HOST_KEYS)
COMPAT_HOST_KEYS = (
    *(name + _CERTIFIED for name in _FRONT_PLAIN_HOST_KEYS + _ECDSA),
    *_FRONT_PLAIN_HOST_KEYS,
    *_ECDSA,
)

FRONT = Algorithms(FRONT_KEX, FRONT_HOST_KEYS, FRONT_CIPHERS, FRONT_MACS)
COMPAT = Algorithms(COMPAT_KEX, COMPAT_HOST_KEYS, COMPAT_CIPHERS, COMPAT_MACS)
TARGET = COMPAT
"""Towards targets we are the client and our order wins: GCM first."""


@dataclass(frozen=True, slots=True)
class KexInit:
    """SSH_MSG_KEXINIT (RFC 4253 section 7.1); `c2s` is client to server."""

    cookie: bytes
    kex: tuple[str, ...]
    host_keys: tuple[str, ...]
    ciphers_c2s: tuple[str, ...]
    ciphers_s2c: tuple[str, ...]
    macs_c2s: tuple[str, ...]
    macs_s2c: tuple[str, ...]
    compression_c2s: tuple[str, ...] = ("none",)
    compression_s2c: tuple[str, ...] = ("none",)
    languages_c2s: tuple[str, ...] = ()
    languages_s2c: tuple[str, ...] = ()
    first_kex_follows: bool = False

    @classmethod
    def offer(cls, cookie: bytes, ours: Algorithms, *, client_role: bool, initial: bool) -> Self:
        """Our KEXINIT. `cookie` is 16 random bytes; the markers stand in the connection's first one only."""
        markers = (EXT_INFO_CLIENT, STRICT_CLIENT) if client_role else (EXT_INFO_SERVER, STRICT_SERVER)
        return cls(
            cookie,
            ours.kex + (markers if initial else ()),
            ours.host_keys,
            ours.ciphers,
            ours.ciphers,
            ours.macs,
            ours.macs,
        )

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Reads a whole payload. Raises `ProtocolError`."""
        if len(payload) > KEXINIT_LIMIT:
            raise ProtocolError("KEXINIT is too long")
        reader = Reader(payload)
        if reader.byte() != MSG_KEXINIT:
            raise ProtocolError("not a KEXINIT")
        cookie = reader.fixed(16)
        body = reader.rest()
        read = _read_known_offer if len(body) <= REMEMBERED_SIZE else _read_offer
        lists, follows = read(body)
        return cls(cookie, *lists, first_kex_follows=follows)

    def encode(self) -> bytes:
        lists = (
            self.kex,
            self.host_keys,
            self.ciphers_c2s,
            self.ciphers_s2c,
            self.macs_c2s,
            self.macs_s2c,
            self.compression_c2s,
            self.compression_s2c,
            self.languages_c2s,
            self.languages_s2c,
        )
        follows = boolean(self.first_kex_follows)
        return byte(MSG_KEXINIT) + self.cookie + _write_lists(lists) + follows + uint32(0)


_Names = tuple[str, ...]
_Lists = tuple[_Names, _Names, _Names, _Names, _Names, _Names, _Names, _Names, _Names, _Names]
"""The ten name-lists of a KEXINIT in their order."""


@lru_cache(maxsize=REMEMBERED_OFFERS)
def _write_lists(lists: _Lists) -> bytes:
    """Only our own offers are written: a few for each front door and for each kind of target."""
    return b"".join(map(namelist, lists))


def _read_offer(body: bytes) -> tuple[_Lists, bool]:
    """What follows the cookie: the lists and first_kex_packet_follows. Raises `ProtocolError`."""
    reader = Reader(body)
    kex, host_keys, ciphers_c2s, ciphers_s2c = (_read_names(reader) for _ in range(4))
    macs_c2s, macs_s2c, zip_c2s, zip_s2c = (_read_names(reader) for _ in range(4))
    tongues_c2s, tongues_s2c = _read_names(reader), _read_names(reader)
    follows = reader.boolean()
    reader.uint32()  # RFC 4253 section 7.1: reserved; its value means nothing today
    reader.end()
    ciphers, macs = (ciphers_c2s, ciphers_s2c), (macs_c2s, macs_s2c)
    return (kex, host_keys, *ciphers, *macs, zip_c2s, zip_s2c, tongues_c2s, tongues_s2c), follows


_read_known_offer = lru_cache(maxsize=REMEMBERED_OFFERS)(_read_offer)


def _read_names(reader: Reader) -> tuple[str, ...]:
    raw = reader.string(NAMELIST_LIMIT)
    if not raw:
        return ()
    if raw.count(b",") >= NAMES_LIMIT or not _NAMES.fullmatch(raw):
        raise ProtocolError("bad name-list in a KEXINIT")
    return tuple(raw.decode("ascii").split(","))


@dataclass(frozen=True, slots=True)
class Negotiated:
    """The outcome. A MAC is "" where the cipher authenticates by itself.

    `strict` and `client_ext_info` count in the first key exchange of a connection only (OpenSSH PROTOCOL
    1.10, RFC 8308 section 2.1). `ignore_client_guess` / `ignore_server_guess` say that the next packet from
    that side (messages 30-49) was guessed wrongly and must be dropped unread (RFC 4253 section 7.1).
    """

    kex: str
    host_key: str
    cipher_c2s: str
    cipher_s2c: str
    mac_c2s: str
    mac_s2c: str
    strict: bool
    client_ext_info: bool
    ignore_client_guess: bool
    ignore_server_guess: bool

    @property
    def legacy(self) -> tuple[str, ...]:
        """The legacy names among what was agreed."""
        agreed = (self.kex, self.host_key, self.cipher_c2s, self.cipher_s2c, self.mac_c2s, self.mac_s2c)
        return tuple(name for name in LEGACY_NAMES if name in agreed)


HOST_KEY_LIST = "host key algorithm"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A list of the negotiation in which nothing is common. `offered` is the peer's, its own words; `ours` ours."""

    what: str
    offered: tuple[str, ...]
    ours: tuple[str, ...] = ()

    @property
    def remedy(self) -> str:
        """The legacy name that would help, the least bad of those on offer, or ""."""
        return next((name for name in LEGACY_NAMES if name in self.offered), "")


def mismatches(ours: Algorithms, theirs: KexInit) -> tuple[Mismatch, ...]:
    """Every list in which a peer that offers `theirs` has nothing of `ours`, for a text that tells all at once.

    MACs count where the cipher needs one, and where there is no common cipher: what helps there needs one too.
    """
    kex = tuple(name for name in theirs.kex if name not in MARKERS)
    ciphers, macs = [theirs.ciphers_c2s, theirs.ciphers_s2c], [theirs.macs_c2s, theirs.macs_s2c]
    for way, offered in enumerate(ciphers):
        chosen = next((name for name in ours.ciphers if name in offered), "")
        if chosen and authenticates(chosen):
            macs[way] = ours.macs
    asked = (
        ("key exchange method", ours.kex, [kex]),
        (HOST_KEY_LIST, ours.host_keys, [theirs.host_keys]),
        ("cipher", ours.ciphers, ciphers),
        ("MAC", ours.macs, macs),
    )
    return tuple(
        Mismatch(what, tuple(dict.fromkeys(name for offered in lists for name in offered)), tuple(known))
        for what, known, lists in asked
        if not all(set(known) & set(offered) for offered in lists)
    )


def negotiate(client: KexInit, server: KexInit) -> Negotiated:
    """The first name of the client's list that the server has too, list by list (RFC 4253 section 7.1).

    Raises `ProtocolError` (KEY_EXCHANGE_FAILED) naming the list in which nothing is common; `mismatches` has
    the whole story.
    """
    client_kex = tuple(name for name in client.kex if name not in MARKERS)
    server_kex = tuple(name for name in server.kex if name not in MARKERS)
    kex = _choose(client_kex, server_kex, "key exchange method")
    host_key = _choose(client.host_keys, server.host_keys, "host key algorithm")
    cipher_c2s = _choose(client.ciphers_c2s, server.ciphers_c2s, "cipher")
    cipher_s2c = _choose(client.ciphers_s2c, server.ciphers_s2c, "cipher")
    mac_c2s = _choose_mac(cipher_c2s, client.macs_c2s, server.macs_c2s)
    mac_s2c = _choose_mac(cipher_s2c, client.macs_s2c, server.macs_s2c)
    for theirs, ours in (
        (client.compression_c2s, server.compression_c2s),
        (client.compression_s2c, server.compression_s2c),
    ):
        if "none" not in theirs or "none" not in ours:
            raise _nothing_common("compression")
    # The guess is right when both sides put the same names first (RFC 4253 section 7.1)
    guessed_right = client_kex[0] == server_kex[0] and client.host_keys[0] == server.host_keys[0]
    return Negotiated(
        kex,
        host_key,
        cipher_c2s,
        cipher_s2c,
        mac_c2s,
        mac_s2c,
        strict=STRICT_CLIENT in client.kex and STRICT_SERVER in server.kex,
        client_ext_info=EXT_INFO_CLIENT in client.kex,
        ignore_client_guess=client.first_kex_follows and not guessed_right,
        ignore_server_guess=server.first_kex_follows and not guessed_right,
    )


def _choose(client: tuple[str, ...], server: tuple[str, ...], what: str) -> str:
    for name in client:
        if name in server and name and name != "none":
            return name
    raise _nothing_common(what)


def _choose_mac(cipher: str, client: tuple[str, ...], server: tuple[str, ...]) -> str:
    return "" if authenticates(cipher) else _choose(client, server, "MAC")


def _nothing_common(what: str) -> ProtocolError:
    return ProtocolError(f"no common {what}", Disconnect.KEY_EXCHANGE_FAILED)
