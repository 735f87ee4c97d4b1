"""Somebody has asked for an approval: told to a webhook and by mail, so that whoever may answer hears of it (L3).

It is off every path: a thread of its own does one after the other, each with a deadline; what fails is tried again a
few times and then given up, with a line in the operator's log and a count. Invariants: no session, request or answer
waits for any of it; what waits is bounded; no redirect is followed, and of an answer only the status is read.
"""

from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from functools import partial
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from bastion.ca.secrets import bearer
from bastion.clock import Timers
from bastion.net import posting
from bastion.observe.meters import APPROVAL_ANNOUNCEMENTS, Meters
from bastion.policy.approval import from_text, in_words
from bastion.state.approvals import Request

DEADLINE: Final = 10.0
"""Seconds for one try, the wait for the thread included."""

PATIENCE: Final = 5.0
"""Seconds for one step of it: a connection, a part of the answer."""

RETRIES: Final = (2.0, 10.0, 60.0)
"""Seconds before the second try, the third and the last."""

WAITING: Final = 64
"""Announcements that wait for the thread or for another try. One more is given up at once."""

WEBHOOK: Final = "webhook"
MAIL: Final = "mail"


@dataclass(frozen=True, slots=True)
class Ways:
    """Where it is told. `webhook` is a URL, `token_file` has what stands behind `Bearer`; `mail_command` gets a whole
    message on its standard input."""

    webhook: str = ""
    token_file: Path | None = None
    mail_command: tuple[str, ...] = ()
    mail_from: str = ""
    mail_to: tuple[str, ...] = ()


Run = Callable[[Callable[[], None], float, Callable[[], None]], Deferred[None]]
"""`auth.workers.Workers.run`."""


class Announcer:
    """One per process: announces what was filed here."""

    def __init__(
        self, timers: Timers, run: Run, meters: Meters, ways: Callable[[], Ways], gateway: Callable[[], str]
    ) -> None:
        """`gateway` is the command that reaches the lobby, without its commands."""
        self._timers, self._run, self._meters = timers, run, meters
        self._ways, self._gateway = ways, gateway
        self._waiting = 0
        self._log = Logger(namespace="bastion.approvals")

    def announce(self, request: Request) -> None:
        """Tell it by every way that is configured."""
        ways, command = self._ways(), self._gateway()
        if ways.webhook:
            document = document_of(request, command)
            self._begin(WEBHOOK, lambda: Post(ways.webhook, ways.token_file, document))
        if ways.mail_command:
            message = mail_of(request, command, ways)
            self._begin(MAIL, lambda: Mail(ways.mail_command, message))

    def _begin(self, way: str, make: Callable[[], Post | Mail]) -> None:
        if self._waiting >= WAITING:
            self._meters.add(APPROVAL_ANNOUNCEMENTS, way, "dropped")
            return
        self._waiting += 1
        self._try(way, make, 0)

    def _try(self, way: str, make: Callable[[], Post | Mail], tries: int) -> None:
        one = make()
        done = self._run(one.send, DEADLINE, one.cut)
        done.addCallbacks(lambda _: self._over(way, "sent"), partial(self._failed, way, make, tries))

    def _failed(self, way: str, make: Callable[[], Post | Mail], tries: int, failure: Failure) -> None:
        self._meters.add(APPROVAL_ANNOUNCEMENTS, way, "failed")
        if tries < len(RETRIES):
            self._timers.callLater(RETRIES[tries], self._try, way, make, tries + 1)
            return
        why = type(failure.value).__name__
        self._log.warn("a request for approval could not be announced by {way}: {why}", way=way, why=why)
        self._over(way, "given_up")

    def _over(self, way: str, result: str) -> None:
        self._waiting -= 1
        self._meters.add(APPROVAL_ANNOUNCEMENTS, way, result)


class Post:
    """One POST of a JSON document. `send` blocks; `cut` ends it from another thread."""

    def __init__(self, url: str, token_file: Path | None, document: dict[str, Any]) -> None:
        self._post, self._token_file = posting.Post(url, json.dumps(document).encode(), PATIENCE), token_file
        self.cut = self._post.cut

    def send(self) -> None:
        """Raises OSError, ConfigError for the token, and http.client.HTTPException for any status but 2xx."""
        status = self._post.send(bearer(self._token_file, "webhook's token"))
        if not 200 <= status < 300:
            raise http.client.HTTPException(f"status {status}")


class Mail:
    """One message for a command such as `/usr/sbin/sendmail -t -i`."""

    def __init__(self, command: tuple[str, ...], message: bytes) -> None:
        self._command, self._message = command, message

    def send(self) -> None:
        """Raises OSError and subprocess.SubprocessError."""
        subprocess.run(
            self._command,
            input=self._message,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=True,
        )

    def cut(self) -> None:
        """It has a time of its own, shorter than the deadline but for the wait."""


def document_of(request: Request, command: str) -> dict[str, Any]:
    """What a webhook gets. Times are seconds since the epoch."""
    return {
        "event": "approval_filed",
        "request": request.id,
        "user": request.identity,
        "target": request.target,
        "login": request.login,
        "verbs": request.verbs.split(","),
        "source": request.source,
        "approvers": in_words(from_text(request.needed)),
        "reason": request.why,
        "filed_at": request.made_at,
        "expires_at": request.expires_at,
        "approve": f"{command} approve {request.id}",
        "deny": f"{command} deny {request.id} for REASON",
    }


def mail_of(request: Request, command: str, ways: Ways) -> bytes:
    """A whole message. What was typed stands in its body alone: a header has nothing of it."""
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"] = ways.mail_from, ", ".join(ways.mail_to)
    message["Subject"] = f"approval {request.id}: {request.identity} on {request.target} as {request.login}"
    told = document_of(request, command)
    lines = (
        f"{request.identity} from {request.source} asks for {request.target} as {request.login}",
        f"to do: {request.verbs}",
        f"reason: {request.why or '(waits at the door)'}",
        f"to be approved by: {told['approvers']}",
        "",
        f"  {told['approve']}",
        f"  {told['deny']}",
    )
    message.set_content("\n".join(lines) + "\n")
    return message.as_bytes()
