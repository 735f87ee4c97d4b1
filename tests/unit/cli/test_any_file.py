"""The commands on recordings and on the log survive whatever lies there under the right name."""

from __future__ import annotations

import gzip
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from bastion.cli.explain import explain
from bastion.cli.export import export
from bastion.cli.replay import replay
from bastion.cli.sessions import sessions
from bastion.recording.format import BlockType, Header, Totals, encode_preamble
from bastion.recording.framing import plain_block
from bastion.recording.listing import Recordings
from tests.support.examples import examples
from tests.support.rights import without_rights

GOOD, BAD = "aaaabbbbccccdddd", "bbbbccccddddeeee"
DAY = "2027-01-15"
SYNC = b"\x00random\xff"
HEADER = Header(GOOD, "alice", "u-1", "web1", "deploy", 1_800_000_000.0).document()
TOTALS = Totals("client_closed", 1_800_000_001.0, 1_000_000, 2, 0, 0, 0, 0, 0).document()


def recording(header: bytes, end: bytes | None = None, time_us: int = 0) -> bytes:
    """A file whose checksums are right, whatever its header says."""
    parts = [encode_preamble(SYNC, version=1)]
    for number, (kind, body) in enumerate([(BlockType.HEADER, header), (BlockType.END, end)]):
        if body is not None:
            parts.append(plain_block(SYNC, kind, number, time_us, 0, [body]))
    return b"".join(parts)


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()  # NaN and Infinity as Python writes them


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    day = tmp_path / DAY
    day.mkdir()
    (day / f"{GOOD}.rec").write_bytes(recording(as_json(HEADER), as_json(TOTALS)))
    return tmp_path


def bad_file(folder: Path) -> Path:
    return folder / DAY / f"{BAD}.rec"


def run(command: click.Command, folder: Path, *arguments: str) -> Result:
    result = CliRunner().invoke(command, [*arguments, "--recordings", str(folder)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def strict(text: str) -> Any:
    def refuse(name: str) -> float:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def check_all(folder: Path, listed: bool = True) -> None:
    """The good one is listed and the bad one named; the other commands say what is wrong in one line."""
    for option in ((), ("--json",), ("--user", "alice"), ("--since", "999999w")):
        result = run(sessions, folder, *option)
        assert result.exit_code == 3, result.output
        assert GOOD in result.stdout
        assert f"{BAD}.rec: " in result.stderr or DAY in result.stderr
        if option == ("--json",):
            found = {entry["session_id"]: entry["state"] for entry in strict(result.stdout)}
            assert found == ({GOOD: "ended", BAD: "damaged"} if listed else {GOOD: "ended"})
    for command in (export, replay):
        result = run(command, folder, BAD)
        assert result.exit_code in (1, 3) and "bastion: " in result.stderr, result.output


HEADERS = {
    "later than the calendar": as_json(HEADER | {"started_at": 1e300}),
    "no number": as_json(HEADER | {"started_at": float("nan")}),
    "infinite": as_json(HEADER | {"started_at": float("inf")}),
    "overflow": as_json(HEADER).replace(b"1800000000.0", b"1e999"),
    "before the epoch": as_json(HEADER | {"started_at": -1e300}),
    "an integer beyond floats": as_json(HEADER | {"started_at": 10**400}),
    "a port beyond all": as_json(HEADER | {"port": 10**400}),
    "not a number inside": as_json(HEADER | {"later": [float("nan")]}),
    "deep": as_json(HEADER)[:-1] + b',"later":' + b"[" * 900 + b"]" * 900 + b"}",
    "too deep for any reader": b"[" * 100_000,
    "a list": b"[]",
    "nothing": b"",
    "a field missing": as_json({k: v for k, v in HEADER.items() if k != "target"}),
    "a lone surrogate as id": as_json(HEADER | {"session_id": "\ud800" * 16}),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_made_to_mislead(folder: Path, name: str) -> None:
    bad_file(folder).write_bytes(recording(HEADERS[name], as_json(TOTALS)))
    check_all(folder)


@pytest.mark.parametrize(
    "kind", ["pipe", "folder", "device", "link", "socket", "garbage", "one byte", "preamble"]
)
def test_what_is_no_recording(folder: Path, kind: str) -> None:
    path = bad_file(folder)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "link":
        path.symlink_to(folder / DAY / f"{GOOD}.rec")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            here = os.getcwd()
            os.chdir(path.parent)  # a socket's path is short
            bound.bind(path.name)
            os.chdir(here)
    else:
        whole = recording(as_json(HEADER))
        path.write_bytes({"garbage": os.urandom(5000), "one byte": b"\x89", "preamble": whole[:24]}[kind])
    check_all(folder)


def test_a_sparse_file_of_a_terabyte_is_not_read_through(folder: Path) -> None:
    whole = bytearray(recording(as_json(HEADER)))
    whole[40] ^= 1  # the header's head, so that its length is unknown
    bad_file(folder).write_bytes(whole)
    os.truncate(bad_file(folder), 1 << 40)
    entries = list(Recordings(folder).sessions())
    assert {entry.path.stem: entry.state for entry in entries} == {GOOD: "ended", BAD: "damaged"}


def test_folders_and_files_that_cannot_be_read(folder: Path) -> None:
    for place in (folder, *folder.parents):
        if place.owner() == "root" and not place.stat().st_mode & 0o001:
            place.chmod(place.stat().st_mode | 0o011)
    (folder / "2027-01-16").mkdir(mode=0o000)
    (folder / "2027-01-17").write_text("a file that is called like a day")
    folder.chmod(0o755)
    (folder / DAY).chmod(0o755)
    bad_file(folder).write_bytes(recording(as_json(HEADER)))
    bad_file(folder).chmod(0o000)
    with without_rights():
        result = run(sessions, folder)
        assert run(export, folder, GOOD, "--format", "json").exit_code == 0
        assert run(replay, folder, BAD).exit_code in (1, 3)
    (folder / "2027-01-16").chmod(0o755)
    assert result.exit_code == 3 and GOOD in result.stdout
    for name in (
        "2027-01-16: Permission denied",
        "2027-01-17: Not a directory",
        f"{BAD}.rec: Permission denied",
    ):
        assert name in result.stderr


def test_a_time_beyond_all_clocks_in_a_block(folder: Path) -> None:
    bad_file(folder).write_bytes(recording(as_json(HEADER | {"session_id": BAD}), time_us=(1 << 64) - 1))
    result = run(sessions, folder)
    assert result.exit_code == 0 and BAD in result.stdout
    assert run(export, folder, BAD, "--format", "json").exit_code == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from([*HEADER, "later"])


@given(
    changes=st.dictionaries(FIELDS, JSON, max_size=4), end=st.dictionaries(st.sampled_from([*TOTALS]), JSON)
)
@examples(150)
def test_any_header_and_any_end(tmp_path_factory: pytest.TempPathFactory, changes: Any, end: Any) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / DAY).mkdir()
    bad_file(folder).write_bytes(recording(as_json(HEADER | changes), as_json(TOTALS | end)))
    (folder / DAY / f"{GOOD}.rec").write_bytes(recording(as_json(HEADER), as_json(TOTALS)))
    assert GOOD in run(sessions, folder).stdout
    listed = strict(run(sessions, folder, "--json").stdout)
    assert sorted(entry["session_id"] for entry in listed) == [GOOD, BAD]
    for line in run(export, folder, BAD, "--format", "json").stdout.splitlines():
        strict(line)
    run(replay, folder, BAD)


@given(st.binary(max_size=200), st.integers(0, 300))
@examples(150)
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: int) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / DAY).mkdir()
    whole = recording(as_json(HEADER), as_json(TOTALS))
    bad_file(folder).write_bytes(whole[:place] + noise + whole[place + len(noise) :])
    assert BAD in run(sessions, folder).stdout
    run(export, folder, BAD, "--format", "text")
    run(replay, folder, BAD)


# -- the log that explain reads


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "audit.jsonl"
    path.write_text(
        '{"ts":"2027-01-15T08:00:00.000Z","event":"outer_started","connection":"aaaabbbbccccdddd"}\n'
    )
    yield path


def told(log: Path) -> Result:
    result = CliRunner().invoke(explain, ["aaaabb", "--log", str(log)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_a_bad_file_beside_the_log_is_named_and_passed_over(log: Path) -> None:
    packed = bytearray(gzip.compress(b"".join(os.urandom(16).hex().encode() for _ in range(100))))
    packed[200] ^= 0xFF
    log.with_name("audit.jsonl.1.gz").write_bytes(packed)
    log.with_name("audit.jsonl.2.gz").write_bytes(b"no gzip at all")
    log.with_name("audit.jsonl.3.gz").write_bytes(gzip.compress(b"x" * 1000)[:-8])
    log.with_name("audit.jsonl.4.zst").write_bytes(b"no zstandard either")
    os.mkfifo(log.with_name("audit.jsonl.5"))
    log.with_name("audit.jsonl.6").mkdir()
    result = told(log)
    assert result.exit_code == 0 and "connection" in result.stdout
    for number in (1, 2, 3, 4):
        assert f"audit.jsonl.{number}." in result.stderr


def test_lines_of_garbage_are_left_out_and_counted(log: Path) -> None:
    noise = b"aaaabb" + os.urandom(3000) + b"\n" + b'{"event":"x","session":"aaaabb' + b"[" * 5000 + b"\n"
    log.write_bytes(log.read_bytes() + noise)
    log.with_name("audit.jsonl.1").write_text(
        '{"event":["aaaabb"]}\n{"event":"auth","ref":"aaaabb","ts":1e999}\n'
    )
    result = told(log)
    assert result.exit_code == 0 and "torn or unreadable lines" in result.stderr


def test_a_pipe_as_the_log_is_no_log(log: Path) -> None:
    log.unlink()
    os.mkfifo(log)
    assert told(log).exit_code == 3
