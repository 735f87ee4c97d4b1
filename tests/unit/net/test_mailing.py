"""One mail to real mail servers: with TLS and without, refused, put off, silent and without end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path

import pytest

from bastion.net import mailing as module
from bastion.net.mailing import MailServer, NotMailed, send
from tests.support.smtpd import running
from tests.support.tls import make_certificate

SENDER, TO = "bastion@example.com", "ada@example.com"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"), "mail")


def mail(subject: str = "news", text: str = "one\n.\ntwo\n") -> EmailMessage:
    made = EmailMessage()
    made["Subject"], made["From"], made["To"] = subject, SENDER, TO
    made.set_content(text)
    return made


@pytest.mark.parametrize("tls", ["starttls", "implicit", "none"])
def test_a_mail_is_taken(tmp_path: Path, certificate: tuple[Path, Path], tls: str) -> None:
    with running(tmp_path, certificate, tls) as there:
        server = MailServer("127.0.0.1", there.port, tls == "implicit", tls == "starttls", certificate[0])
        send(server, SENDER, TO, mail())
        (got,) = there.mails
    assert (got["from"], got["to"], bool(got["tls"])) == (SENDER, TO, tls != "none")
    assert "Subject: news" in got["body"] and "one\r\n.\r\ntwo" in got["body"]


def test_who_logs_in_does_so_behind_tls_and_a_wrong_password_is_told(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    with running(tmp_path, certificate, "starttls", "bastion", "hush") as there:
        right = MailServer("127.0.0.1", there.port, False, True, certificate[0], "bastion", "hush")
        send(right, SENDER, TO, mail())
        assert there.mails[0]["user"] == "bastion"
        wrong = MailServer("127.0.0.1", there.port, False, True, certificate[0], "bastion", "guessed")
        with pytest.raises(NotMailed) as told:
            send(wrong, SENDER, TO, mail())
        assert "535" in told.value.text and "guessed" not in told.value.text and not told.value.again
        assert len(there.mails) == 1 and "hush" not in repr(right)


def test_without_its_certificate_or_tls_a_server_gets_neither_mail_nor_password(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    other, _ = make_certificate(tmp_path, "other")
    with running(tmp_path, certificate, "starttls", "bastion", "hush") as there:
        with pytest.raises(NotMailed, match="certificate"):
            send(MailServer("127.0.0.1", there.port, ca_file=other), SENDER, TO, mail())
        with pytest.raises(NotMailed, match="certificate"):
            send(MailServer("127.0.0.1", there.port), SENDER, TO, mail())
        assert there.mails == []
    (tmp_path / "plain").mkdir()
    with running(tmp_path / "plain", certificate, "none") as there:
        with pytest.raises(NotMailed, match="STARTTLS") as told:
            send(MailServer("127.0.0.1", there.port, ca_file=certificate[0]), SENDER, TO, mail())
        assert there.mails == [] and not told.value.again


def test_what_is_refused_is_told_and_what_is_put_off_may_come_again(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    with running(tmp_path, certificate, "none") as there:
        server = MailServer("127.0.0.1", there.port, starttls=False)
        for to, code, again in (("refused@example.com", "550", False), ("later@example.com", "451", True)):
            with pytest.raises(NotMailed, match=code) as told:
                send(server, SENDER, to, mail())
            assert told.value.again is again
        assert there.mails == []
    with pytest.raises(NotMailed) as told:
        send(server, SENDER, TO, mail())
    assert told.value.again and "refused" in told.value.text.lower()


@contextmanager
def speaking(say: Callable[[socket.socket], None]) -> Iterator[MailServer]:
    """A server of one connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            try:
                say(connection)
            except OSError:
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield MailServer("127.0.0.1", listener.getsockname()[1], starttls=False)
    finally:
        thread.join()
        listener.close()


def test_a_server_that_says_nothing_or_a_byte_at_a_time_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    with speaking(lambda there: there.recv(1) and None) as server, pytest.raises(NotMailed) as told:
        send(server, SENDER, TO, mail())
    assert told.value.again
    monkeypatch.setattr(module, "PATIENCE", 10.0)
    monkeypatch.setattr(module, "DEADLINE", 0.3)
    with (
        speaking(lambda there: there.sendall(b"220-") or (there.recv(1) and None)) as server,
        pytest.raises(NotMailed, match="took too long"),
    ):
        send(server, SENDER, TO, mail())


def test_a_server_that_answers_without_end_is_left() -> None:
    def say(there: socket.socket) -> None:
        while True:
            there.sendall(b"220-and more\r\n" * 100)

    with speaking(say) as server, pytest.raises(NotMailed, match="without end"):
        send(server, SENDER, TO, mail())


def test_no_header_ends_another_and_no_mail_is_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("Subject", "To"):
        with pytest.raises(ValueError, match=r"linefeed|newline"):
            EmailMessage()[name] = "x\r\nBcc: eve@example.com"
    with (
        speaking(lambda there: there.sendall(b"220 here\r\n") or (there.recv(1) and None)) as server,
        pytest.raises(NotMailed),
    ):
        send(server, SENDER, "ada@example.com>\r\nRCPT TO:<eve@example.com", mail())
    monkeypatch.setattr(module, "MAIL_MAX", 100)
    with pytest.raises(NotMailed, match="too large") as told:
        send(MailServer("127.0.0.1", 1), SENDER, TO, mail(text="x" * 200))
    assert not told.value.again
