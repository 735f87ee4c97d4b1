# ruff: noqa: RUF009 - `option` declares a field, as `dataclasses.field` does
"""The section `[console]`: where the review console is, whom it lets in, and what it may open (L2)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bastion.archive.place import S3Place
from bastion.auth.factors import CODE, OIDC, PASSKEY, PASSWORD, Chain
from bastion.auth.identity import group_form
from bastion.config import postgres
from bastion.config.recording_store import ACCESS_KEY, RecordingStore
from bastion.options import At, Scope, option
from bastion.options.kinds import (
    ADDRESS,
    NETWORK,
    Address,
    Network,
    choice,
    duration,
    integer,
    list_of,
    optional,
    or_off,
    text,
)
from bastion.options.paths import FILE

_URL: Final = text(
    "address",
    re.compile(
        r"\Ahttps?://(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:]+\])(?::[1-9][0-9]{0,4})?\Z"
    ),
    '"https://console.example.com", in lower case, without a path',
)
_HEADER: Final = text("header", re.compile(r"\A[A-Za-z][A-Za-z0-9-]{0,63}\Z"), '"X-Remote-User"')

READERS: Final = 4


@dataclass(frozen=True, slots=True)
class Console:
    """The review console: `bastion console` serves it, a process of its own beside the gateway."""

    listen: Address = option(
        ADDRESS,
        "Address and port of the console. Beyond loopback it speaks TLS alone.",
        default=Address("127.0.0.1", 9743),
        scope=Scope.COMMAND,
    )
    socket: Path | None = option(
        optional(FILE),
        "A Unix socket instead, mode 0660, for a proxy on this machine: its group may connect, and is believed.",
        default=None,
        example='"/run/bastion-console/http.sock"',
        scope=Scope.COMMAND,
    )
    url: str | None = option(
        optional(_URL),
        "What people type. Another name is not answered. Not set: `listen` on loopback.",
        default=None,
        example='"https://console.example.com"',
        scope=Scope.COMMAND,
    )
    tls_certificate: Path | None = option(
        optional(FILE),
        "Certificate (PEM, its chain behind it). Read again when the file changes.",
        default=None,
        example='"console.crt"',
        scope=Scope.COMMAND,
    )
    tls_key: Path | None = option(
        optional(FILE),
        "Its private key (PEM), without a passphrase and closed to others.",
        default=None,
        example='"console.key"',
        scope=Scope.COMMAND,
    )
    require: tuple[Chain, ...] = option(
        list_of(list_of(choice(PASSWORD, CODE, PASSKEY, OIDC), at_least=1), at_least=1),
        "Chains of factors, one of which must be proved. A code needs [totp] key_file; passkey and oidc are each a"
        " chain of its own and need `url`, a passkey one with a name; oidc needs [oidc].",
        default=((PASSWORD, CODE),),
        scope=Scope.COMMAND,
    )
    auditor_groups: tuple[str, ...] = option(
        list_of(text()),
        "Groups of the directory whose members list, play, search and verify.",
        default=(),
        example='["security"]',
        scope=Scope.COMMAND,
    )
    responder_groups: tuple[str, ...] = option(
        list_of(text()),
        "Whose members may end and lock, too.",
        default=(),
        example='["incident-response"]',
        scope=Scope.COMMAND,
    )
    approver_groups: tuple[str, ...] = option(
        list_of(text()), "Whose members see who is here.", default=(), scope=Scope.COMMAND
    )
    admin_groups: tuple[str, ...] = option(
        list_of(text()), "Whose members may do everything.", default=(), scope=Scope.COMMAND
    )
    idle: float = option(
        duration(60, 86400),
        "Whoever asks for nothing this long is signed out.",
        default=900.0,
        scope=Scope.COMMAND,
    )
    lifetime: float = option(
        duration(300, 7 * 86400),
        "Whoever signed in this long ago signs in again.",
        default=8 * 3600.0,
        scope=Scope.COMMAND,
    )
    token_lifetime: float | None = option(
        or_off(duration(3600, 366 * 86400)),
        "The longest life of an API token. Off: none is made, and none that is there counts.",
        default=90 * 86400.0,
        scope=Scope.COMMAND,
    )
    proxies: tuple[Network, ...] = option(
        list_of(NETWORK),
        "Reverse proxies, whose X-Forwarded-For is believed. From everybody else it is not looked at.",
        default=(),
        example='["192.0.2.80"]',
        scope=Scope.COMMAND,
    )
    user_header: str | None = option(
        optional(_HEADER),
        "Header in which a listed proxy, or the one at `socket`, says who has signed in there: nothing else is proved"
        " then. It must take this header away from what browsers send. From everybody else it is not looked at.",
        default=None,
        example='"X-Remote-User"',
        scope=Scope.COMMAND,
    )
    identities: tuple[Path, ...] = option(
        list_of(FILE),
        "Files with age identities that open encrypted recordings. The gateway must not be able to read them.",
        default=(),
        example='["/etc/bastion-console/age.key"]',
        scope=Scope.COMMAND,
    )
    audit_file: Path | None = option(
        optional(FILE),
        "The console's own audit log, for a console that is another user than the gateway. Not set: `audit.file`.",
        default=None,
        example='"/var/log/bastion-console/audit.jsonl"',
        scope=Scope.COMMAND,
    )
    state_url: str | None = option(
        optional(postgres.URL),
        "PostgreSQL as the console's own role, which may do less than the gateway's (`bastion_console`). Not set:"
        " `state.url`.",
        default=None,
        example='"postgresql://console@db.example.com/bastion?sslmode=verify-full"',
        scope=Scope.COMMAND,
    )
    state_password_file: Path | None = option(
        optional(FILE),
        "File with the password for `state_url` in its first line, closed to others. Not set: none is sent.",
        default=None,
        example='"credential:console_state"',
        scope=Scope.COMMAND,
    )
    bucket_access_key: str | None = option(
        optional(ACCESS_KEY),
        "The id of the console's own access key for the bucket of [recording.store], which need not do more than read"
        " there. Not set: what [recording.store] says.",
        default=None,
        example='"AKIAIOSFODNN7EXAMPLE"',
        scope=Scope.COMMAND,
    )
    bucket_secret_file: Path | None = option(
        optional(FILE),
        "File with its secret access key in its first line, closed to others.",
        default=None,
        example='"credential:console_bucket"',
        scope=Scope.COMMAND,
    )
    readers: int = option(
        integer(1, 32),
        "Recordings that are read at the same time, each by a process of its own.",
        default=READERS,
        scope=Scope.COMMAND,
    )

    metrics: Address | None = option(
        or_off(ADDRESS),
        "Address and port of the console's own /metrics. Beyond loopback it has the console's certificate;"
        " `metrics.users` says who may read it.",
        default=None,
        example='"127.0.0.1:9744"',
        scope=Scope.COMMAND,
    )
    review_within: float = option(
        duration(3600, 90 * 86400),
        "Sessions of break-glass accounts, and those that an alert names, are to be reviewed within this time.",
        default=3 * 86400.0,
        scope=Scope.COMMAND,
    )
    review_by_two: tuple[str, ...] = option(
        list_of(choice("break_glass", "alert")),
        "Which of them two people have to review, neither of them whoever was in the session.",
        default=(),
        example='["break_glass"]',
        scope=Scope.COMMAND,
    )

    def validate(self, at: At) -> None:
        if (self.tls_certificate is None) != (self.tls_key is None):
            missing = "tls_key" if self.tls_key is None else "tls_certificate"
            at.child(missing).wrong("is missing: TLS needs both", "tls_certificate and tls_key, or neither")
        if self.socket is not None:
            if self.url is None:
                at.child("url").wrong("is missing: a socket has no name for people", '"https://..."')
        elif not is_loopback(self.listen) and self.tls_certificate is None:
            text = f"{self.listen} is no loopback: passwords would cross the network as they are"
            at.child("listen").wrong(text, "tls_certificate and tls_key, socket, or 127.0.0.1:9743")
        elif not is_loopback(self.listen) and self.url is None:
            at.child("url").wrong("is missing", '"https://console.example.com"')
        if self.metrics is not None and not is_loopback(self.metrics) and self.tls_certificate is None:
            text = f"{self.metrics} is no loopback, and the console has no certificate"
            at.child("metrics").wrong(text, "127.0.0.1:9744, or tls_certificate and tls_key")
        if self.state_password_file is not None and self.state_url is None:
            at.child("state_password_file").wrong("is for `state_url`, which is not set")
        if (self.bucket_access_key is None) != (self.bucket_secret_file is None):
            missing = "bucket_access_key" if self.bucket_access_key is None else "bucket_secret_file"
            at.child(missing).wrong("is missing: they go together", "both, or neither")
        self._validate_url(at)
        for index, chain in enumerate(self.require):
            if len(set(chain)) < len(chain):
                at.child("require").child(index).wrong("has a factor twice", '["password", "totp"]')
            if OIDC in chain and (len(chain) > 1 or self.url is None):
                text = "has a sign-in elsewhere, which is a chain of its own and leads back to `url`"
                at.child("require").child(index).wrong(text, '[["oidc"]] and url')
            if PASSKEY in chain:
                self._validate_passkeys(chain, at.child("require").child(index))
        if self.user_header is not None and not self.proxies and self.socket is None:
            at.child("user_header").wrong("is believed from nobody", "proxies, or socket")

    def _validate_passkeys(self, chain: Chain, at: At) -> None:
        if len(chain) > 1:
            text = "has more than a passkey, which proves its owner by itself"
            at.wrong(text, '[["passkey"], ["password", "totp"]]')
        host = (self.url or "").partition("://")[2]
        if not host or not re.search(r"[a-z]", host.partition(":")[0]):
            text = "asks for passkeys, which browsers give to a console with a name alone"
            at.wrong(text, 'url = "https://console.example.com", or "http://localhost:9743"')

    def _validate_url(self, at: At) -> None:
        if self.url is None:
            return
        if self.tls_certificate is not None and not self.url.startswith("https:"):
            at.child("url").wrong("is not https, and the console speaks TLS", '"https://..."')
        if self.url.startswith("http:") and not re.match(
            r"http://(localhost|127\.0\.0\.1|\[::1\])(:|\Z)", self.url
        ):
            at.child("url").wrong("is http: passwords would cross the network as they are", '"https://..."')
        if self.url.endswith(":443" if self.url.startswith("https:") else ":80"):
            at.child("url").wrong("has the port that browsers leave out", "the same without the port")

    def bucket(self, store: RecordingStore) -> S3Place | None:
        """Where recordings are that are not in the folder, as the console reaches it; None: nowhere."""
        place = store.place()
        if place is None or self.bucket_access_key is None:
            return place
        return replace(place, access_key=self.bucket_access_key, secret_file=self.bucket_secret_file)

    @property
    def origin(self) -> str:
        """As browsers name it."""
        scheme = "http" if self.tls_certificate is None else "https"
        return self.url or f"{scheme}://{self.listen}"

    @property
    def groups(self) -> Mapping[str, frozenset[str]]:
        """Role -> the groups, in the form in which accounts have them."""
        named = {
            "auditor": self.auditor_groups,
            "responder": self.responder_groups,
            "approver": self.approver_groups,
            "admin": self.admin_groups,
        }
        return {role: frozenset(map(group_form, groups)) for role, groups in named.items()}


def is_loopback(address: Address) -> bool:
    """Is it this machine's alone?"""
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return address.host == "localhost"
