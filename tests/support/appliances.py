"""Appliances that know passwords only: a local account with a password for sshd and dropbear, asyncssh for the rest."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncssh

from tests.support.loops import Loop
from tests.support.net import LOOPBACK, free_port
from tests.support.processes import kill_all
from tests.support.sshd import make_key

DROPBEAR = shutil.which("dropbear", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def dropbear_missing() -> str:
    """Why tests with dropbear cannot run here, or ""."""
    if DROPBEAR is None or shutil.which("dropbearkey") is None:
        return "dropbear is not installed"
    return "" if os.geteuid() == 0 else "a real login needs root"


@contextlib.contextmanager
def account(password: str, home: Path | None = None) -> Iterator[str]:
    """The name of a new local account with this password, removed afterwards. Needs root."""
    name = f"bt{secrets.token_hex(4)}"
    hashed = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"], input=password, capture_output=True, text=True, check=True
    ).stdout.strip()
    where = ["-d", str(home)] if home else []
    subprocess.run(
        ["useradd", "-M", "-s", "/bin/sh", *where, "-p", hashed, name], check=True, capture_output=True
    )
    try:
        yield name
    finally:
        subprocess.run(["userdel", name], check=True, capture_output=True)


class Dropbear:
    """One dropbear on loopback with the host key types given; `stop` ends its sessions too."""

    def __init__(self, folder: Path, *kinds: str) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.port = 0
        self.host_public = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._keys = []
        for kind in kinds or ("ed25519",):
            key = folder / f"host_{kind}"
            size = ["-s", "2048"] if kind == "rsa" else []
            subprocess.run(
                ["dropbearkey", "-t", kind, "-f", str(key), *size],
                check=True,
                capture_output=True,
                timeout=60,
            )
            shown = subprocess.run(
                ["dropbearkey", "-y", "-f", str(key)], capture_output=True, text=True, check=True
            )
            self.host_public = next(
                " ".join(line.split()[:2])
                for line in shown.stdout.splitlines()
                if line.startswith(("ssh-", "ecdsa-"))
            )
            self._keys += ["-r", str(key)]

    def start(self) -> Dropbear:
        assert DROPBEAR is not None
        self.port = free_port()
        log = (self.folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [
                    DROPBEAR,
                    "-F",
                    "-E",
                    "-p",
                    f"{LOOPBACK}:{self.port}",
                    "-P",
                    str(self.folder / "pid"),
                    *self._keys,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        give_up_at, pause = time.monotonic() + 15, threading.Event()
        while True:  # it says nothing when it listens
            try:
                socket.create_connection((LOOPBACK, self.port), 5).close()
                return self
            except OSError:
                assert time.monotonic() < give_up_at, (self.folder / "log").read_text()
                pause.wait(0.02)

    def stop(self) -> None:
        if self._process is not None:
            kill_all({self._process.pid})
            self._process.wait(10)
            self._process = None


class Asyncssh:
    """asyncssh servers in a thread of their own: `listen` makes one per behaviour and gives its port."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._key = make_key(folder / "asyncssh_host")
        self.host_public = " ".join(Path(f"{self._key}.pub").read_text().split()[:2])
        self._loop = Loop()
        self._listeners: list[Any] = []

    def listen(self, server: Callable[[], asyncssh.SSHServer], **options: Any) -> int:
        async def begin() -> Any:
            return await asyncssh.listen(
                LOOPBACK,
                0,
                server_factory=server,
                server_host_keys=[str(self._key)],
                process_factory=_hello,
                **options,
            )

        listener = self._loop.run(begin())
        self._listeners.append(listener)
        return int(listener.sockets[0].getsockname()[1])

    def stop(self) -> None:
        async def end() -> None:
            for listener in self._listeners:
                listener.close()

        self._loop.run(end())
        self._loop.close()


def _hello(process: Any) -> None:
    process.stdout.write("hello\n")
    process.exit(0)
