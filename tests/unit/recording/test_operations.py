"""Channels that move files, as lines."""

from __future__ import annotations

from bastion.recording.channels import ChannelSummary
from bastion.recording.operations import copy_command, sftp_line
from bastion.sides import Side

FILE = {
    "event": "sftp_file", "path": "/srv/a\x1b[2J", "flags": "write create", "outcome": "ok", "bytes_read": 0,
    "bytes_written": 1954, "sha256": "ab" * 32, "unhashed": "",
}  # fmt: skip


def test_a_file_has_name_size_hash_and_verdict() -> None:
    assert sftp_line(FILE) == f"put /srv/a\\x1b[2J: 1954 bytes, sha256 {'ab' * 32}, ok"
    got = FILE | {"bytes_read": 3, "bytes_written": 0, "sha256": "", "unhashed": "not read to its end"}
    assert sftp_line(got).startswith("get /srv/a") and "no sha256: not read to its end" in sftp_line(got)


def test_operations_refusals_and_what_is_of_no_interest() -> None:
    rename = {"event": "sftp_operation", "name": "rename", "path": "/a", "to": "/b", "outcome": "ok"}
    assert sftp_line(rename) == "rename /a -> /b: ok"
    assert sftp_line({"event": "sftp_operation", "name": "close", "outcome": "ok"}) == ""
    assert sftp_line({"event": "sftp_operation", "name": "close", "outcome": "failure"}) == "close: failure"
    refused = {"event": "sftp_refused", "name": "remove", "path": "/etc/x", "text": "no", "rule": "web"}
    assert sftp_line(refused) == "REFUSED remove /etc/x: no (rule web)"
    assert sftp_line({"event": "exit_status", "status": 0}) == ""
    assert sftp_line({"event": "sftp_file"}) != "", "whatever is missing in a note"


def channel(command: str) -> ChannelSummary:
    return ChannelSummary(1, "session", program=f"exec {command}")


def test_scp_is_read_until_it_is_something_else() -> None:
    copy = copy_command(channel("scp -f /srv/a"), False)
    assert copy is not None
    assert copy.data(Side.TARGET, b"C0644 1 a\nx\0")[0][0].startswith("file a: 1 bytes")
    lines, shown = copy.data(Side.TARGET, b"root:x:0:0\n")
    assert shown == b"root:x:0:0\n" and "not scp's protocol" in lines[0]
    assert copy.data(Side.TARGET, b"more") == ([], b"more")


def test_an_upload_says_that_names_are_not_known_unless_input_is_recorded() -> None:
    copy = copy_command(channel("scp -t /srv"), False)
    assert copy is not None and copy.data(Side.TARGET, b"\0\0") == ([], b"")
    assert copy.data(Side.TARGET, b"\x01scp: denied\n")[1] == b"\x01scp: denied\n"
    assert "not recorded" in copy.summary(ChannelSummary(1, bytes_in=7))
    copy = copy_command(channel("scp -t /srv"), True)
    assert copy is not None and copy.data(Side.CLIENT, b"C0644 0 n\n\0")[0][0].startswith("file n: 0 bytes")
    assert copy.summary(ChannelSummary(1, bytes_in=7)) == "scp upload: 7 bytes"


def test_rsync_and_commands_with_more_behind_them() -> None:
    copy = copy_command(channel("rsync --server --sender . /srv"), False)
    assert copy is not None and copy.opening == "rsync download: the target reads /srv"
    assert copy.data(Side.TARGET, b"\x1f\0\0\0") == ([], b"") and copy.unshown == 4
    assert "names not decoded: the list has no end" in copy.summary(ChannelSummary(1, bytes_out=4))
    copy = copy_command(channel("rsync --server -a . '/in here'"), False)
    assert copy is not None and copy.opening == "rsync upload: the target writes below /in here"
    assert "what clients send is not recorded" in copy.summary(ChannelSummary(1, bytes_in=4))
    assert copy_command(channel("scp -f x; cat /etc/shadow"), False) is None
    assert copy_command(ChannelSummary(1, has_pty=True, program="exec scp -f x"), False) is None
