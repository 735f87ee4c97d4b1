"""One question to an HTTPS server, in a thread (L2). Blocks; whoever asks keeps the deadline and calls `cut`.

Invariants: the server has shown a certificate for its name; no redirect is followed and no proxy asked; of an answer no
more is read than may be there.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bastion.auth.held import Held, HeldConnection
from bastion.errors import BastionError

PATIENCE: Final = 5.0
"""Seconds for one step of it: a connection, a part of the answer."""

MAX_BODY: Final = 256 << 10
"""Bytes of an answer: a hundred keys are 50 KiB. Of its headers http.client takes a hundred lines."""


class Unanswered(BastionError):
    """No answer, or none that can be read. `text` is ours, and for operators."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


@dataclass(frozen=True, slots=True)
class Answered:
    """The status and the whole body."""

    status: int
    body: bytes


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """TLS 1.2 or later with servers that these authorities, or those of the system, have certified. Raises OSError and
    ssl.SSLError for a file that cannot be used."""
    context = ssl.create_default_context(
        ssl.Purpose.SERVER_AUTH, cafile=None if ca_file is None else str(ca_file)
    )
    context.check_hostname = True
    context.hostname_checks_common_name = False  # RFC 6125 section 6.4.4
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class Asked:
    """One request. `send` it once, in a thread; `cut` from anywhere."""

    __slots__ = ("_body", "_context", "_headers", "_held", "_method", "_url")

    def __init__(
        self,
        context: ssl.SSLContext,
        url: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """A POST of a form where there is a `body`, which is secret; a GET else."""
        self._context, self._url, self._body = context, urlsplit(url), body
        self._method = "GET" if body is None else "POST"
        self._headers = {"Accept": "application/json", "User-Agent": "bastion", **(headers or {})}
        if body is not None:
            self._headers["Content-Type"] = "application/x-www-form-urlencoded"
        self._held = Held()

    def send(self) -> Answered:
        """Raises Unanswered."""
        url = self._url
        if url.scheme != "https" or not url.hostname:
            raise Unanswered("it is no https URL")
        try:
            made = HeldConnection(url.hostname, url.port, self._context, PATIENCE, self._held)
        except (http.client.HTTPException, ValueError):
            raise Unanswered("it is no https URL") from None
        try:
            path = (url.path or "/") + (f"?{url.query}" if url.query else "")
            made.request(self._method, path, self._body, self._headers)
            answer = made.getresponse()
            body = answer.read(MAX_BODY + 1)
            if len(body) > MAX_BODY:
                raise Unanswered(f"the answer is longer than {MAX_BODY} bytes")
            return Answered(answer.status, body)
        except ssl.SSLError as error:
            raise Unanswered(f"TLS: {getattr(error, 'verify_message', '') or error.reason}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unanswered(getattr(error, "strerror", None) or type(error).__name__) from None
        finally:
            made.close()
            self._held.let_go()

    @property
    def is_cut(self) -> bool:
        return self._held.is_cut

    def cut(self) -> None:
        """Whatever it waits for is over."""
        self._held.cut()
