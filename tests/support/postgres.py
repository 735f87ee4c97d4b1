"""A real PostgreSQL on loopback, with a cluster of its own; it can be stopped in the middle and started again."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.support.net import LOOPBACK, free_port
from tests.support.world import poll

PASSWORD = "s3cret of the store"
BINARIES = sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)


def _account() -> pwd.struct_passwd | None:
    """Whom the server runs as: it refuses root. None: as ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise AssertionError("there is no account for PostgreSQL")


class Postgres:
    """One server with a database `bastion` of a role `bastion`, whose password it wants."""

    def __init__(self) -> None:
        if not BINARIES:
            pytest.skip("PostgreSQL is not installed (.ci/packages)")
        self.folder = Path(tempfile.mkdtemp(prefix="bastion-postgres-"))
        self.port = free_port()
        self._account = _account()
        if self._account is not None:
            os.chown(self.folder, self._account.pw_uid, self._account.pw_gid)
        words = self.folder / "words"
        words.write_text(PASSWORD + "\n")
        words.chmod(0o644)
        self._run("initdb", "-D", self._data, "-U", "bastion", "--auth=scram-sha-256", f"--pwfile={words}",
                  "--no-sync", "-E", "UTF8", "--locale=C")  # fmt: skip
        self.password_file = self.folder / "password"
        self.password_file.write_text(PASSWORD + "\n")
        self.password_file.chmod(0o600)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    @property
    def url(self) -> str:
        return f"postgresql://bastion@{LOOPBACK}:{self.port}/postgres"

    def _demoted(self) -> dict[str, int]:
        account = self._account
        return {} if account is None else {"user": account.pw_uid, "group": account.pw_gid}

    def _run(self, program: str, *arguments: str) -> None:
        command = [f"{BINARIES[0]}/{program}", *arguments]
        subprocess.run(
            command, check=True, capture_output=True, timeout=60, cwd=self.folder, **self._demoted()  # type: ignore[call-overload]
        )  # fmt: skip

    def start(self) -> Postgres:
        options = [
            f"listen_addresses={LOOPBACK}",
            f"port={self.port}",
            f"unix_socket_directories={self.folder}",
        ]
        options += ["fsync=off", "shared_buffers=8MB", "max_connections=40"]
        command = [f"{BINARIES[0]}/postgres", "-D", self._data]
        for option in options:
            command += ["-c", option]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder, **self._demoted()  # type: ignore[call-overload]
            )  # fmt: skip
        poll(
            lambda: (self.folder / "data" / "postmaster.pid").exists() and self._ready(),
            30,
            "PostgreSQL did not start",
        )
        return self

    def _ready(self) -> bool:
        file = self.folder / "data" / "postmaster.pid"
        return file.exists() and "ready" in file.read_text()

    def stop(self) -> None:
        """At once: what clients wait for is cut."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(3)  # SIGQUIT
            process.wait(20)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Postgres:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()
