"""Rules: who may reach what, as which login, doing what (L1, pure).

A `Policy` is a value: an ordered tuple of rules and the defaults for what no rule says. Nothing is allowed
that no rule allows. Rules only add; the one way to take away is not to grant. Invariant: a list that is
present is never empty, so "no entry" can never be read as "no restriction" (x/crypto b9229ec).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from types import MappingProxyType

from bastion.auth.factors import FACTORS
from bastion.auth.identity import LOGIN_NAME, TARGET_LOGIN, Identity, group_form
from bastion.auth.restrictions import normal_address
from bastion.errors import ProtocolError
from bastion.options import At, Kind, Problems, Source, Unreadable, did_you_mean, option, read, shown
from bastion.options.kinds import (
    BOOLEAN,
    NETWORK,
    SIZE,
    Network,
    choice,
    duration,
    integer,
    list_of,
    mapping_of,
    optional,
    or_off,
    quoted,
    text,
)
from bastion.policy.approval import APPROVERS
from bastion.policy.patterns import DESTINATIONS, PATTERN, Destinations, matches_any
from bastion.policy.schedule import DAYS_KIND, HOURS, ZONE, Days, Hours, holds
from bastion.policy.selection import Selecting, selections
from bastion.policy.sftp import SFTP_TABLE, PathPattern
from bastion.policy.targets import LABEL_KEY, Inventory, Target

# The closed set, with what each means. The order is the one in which people read them.
VERBS: Mapping[str, str] = MappingProxyType(
    {
        "shell": "a login shell",
        "exec": "a command; also scp -O, rsync, git, and what VS Code starts",
        "sftp": "the sftp subsystem; also scp and sshfs",
        "subsystem": "other subsystems, those named in `subsystems`",
        "pty": "a terminal for a shell or command",
        "env": "environment variables that match `env`",
        "forward-local": "connections to the target's own loopback (ssh -L 8080:localhost:80), SSH excepted",
        "forward": "connections from the target to the places in `forward`, SSH servers of targets excepted",
        "forward-remote": "ports opened on the target's loopback that lead back to the engineer (ssh -R)",
        "streamlocal": "Unix sockets on the target, in both directions",
        "agent": "the engineer's SSH agent on the target (ssh -A)",
        "x11": "the engineer's display on the target (ssh -X)",
        "tunnel": "connections from the gateway itself to the places in `tunnel`, outside of any session",
    }
)
TUNNEL = "tunnel"
# What nobody can replay: the bytes of other programs' connections.
OPAQUE_VERBS = frozenset(("forward-local", "forward", "forward-remote", "streamlocal", "agent", "x11"))
# What gives a stream of bytes that SSH could be hidden in.
STREAM_VERBS = frozenset((TUNNEL, "forward-local", "forward", "forward-remote", "streamlocal"))
# Whether a session may be watched as it happens, and whether its engineer reads of it; the strictest last.
SILENT, TOLD, NO = WATCH = ("silent", "told", "no")
DEFAULT_ENV = ("LANG", "LC_*", "COLORTERM", "GIT_PROTOCOL")
EVERYBODY = "*"
OWN_NAME = "{identity}"

_RULE_NAME = re.compile(r"\A[a-z0-9][a-z0-9._-]{0,63}\Z")
# A login of a rule: an account name in which {identity} may stand once, as in "adm-{identity}".
_LOGIN_TEMPLATE = re.compile(r"\A[A-Za-z0-9_.-]{0,31}(?:\{identity\}[A-Za-z0-9_.-]{0,31})?\Z")


def _read_login(value: object, at: At) -> str:
    # "a" is the shortest identity, so this refuses what no identity could make valid.
    if (
        isinstance(value, str)
        and _LOGIN_TEMPLATE.match(value)
        and TARGET_LOGIN.match(value.replace(OWN_NAME, "a"))
    ):
        return value
    raise at.wrong(f"{shown(value)} is not a login", LOGIN.allowed)


LOGIN: Kind[str] = Kind(
    "login", 'an account name without wildcards; "{identity}" stands for the own name', _read_login, quoted
)


def _read_verb(value: object, at: At) -> str:
    if not isinstance(value, str) or value not in VERBS:
        hint = did_you_mean(value, VERBS) if isinstance(value, str) else ""
        raise at.wrong(f"{shown(value)} is not a verb{hint}", VERB.allowed)
    return value


VERB: Kind[str] = Kind("verb", ", ".join(VERBS), _read_verb, quoted)


def _read_user(value: object, at: At) -> str:
    if not isinstance(value, str) or (value != EVERYBODY and not LOGIN_NAME.match(value)):
        raise at.wrong(f"{shown(value)} is not a user name", USER.allowed)
    return value


USER: Kind[str] = Kind("user", 'a user name in lower case, or "*" for everybody', _read_user, quoted)
_LABELS = mapping_of(list_of(PATTERN, at_least=1), LABEL_KEY, 'such as { env = ["prod", "stage"] }')


def _read_labels(value: object, at: At) -> Mapping[str, tuple[str, ...]]:
    if isinstance(value, dict):
        value = {key: [item] if isinstance(item, str) else item for key, item in value.items()}
        if not value:
            raise at.wrong("must not be empty (leave the key out instead)", LABELS.allowed)
    return _LABELS.read(value, at)


LABELS: Kind[Mapping[str, tuple[str, ...]]] = Kind(
    "label selector",
    'such as { env = "prod", role = ["web", "db*"] }',
    _read_labels,
    _LABELS.write,
)


def _read_group(value: object, at: At) -> str:
    name = group_form(text().read(value, at))
    if not name:
        raise at.wrong(f"{shown(value)} is no group's name", GROUP.allowed)
    return name


GROUP: Kind[str] = Kind("group", "a group's name", _read_group, quoted)


@dataclass(frozen=True, slots=True)
class Rule:
    """One `[[rule]]`. `origin` is "file:line". All conditions of a rule must hold."""

    origin: str
    name: str = option(
        text("rule name", _RULE_NAME, "lower-case letters, digits and . _ -, at most 64"),
        "What the audit log and `bastion why` call the rule. Unique.",
        example='"web-operators"',
    )
    groups: tuple[str, ...] = option(
        list_of(GROUP, at_least=1),
        'Directory groups; one is enough. Compared as LDAP does, without regard to case. `"*"` is everybody.',
        default=(),
        example='["web-operators"]',
    )
    users: tuple[str, ...] = option(
        list_of(USER, at_least=1),
        'Users by name, in addition to `groups`. `"*"` is everybody.',
        default=(),
        example='["alice"]',
    )
    targets: tuple[str, ...] = option(
        list_of(PATTERN, at_least=1),
        "Target names or patterns; one is enough. Aliases do not count. Left out: every name.",
        default=(),
        example='["web*", "db1"]',
    )
    labels: Mapping[str, tuple[str, ...]] = option(
        LABELS,
        "Labels that the target must have, all of them, in addition to `targets`.",
        default=MappingProxyType({}),
        example='{ env = "prod" }',
    )
    logins: tuple[str, ...] = option(
        list_of(LOGIN, at_least=1),
        'Accounts on the target, the preferred one first. `"{identity}"` is the own name.'
        " Needed for every verb but `tunnel`.",
        default=(),
        example='["deploy", "{identity}"]',
    )
    verbs: tuple[str, ...] = option(
        list_of(VERB, at_least=1),
        "What may be done. Whatever is not listed here or in another matching rule is refused.",
        example='["shell", "pty", "exec", "sftp", "env", "forward-local"]',
    )
    env: tuple[str, ...] = option(
        list_of(PATTERN, at_least=1),
        "Environment variables that may be sent, for the verb `env`.",
        default=DEFAULT_ENV,
    )
    subsystems: tuple[str, ...] = option(
        list_of(PATTERN, at_least=1),
        "Subsystems other than sftp, for the verb `subsystem`.",
        default=(),
        example='["netconf"]',
    )
    sftp: Mapping[str, tuple[PathPattern, ...]] = option(
        SFTP_TABLE,
        "What the verb `sftp` gives, by path. Left out: everything.",
        default=MappingProxyType({}),
        example='{ download = ["/var/log/**"], list = ["/var/log/**"] }',
    )
    sftp_content: bool = option(
        BOOLEAN,
        "Record the content of files that pass over sftp too, as far as the recording mode keeps it.",
        default=False,
    )
    forward: tuple[Destinations, ...] = option(
        list_of(DESTINATIONS, at_least=1),
        "Where the target may connect to, for the verb `forward`. Names match names, networks addresses.",
        default=(),
        example='["db1.example.com:5432"]',
    )
    tunnel: tuple[Destinations, ...] = option(
        list_of(DESTINATIONS, at_least=1),
        "Where the gateway may connect to, for the verb `tunnel`. Names match names, networks addresses.",
        default=(),
        example='["db1.example.com:5432", "10.20.0.0/16:443"]',
    )
    tunnel_by_address: bool = option(
        BOOLEAN,
        "Let a name match the networks in `tunnel` too, by the address that it resolves to.",
        default=False,
    )
    tunnel_bytes: int | None = option(
        optional(SIZE),
        "End a tunnel after so many bytes, both ways together; the smallest of all matching rules counts.",
        default=None,
        example='"1 GiB"',
    )
    tunnel_duration: float | None = option(
        optional(duration(low=1)),
        "Longest tunnel; the smallest of all matching rules counts. Left out: `max_duration`.",
        default=None,
        example='"8h"',
    )
    allow_ssh: bool = option(
        BOOLEAN,
        "Let SSH pass inside the tunnels and forwards of this rule: noted, but nobody can record it.",
        default=False,
    )
    opaque: bool = option(
        BOOLEAN,
        "Whether a session may carry what nobody can replay (forwards, sockets, agent, X11)."
        " One matching rule that says false is enough to refuse it.",
        default=True,
    )
    sources: tuple[Network, ...] = option(
        list_of(NETWORK, at_least=1),
        "Networks that the engineer must come from. Left out: anywhere.",
        default=(),
        example='["10.0.0.0/8"]',
    )
    hours: tuple[Hours, ...] = option(
        list_of(HOURS, at_least=1),
        "Hours in which something new may be opened, by the clocks of `timezone`. Left out: at any time.",
        default=(),
        example='["08:00-18:00"]',
    )
    days: tuple[Days, ...] = option(
        list_of(DAYS_KIND, at_least=1),
        "Days of the week, on which `hours` begin. Left out: every day.",
        default=(),
        example='["mon-fri"]',
    )
    timezone: tzinfo = option(  # noqa: RUF009 - declares a field
        ZONE,
        "Whose clocks `hours` and `days` go by.",
        default=UTC,
        example='"Europe/Berlin"',
    )
    factors: tuple[str, ...] = option(
        list_of(choice(*FACTORS), at_least=1),
        "Factors that must have been proved, all of them, beside what `login.require` asks. A missing code or password"
        " is asked for when the session is opened. What all matching rules name is needed.",
        default=(),
        example='["totp"]',
    )
    require_verify: bool = option(
        BOOLEAN,
        "For logins in which a security key has verified its owner (PIN or fingerprint), and for no other.",
        default=False,
    )
    approval: tuple[str, ...] = option(
        APPROVERS,
        "Who else has to approve before a session opens; one of them is enough. Of several matching rules that ask,"
        " each asks for itself. Left out: nobody.",
        default=(),
        example='"group:leads"',
    )
    wait: float | None = option(
        optional(duration(low=1, high=3600)),
        "How long `ssh` waits for that approval; the smallest of all matching rules that ask counts. Left out: it is"
        " refused at once, with the command that asks for it.",
        default=None,
        example='"5m"',
    )
    trust_forwards: bool = option(
        BOOLEAN,
        "Let a jump that came from a listening socket (-L, -D) in without proof of identity of its own.",
        default=False,
    )
    certificate_expiry: bool = option(
        BOOLEAN, "End the session when the certificate or key that opened it expires.", default=False
    )
    end_withdrawn: bool = option(
        BOOLEAN,
        "End running sessions and tunnels when the account is locked or removed, or no rule allows them any more;"
        " looked at after a reload and every `directory.recheck`. Without it they keep the rights they began with.",
        default=False,
    )
    watch: str = option(
        choice(*WATCH),
        "Whether `bastion watch` may show the session, and whether its engineer reads that somebody does: without"
        " a word, told, or not at all. The strictest of all matching rules counts: `no`, then `told`.",
        default=TOLD,
    )
    max_duration: float | None = option(
        optional(duration(low=1)),
        "Longest session; the smallest of all matching rules counts. Left out: `limits.max_duration`.",
        default=None,
        example='"4h"',
    )
    max_sessions: int | None = option(
        optional(integer(1, 10_000)),
        "Sessions that one person may have at the same time, through any rule and over all workers; the smallest of"
        " all matching rules counts.",
        default=None,
        example="3",
    )
    idle: float | None = option(
        optional(duration(low=1)),
        "End a session with no data either way; the smallest of all matching rules counts.",
        default=None,
        example='"30m"',
    )

    def validate(self, at: At) -> None:
        if not self.groups and not self.users:
            at.wrong("needs groups or users: nobody would match", 'groups = ["*"] for everybody')
        if set(self.verbs) != {TUNNEL}:
            if not self.targets and not self.labels:
                at.wrong("needs targets or labels: no target would match", 'targets = ["*"] for all')
            if not self.logins:
                at.wrong(
                    "needs logins: every verb but `tunnel` is about an account", 'logins = ["{identity}"]'
                )
        self._validate_lists(at)
        if self.env != DEFAULT_ENV and "env" not in self.verbs:
            at.child("env").wrong('has no effect without the verb "env"', 'verbs = [..., "env"]')
        for key in ("sftp", "sftp_content"):
            if getattr(self, key) and "sftp" not in self.verbs:
                at.child(key).wrong('has no effect without the verb "sftp"', 'verbs = [..., "sftp"]')
        if self.tunnel_bytes == 0:
            at.child("tunnel_bytes").wrong("must not be 0", 'leave the verb "tunnel" out instead')
        for key in ("tunnel_by_address", "tunnel_bytes", "tunnel_duration"):
            if getattr(self, key) and TUNNEL not in self.verbs:
                at.child(key).wrong('has no effect without the verb "tunnel"', 'verbs = [..., "tunnel"]')
        if len(set(self.factors)) < len(self.factors):
            at.child("factors").wrong("names a factor twice, which is one factor", "each factor once")
        if self.timezone is not UTC and not self.hours and not self.days:
            at.child("timezone").wrong("has no effect without hours or days", 'hours = ["08:00-18:00"]')
        if self.approval and TUNNEL in self.verbs:
            at.child("approval").wrong(
                "is about sessions, and the rule gives tunnels too", 'a rule of its own for the verb "tunnel"'
            )
        if self.wait is not None and not self.approval:
            at.child("wait").wrong("has no effect without approval", 'approval = "group:leads"')
        if not self.opaque and (void := [verb for verb in self.verbs if verb in OPAQUE_VERBS]):
            at.child("opaque").wrong(f"false makes {', '.join(void)} void", "true, or without these verbs")

    def _validate_lists(self, at: At) -> None:
        """A verb that needs a list has one, and a list has its verb."""
        lists = (("subsystem", self.subsystems), ("forward", self.forward), (TUNNEL, self.tunnel))
        for verb, values in lists:
            key = "subsystems" if verb == "subsystem" else verb
            if verb in self.verbs and not values:
                at.child("verbs").wrong(f'the verb "{verb}" needs the list `{key}`', f"{key} = [...]")
            if values and verb not in self.verbs:
                at.child(key).wrong(f'has no effect without the verb "{verb}"', f'verbs = [..., "{verb}"]')

    def matches_identity(self, identity: Identity) -> bool:
        """Whether it is for that person, after such a login."""
        return self.matches_person(identity) and self.matches_proof(identity)

    def matches_proof(self, identity: Identity) -> bool:
        return identity.user_verified or not self.require_verify

    def matches_person(self, identity: Identity) -> bool:
        if identity.service:  # named, or nothing: what is for everybody is for people
            return identity.name in self.users
        if EVERYBODY in self.groups or EVERYBODY in self.users:
            return True
        return identity.name in self.users or not identity.groups.isdisjoint(self.groups)

    def matches_name(self, target: Target) -> bool:
        return not self.targets or matches_any(self.targets, target.name)

    def matches_labels(self, target: Target) -> bool:
        """Every selected label is there and has one of the values; an absent label matches nothing."""
        return all(
            key in target.labels and matches_any(values, target.labels[key])
            for key, values in self.labels.items()
        )

    def matches_target(self, target: Target) -> bool:
        return self.matches_name(target) and self.matches_labels(target)

    def matches_source(self, source: str) -> bool:
        if not self.sources:
            return True
        address = address_in(source)
        return address is not None and any(address in network for network in self.sources)

    def matches_time(self, now: float) -> bool:
        """Whether something may be opened at `now`, seconds since the epoch."""
        return holds(self.hours, self.days, self.timezone, now)

    def logins_for(self, identity: Identity, target: Target) -> tuple[str, ...]:
        """The accounts this rule gives `identity` on `target`, in the rule's order."""
        if identity.only_targets and not matches_any(identity.only_targets, target.name):
            return ()
        made = (login.replace(OWN_NAME, identity.name) for login in self.logins)
        return tuple(
            dict.fromkeys(
                login
                for login in made
                if TARGET_LOGIN.match(login) and (not target.logins or login in target.logins)
            )
        )


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds where no matching rule says anything. In seconds; None = no limit."""

    max_duration: float | None = option(or_off(duration(low=1)), "Longest session.", default=12 * 3600.0)
    idle: float | None = option(or_off(duration(low=1)), "Longest silence.", default=None)
    max_auth_age: float | None = option(
        or_off(duration(low=1)), "Age of a login after which nothing new is opened.", default=12 * 3600.0
    )


@dataclass(frozen=True, slots=True)
class Policy:
    """All rules in the order of the file, and the defaults. Swapped as a whole on reload."""

    rules: tuple[Rule, ...] = ()
    defaults: Defaults = Defaults()
    _kept: list[tuple[tuple[Target, ...], tuple[int, ...]]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    def selections(self, inventory: Inventory) -> tuple[int, ...]:
        """For each rule the targets it selects, as bits in the inventory's order; computed once for its targets."""
        if not self._kept or self._kept[0][0] is not inventory.targets:
            selecting = [Selecting(rule.targets, rule.labels) for rule in self.rules]
            self._kept[:] = [(inventory.targets, selections(selecting, inventory))]
        return self._kept[0][1]


def address_in(source: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """A peer's address in the form that networks are compared with; None matches no network."""
    try:
        return normal_address(source)
    except ProtocolError:
        return None


def parse_policy(
    document: Mapping[str, object],
    source: Source,
    problems: Problems | None = None,
    defaults: Defaults | None = None,
) -> Policy:
    """Read `[[rule]]` tables. Raises ConfigErrors, or notes the faults in `problems` when it is given."""
    found = problems or Problems()
    root = At(source, found)
    for key in document:
        if key != "rule":
            root.child(key).wrong(f'unknown table "{key}"{did_you_mean(key, ["rule"])}', "rule")
    tables = document.get("rule", [])
    if not isinstance(tables, list):
        root.child("rule").wrong("must be tables such as [[rule]]", "[[rule]]")
        tables = []
    rules: dict[str, Rule] = {}
    for index, table in enumerate(tables):
        at = root.child("rule").child(index)
        try:
            rule = read(Rule, table, at, origin=f"{source.file}:{at.line}")
        except Unreadable:
            continue
        if rule.name in rules:
            at.child("name").wrong(f'"{rule.name}" is already a rule, at {rules[rule.name].origin}')
            continue
        rules[rule.name] = rule
    if problems is None:
        found.raise_any()
    return Policy(tuple(rules.values()), defaults or Defaults())
