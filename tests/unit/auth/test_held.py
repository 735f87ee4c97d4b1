"""Connections that are cut from another thread: at a server that sends a byte at a time, and before there is one."""

from __future__ import annotations

import http.client
import socket
import threading

import pytest

from bastion.net.posting import Post
from tests.support.net import LOOPBACK

PATIENCE = 20.0
"""Of one step: no test waits for it."""


class Trickle:
    """A server that answers each connection with a byte now and then, and says nothing that ends."""

    def __init__(self) -> None:
        self.listener = socket.create_server((LOOPBACK, 0))
        self.sent, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def place(self) -> str:
        return f"{LOOPBACK}:{self.listener.getsockname()[1]}"

    def _serve(self) -> None:
        there, _ = self.listener.accept()
        with there:
            there.recv(1)
            for byte in b"\x16\x03\x03\x40\x00" + bytes(10_000):
                if self._over.wait(0.01):
                    return
                try:
                    there.sendall(bytes([byte]))
                except OSError:
                    return
                self.sent.set()

    def close(self) -> None:
        self._over.set()
        self._thread.join(5)
        self.listener.close()


def sent(post: Post) -> tuple[threading.Thread, list[Exception]]:
    failed: list[Exception] = []

    def send() -> None:
        try:
            post.send({})
        except (OSError, http.client.HTTPException) as error:
            failed.append(error)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread, failed


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_post_is_cut_in_the_middle_of_a_handshake_that_trickles(scheme: str) -> None:
    server = Trickle()
    post = Post(f"{scheme}://{server.place}/", b"{}", PATIENCE)
    thread, failed = sent(post)
    assert server.sent.wait(10)
    post.cut()
    thread.join(5)
    server.close()
    assert not thread.is_alive() and len(failed) == 1


def test_one_that_was_cut_before_it_began_does_not_begin() -> None:
    server = Trickle()
    post = Post(f"https://{server.place}/", b"{}", PATIENCE)
    post.cut()
    thread, failed = sent(post)
    thread.join(5)
    server.close()
    assert not thread.is_alive() and len(failed) == 1
