"""The inventory: the machines that exist, under which names (L1, pure).

Invariant: one name or alias belongs to one target, and names are compared in one form (lower case, no
trailing dot). What a target is called never depends on what a client typed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from bastion.auth.identity import TARGET_LOGIN, TARGET_NAME
from bastion.options import At, Kind, Problems, Source, Unreadable, option, read, shown
from bastion.options.kinds import (
    BOOLEAN,
    NETWORK,
    PATH,
    Network,
    choice,
    duration,
    integer,
    list_of,
    mapping_of,
    optional,
    quoted,
    section,
    text,
)
from bastion.policy.addresses import inner_addresses, literal_network
from bastion.policy.patterns import Address, address_of, canonical
from bastion.wire.legacy import LEGACY_NAMES

SSH_PORT = 22
LABEL_KEY = re.compile(r"\A[a-z][a-z0-9_.-]{0,62}\Z")
LABEL_VALUE = re.compile(r"\A[A-Za-z0-9_.-]{1,63}\Z")
_NAME_ALLOWED = "lower-case letters, digits and . _ -, at most 253, no + and no :"


def _read_host(value: object, at: At) -> str:
    found = canonical(value) if isinstance(value, str) else None
    if found is None:
        raise at.wrong(f"{shown(value)} is not a host name or address", HOST.allowed)
    return found


HOST: Kind[str] = Kind("host", '"web1.example.com", "10.0.0.5", "2001:db8::5"', _read_host, quoted)
NAME: Kind[str] = text("name", TARGET_NAME, _NAME_ALLOWED)
LOGIN: Kind[str] = text("login", TARGET_LOGIN, "an account name of at most 32 letters, digits and . _ -")


def _read_command(value: object, at: At) -> tuple[str, ...]:
    words = list_of(text(), at_least=1).read(value, at)
    if not words[0].startswith("/"):
        raise at.child(0).wrong(f"{shown(words[0])} is not an absolute path", COMMAND.allowed)
    for index, word in enumerate(words):
        if PLACEHOLDER.search(word.replace("{target}", "").replace("{login}", "")):
            raise at.child(index).wrong(
                f"{shown(word)} has a placeholder that does not exist", COMMAND.allowed
            )
    return words


PLACEHOLDER = re.compile(r"\{[A-Za-z_]*\}")
COMMAND: Kind[tuple[str, ...]] = Kind(
    "command",
    "a program with an absolute path and its arguments; {target} and {login} stand for what they say",
    _read_command,
    list_of(text()).write,
)

COMMAND_NAME: Kind[str] = text(
    "name", re.compile(r"\A[a-z][a-z0-9_-]{0,31}\Z"), "a word of lower-case letters, digits and _ -"
)

SSHFP = ("sshfp",)
"""The value of `host_keys` that is no list of keys."""


def _read_host_keys(value: object, at: At) -> tuple[str, ...]:
    return SSHFP if value == "sshfp" else list_of(text()).read(value, at)


HOST_KEYS: Kind[tuple[str, ...]] = Kind(
    'list of strings or "sshfp"',
    'a list of public key lines, or "sshfp"',
    _read_host_keys,
    lambda value: quoted(SSHFP[0]) if value == SSHFP else list_of(text()).write(value),
)


def _read_via(value: object, at: At) -> tuple[str, ...]:
    return (NAME.read(value, at),) if isinstance(value, str) else list_of(NAME, at_least=1).read(value, at)


VIA: Kind[tuple[str, ...]] = Kind(
    "name or list of name",
    "a target's name, or a list of them, the first one from the gateway on first",
    _read_via,
    lambda value: quoted(value[0]) if len(value) == 1 else list_of(NAME).write(value),
)


@dataclass(frozen=True, slots=True)
class TargetPassword:
    """The password that the gateway logs in with to an appliance that knows neither certificates nor keys.

    Exactly one of `file`, `command` and `ask` says where it comes from. It is fetched when the target is about
    to take it, and kept nowhere.
    """

    file: str | None = option(
        optional(PATH),
        "File with the password in its first line, closed to others. Read at every login.",
        default=None,
        example='"secrets/switch1"',
    )
    command: tuple[str, ...] | None = option(
        optional(COMMAND),
        "Program that prints the password in its first line, run without a shell at every login.",
        default=None,
        example='["/usr/bin/pass", "show", "network/{target}/{login}"]',
    )
    ask: bool = option(
        BOOLEAN,
        "Ask the engineer, by keyboard-interactive on the engineer's own connection.",
        default=False,
    )
    timeout: float = option(duration(0.1, 60.0), "How long the command may take.", default=5.0)

    def validate(self, at: At) -> None:
        chosen = (self.file is not None) + (self.command is not None) + self.ask
        if chosen != 1:
            at.wrong("needs exactly one source of the password", "file, command or ask = true")


@dataclass(frozen=True, slots=True)
class Target:
    """One machine. `host` is where it is dialled, `name` what people, rules and recordings call it."""

    name: str
    host: str = option(HOST, "Host name or address that the gateway dials.", example='"web1.example.com"')
    port: int = option(integer(1, 65535), "Port of its SSH server.", default=22)
    kind: str = option(
        choice("ssh", "gateway"),
        'What it is: "ssh" is logged in to and recorded; "gateway" is another Bastion, which records itself.',
        default="ssh",
    )
    allow_addresses: tuple[Network, ...] = option(
        list_of(NETWORK),
        "Networks that `host` may resolve to although they are the gateway itself, its loopback, link-local or "
        "a metadata service. A `host` that is an address needs none.",
        default=(),
        example='["127.0.0.0/8"]',
    )
    aliases: tuple[str, ...] = option(list_of(NAME), "Other names for it.", default=(), example='["www"]')
    labels: Mapping[str, str] = option(
        mapping_of(text("label", LABEL_VALUE, "letters, digits and . _ -"), LABEL_KEY, "lower-case words"),
        "Labels that rules can select by.",
        default=MappingProxyType({}),
        example='{ env = "prod", role = "web" }',
    )
    logins: tuple[str, ...] = option(
        list_of(LOGIN),
        "The only accounts that may be used on it, whatever the rules say. Empty: what the rules say.",
        default=(),
        example='["deploy"]',
    )
    host_keys: tuple[str, ...] = option(
        HOST_KEYS,
        'Its pinned host keys as public key lines, in addition to known_hosts. "sshfp": a key that known_hosts says'
        " nothing of is asked of DNS, and believed with DNSSEC only (`targets.sshfp_resolvers`).",
        default=(),
        example='["ssh-ed25519 AAAA..."]',
    )
    key_file: str | None = option(
        optional(PATH),
        "Private key to log in with, for a host that cannot trust the upstream CA.",
        default=None,
        example='"keys/appliance"',
    )
    passphrase_file: str | None = option(
        optional(PATH),
        "File with that key's passphrase in its first line, closed to others. Not set: it is not encrypted.",
        default=None,
        example='"secrets/appliance"',
    )
    password: TargetPassword | None = option(  # noqa: RUF009 - a declaration, as the others are
        optional(section(TargetPassword)),
        "A password to log in with, for an appliance without keys.",
        default=None,
    )
    legacy: tuple[str, ...] = option(
        list_of(choice(*LEGACY_NAMES)),
        "Weak algorithms to offer this one target, which knows nothing better. Counted, and shown in its"
        " recordings.",
        default=(),
        example='["diffie-hellman-group14-sha1", "ssh-rsa"]',
    )
    recording: str | None = option(
        optional(choice("off", "default", "full")),
        "Recording mode for this target instead of the one in [recording].",
        default=None,
        example='"full"',
    )
    sftp_content: bool = option(
        BOOLEAN,
        "Record the content of files that pass over sftp too, as far as the recording mode keeps it.",
        default=False,
    )

    ask: bool = option(
        BOOLEAN,
        "Pass on to the engineer what it asks by keyboard-interactive after it has taken key, certificate or password,"
        " such as a one-time code of its own. Marked as the target's.",
        default=False,
    )

    via: tuple[str, ...] = option(
        VIA,
        "The target, or the targets from the gateway on, that lead to it: the gateway logs in to each of them and goes"
        " on from there. `host` is looked up and dialled by the last one.",
        default=(),
        example='"edge1"',
    )
    hop_login: str | None = option(
        optional(LOGIN),
        "The gateway's own account on it, to go on to targets that name it in `via`. Not set: it leads nowhere.",
        default=None,
        example='"jump"',
    )
    hop_egress: tuple[Network, ...] = option(
        list_of(NETWORK),
        "Where its connections to the targets behind it come from: their certificates are good from nowhere else."
        " Empty: from anywhere.",
        default=(),
        example='["10.20.0.1"]',
    )

    proxy_command: str | None = option(
        optional(COMMAND_NAME),
        "Name in `targets.proxy_commands` of the program whose standard input and output are the connection to it,"
        " instead of one that the gateway makes.",
        default=None,
        example='"tunnel"',
    )

    inventory: str = field(default="", kw_only=True)
    """The inventory that was asked for it (`[inventories.NAME]`), "" where people wrote it down."""

    def validate(self, at: At) -> None:
        own = self.logins or self.key_file is not None or self.password is not None or self.legacy
        if self.kind == "gateway" and own:
            at.child("kind").wrong(
                "a gateway is never logged in to: logins, key_file, password and legacy have no meaning here"
            )
        if self.ask and self.kind == "gateway":
            at.child("ask").wrong("is for what a target asks at a login, and a gateway is never logged in to")
        if self.by_sshfp and address_of(self.host) is not None:
            at.child("host_keys").wrong("an address has no SSHFP records", "a host that is a name")
        if self.passphrase_file is not None and self.key_file is None:
            at.child("passphrase_file").wrong("has no key_file beside it", "key_file")
        if self.key_file is not None and self.password is not None:
            at.child("password").wrong(
                "stands beside key_file: a target is logged in to in one way", "one of them"
            )
        self._validate_road(at)

    def _validate_road(self, at: At) -> None:
        if self.via and self.kind == "gateway":
            at.child("via").wrong("has no meaning for a gateway, which is tunnelled to as it is")
        if (self.via or self.proxy_command) and self.allow_addresses:
            at.child("allow_addresses").wrong("has no meaning here: the gateway does not look its host up")
        if self.proxy_command and self.kind == "gateway":
            at.child("proxy_command").wrong("has no meaning for a gateway, which is tunnelled to as it is")
        if self.proxy_command and self.via:
            at.child("proxy_command").wrong(
                "stands beside via: a target is reached in one way", "one of them"
            )
        if self.hop_egress and self.hop_login is None:
            at.child("hop_egress").wrong("has no hop_login beside it", "hop_login")
        if self.hop_login is None:
            return
        if self.kind == "gateway":
            at.child("hop_login").wrong("has no meaning for a gateway, which is never logged in to")
        if self.ask or (self.password is not None and self.password.ask):
            at.child("hop_login").wrong(
                "nobody can be asked on the way to another target",
                "a certificate, key_file, password.file or .command",
            )

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)

    @property
    def dialled(self) -> bool:
        """The gateway looks its host up and connects to it, not a hop or a program."""
        return not (self.via or self.proxy_command)

    @property
    def known_as(self) -> tuple[str, ...]:
        """The names that its host key may be known under; a key is pinned under the first.

        Behind a hop or a program only its own names count: the same `host` may be another machine in another network.
        """
        return tuple(dict.fromkeys((self.host, *self.names))) if self.dialled else self.names

    @property
    def reachable(self) -> tuple[Network, ...]:
        """Networks that an operator has written down for it, whatever they are; its `host`, if it is one, too."""
        own = () if self.inventory else literal_network(self.host)
        return (*own, *self.allow_addresses)

    @property
    def by_sshfp(self) -> bool:
        """A host key that nothing else is known of is asked of DNS."""
        return self.host_keys == SSHFP

    @property
    def pins(self) -> tuple[str, ...]:
        """Its host keys as public key lines."""
        return () if self.by_sshfp else self.host_keys

    @property
    def machine(self) -> str:
        """What it is, whatever it is called: where it is dialled, through what, and the pinned keys to be proved."""
        known = hashlib.sha256("\n".join(sorted(self.pins)).encode()).hexdigest()[:16] if self.pins else ""
        road = f"{','.join(self.via)} {self.proxy_command or ''}".strip()
        return " ".join(part for part in (self.address, known, road) if part)

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Resolved(Protocol):
    """Where the names of targets lead (`upstream.target_addresses`)."""

    @property
    def complete(self) -> bool:
        """Every name has been looked up once."""
        ...

    def names_at(self, address: Address) -> Iterable[str]:
        """The names that lead to `address`."""
        ...


class _Unresolved:
    """Nobody looks names up: commands that explain a policy, and tests of it."""

    complete = True

    def names_at(self, address: Address) -> Iterable[str]:
        return ()


class Inventory:
    """All targets, found by name or alias. A value: nothing changes it after it was made but what `resolved` knows."""

    __slots__ = ("_by_name", "_places", "resolved", "targets")

    def __init__(self, targets: Iterable[Target] = ()) -> None:
        """Raises ValueError when two targets share a name; `parse_targets` says which line."""
        self.targets: tuple[Target, ...] = tuple(targets)
        self.resolved: Resolved = _Unresolved()
        self._by_name: dict[str, Target] = {}
        for target in self.targets:
            for name in target.names:
                if self._by_name.setdefault(name, target) is not target:
                    raise ValueError(f'"{name}" is the name of two targets')
        # Names before addresses: who writes a name means the target that is called so.
        places: dict[tuple[str | None, int], list[Target]] = {}
        for target in self.targets:
            for name in target.names:
                _add_once(places.setdefault((canonical(name), target.port), []), target)
                # `ssh -J bastion web1` asks for port 22; where web1's server really listens is the inventory's.
                _add_once(places.setdefault((canonical(name), SSH_PORT), []), target)
        for target in self.targets:
            _add_once(places.setdefault((canonical(target.host), target.port), []), target)
        self._places = {place: tuple(found) for place, found in places.items()}

    def __iter__(self) -> Iterator[Target]:
        return iter(self.targets)

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name and alias."""
        return tuple(self._by_name)

    def find(self, name: str) -> Target | None:
        """The target called `name` (or with that alias), in any case and with or without a trailing dot."""
        if not name.isascii():
            return None
        return self._by_name.get(name.lower().removesuffix("."))

    def at(self, host: str, port: int) -> tuple[Target, ...]:
        """The targets whose SSH server is `host:port`, in any spelling of a name or address.

        By name, port 22 means the target whatever its port is; by address only its own port does.

        More than one when they share an address; one that is called so comes before one that lies there.
        """
        found = canonical(host)
        return () if found is None else self._places.get((found, port), ())

    def pieces(self) -> list[object]:
        """All that this is made of, for whoever lets go of it little by little: at once takes 20 ms with 10,000."""
        return [*self.targets, *self._places, *self._places.values()]

    def with_resolved(self, resolved: Resolved) -> Inventory:
        """The same inventory that also knows where the names of its targets lead."""
        made = Inventory.__new__(Inventory)
        made.targets, made._by_name, made._places = self.targets, self._by_name, self._places
        made.resolved = resolved
        return made

    def ssh_at(self, host: str, port: int) -> tuple[Target, ...]:
        """The targets whose SSH server a connection to `host:port` would reach: those `at` it, and for an address also
        those whose name leads there, and what is there behind NAT64 and other forms that carry an address."""
        address = address_of(host)
        if address is None:
            return self.at(host, port)
        found: list[Target] = []
        for inner in inner_addresses(address):
            for place in (str(inner), *self.resolved.names_at(inner)):
                for target in self.at(place, port):
                    _add_once(found, target)
        return tuple(found)

    def is_ssh_place(self, host: str, port: int) -> bool:
        """True when `host:port`, in any spelling of a name or address, is the SSH server of a target."""
        return bool(self.ssh_at(host, port))


def _add_once(found: list[Target], target: Target) -> None:
    if not any(one is target for one in found):
        found.append(target)


Taken = dict[str, tuple[str, str]]
"""A name or alias -> the target that has it, and the document that it stands in."""


def parse_targets(
    document: Mapping[str, object],
    source: Source,
    problems: Problems | None = None,
    taken: Taken | None = None,
    inventory: str = "",
) -> Inventory:
    """Read `[targets.NAME]` tables. Raises ConfigErrors, or notes the faults in `problems` when it is given.

    With faults noted, the inventory holds the targets that could be read. `taken`: names that targets of other
    documents have, to which those of this one are added. `inventory`: the one that was asked for these targets.
    """
    found = problems or Problems()
    root = At(source, found)
    for key in document:
        if key != "targets":
            root.child(key).wrong(f'unknown table "{key}"', "targets")
    tables = document.get("targets", {})
    made: list[Target] = []
    if not isinstance(tables, dict):
        root.child("targets").wrong("must be tables such as [targets.web1]")
        tables = {}
    taken = {} if taken is None else taken
    for name, table in tables.items():
        at = root.child("targets").child(name)
        try:
            target = read(Target, table, at, name=NAME.read(name, at), inventory=inventory)
        except Unreadable:
            continue
        if take_names(target, taken, at):
            made.append(target)
    if problems is None:
        found.raise_any()
    return Inventory(made)


def take_names(target: Target, taken: Taken, at: At) -> bool:
    """Note every name of `target` that another has already. False when there is one."""
    clash = False
    for index, name in enumerate(target.names):
        if name in taken:
            place = at if index == 0 else at.child("aliases").child(index - 1)
            other, file = taken[name]
            where = "" if file == at.source.file else f" in {file}"
            place.wrong(f'"{name}" is already a name of target "{other}"{where}')
            clash = True
    if not clash:
        taken.update(dict.fromkeys(target.names, (target.name, at.source.file)))
    return not clash
