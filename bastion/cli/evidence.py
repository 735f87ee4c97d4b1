"""`bastion evidence`: one session as a bundle for whoever has to judge it (L4).

What it is for: the recording as it is, with what proves it and who has looked at it, in one ZIP that `unzip`,
`sha256sum` and `bastion verify --keys keys.pub ID.rec` read elsewhere. The bundle itself is not signed: the recording
is, and the manifest holds the SHA-256 of every other file.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from bastion import __version__
from bastion.cli.auditing import account
from bastion.cli.explain import find
from bastion.cli.output import fail, printable
from bastion.cli.recordings import find_session, open_store
from bastion.cli.runtime import config_option
from bastion.cli.verify import keys_of, verdict_of
from bastion.clock import SystemClock
from bastion.config.load import load
from bastion.errors import ConfigError
from bastion.observe.log_files import log_files
from bastion.recording.listing import SUFFIX, SessionEntry
from bastion.recording.verifying import Verdict

PIECE: Final = 1 << 20

EXIT_CODES = (
    "Exit codes: 0 written; 1 no such session; 2 the call or a file is wrong; 3 written, but the recording does not "
    "verify or the audit log could not be read whole; or the audit log cannot be written, and nothing was."
)


@click.command(epilog=EXIT_CODES)
@config_option
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    metavar="FILE",
    required=True,
    help="The ZIP to make; it may not exist.",
)
@click.argument("session")
def evidence(config_file: Path, output: Path, session: str) -> None:
    """Write session ID (or a unique beginning of it) as a bundle: recording, proof, audit lines and who has looked.

    In it: the recording, `verify.json` (what `bastion verify` finds), `keys.pub` (nodes' public keys), `audit.jsonl`
    (every line about the session, this look at it included), and `manifest.json`: sizes and SHA-256 of these, and the
    digest of configuration and policy as they are now.

    Example: bastion evidence k3v2 -o evidence.zip --config /etc/bastion/bastion.toml
    """
    try:
        config = load(config_file)
        known = keys_of(config)
    except ConfigError as error:
        fail(str(error))
    entry = find_session(open_store(config_file, None), session, config_file)
    name = entry.path.stem
    found = find(name, log_files(config.audit.file))
    lines = b"".join(json.dumps(event).encode("ascii") + b"\n" for event in found.events)
    keys = b"".join(b"%s\n" % one.public.line().encode() for one in known)
    try:
        verdict = verdict_of(entry.path, known)
        bundle = _Bundle(output)
        with bundle:
            with entry.path.open("rb") as source:
                bundle.add(entry.path.name, iter(lambda: source.read(PIECE), b""))
            bundle.add("verify.json", [_json(verdict.document())])
            bundle.add("keys.pub", [keys])
            bundle.add("audit.jsonl", [lines])
            bundle.add("manifest.json", [_json(_manifest(entry, config.digest, bundle.files, verdict))])
    except OSError as error:
        fail(f"{error.filename or output}: {error.strerror}")
    click.echo(printable(f"{output}: {name}, {verdict.text}"))
    if found.unread or found.cut or not verdict.good:
        for file, why in found.unread.items():
            click.echo(printable(f"bastion: {file}: {why}"), err=True)
        sys.exit(3)


class _Bundle:
    """A ZIP for its owner only, and what is in it; a half one is removed."""

    def __init__(self, path: Path) -> None:
        self.files: dict[str, dict[str, Any]] = {}
        self._path = path
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._file: BinaryIO = os.fdopen(fd, "w+b")
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED)

    def __enter__(self) -> _Bundle:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._zip.close()
        self._file.close()
        if kind is not None:
            self._path.unlink(missing_ok=True)

    def add(self, name: str, pieces: Iterator[bytes] | list[bytes]) -> None:
        """One file, hashed as it is written."""
        digest, size = hashlib.sha256(), 0
        with self._zip.open(name, "w", force_zip64=True) as out:
            for piece in pieces:
                out.write(piece)
                digest.update(piece)
                size += len(piece)
        self.files[name] = {"size": size, "sha256": digest.hexdigest()}


def _manifest(
    entry: SessionEntry, digest: str, files: dict[str, dict[str, Any]], verdict: Verdict
) -> dict[str, Any]:
    made = datetime.fromtimestamp(SystemClock().time(), UTC)
    return {
        "session": entry.path.name.removesuffix(SUFFIX),
        "header": entry.header.document(),
        "state": entry.state,
        "good": verdict.good,
        "files": dict(files),
        "config_digest": digest,
        "made_at": made.isoformat(timespec="seconds"),
        "made_by": account(),
        "bastion": __version__,
    }


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=2).encode("ascii") + b"\n"
