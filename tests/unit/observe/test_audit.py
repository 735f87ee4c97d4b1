"""The audit log: whole lines, safe lines, and failures that are counted."""

import errno
import hashlib
import json
import os
import resource
import signal
from datetime import UTC, datetime
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.clock import FixedClock
from bastion.observe import audit as a
from bastion.observe import meters as m
from bastion.observe.audit import AuditFailed, AuditLog, encode_line
from bastion.observe.audit_chain import NAMES
from bastion.observe.events import NOBODY, About
from bastion.observe.meters import Meters
from tests.support.audit_lines import Told


@pytest.fixture
def log(tmp_path):
    opened = AuditLog(str(tmp_path / "audit.log"), FixedClock(1_800_000_000.042), Meters())
    yield opened
    opened.close()


def lines(log):
    """Without what binds them, which is test_audit_chain.py's."""
    with open(log.path, "rb") as file:
        found = [json.loads(line) for line in file.read().splitlines() if line]
    return [{name: value for name, value in line.items() if name not in NAMES} for line in found]


def failures(log, reason):
    return log._meters.value(m.AUDIT_FAILED, reason)


def test_one_event_is_one_line(log):
    log.emit(Told("session_started", target="web1", port=22), About(session="7f3k2aqqqqqqqqqq", ref="7f3k2a"))
    assert lines(log) == [
        {
            "ts": "2027-01-15T08:00:00.042Z",
            "event": "session_started",
            "session": "7f3k2aqqqqqqqqqq",
            "ref": "7f3k2a",
            "target": "web1",
            "port": 22,
        }
    ]
    assert log._meters.value(m.AUDIT_LINES) == 1
    assert os.stat(log.path).st_mode & 0o007 == 0


def test_fixed_fields_cannot_be_replaced(log):
    log.emit(Told("refused", ts="1970", text="x"), About(session="a" * 16))
    assert lines(log)[0]["ts"] == "2027-01-15T08:00:00.042Z"


@given(st.text(min_size=1, max_size=200))
def test_no_text_leaves_its_line_or_acts_on_a_terminal(text):
    line = encode_line(0.0, "auth_attempted", NOBODY, {"user": text})
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    shown = line[:-1].decode("utf-8")
    assert not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in shown)
    assert not set(shown) & set(
        "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u2028\u2029"
    )
    assert json.loads(shown)["user"] == text


def test_what_is_not_known_is_left_out():
    assert json.loads(encode_line(0.0, "auth", NOBODY, {"key": "", "serial": 0, "name": b""})) == {
        "ts": "1970-01-01T00:00:00.000Z",
        "event": "auth",
        "serial": 0,
    }


def test_a_note_never_raises_and_is_counted(tmp_path):
    log = AuditLog(str(tmp_path / "audit.log"), FixedClock(), Meters(), required=True)
    os.close(log._fd)
    log._fd = os.open("/dev/full", os.O_WRONLY)
    log.note(Told("session_ended"), About(session="a" * 16))
    assert log.failing and failures(log, "write_failed") == 1
    with pytest.raises(AuditFailed):
        log.emit(Told("session_started"))
    log.close()


@given(st.binary(min_size=1, max_size=200))
def test_any_bytes_can_be_recorded(data):
    back = json.loads(encode_line(0.0, "refused", NOBODY, {"name": data}))["name"]
    assert back.encode("utf-8", "surrogateescape") == data


def test_letters_stay_readable():
    assert "Jürgen 東京".encode() in encode_line(0.0, "refused", NOBODY, {"name": "Jürgen 東京"})


def test_lone_surrogates_and_tags_are_escaped():
    line = encode_line(0.0, "refused", NOBODY, {"name": "\ud800 \U000e0041"})
    assert b"\\ud800" in line and b"\\udb40\\udc41" in line


def test_everything_is_bounded():
    deep = {"a": {"b": {"c": {"d": {"e": 1}}}}}
    line = encode_line(
        0.0,
        "x",
        NOBODY,
        {"text": "y" * 10**6, "data": b"z" * 10**6, "items": list(range(10**4)), "deep": deep},
    )
    assert len(line) < 4 * a.MAX_TEXT
    assert a.CUT.encode() in line


def test_odd_numbers_are_still_json():
    line = encode_line(0.0, "x", NOBODY, {"a": float("inf"), "b": float("nan"), "c": 0.1 + 0.2})
    assert json.loads(line)["c"] == 0.3


def test_rotation_is_followed_on_reopen(log, tmp_path):
    log.emit(Told("session_started"))
    os.rename(log.path, tmp_path / "audit.log.1")
    log.emit(Told("session_ended"))
    log.reopen()
    log.emit(Told("session_started"))
    continued, started = lines(log)
    rotated = (tmp_path / "audit.log.1").read_bytes().splitlines()
    assert started["event"] == "session_started" and len(rotated) == 2
    last = json.loads(rotated[1])
    assert continued == {
        "ts": "2027-01-15T08:00:00.042Z",
        "event": "audit_continued",
        "before_chain": last["chain"],
        "before_seq": 1,
        "before_digest": hashlib.sha256(rotated[1]).hexdigest(),
    }


def test_a_reopen_without_a_rotation_says_nothing(log):
    log.emit(Told("session_started"))
    log.reopen()
    log.emit(Told("session_ended"))
    assert [line["event"] for line in lines(log)] == ["session_started", "session_ended"]


def test_a_field_cannot_stand_for_what_binds_the_line(log):
    log.emit(Told("refused", chain="x", seq=7, prev="y"))
    with open(log.path, "rb") as file:
        assert json.loads(file.read())["seq"] == 0


def test_a_failed_reopen_keeps_the_old_file(log, tmp_path, monkeypatch):
    monkeypatch.setattr(log, "path", str(tmp_path / "missing" / "audit.log"))
    log.reopen()
    log.emit(Told("session_started"))
    assert failures(log, "open_failed") == 1
    assert b"session_started" in (tmp_path / "audit.log").read_bytes()


def test_a_loss_is_counted_and_told_when_writing_works_again(log, monkeypatch):
    def full(fd, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(a.os, "write", full)
        log.emit(Told("session_started"))
        log.emit(Told("session_ended"))
    assert log.failing
    log.emit(Told("refused"))
    assert [line["event"] for line in lines(log)] == ["audit_resumed", "refused"]
    assert lines(log)[0]["lines_lost"] == 2
    assert failures(log, "write_failed") == 2
    assert not log.failing


def test_required_means_that_nothing_happens_unaudited(log, monkeypatch):
    log.required = True
    os.close(log._fd)
    with pytest.raises(AuditFailed):
        log.emit(Told("session_started"))
    log.emit(Told("session_started"))  # the descriptor is opened again: it works, and says what was lost
    assert [line["event"] for line in lines(log)] == ["audit_resumed", "session_started"]


def test_required_and_no_file_is_an_error_at_start(tmp_path):
    with pytest.raises(AuditFailed):
        AuditLog(str(tmp_path / "missing" / "audit.log"), FixedClock(), Meters(), required=True)


def test_what_a_full_disk_took_of_a_line_is_cut_off_again(log):
    """The kernel's own short write: RLIMIT_FSIZE lets only part of the line through."""
    log.emit(Told("session_started"))
    size = os.path.getsize(log.path)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    old_action = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, old[1]))
        log.emit(Told("session_ended"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, old_action)
    assert failures(log, "short_write") == 1
    log.emit(Told("refused"))
    with open(log.path, "rb") as file:
        written = file.read().splitlines()
    assert [json.loads(line)["event"] for line in written] == ["session_started", "audit_resumed", "refused"]


def test_a_file_left_torn_by_a_crash_is_continued_on_a_new_line(tmp_path):
    path = tmp_path / "audit.log"
    path.write_bytes(b'{"ts":"2027')
    log = AuditLog(str(path), FixedClock(), Meters())
    log.emit(Told("session_started"))
    log.close()
    assert json.loads(path.read_bytes().splitlines()[1])["event"] == "session_started"


def test_a_full_pipe_loses_a_line_instead_of_stopping_the_gateway(tmp_path):
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = AuditLog(path, FixedClock(), Meters())
    try:
        for _ in range(100):
            log.emit(Told("refused", text="x" * 4000))
        assert log.failing
    finally:
        log.close()
        os.close(reader)


@given(
    st.floats(min_value=0, max_value=4e9) | st.sampled_from((0.0, 7.9995, 7.9999994, 7.9999996, 8.0005, -0.5))
)
def test_a_time_is_written_as_datetime_writes_it(seconds):
    written = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    assert a.timestamp(seconds) == written.replace("+00:00", "Z")


def by_the_standard_library(fields):
    with mock.patch("orjson.dumps", side_effect=TypeError):
        return encode_line(1.5, "auth", NOBODY, fields)


@given(st.text(max_size=8) | st.integers() | st.booleans() | st.none())
def test_a_quick_line_is_the_same_as_one_by_the_standard_library(value):
    fields = {"value": value, "list": [value]}
    assert encode_line(1.5, "auth", NOBODY, fields) == by_the_standard_library(fields)


@given(st.floats())
def test_a_fraction_is_the_same_number_whoever_writes_it(value):
    """The exponents of very small and very large ones are spelt differently."""
    fields = {"value": value}
    quick, slow = encode_line(1.5, "auth", NOBODY, fields), by_the_standard_library(fields)
    assert json.loads(quick) == json.loads(slow)
