"""One mail to a mail server by SMTP (L2). Blocks.

Invariants: without TLS nothing goes beyond loopback, which the options see to; a server that does not begin TLS, or has
no certificate for its name, gets neither mail nor password. A step has its patience and the whole its deadline; of the
answers no more is read than REPLY_MAX. Addresses are checked before (`config.mail`), and nothing in a header ends it.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any, Final

from bastion.auth.held import Held
from bastion.errors import BastionError
from bastion.wire.printable import printable

PATIENCE: Final = 10.0
"""Seconds for each step."""

DEADLINE: Final = 60.0
"""Seconds for all of them."""

REPLY_MAX: Final = 64 << 10
"""Bytes that a server may answer, in all."""

MAIL_MAX: Final = 256 << 10
"""Bytes of a mail."""

SAID_MAX: Final = 200
"""Characters of what a server says that are told."""


class NotMailed(BastionError):
    """It was not taken. `text` is for people; `again`: it may be the next time."""

    def __init__(self, text: str, again: bool) -> None:
        super().__init__(text)
        self.text, self.again = text, again


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail is given to. `tls` as of `config.mail`; without a `user` nobody logs in."""

    host: str
    port: int
    implicit: bool = False
    starttls: bool = True
    ca_file: Path | None = None
    user: str = ""
    password: str = field(default="", repr=False)


def send(server: MailServer, sender: str, to: str, mail: EmailMessage) -> None:
    """Give it to the server, which has taken it then. Raises NotMailed."""
    body = mail.as_bytes(policy=SMTP)
    if len(body) > MAIL_MAX:
        raise NotMailed("the mail is too large", False)
    held = Held()
    late = threading.Timer(DEADLINE, held.cut)
    late.daemon = True
    late.start()
    try:
        _send(server, sender, to, body, held)
    except smtplib.SMTPRecipientsRefused as error:
        code, said = next(iter(error.recipients.values()))
        raise NotMailed(_said(code, said), _is_passing(code)) from None
    except smtplib.SMTPResponseException as error:
        raise NotMailed(_said(error.smtp_code, error.smtp_error), _is_passing(error.smtp_code)) from None
    except smtplib.SMTPNotSupportedError as error:
        raise NotMailed(
            f"the mail server does not do what is needed: {printable(str(error))}", False
        ) from None
    except (OSError, smtplib.SMTPException, ValueError) as error:  # of TLS, too
        why = "it took too long" if held.is_cut else printable(str(error) or type(error).__name__)
        raise NotMailed(why[:SAID_MAX], True) from None
    finally:
        late.cancel()
        held.let_go()


def _send(server: MailServer, sender: str, to: str, body: bytes, held: Held) -> None:
    context = ssl.create_default_context(cafile=server.ca_file) if _has_tls(server) else None
    name = sender.rpartition("@")[2]  # no lookup of our own name
    made: _Smtp = _SmtpTls(context, name, held) if server.implicit and context else _Smtp(name, held)
    try:
        code, said = made.connect(server.host, server.port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, said)
        if context is not None and not server.implicit:
            made.starttls(context=context)
        if server.user:
            made.login(server.user, server.password)
        made.sendmail(sender, [to], body)
        with suppress(OSError, smtplib.SMTPException):  # it has taken the mail
            made.quit()
    finally:
        made.close()


def _has_tls(server: MailServer) -> bool:
    return server.implicit or server.starttls


class _Smtp(smtplib.SMTP):
    """smtplib's, whose socket `held` has from the first moment, and which reads no more than it may."""

    def __init__(self, name: str, held: Held) -> None:
        super().__init__(local_hostname=name, timeout=PATIENCE)
        self._held = held

    def connect(
        self, host: str = "localhost", port: int = 0, source_address: Any = None
    ) -> tuple[int, bytes]:
        self._host = host  # whose certificate it has to be, as of smtplib's own constructor
        return super().connect(host, port)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        made = socket.create_connection((host, port), timeout)
        self._held.take(made)
        return made

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = _Bounded(self.sock.makefile("rb"))
        return super().getreply()


class _SmtpTls(_Smtp):
    """With TLS from the first byte."""

    def __init__(self, context: ssl.SSLContext, name: str, held: Held) -> None:
        super().__init__(name, held)
        self._context = context

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        made = super()._get_socket(host, port, timeout)
        try:
            return self._context.wrap_socket(made, server_hostname=host)
        except BaseException:
            made.close()
            raise


class _Bounded:
    """What a server answers, REPLY_MAX bytes of it."""

    def __init__(self, file: Any) -> None:
        self._file, self._left = file, REPLY_MAX

    def readline(self, size: int) -> bytes:
        line: bytes = self._file.readline(size)
        self._left -= len(line)
        if self._left < 0:
            raise OSError("the mail server answers without end")
        return line

    def close(self) -> None:
        self._file.close()


def _said(code: int, said: bytes | str) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return f"the mail server says {code} {printable(' '.join(text.split()))[:SAID_MAX]}"


def _is_passing(code: int) -> bool:
    """RFC 5321 section 4.2.1: 5 is for good."""
    return code < 500
