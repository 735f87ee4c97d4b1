# ruff: noqa: RUF009 - `option` declares a field, as `dataclasses.field` does
"""The section `[mail]`: by which server news of saved searches go out, and to whom they may (L2)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bastion.config.approvals import MAIL_ADDRESS, MAILBOX
from bastion.config.console import is_loopback
from bastion.options import At, Scope, option
from bastion.options.kinds import ADDRESS, BOOLEAN, Address, choice, list_of, optional, text
from bastion.options.paths import FILE

_DOMAIN: Final = text(
    "domain",
    re.compile(r"\A[a-z0-9](?:[a-z0-9-]{0,62})(?:\.[a-z0-9](?:[a-z0-9-]{0,62})){0,9}\Z"),
    '"example.com", in lower case',
)
_NAME: Final = text("name", re.compile(r"\A[!-~]{1,256}\Z"), "a name at the mail server")

STARTTLS: Final = "starttls"
IMPLICIT: Final = "implicit"
NO_TLS: Final = "none"


@dataclass(frozen=True, slots=True)
class Mail:
    """Mail about saved searches, which `bastion searches` sends: to addresses of these domains and nobody else."""

    server: Address | None = option(
        optional(ADDRESS),
        "The mail server (SMTP submission). Not set: no mail.",
        default=None,
        example='"smtp.example.com:587"',
        scope=Scope.COMMAND,
    )
    tls: str = option(
        choice(STARTTLS, IMPLICIT, NO_TLS),
        "How TLS begins: asked for, or at once (port 465). None on loopback alone.",
        default=STARTTLS,
        scope=Scope.COMMAND,
    )
    ca_file: Path | None = option(
        optional(FILE),
        "CA certificates (PEM) that the server's has to come from. Not set: those of the system.",
        default=None,
        example='"mail-ca.crt"',
        scope=Scope.COMMAND,
    )
    user: str | None = option(
        optional(_NAME),
        "Whom to log in as there. Not set: nobody.",
        default=None,
        example='"bastion"',
        scope=Scope.COMMAND,
    )
    password_file: Path | None = option(
        optional(FILE),
        "File with the password in its first line, closed to others.",
        default=None,
        example='"credential:mail"',
        scope=Scope.COMMAND,
    )
    sender: str | None = option(
        optional(MAILBOX),
        "Who the mail is from.",
        default=None,
        example='"bastion@example.com"',
        scope=Scope.COMMAND,
    )
    domains: tuple[str, ...] = option(
        list_of(_DOMAIN),
        "Domains of those who may get it: each as it is, none below it.",
        default=(),
        example='["example.com"]',
        scope=Scope.COMMAND,
    )
    sessions: bool = option(
        BOOLEAN,
        "The mail names the sessions: who, where and when. Off: how many there are, and a link. What was recorded is"
        " never in it.",
        default=False,
        scope=Scope.COMMAND,
    )

    def validate(self, at: At) -> None:
        if self.server is None:
            for name in ("ca_file", "user", "password_file", "sender", "domains"):
                if getattr(self, name):
                    at.child(name).wrong("has no effect without server", ADDRESS.allowed)
            return
        if self.sender is None:
            at.child("sender").wrong("is missing", '"bastion@example.com"')
        if not self.domains:
            at.child("domains").wrong("is missing: nobody may get mail", '["example.com"]')
        if (self.user is None) != (self.password_file is None):
            missing = "password_file" if self.user is not None else "user"
            at.child(missing).wrong("is missing: a login needs both", "user and password_file, or neither")
        if self.tls == NO_TLS and not is_loopback(self.server):
            text = f"leaves the mail readable on its way to {self.server}"
            at.child("tls").wrong(text, '"starttls" or "implicit"; "none" on loopback alone')
        if self.tls == NO_TLS and self.ca_file is not None:
            at.child("ca_file").wrong("has no effect without TLS")

    def fault(self, address: str) -> str:
        """Why nobody may be sent mail there; "": it may be."""
        if self.server is None:
            return "this gateway sends no mail"
        if MAIL_ADDRESS.match(address) is None:
            return f"is no {MAILBOX.allowed}"
        if address.rpartition("@")[2].lower() not in self.domains:
            return f"is at none of: {', '.join(self.domains)}"
        return ""
