"""Logins by hand on both sides of a `RawSsh`, and a wire that is the output and input of a program."""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Mapping, Sequence
from typing import Self

from bastion.wire.data import boolean, string
from bastion.wire.keys import PrivateKey
from bastion.wire.numbers import (
    MSG_SERVICE_ACCEPT,
    MSG_SERVICE_REQUEST,
    MSG_USERAUTH_REQUEST,
    MSG_USERAUTH_SUCCESS,
)
from bastion.wire.userauth import signed_data
from tests.hostile.rawssh import TIMEOUT, RawSsh


def log_in(client: RawSsh, user: str, key: PrivateKey) -> None:
    """From nothing to USERAUTH_SUCCESS, with a key (RFC 4252 section 7)."""
    client.handshake()
    client.request_service()
    client.read_until(MSG_SERVICE_ACCEPT)
    blob, algorithm = key.public.blob, key.public.algorithms[0]
    signature = key.sign(signed_data(client.session_id, user, "ssh-connection", algorithm, blob))
    proof = boolean(True) + string(algorithm) + string(blob) + string(signature)
    client.request_login(user.encode(), b"publickey", proof)
    client.read_until(MSG_USERAUTH_SUCCESS)


def let_in(server: RawSsh) -> None:
    """A target that believes everybody."""
    server.handshake()
    server.read_until(MSG_SERVICE_REQUEST)
    server.send(bytes([MSG_SERVICE_ACCEPT]) + string("ssh-userauth"))
    server.read_until(MSG_USERAUTH_REQUEST)
    server.send(bytes([MSG_USERAUTH_SUCCESS]))


class ProcessWire:
    """The standard input and output of a program, such as `ssh -W`. Implements `rawssh.Wire`."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=dict(environment), bufsize=0
        )

    def send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        view = memoryview(data)
        while view:
            view = view[self._process.stdin.write(view) :]

    def receive(self) -> bytes:
        assert self._process.stdout is not None
        number = self._process.stdout.fileno()
        assert select.select([number], [], [], TIMEOUT)[0], "nothing came"
        return os.read(number, 1 << 18)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(TIMEOUT)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
