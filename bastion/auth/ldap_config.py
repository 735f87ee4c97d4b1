"""The options of the LDAP directory, declared once (L2): what `[directory.ldap]` may say and what is wrong
with it.

Secure unless told otherwise: `ldaps://` verifies the server's certificate, `ldap://` means StartTLS before
anything else is said, and only `allow_plaintext = true` talks in clear (which `warnings` points out).
"""

from __future__ import annotations

import os
import re
import ssl
import stat
from dataclasses import dataclass

from bastion.auth.ldap_dn import is_within, parse_dn
from bastion.errors import ConfigError
from bastion.options import At, Kind, option
from bastion.options.kinds import BOOLEAN, PATH, choice, duration, integer, list_of, optional, quoted, text

_URL = re.compile(r"\A(ldaps?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253})(?::([0-9]{1,5}))?/?\Z", re.I)
_ATTRIBUTE = re.compile(r"\A[A-Za-z][A-Za-z0-9-]{0,127}\Z")
# A password file holds one line; 4 KiB is far above any.
MAX_SECRET = 4096


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """One server: `tls` = TLS from the first byte (ldaps), otherwise StartTLS or, if allowed, none."""

    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'ldaps' if self.tls else 'ldap'}://{host}:{self.port}"

    @classmethod
    def parse(cls, url: str) -> ServerAddress:
        """Read `ldaps://host[:port]` or `ldap://host[:port]`. Raises ValueError."""
        found = _URL.match(url)
        if found is None or (found[3] and not 0 < int(found[3]) < 65536):
            raise ValueError("not an LDAP URL of a server")
        tls = found[1].lower() == "ldaps"
        return cls(found[2].strip("[]").lower(), int(found[3] or (636 if tls else 389)), tls)


def _read_server(value: object, at: At) -> ServerAddress:
    try:
        return ServerAddress.parse(value if isinstance(value, str) else "")
    except ValueError:
        raise at.wrong("is not the URL of an LDAP server", SERVER.allowed) from None


SERVER: Kind[ServerAddress] = Kind(
    "LDAP server",
    '"ldaps://ldap1.example.org", "ldap://ldap1.example.org:389" (StartTLS)',
    _read_server,
    lambda value: quoted(str(value)),
)


def _read_dn(value: object, at: At) -> str:
    try:
        if isinstance(value, str) and parse_dn(value):
            return value
    except ValueError:
        pass
    raise at.wrong("is not a distinguished name", DN.allowed)


DN: Kind[str] = Kind("DN", 'a distinguished name such as "ou=people,dc=example,dc=org"', _read_dn, quoted)


def _read_filter(value: object, at: At) -> str:
    """Its parentheses are looked at here, the rest with the files (`auth.ldap_filters`): whoever only reads the options
    does not load what speaks LDAP."""
    if isinstance(value, str) and "\0" not in value and _one_pair(value):
        return value
    raise at.wrong("is not an LDAP filter", FILTER.allowed)


def _one_pair(value: str) -> bool:
    """Are all of it one pair of parentheses and what is in it? Those of a value are escaped (RFC 4515 section 3)."""
    depth = 0
    for place, character in enumerate(value):
        depth += (character == "(") - (character == ")")
        if depth <= 0 and place < len(value) - 1:
            return False
    return bool(value) and depth == 0


FILTER: Kind[str] = Kind(
    "LDAP filter", 'a filter in parentheses such as "(objectClass=person)"', _read_filter, quoted
)
ATTRIBUTE = text("attribute name", _ATTRIBUTE, 'an attribute name such as "uid"')
MEMBER = choice("member", "uniqueMember", "memberUid")
NOT_NESTED, WALK, IN_CHAIN = "off", "walk", "in-chain"


@dataclass(frozen=True, slots=True)
class LdapConfig:
    """Where the LDAP servers are and how accounts are read from them."""

    servers: tuple[ServerAddress, ...] = option(
        list_of(SERVER, at_least=1),
        "The servers in order of preference; the next one is asked when one fails.",
        example='["ldaps://ldap1.example.org", "ldaps://ldap2.example.org"]',
    )
    user_base: str = option(
        DN, "Accounts are searched below this entry.", example='"ou=people,dc=example,dc=org"'
    )
    bind_dn: str | None = option(
        optional(DN),
        "The service account that searches. Not set: client_certificate says who does, or nobody in particular.",
        default=None,
        example='"cn=bastion,ou=services,dc=example,dc=org"',
    )
    bind_password_file: str | None = option(
        optional(PATH),
        "A file with the service account's password in its first line, closed to others.",
        default=None,
        example='"credential:ldap"',
    )
    client_certificate: str | None = option(
        optional(PATH),
        "A certificate (PEM, with those between it and its authority) that the gateway shows the servers and binds"
        " with, instead of a password (SASL EXTERNAL).",
        default=None,
    )
    client_key: str | None = option(
        optional(PATH),
        "The private key of client_certificate (PEM), without a passphrase and closed to others.",
        default=None,
    )
    ca_file: str | None = option(
        optional(PATH),
        "The authorities that may have signed the servers' certificates (PEM). Not set: those of the system.",
        default=None,
        example='"ldap-ca.pem"',
    )
    certificate_name: str | None = option(
        optional(text("host name", re.compile(r"\A[A-Za-z0-9.:_-]{1,253}\Z"), "a host name or address")),
        "The name that the servers' certificates must show. Not set: the host in each server's URL.",
        default=None,
    )
    allow_plaintext: bool = option(
        BOOLEAN,
        "Send passwords to ldap:// servers in clear, without StartTLS. For loopback only.",
        default=False,
    )
    user_filter: str = option(
        FILTER, "Accounts must match this filter besides their name.", default="(objectClass=person)"
    )
    name_attribute: str = option(
        ATTRIBUTE, 'The attribute with the login name ("sAMAccountName" in Active Directory).', default="uid"
    )
    login_attributes: tuple[str, ...] = option(
        list_of(ATTRIBUTE),
        'Attributes that lead to an account from a name with an @, such as ["userPrincipalName", "mail"]. Nobody may be'
        " able to write his own.",
        default=(),
    )
    id_attribute: str = option(
        ATTRIBUTE,
        'The attribute that stays when an account is renamed ("objectGUID" in Active Directory).',
        default="entryUUID",
    )
    key_attribute: str = option(
        ATTRIBUTE, "The attribute with authorised keys, lines as in authorized_keys.", default="sshPublicKey"
    )
    member_of: bool = option(BOOLEAN, "Read groups from the account's memberOf values.", default=True)
    group_base: str | None = option(
        optional(DN),
        "Search groups below this entry; memberOf values from elsewhere then do not count.",
        default=None,
        example='"ou=groups,dc=example,dc=org"',
    )
    group_filter: str = option(FILTER, "Groups must match this filter besides their member.",
                               default="(objectClass=*)")  # fmt: skip
    group_members: tuple[str, ...] = option(
        list_of(MEMBER, at_least=1),
        "How groups name their members: by DN (member, uniqueMember) or by login name (memberUid).",
        default=("member", "memberUid"),
    )
    group_name_attribute: str = option(
        ATTRIBUTE, "The attribute with a group's name; also the one that begins a memberOf DN.", default="cn"
    )
    nested_groups: str = option(
        choice(NOT_NESTED, WALK, IN_CHAIN),
        'Members of a group that is a member of another: "off" are in the inner one only; "walk" asks for the outer'
        ' groups level by level; "in-chain" has Active Directory do it.',
        default=NOT_NESTED,
    )
    group_depth: int = option(
        integer(1, 20),
        "How many levels of outer groups a walk goes up. What is further up does not count.",
        default=5,
    )
    primary_group: bool = option(
        BOOLEAN,
        "Read Active Directory's primary group too, which names no members: by primaryGroupID and objectSid.",
        default=False,
    )
    group_ttl: float = option(
        duration(0.0, 600.0),
        "How long key and certificate logins may use the groups of an earlier search. 0: never.",
        default=60.0,
    )
    lookup_ttl: float = option(
        duration(0.0, 60.0),
        "How long what was said of an account, or that there is none, answers the next key or certificate. A key"
        " that was removed works that long. Passwords are always asked. 0: never.",
        default=5.0,
    )
    certificates_offline: float = option(
        duration(0.0, 7 * 86400.0),
        "While no server answers: how long certificates may still log in on what the directory last said of the"
        " account, its groups included. Keys and passwords never do. 0: nobody does.",
        default=0.0,
    )
    lockout: float = option(
        duration(),
        "How long a pwdAccountLockedTime counts (the server's pwdLockoutDuration). 0: until it is removed.",
        default=0.0,
    )
    password_age: float = option(
        duration(),
        "How old a password may be by its pwdChangedTime (the server's pwdMaxAge), for keys and certificates too."
        " 0: any age.",
        default=0.0,
    )
    decoy_dn: str | None = option(
        optional(DN),
        "An entry without rights that is bound for unknown names, so that they take as long as wrong"
        " passwords. Not set: a name that does not exist.",
        default=None,
    )
    connect_timeout: float = option(
        duration(0.1, 60.0), "How long a connection to one server may take.", default=3.0
    )
    timeout: float = option(
        duration(0.1, 60.0), "How long one server may take for one login, in all.", default=5.0
    )
    deadline: float = option(
        duration(0.1, 60.0), "How long one login may take over all servers.", default=12.0
    )
    rest: float = option(
        duration(0.0, 3600.0),
        "How long a server that failed is left alone while another works.",
        default=30.0,
    )
    threads: int = option(integer(1, 64), "Conversations with the directory at the same time.", default=8)

    def validate(self, at: At) -> None:
        """Note what does not fit together."""
        if self.bind_dn is not None and self.bind_password_file is None:
            at.child("bind_password_file").wrong("is required with bind_dn", PATH.allowed)
        self._check_client(at)
        if self.group_base is None:
            for key, used in (
                ("nested_groups", self.nested_groups != NOT_NESTED),
                ("primary_group", self.primary_group),
            ):
                if used:
                    at.child(key).wrong(
                        "needs group_base: groups are searched there", f"group_base beside {key}"
                    )
        if self.nested_groups == IN_CHAIN and "member" not in self.group_members:
            at.child("group_members").wrong("is without member, which in-chain goes up by", '["member"]')
        if self.nested_groups == WALK and self.group_members == ("memberUid",):
            at.child("group_members").wrong("names no groups as members of groups", '["member", "memberUid"]')
        if self.deadline < self.timeout:
            at.child("deadline").wrong("is shorter than timeout", "at least the timeout of one server")
        if self.decoy_dn is not None and not is_within(self.decoy_dn, self.user_base):
            at.child("decoy_dn").wrong("is not below user_base", "an entry below user_base")

    def _check_client(self, at: At) -> None:
        """Whoever shows a certificate needs its key, TLS to show it in, and no other name."""
        if (self.client_certificate is None) != (self.client_key is None):
            missing = "client_key" if self.client_key is None else "client_certificate"
            at.child(missing).wrong("is missing beside the other of the two", PATH.allowed)
        if self.client_certificate is None:
            return
        if self.bind_dn is not None:
            at.child("client_certificate").wrong("and bind_dn are two names for one", "one of the two")
        if self.allow_plaintext and not all(server.tls for server in self.servers):
            at.child("client_certificate").wrong("cannot be shown without TLS", "allow_plaintext = false")

    def warnings(self) -> tuple[tuple[str, str], ...]:
        """What works but should not stay, for `bastion check`: option and text."""
        found = []
        clear = [str(server) for server in self.servers if not server.tls]
        if self.allow_plaintext and clear:
            found.append(("allow_plaintext", f"passwords go to {', '.join(clear)} in clear"))
        if self.bind_dn is None and self.client_certificate is None:
            found.append(("bind_dn", "is not set: accounts are searched anonymously"))
        if self.member_of and self.group_base is None:
            found.append(
                (
                    "group_base",
                    "is not set: whoever may make a group anywhere can give it a name that rules know",
                )
            )
        if not self.member_of and self.group_base is None:
            found.append(("member_of", "is false and group_base is not set: no groups are read"))
        return tuple(found)


def read_bind_password(config: LdapConfig) -> str:
    """The service account's password, "" without one. Raises ConfigError; refuses a file open to others."""
    path = config.bind_password_file
    if config.bind_dn is None or path is None:
        return ""
    key = "bind_password_file"
    try:
        with open(path, encoding="utf-8") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            if mode & 0o027:
                raise ConfigError(path, 0, key, f"mode {mode:04o} lets others in", "0600 or 0640")
            password = opened.read(MAX_SECRET).split("\n", 1)[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path, 0, key, f"cannot be read ({type(error).__name__})") from None
    if not password:
        raise ConfigError(path, 0, key, "is empty", "a file with the password in its first line")
    return password


def _load_client(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """What the gateway shows of itself. Raises ConfigError; refuses a key open to others."""
    try:
        mode = stat.S_IMODE(os.stat(key).st_mode)
    except OSError as error:
        raise ConfigError(key, 0, "client_key", f"cannot be read ({type(error).__name__})") from None
    if mode & 0o027:
        raise ConfigError(key, 0, "client_key", f"mode {mode:04o} lets others in", "0600 or 0640")
    try:
        # Without a passphrase of ours, OpenSSL would ask for it at the terminal.
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ssl.SSLError, ValueError) as error:
        text = f"and client_key cannot be used together ({type(error).__name__})"
        raise ConfigError(
            certificate, 0, "client_certificate", text, "a PEM certificate and its key without a passphrase"
        ) from None


def tls_context(config: LdapConfig) -> ssl.SSLContext:
    """TLS 1.2 or later, certificate required, its name checked; with the gateway's own certificate, if it has one.

    Raises ConfigError for files that cannot be used.
    """
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=config.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            config.ca_file or "", 0, "ca_file", f"cannot be used ({type(error).__name__})", "a PEM file"
        ) from None
    if config.client_certificate is not None and config.client_key is not None:
        _load_client(context, config.client_certificate, config.client_key)
    # create_default_context does these; they are repeated because everything hangs on them.
    context.check_hostname = True
    # RFC 6125 section 6.4.4: a name in the subject alone is none. OpenSSL takes one when there is no other.
    context.hostname_checks_common_name = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
