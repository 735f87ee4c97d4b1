"""Lines from the process that detects: what it says, and what is taken of anything else."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bastion.detect.findings import MOST_SESSIONS
from bastion.detect.report import LINE_MAX, NAME_MAX, TEXT_MAX, Report, Told, read_line
from bastion.errors import Detection, PostReason

TOLD = Told("k3v2m5q7", Detection.SFTP_DATA, "alert", 1.5, "alice", "web1", "little", "much", ("s1",), "")
REPORT = Report(9.0, 7, 8.0, 2, {"alertmanager": 1}, {"webhook": {"sent": 3}}, "a\x1bb")


def test_what_is_said_is_what_is_read() -> None:
    assert read_line(TOLD.line()[:-1]) == TOLD
    found = read_line(REPORT.line())
    assert isinstance(found, Report)
    assert (found.at, found.pid, found.read_at, found.mutes) == (9.0, 7, 8.0, 2)
    assert found.waiting == {"alertmanager": 1, "webhook": 0} and found.trouble == "a\\x1bb"
    assert found.posts["webhook"] == {str(reason): 3 * (reason == "sent") for reason in PostReason}


def test_a_text_has_an_end() -> None:
    large = replace(TOLD, came="x" * 2 * TEXT_MAX, user="u" * 500, sessions=("s",) * 100)
    found = read_line(large.line())
    assert isinstance(found, Told)
    assert (len(found.came), len(found.user), len(found.sessions)) == (TEXT_MAX, NAME_MAX, MOST_SESSIONS)


def changed(**values: object) -> bytes:
    return json.dumps({"finding": {**json.loads(TOLD.line())["finding"], **values}}).encode()


@pytest.mark.parametrize(
    "line",
    [
        b"", b"x", b"[]", b"{}", b"7", b"null", b'{"report":7}', b'{"report":{}}', b'{"finding":[]}',
        b"x" * (LINE_MAX + 1), changed(kind="other"), changed(level="loud"), changed(id=""), changed(sessions=7),
        REPORT.line().replace(b'"waiting":{', b'"waiting":[],"x":{'), REPORT.line().replace(b'"pid":7', b'"pid":"x"'),
    ],
)  # fmt: skip
def test_what_is_nothing_of_ours_is_nothing(line: bytes) -> None:
    assert read_line(line) is None
