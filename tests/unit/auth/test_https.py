"""One HTTPS question: cut short, to somebody who says nothing, to what is no https."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest

from bastion.auth.https import Asked, Unanswered, trusting
from tests.support.net import LOOPBACK
from tests.support.pki import Authority


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/",
        "https:///x",
        "ftp://localhost/",
        "localhost",
        "https://h:99999/",
        "https://h:x/",
        "https://a b/",
    ],
)
def test_nothing_but_https(url: str) -> None:
    with pytest.raises(Unanswered, match="no https URL"):
        Asked(trusting(None), url).send()


def test_a_file_of_authorities_must_be_one(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(ssl.SSLError):
        trusting(tmp_path / "ca.pem")
    with pytest.raises(OSError):
        trusting(tmp_path / "none.pem")


def test_tls_asks_for_a_certificate_and_a_name(tmp_path: Path) -> None:
    context = trusting(Authority(tmp_path).certificate)
    assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_what_waits_for_a_silent_server_is_cut() -> None:
    with socket.create_server((LOOPBACK, 0)) as silent:
        asked = Asked(trusting(None), f"https://{LOOPBACK}:{silent.getsockname()[1]}/")
        failed: list[Unanswered] = []

        def send() -> None:
            try:
                asked.send()
            except Unanswered as error:
                failed.append(error)

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        there, _ = silent.accept()
        there.recv(1)  # it waits for our part of the handshake
        asked.cut()
        thread.join(3)  # sooner than its own patience
        there.close()
        assert not thread.is_alive() and len(failed) == 1
