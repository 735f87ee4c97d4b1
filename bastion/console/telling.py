"""News of saved searches on their way (L4): posted to a webhook, mailed to whoever saved the search. Blocks.

Invariants: a post and a mail say that there is something, and at most in which sessions: nothing that was recorded.
Mail goes to addresses of the configured domains alone, as they are configured when it is sent.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import orjson

from bastion.ca.secrets import read_secret_file
from bastion.config.mail import IMPLICIT, STARTTLS, Mail
from bastion.console.filters import search_path
from bastion.detect.posting import PATIENCE, fault_of, result_of, signature
from bastion.errors import ConfigError
from bastion.net.mailing import MailServer, NotMailed, send
from bastion.net.posting import Post
from bastion.observe.audit import timestamp
from bastion.state.saved import Hit, Saved
from bastion.wire.printable import printable

PAUSES: Final = (2.0, 10.0)
"""Seconds after which a mail that a server did not take for now is given to it again; then the next night."""

_NEVER: Final = threading.Event()


@dataclass(frozen=True, slots=True)
class Gateway:
    """Who tells: what the gateway is called, and where its console is."""

    name: str
    console: str

    def url(self, one: Saved) -> str:
        """Of the page with what is found."""
        return self.console + search_path(one.words, one.query)


@dataclass(frozen=True, slots=True)
class Hook:
    """Where news are posted."""

    url: str
    secret_file: Path | None


def post(hook: Hook, gateway: Gateway, one: Saved, hits: list[Hit], more: bool, now: float) -> str:
    """Why it could not be posted, "" when it was."""
    body = orjson.dumps(document_of(gateway, one, hits, more))
    try:
        headers = {}
        if hook.secret_file is not None:
            headers = {"Bastion-Signature": signature(hook.secret_file, body, now)}
        return result_of(Post(hook.url, body, PATIENCE).send(headers))[1]
    except (OSError, http.client.HTTPException, ConfigError, ValueError) as error:
        return fault_of(error)[1]


def document_of(gateway: Gateway, one: Saved, hits: list[Hit], more: bool) -> dict[str, Any]:
    """What is posted: docs/console.md. Fields are added, never changed."""
    return {
        "event": "saved_search",
        "gateway": gateway.name,
        "search": {"id": one.id, "title": one.title, "by": one.name, "url": gateway.url(one)},
        "sessions": [
            {
                "id": hit.session_id,
                "who": hit.who,
                "started_at": hit.started_at,
                "url": f"{gateway.console}/sessions/{hit.session_id}",
            }
            for hit in hits
        ],
        "more": more,
    }


# -- mail ------------------------------------------------------------------------------------------------------------


def mail(
    wanted: Mail,
    gateway: Gateway,
    one: Saved,
    hits: list[Hit],
    more: bool,
    now: float,
    wait: Callable[[float], Any] = _NEVER.wait,
) -> str:
    """Why it could not be mailed, "" when it was. `wait` waits so many seconds."""
    fault = wanted.fault(one.mail)
    if fault:
        return f"{one.mail} {fault}"
    try:
        server = server_of(wanted)
    except ConfigError as error:
        return str(error)
    message = mail_of(wanted, gateway, one, hits, more, now)
    for pause in (*PAUSES, None):
        try:
            send(server, str(wanted.sender), one.mail, message)
        except NotMailed as error:
            if pause is None or not error.again:
                return f"mail to {one.mail}: {error.text}"
            wait(pause)
        else:
            break
    return ""


def server_of(wanted: Mail) -> MailServer:
    """Where mail is given to; the password is read each time, so that it can change. Raises ConfigError."""
    assert wanted.server is not None
    password = ""
    if wanted.password_file is not None:
        password = read_secret_file(wanted.password_file, "mail password").decode("utf-8", "replace")
    return MailServer(
        wanted.server.host,
        wanted.server.port,
        wanted.tls == IMPLICIT,
        wanted.tls == STARTTLS,
        wanted.ca_file,
        wanted.user or "",
        password,
    )


def mail_of(
    wanted: Mail, gateway: Gateway, one: Saved, hits: list[Hit], more: bool, now: float
) -> EmailMessage:
    """The mail: how many, and where they are. The same sessions make the same Message-ID, so that one that is sent
    again is known to be."""
    count = f"{len(hits)} new session{'' if len(hits) == 1 else 's'}{', and more' if more else ''}"
    made = EmailMessage(policy=SMTP)
    made["Subject"] = f"{printable(one.title)}: {count}"
    made["From"], made["To"], made["Date"] = str(wanted.sender), one.mail, formatdate(now)
    which = sha256("\n".join([one.id, *sorted(hit.session_id for hit in hits)]).encode()).hexdigest()
    made["Message-ID"] = f"<{which[:32]}@{str(wanted.sender).rpartition('@')[2]}>"
    made["Auto-Submitted"] = "auto-generated"  # RFC 3834
    lines = [
        f"{printable(one.title)}: the search that you saved at {gateway.name} found {count}.",
        "",
        gateway.url(one),
    ]
    if wanted.sessions:
        lines.append("")
        for hit in hits:
            lines.append(f"{timestamp(hit.started_at)} {printable(hit.who)}")
            lines.append(f"  {gateway.console}/sessions/{hit.session_id}")
    lines += ["", f"To get no more of these: {gateway.console}/searches"]
    made.set_content("\n".join(lines) + "\n", cte="quoted-printable")
    return made
