"""Files sealed for age recipients, and taken out again: backups that hold keys (L2). It blocks, and knows no network.

The sealed file is age's (age-encryption.org/v1), so `age --decrypt` opens it on any machine; inside is a tar with
`manifest.json` first. Invariants: nothing leaves here unsealed; what comes back is what went in, byte for byte, with
the key that the manifest and the ledger of that time say, or nothing of it is written; no file is overwritten.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bastion import age
from bastion.age import Recipient, recipients_of
from bastion.ca.files import create_file, unwritable
from bastion.ca.keys import looks_private, public_half
from bastion.ca.ledger import Ledger
from bastion.errors import ConfigError, ProtocolError

FORMAT: Final = "bastion-backup-1"
MANIFEST: Final = "manifest.json"
MAX_SEALED: Final = 256 << 20
"""Bytes of one sealed file: it is held in memory three times over."""
MAX_MEMBERS: Final = 10_000
MAX_NAME: Final = 4096  # PATH_MAX
PRIVATE_MODE: Final = 0o600


@dataclass(frozen=True, slots=True)
class Member:
    """One file: its bytes and mode. `fingerprint` is of the key in it, "" when there is none."""

    data: bytes
    mode: int
    fingerprint: str = ""


def member_of(path: Path, limit: int = MAX_SEALED) -> Member:
    """A file as it is now. Raises ConfigError when it cannot be read, or holds a private key without a fingerprint."""
    try:
        # O_NONBLOCK: a FIFO in the place of the file must not hang the command.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            data, mode = file.read(limit + 1), os.fstat(file.fileno()).st_mode & 0o777
    except OSError as error:
        raise ConfigError(os.fspath(path), 0, "", f"cannot be read: {error.strerror}") from None
    if len(data) > limit:
        raise ConfigError(os.fspath(path), 0, "", f"longer than {limit} bytes")
    return Member(data, mode, fingerprint_in(data, os.fspath(path)))


def fingerprint_in(data: bytes, name: str) -> str:
    """Of the private key in a file's bytes; "" when they are none. Raises ConfigError for one that cannot be told."""
    if not looks_private(data):
        return ""
    try:
        return public_half(data).fingerprint()
    except ProtocolError as error:
        raise ConfigError(name, 0, "", error.text) from None


# -- sealing ------------------------------------------------------------------------------------------------------


def recipients_for(lines: Iterable[str]) -> list[Recipient]:
    """One a line, see `bastion.age`. Raises ConfigError, also for none."""
    found = recipients_of(lines)
    if not found:
        raise ConfigError("recipients", 0, "", "there is none: a backup of keys is never written unsealed")
    return found


def seal(members: Mapping[str, Member], recipients: Sequence[Recipient], made: float, by: str) -> bytes:
    """The sealed file, made at `made` (seconds since the epoch) by that account."""
    listed = [
        {
            "name": name,
            "mode": member.mode,
            "size": len(member.data),
            "sha256": hashlib.sha256(member.data).hexdigest(),
            "fingerprint": member.fingerprint,
        }
        for name, member in members.items()
    ]
    manifest = json.dumps(
        {"format": FORMAT, "made": round(made), "by": by, "files": listed}, indent=1
    ).encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        _pack(tar, MANIFEST, manifest, PRIVATE_MODE)
        for name, member in members.items():
            _pack(tar, name, member.data, member.mode)
    try:
        return age.seal(packed.getvalue(), recipients)
    except ValueError as error:
        raise ConfigError("recipients", 0, "", str(error)) from None


def _pack(tar: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    tar.addfile(info, io.BytesIO(data))


# -- opening ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sealed:
    """What was in a sealed file. Whoever knows a recipient can make one: `made` and `by` are what it says of itself."""

    made: float
    by: str
    members: dict[str, Member]


def unseal(sealed: bytes, identities: Sequence[Any], source: str) -> Sealed:
    """Open a sealed backup; every byte is compared with its manifest. Raises ConfigError that names `source`."""
    try:
        packed = age.unseal(sealed, identities)
    except ValueError as error:
        raise ConfigError(source, 0, "", str(error), "the identity of a recipient") from None
    try:
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:") as tar:
            files = dict(_unpack(tar))
        manifest = json.loads(files.pop(MANIFEST, b"null"))
        return Sealed(float(manifest["made"]), str(manifest["by"]), _compared(manifest, files))
    except (tarfile.TarError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = str(error) if isinstance(error, _Wrong) else "is no backup of this kind"
        raise ConfigError(source, 0, "", problem) from None


class _Wrong(ValueError):
    """What is wrong with a backup, in words that may be shown."""


def _unpack(tar: tarfile.TarFile) -> Iterable[tuple[str, bytes]]:
    for count, info in enumerate(tar):
        if count > MAX_MEMBERS or len(info.name) > MAX_NAME or not info.isreg():
            raise _Wrong("holds something that no backup holds")
        file = tar.extractfile(info)
        assert file is not None
        yield info.name, file.read()


def _compared(manifest: Any, files: Mapping[str, bytes]) -> dict[str, Member]:
    """The files as the manifest lists them. Raises ValueError, KeyError, TypeError."""
    if manifest["format"] != FORMAT:
        raise _Wrong(f"is of another format than {FORMAT}")
    listed = {entry["name"]: entry for entry in manifest["files"]}
    if listed.keys() != files.keys():
        raise _Wrong("holds other files than its manifest lists")
    members = {}
    for name, entry in listed.items():
        data, mode = files[name], int(entry["mode"]) & 0o777
        if hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise _Wrong(f"{name} is not what its manifest says")
        fingerprint = fingerprint_in(data, name)
        if fingerprint != entry["fingerprint"]:
            raise _Wrong(f"{name} holds another key than its manifest says")
        members[name] = Member(data, PRIVATE_MODE if fingerprint else mode, fingerprint)
    return members


def retired_in(members: Mapping[str, Member], ledger: Ledger) -> list[str]:
    """Names of files whose private key the ledger has retired: they must not come back."""
    retired = {entry.public.fingerprint() for entry in ledger.entries if entry.retired is not None}
    return [name for name, member in members.items() if member.fingerprint in retired]


def unknown_in(members: Mapping[str, Member], ledger: Ledger) -> list[str]:
    """Names of files whose private key the ledger does not know."""
    known = {entry.public.fingerprint() for entry in ledger.entries}
    return [name for name, member in members.items() if member.fingerprint not in ("", *known)]


def place(members: Mapping[Path, Member]) -> list[Path]:
    """Write the files, all of which must be new or there already with the same bytes. Returns those it wrote.

    Whoever is interrupted runs it again. Raises ConfigError, before anything is written when a file is in the way.
    """
    wanted = []
    for path, member in members.items():
        if not os.path.lexists(path):
            wanted.append(path)
        elif path.is_symlink() or not path.is_file() or path.read_bytes() != member.data:
            raise ConfigError(
                os.fspath(path), 0, "", "is there already, and is another file: nothing was written"
            )
    for path in wanted:
        try:
            create_file(path, members[path].data, members[path].mode)
        except OSError as error:
            raise unwritable(path, error) from None
    return wanted
