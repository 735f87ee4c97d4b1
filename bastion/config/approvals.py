# ruff: noqa: RUF009 - `option` declares a field, as `dataclasses.field` does
"""The section about requests for approval (L2)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from bastion.net.urls import url
from bastion.options import At, Kind, option
from bastion.options.kinds import BOOLEAN, duration, list_of, optional, text
from bastion.options.paths import FILE

MAIL_ADDRESS = re.compile(r"\A[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}\Z")


WEBHOOK: Kind[str] = url(
    "URL",
    "URL of a webhook",
    "https://HOST/PATH, without a password; http:// on loopback alone",
    loopback=True,
)
MAILBOX: Kind[str] = text("mail address", MAIL_ADDRESS, "an address such as leads@example.com")


@dataclass(frozen=True, slots=True)
class Approvals:
    """How long what rules want approved may be answered and used, and who is told (`docs/approvals.md`)."""

    pending: float = option(
        duration(60, 7 * 86400), "A request that nobody has answered for this long expires.", default=3600.0
    )
    valid: float = option(
        duration(10, 86400), "An approval that has not been used for this long expires.", default=900.0
    )
    passkeys: bool = option(
        BOOLEAN,
        "Answers to requests, and deletions by two people, may be proved with a passkey of the review console, which"
        " the gateway judges itself. Needs `console.url` with a name.",
        default=False,
    )
    webhook: str | None = option(
        optional(WEBHOOK),
        "Where each request is announced, as a POST of JSON.",
        default=None,
        example='"https://chat.example.com/hooks/approvals"',
    )
    webhook_token_file: Path | None = option(
        optional(FILE),
        "File with a token in its first line, closed to others, sent as `Authorization: Bearer`.",
        default=None,
        example='"credential:webhook"',
    )
    mail_command: tuple[str, ...] = option(
        list_of(text()),
        "A program and its arguments that send the mail on their standard input. Empty: no mail.",
        default=(),
        example='["/usr/sbin/sendmail", "-t", "-i"]',
    )
    mail_from: str | None = option(
        optional(MAILBOX), "Who the mail is from.", default=None, example='"bastion@example.com"'
    )
    mail_to: tuple[str, ...] = option(
        list_of(MAILBOX), "Who gets it.", default=(), example='["leads@example.com"]'
    )

    def validate(self, at: At) -> None:
        if self.webhook_token_file is not None and self.webhook is None:
            at.child("webhook_token_file").wrong("has no effect without webhook", WEBHOOK.allowed)
        if self.mail_command and not self.mail_command[0].startswith("/"):
            at.child("mail_command").wrong("has no path to the program", '["/usr/sbin/sendmail", "-t", "-i"]')
        if bool(self.mail_command) != bool(self.mail_to) or bool(self.mail_to) != (
            self.mail_from is not None
        ):
            at.wrong("mail needs mail_command, mail_from and mail_to", "all three, or none")
