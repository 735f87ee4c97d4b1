"""ssh-agents: the real one, and one that misbehaves as it is told."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Agent:
    """OpenSSH's ssh-agent at `path`, until `stop`."""

    def __init__(self, path: Path, *options: str) -> None:
        self.path = path
        self._options = options
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> Agent:
        self.path.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            ["ssh-agent", "-D", *self._options, "-a", str(self.path)], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()  # printed once the socket is there
        return self

    def add(self, *words: str | Path, secret: str = "") -> None:
        """`ssh-add ...`"""
        environment = {**os.environ, "SSH_AUTH_SOCK": str(self.path)}
        if secret:
            ask = self.path.with_name("agent-askpass")
            ask.write_text('#!/bin/sh\nprintf "%s\\n" "$TEST_SECRET"\n')
            ask.chmod(0o755)
            environment |= {"SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force", "TEST_SECRET": secret}
        done = subprocess.run(
            ["ssh-add", *map(str, words)], env=environment, capture_output=True, timeout=30, text=True
        )
        assert done.returncode == 0, done.stderr

    def hang(self) -> None:
        """It takes connections, and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
            process.wait(10)
            assert process.stdout is not None
            process.stdout.close()


@contextmanager
def answering(path: Path, answer: bytes | None) -> Iterator[None]:
    """An agent that says this to every request, or None: nothing, and keeps the connection."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(8)
    kept: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            if answer is None:
                kept.append(peer)
                continue
            with peer:
                peer.recv(4096)
                peer.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(20)
        for peer in kept:
            peer.close()
