"""ssh-keygen as an oracle: makes keys and certificates the way the rest of the world does."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

from bastion.wire.keys import PrivateKey


def keygen(*arguments: str | Path, cwd: Path | None = None, data: bytes = b"") -> str:
    done = subprocess.run(
        ["ssh-keygen", *map(str, arguments)], cwd=cwd, input=data, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def make_key(folder: Path, name: str, *options: str) -> Path:
    path = folder / name
    keygen("-q", "-N", "", "-C", f"{name} comment", "-f", path, *options)
    return path


def public_blob(path: Path) -> bytes:
    return base64.b64decode(Path(f"{path}.pub").read_text().split()[1])


def load(path: Path) -> PrivateKey:
    return PrivateKey.from_bytes(path.read_bytes())


def certify(ca: Path, key: Path, *options: str) -> bytes:
    """The blob of a certificate for `key` signed with `ca`."""
    keygen("-q", "-s", ca, *options, Path(f"{key}.pub"))
    return base64.b64decode(Path(f"{key}-cert.pub").read_text().split()[1])
