# ruff: noqa: RUF009 - `option` declares a field, as `dataclasses.field` does
"""The sections that say where the gateway writes, and where it is spoken to (L2).

They stand apart from the others because the commands that look at recordings and at the log, or speak to the running
gateway, need nothing else: they read one section of the file, begin at once, and a fault elsewhere in it is no reason
to withhold what they show.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from bastion.config import postgres
from bastion.config.console import Console
from bastion.config.detections import Detections
from bastion.config.document import open_document
from bastion.config.recording_store import RecordingStore
from bastion.config.redact import Redact
from bastion.errors import ConfigError
from bastion.options import At, Kind, Problems, Scope, Unreadable, declarations, option, read
from bastion.options.kinds import (
    BOOLEAN,
    PATH,
    SIZE,
    choice,
    duration,
    mapping_of,
    optional,
    or_off,
    quoted,
    section,
    text,
)
from bastion.options.paths import FILE
from bastion.sinks.section import SINKS, Sink


def _read_place(value: object, at: At) -> Path:
    PATH.read(value, at)
    return Path(str(value))


PLACE: Kind[Path] = Kind("path", PATH.allowed, _read_place, lambda value: quoted(str(value)))
"""A path that stays as it was written: `Control.place` is where it leads."""

GROUP = text("group", re.compile(r"\A[a-z_][a-z0-9_-]{0,31}\Z"), "a group of this machine")

CONTROL_SOCKET = Path("run/control.sock")

LEAST_TERMINAL_RATE = 64 << 10  # a full screen (20 KB) still comes at once, three a second

NODE_NAME = re.compile(r"\A[A-Za-z0-9_.-]{1,64}\Z")

Section = TypeVar("Section", "Recording", "Audit", "State", "Control", "Redact", "Detections", "Console")


@dataclass(frozen=True, slots=True)
class Recording:
    """What is recorded and where. Without a working recorder there is no session."""

    directory: Path = option(
        FILE,
        "Folder of the recordings, on a local filesystem.",
        example='"../recordings"',
        scope=Scope.RESTART,
    )
    mode: str = option(
        choice("off", "default", "full"),
        '"default" skips bulk beyond the rate below and notes how much; "full" keeps everything.'
        " Output of terminals is kept in full in both.",
        default="default",
    )
    input: bool = option(
        BOOLEAN, "Record what engineers send too, passwords they type included.", default=False
    )
    bulk_burst: int = option(
        SIZE,
        "Bytes per channel and direction that are recorded at any speed; for terminals, per session.",
        default=64 << 20,
    )
    bulk_rate: int = option(
        SIZE,
        "Bytes per second at which a channel without a terminal is recorded beyond that. One that stays faster"
        " leaves only samples and counts.",
        default=1 << 20,
    )
    terminal_rate: int = option(
        SIZE,
        "Bytes per second to which the terminals of a session together are slowed down beyond the burst.",
        default=1 << 20,
    )
    signing_key: Path | None = option(
        optional(FILE),
        "Private key (ed25519) with which this gateway vouches for its recordings: `bastion verify` needs its public"
        " half. Not set: `recording_key` in the folder of the state, which the gateway makes when it is not there.",
        default=None,
        example='"keys/recording"',
    )
    signing_passphrase_file: Path | None = option(
        optional(FILE),
        "File with that key's passphrase in its first line, closed to others. Not set: the key is not encrypted.",
        default=None,
        example='"credential:recording"',
    )
    max_recording_bytes: int | None = option(
        or_off(SIZE),
        "A session whose recording grows beyond this ends, with a line.",
        default=None,
        example='"20GiB"',
    )
    max_recording_bytes_per_user: int | None = option(
        or_off(SIZE),
        "The same for all running sessions of one identity together; the one ends that writes then.",
        default=None,
        example='"50GiB"',
    )
    recipients: Path | None = option(
        optional(FILE),
        "File of age recipients, one per line: recordings are encrypted to each of them, and nobody else can open"
        " them, this gateway included. Not set: whoever can read the folder can read the recordings.",
        default=None,
        example='"recipients.txt"',
    )
    sftp_hash: bool = option(
        BOOLEAN, "Note the SHA-256 of every file that passes whole and in order over sftp.", default=True
    )
    disk_floor: int = option(SIZE, "With less free space than this no session begins.", default=1 << 30)
    fsync_interval: float = option(
        duration(0.05, 60), "Longest time after which data is on disk even through a power loss.", default=1.0
    )
    store: RecordingStore = option(section(RecordingStore), "", default=RecordingStore())

    def validate(self, at: At) -> None:
        if self.terminal_rate < LEAST_TERMINAL_RATE:
            at.child("terminal_rate").wrong("would make a terminal unusable", "64 KiB or more")


@dataclass(frozen=True, slots=True)
class Audit:
    """The audit log: one JSON line per event."""

    file: Path = option(
        FILE, "File that lines are appended to; reopened at a reload.", example='"audit.jsonl"'
    )
    required: bool = option(
        BOOLEAN, "Refuse and end sessions when a line cannot be written, instead of only counting it.",
        default=False,
    )  # fmt: skip
    detail: bool = option(
        BOOLEAN, "Write the paths of sftp operations into the log too, not only into the recording.",
        default=False,
    )  # fmt: skip
    sinks: Mapping[str, Sink] = option(SINKS, "", default=MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class State:
    """The state store: the index of sessions and recordings, and locks."""

    directory: Path | None = option(
        optional(FILE),
        "Folder of the gateway's own state: the SQLite file, and rows that are still owed to the store. On a local"
        " filesystem. Not set: `state` in the folder of recordings.",
        default=None,
        example='"/var/lib/bastion/state"',
        scope=Scope.RESTART,
    )
    url: str | None = option(
        optional(postgres.URL),
        "PostgreSQL, for several gateways that share their state. Not set: an SQLite file.",
        default=None,
        example='"postgresql://bastion@db.example.com/bastion?sslmode=verify-full"',
        scope=Scope.RESTART,
    )
    password_file: Path | None = option(
        optional(FILE),
        "File with the password for `url` in its first line, closed to others. Not set: none is sent.",
        default=None,
        example='"/run/credentials/bastion.service/state"',
        scope=Scope.RESTART,
    )
    node: str | None = option(
        optional(text("name", NODE_NAME, "letters, digits and . _ -")),
        "What this gateway is called in the store. Not set: the host's name.",
        default=None,
        example='"gw1"',
        scope=Scope.RESTART,
    )
    unavailable: str = option(
        choice("allow", "refuse"),
        'New sessions while the store is away: "allow" lets them begin and writes their rows later, "refuse" does not.'
        " Sessions that run go on either way.",
        default="allow",
    )

    @property
    def name(self) -> str:
        """What this gateway is called."""
        return self.node or socket.gethostname()


LABEL = re.compile(r"\A[a-z][a-z0-9_.-]{0,62}=[A-Za-z0-9_.-]{1,63}\Z")
USER = re.compile(r"\A[a-z_][a-z0-9_.-]{0,31}\Z")
AGE = or_off(duration(3600.0))


@dataclass(frozen=True, slots=True)
class Retention:
    """How long recordings are kept; `bastion prune` removes the others. What is held or runs stays."""

    max_age: float | None = option(
        AGE,
        'Recordings that ended longer ago go. "off": none does because of its age.',
        default=None,
        scope=Scope.COMMAND,
    )
    labels: Mapping[str, float | None] = option(
        mapping_of(AGE, LABEL, '{ "env=prod" = "365d" }'),
        "The same for targets with a label, instead of max_age. Of several that fit a recording the longest counts.",
        default=MappingProxyType({}),
        example='{ "env=prod" = "365d", "env=test" = "30d" }',
        scope=Scope.COMMAND,
    )
    users: Mapping[str, float | None] = option(
        mapping_of(AGE, USER, '{ alice = "90d" }'),
        "The same for identities.",
        default=MappingProxyType({}),
        example='{ deploy-bot = "30d", alice = "off" }',
        scope=Scope.COMMAND,
    )
    max_size: int | None = option(
        or_off(SIZE),
        "When recordings take more bytes than this together, the oldest go.",
        default=None,
        example='"500GiB"',
        scope=Scope.COMMAND,
    )
    at_least: float = option(
        duration(),
        "Recordings younger than this are removed neither for max_size nor because two people want it.",
        default=7 * 86400.0,
        scope=Scope.COMMAND,
    )


@dataclass(frozen=True, slots=True)
class Log:
    """The operator's log: what the gateway says on standard error."""

    trace: bool = option(
        BOOLEAN, "Write a line for each SSH message of new connections: name, size and channel, never what it says."
        " For finding a fault, not for every day: whoever connects fills the log.",
        default=False,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Control:
    """The socket that `bastion live`, `kill`, `lock`, `watch` and `status` speak to, and who may.

    A group that does not exist on the machine gives nobody its role; root and the gateway's own account are admin.
    """

    socket: Path | None = option(
        or_off(PLACE),
        "Where it is; a relative path is beside this file. Its mode is 0660, and the groups below may connect too.",
        default=CONTROL_SOCKET,
        scope=Scope.RESTART,
    )
    admin_group: str = option(
        GROUP, "Whose members may do everything.", default="bastion-admin", scope=Scope.RESTART
    )
    responder_group: str = option(
        GROUP, "Whose members look, watch, end and lock.", default="bastion-responder", scope=Scope.RESTART
    )
    approver_group: str = option(
        GROUP, "Whose members see who is here.", default="bastion-approver", scope=Scope.RESTART
    )
    auditor_group: str = option(
        GROUP,
        "Whose members look and watch, and change nothing.",
        default="bastion-auditor",
        scope=Scope.RESTART,
    )
    speaker_group: str = option(
        GROUP,
        "Whose members may say for whom they ask: the account of the review console. It gives no role.",
        default="bastion-console",
        scope=Scope.RESTART,
    )

    def place(self, config_file: Path) -> Path | None:
        """Where the socket of the gateway with that configuration is; None: it has none."""
        return None if self.socket is None else config_file.absolute().parent / self.socket


def read_section(path: str | os.PathLike[str], kind: type[Section]) -> Section:
    """The section of that kind in the configuration at `path`. Raises ConfigErrors with every fault in it."""
    problems = Problems()
    opened = open_document(Path(path), problems)
    problems.raise_any()
    assert opened is not None
    document, source = opened
    name = kind.__name__.lower()
    at = At(source, problems).child(name)
    table = document.get(name)
    if table is None and not any(declared.required for declared in declarations(kind)):
        return kind()
    try:
        if not isinstance(table, dict):
            raise at.wrong("is missing" if table is None else "is no table", f"a table [{name}]")
        section = read(kind, table, at)
    except Unreadable:
        problems.raise_any()
        raise ConfigError(source.file, at.line, name, "cannot be read") from None
    problems.raise_any()
    return section
