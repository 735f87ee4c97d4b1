"""A software authenticator for OpenSSH's own programs, and its signatures made by hand.

`build_provider` compiles `authenticator.c`, which ssh and ssh-keygen load as their `SecurityKeyProvider`; `SoftKey`
makes the same keys and signatures in Python, right and wrong in whatever way a test wants.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from bastion.wire.data import Reader, byte, string, uint32
from bastion.wire.keys import PrivateKey, PublicKey
from bastion.wire.security_keys import WEBAUTHN_ECDSA

TOUCHED, VERIFIED = 1, 4
ED25519_SK, ECDSA_SK = "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"
SOURCE = Path(__file__).with_suffix(".c")
ORIGIN = "https://ssh.example.com"


def compiler_missing() -> str:
    """Why no provider can be built here, or ""."""
    return "" if shutil.which("gcc") else "there is no gcc to build a security key with"


def build_provider(folder: Path) -> Path:
    """The shared object that `-w` and SecurityKeyProvider name."""
    made = folder / "authenticator.so"
    command = ["gcc", "-Wall", "-Werror", "-shared", "-fPIC", "-o", made, SOURCE, "-l:libcrypto.so.3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return made


def make_security_key(provider: Path, path: Path, kind: str, *more: str) -> Path:
    """A new key file of `kind` (ed25519-sk, ecdsa-sk) at `path`, whose private half the provider has."""
    command = [
        "ssh-keygen",
        "-q",
        "-t",
        kind,
        "-w",
        str(provider),
        "-N",
        "",
        "-C",
        "test",
        *more,
        "-f",
        str(path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return path


def saying(flags: int, counter: int = 1) -> dict[str, str]:
    """The environment in which the provider says so."""
    return {**os.environ, "AUTHENTICATOR_FLAGS": str(flags), "AUTHENTICATOR_COUNTER": str(counter)}


class SoftKey:
    """A security key's private half."""

    def __init__(self, kind: str = ED25519_SK, application: str = "ssh:") -> None:
        ed25519 = kind == ED25519_SK
        self._key = (
            PrivateKey.generate_ed25519() if ed25519 else PrivateKey(ec.generate_private_key(ec.SECP256R1()))
        )
        self.kind = kind
        self.application = application
        self.public = PublicKey.parse(string(kind) + self._key.public.fields + string(application))

    def sign(
        self,
        data: bytes,
        flags: int = TOUCHED,
        counter: int = 1,
        *,
        said_flags: int | None = None,
        application: str | None = None,
        name: str | None = None,
    ) -> bytes:
        """A signature blob. `said_flags` stand in the blob instead of those that were signed."""
        made = self._over(hashlib.sha256(data).digest(), flags, counter, b"", application)
        tail = byte(flags if said_flags is None else said_flags) + uint32(counter)
        return string(self.kind if name is None else name) + string(made) + tail

    def sign_in_browser(
        self,
        data: bytes,
        flags: int = TOUCHED,
        counter: int = 1,
        *,
        origin: str = ORIGIN,
        said_origin: str | None = None,
        challenge: bytes | None = None,
        extensions: bytes = b"",
        more: str = ',"crossOrigin":false}',
        kind: str = "webauthn.get",
    ) -> bytes:
        """As WebAuthn has it made by a browser on `origin`."""
        asked = base64.urlsafe_b64encode(data if challenge is None else challenge).rstrip(b"=").decode()
        client_data = f'{{"type":"{kind}","challenge":"{asked}","origin":"{origin}"{more}'.encode()
        made = self._over(hashlib.sha256(client_data).digest(), flags, counter, extensions, None)
        told = (
            string(origin if said_origin is None else said_origin) + string(client_data) + string(extensions)
        )
        return string(WEBAUTHN_ECDSA) + string(made) + byte(flags) + uint32(counter) + told

    def _over(
        self, digest: bytes, flags: int, counter: int, extensions: bytes, application: str | None
    ) -> bytes:
        named = (self.application if application is None else application).encode()
        message = hashlib.sha256(named).digest() + byte(flags) + uint32(counter) + extensions + digest
        reader = Reader(self._key.sign(message))
        reader.name()
        return reader.string()
