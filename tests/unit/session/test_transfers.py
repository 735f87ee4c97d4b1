"""What the audit log and the recording say of files that move."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bastion.clock import FixedClock
from bastion.errors import PolicyReason
from bastion.observe.audit import AuditLog
from bastion.observe.audit_chain import NAMES
from bastion.observe.events import About
from bastion.observe.meters import SFTP_FILES, SFTP_REFUSALS, SFTP_UNPARSED, Meters
from bastion.recording.format import Header, Kind
from bastion.recording.store import Store
from bastion.relay import events as e
from bastion.relay.channels import Channel
from bastion.session.tap import SessionTap
from bastion.session.transfers import transfer_of
from bastion.sides import Side

SESSION = "abcdefghijklmnop"
CLOSED = e.SftpFile(3, 1, "/srv/x", "write,create", "ok", 0, 5, "ab" * 32, "")


class Desk:
    """A tap that writes into a folder, and what can be read there afterwards."""

    def __init__(self, folder: Path, *, content: bool = False, detail: bool = False) -> None:
        self.meters, clock = Meters(), FixedClock()
        self._log = folder / "audit"
        self.audit = AuditLog(str(self._log), clock, self.meters)
        self.store = Store(folder / "recordings", disk_floor_bytes=0, clock=clock)
        recorder, writer = self.store.start(Header(SESSION, "alice", "u", "web1", "root", clock.time()))
        self.tap = SessionTap(
            recorder,
            writer,
            self.audit,
            self.meters,
            About(SESSION, SESSION[:6]),
            sftp_content=content,
            detail=detail,
        )
        self.channel = Channel(3, "session", Side.CLIENT)

    def lines(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self._log.read_text().splitlines()]
        return [
            {k: v for k, v in line.items() if k not in {"ts", "session", "ref", *NAMES}} for line in lines
        ]

    def kept(self) -> bytes:
        """Bytes of the target that are in the recording."""
        self.tap.commit()
        with self.store.open(SESSION) as reader:
            return b"".join(bytes(event.payload) for event in reader if event.kind is Kind.DATA)

    def noted(self) -> list[str]:
        self.tap.commit()
        with self.store.open(SESSION) as reader:
            return [event.note["event"] for event in reader if event.kind is Kind.NOTE]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_file_is_one_line_without_its_path(desk: Desk) -> None:
    desk.tap.event(CLOSED)
    desk.tap.event(e.SftpFile(3, 2, "/srv/y", "read", "not_closed", 7, 0, "", "not closed"))
    assert desk.lines() == [
        {
            "event": "sftp_file", "channel": 3, "file": 1, "flags": "write,create", "outcome": "ok", "bytes_read": 0,
            "bytes_written": 5, "sha256": "ab" * 32,
        },
        {
            "event": "sftp_file", "channel": 3, "file": 2, "flags": "read", "outcome": "not_closed", "bytes_read": 7,
            "bytes_written": 0, "unhashed": "not closed",
        },
    ]  # fmt: skip
    assert [desk.meters.value(SFTP_FILES, way) for way in ("upload", "download", "both")] == [1, 1, 0]
    assert desk.noted() == ["sftp_file", "sftp_file"]


def test_changes_and_failed_opens_are_lines_and_looks_are_not(desk: Desk) -> None:
    for name in ("stat", "realpath", "opendir", "limits@openssh.com"):
        desk.tap.event(e.SftpOperation(3, name, "ok", "/x"))
    desk.tap.event(e.SftpOperation(3, "open", "ok", "/x", "", 1))
    desk.tap.event(e.SftpOperation(3, "open", "permission_denied", "/x"))
    desk.tap.event(e.SftpOperation(3, "rename", "ok", "/x", "/y"))
    desk.tap.event(e.SftpOperation(3, "fsetstat", "failure", "/x", "", 1))
    assert desk.lines() == [
        {"event": "sftp_operation", "channel": 3, "name": "open", "outcome": "permission_denied"},
        {"event": "sftp_operation", "channel": 3, "name": "rename", "outcome": "ok"},
        {"event": "sftp_operation", "channel": 3, "name": "fsetstat", "outcome": "failure", "file": 1},
    ]
    assert len(desk.noted()) == 8


def test_a_refusal_names_the_rule(desk: Desk) -> None:
    refused = e.SftpRefused(3, "remove", "modify", PolicyReason.PATH_NOT_ALLOWED, "not here", "readers", "/x")
    desk.tap.event(refused)
    assert desk.lines() == [
        {
            "event": "refused", "what": "sftp", "channel": 3, "name": "remove", "verb": "modify",
            "reason": "path_not_allowed", "rule": "readers", "text": "not here",
        }
    ]  # fmt: skip
    assert desk.meters.value(SFTP_REFUSALS, "modify") == 1


def test_paths_stand_in_the_log_where_detail_is_wanted(tmp_path: Path) -> None:
    desk = Desk(tmp_path, detail=True)
    desk.tap.event(CLOSED)
    desk.tap.event(e.SftpOperation(3, "rename", "ok", "/x\x1b[2J", "/y"))
    first, second = desk.lines()
    assert first["path"] == "/srv/x"
    assert (second["path"], second["to"]) == ("/x\x1b[2J", "/y")


def test_content_is_left_out_until_nobody_tells_of_it(desk: Desk) -> None:
    desk.tap.event(e.SftpStarted(3, restricted=False))
    desk.tap.data(desk.channel, Side.TARGET, 0, b"content of a file")
    assert desk.kept() == b""
    desk.tap.event(e.SftpUnparsed(3, Side.CLIENT, "sftp: a second init"))
    desk.tap.data(desk.channel, Side.TARGET, 0, b"whatever this is")
    assert desk.kept() == b"whatever this is"
    assert desk.lines() == [
        {"event": "sftp_unparsed", "channel": 3, "by": "client", "text": "sftp: a second init"}
    ]
    assert desk.meters.value(SFTP_UNPARSED, "client") == 1


def test_content_is_kept_where_it_is_wanted(tmp_path: Path) -> None:
    desk = Desk(tmp_path, content=True)
    desk.tap.event(e.SftpStarted(3, restricted=False))
    desk.tap.data(desk.channel, Side.TARGET, 0, b"content of a file")
    assert desk.kept() == b"content of a file"


@pytest.mark.parametrize(
    ("command", "kind", "direction"),
    [
        ("scp -t /tmp", "scp", "upload"),
        ("scp -r -p -d -t -- /tmp/x", "scp", "upload"),
        ("/usr/bin/scp -v -f /tmp/x", "scp", "download"),
        ("scp -rpf x", "scp", "download"),
        ("rsync --server -logDtprze.iLsfxC . /tmp", "rsync", "upload"),
        ("sudo rsync --server --sender -vlogDtpre.iLsfxCIvu . /x", "rsync", "download"),
    ],
)
def test_scp_and_rsync_are_recognised(command: str, kind: str, direction: str) -> None:
    event = e.RequestForwarded(3, Side.CLIENT, "exec", {"command": command}, "rule")
    assert transfer_of(event) == (kind, direction)


@pytest.mark.parametrize(
    "command", ["", "scp", "scp a b", "scp --two x", "rsync -a x y", "sh -c 'scp -t x'", "myscp -t x", "sudo"]
)
def test_what_does_not_look_like_them_is_not_named(command: str) -> None:
    event = e.RequestForwarded(3, Side.CLIENT, "exec", {"command": command}, "rule")
    assert transfer_of(event) == ("", "")


def test_only_commands_are_looked_at(desk: Desk) -> None:
    desk.tap.event(e.RequestForwarded(3, Side.CLIENT, "subsystem", {"command": "scp -t x"}, "rule"))
    desk.tap.event(e.RequestForwarded(3, Side.CLIENT, "exec", {"command": "scp -t x"}, "rule"))
    assert [line.get("kind") for line in desk.lines()] == [None, "scp"]
