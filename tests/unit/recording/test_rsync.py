"""Names in rsync's protocol: against the real rsync, cut anywhere, changed anywhere, and what is not read is said."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from bastion.recording.rsync import BUFFERED_MAX, MOST_NAMES, Call, RsyncList

pytestmark = pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is missing")

# Stands in for ssh: runs the command line, and keeps what each side has said.
SHELL = """
import os, subprocess, sys, threading
base, command = sys.argv[1], " ".join(sys.argv[3:])
open(base + ".command", "w").write(command)
there = subprocess.Popen(["sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
def pump(source, sink, name):
    with open(base + name, "wb") as kept:
        while data := os.read(source, 65536):
            kept.write(data); kept.flush()
            try: os.write(sink, data)
            except OSError: return
    if sink != 1: there.stdin.close()
threading.Thread(target=pump, args=(0, there.stdin.fileno(), ".client"), daemon=True).start()
pump(there.stdout.fileno(), 1, ".target")
os._exit(there.wait())
"""


@dataclass
class Passed:
    """What passed in one transfer."""

    command: str
    direction: str
    client: bytes
    target: bytes

    def read(self, step: int = 1 << 20, input_kept: bool = True) -> tuple[RsyncList, list[str]]:
        """Its names, fed `step` bytes of the sender at a time; the receiver's greeting comes before."""
        names, lines = RsyncList(self.command, self.direction), list[str]()
        upload = self.direction == "upload"
        sender, receiver = (self.client, self.target) if upload else (self.target, self.client)
        if (not upload and input_kept) or upload:
            lines += names.feed(upload, receiver[:200])
        for at in range(0, len(sender), step):
            lines += names.feed(not upload, sender[at : at + step])
        return names, lines


def transfer(folder: Path, direction: str, *options: str) -> Passed:
    script = folder / "shell.py"
    script.write_text(SHELL)
    source, there = str(folder / "source") + "/", str(folder / f"there-{direction}")
    places = [source, f"host:{there}"] if direction == "upload" else [f"host:{source}", there]
    command = ["rsync", *options, "-e", f"{sys.executable} {script} {folder / 'kept'}", *places]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60)
    kept = [(folder / f"kept.{name}").read_bytes() for name in ("command", "client", "target")]
    shutil.rmtree(there, ignore_errors=True)
    return Passed(kept[0].decode(), direction, kept[1], kept[2])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    deep = tmp_path / "source" / "sub" / "deep"
    deep.mkdir(parents=True)
    (tmp_path / "source" / "a\x1b[2J.txt").write_text("hello\n")
    (deep / ("n" * 200)).write_bytes(random.Random(1).randbytes(5000))
    (deep / "link").symlink_to("../nothing")
    os.link(deep / ("n" * 200), deep / "z-hard")
    os.mkfifo(deep / "pipe")
    return tmp_path


def files(lines: list[str]) -> set[str]:
    return {line.partition(", mode")[0] for line in lines}


EXPECTED = {
    "folder .",
    "folder sub",
    "folder sub/deep",
    "file a\\x1b[2J.txt: 6 bytes",
    f"file sub/deep/{'n' * 200}: 5000 bytes",
    "link sub/deep/link -> ../nothing",
    "device or socket sub/deep/pipe",
    "file sub/deep/z-hard: 5000 bytes",
}


@pytest.mark.parametrize(
    "options", [("-az", "--delete"), ("-aU", "--numeric-ids", "--no-inc-recursive"), ("-a", "--protocol=30")]
)
@pytest.mark.parametrize("direction", ["download", "upload"])
def test_every_name_is_there_with_its_size(folder: Path, direction: str, options: tuple[str, ...]) -> None:
    passed = transfer(folder, direction, *options)
    for step in (1 << 20, 1):
        names, lines = passed.read(step)
        assert (names.lost, names.complete, files(lines)) == ("", True, EXPECTED)
        assert names.names == len(EXPECTED)


def test_hard_links_are_told(folder: Path) -> None:
    names, lines = transfer(folder, "download", "-aH").read(input_kept=False)
    links = [line for line in lines if line.startswith("hard link sub/deep/")]
    assert names.complete and len(links) == 1 and links[0].endswith(" of this list"), lines


def test_more_files_than_are_listed_ahead_are_said_to_follow(folder: Path) -> None:
    for number in range(15):
        there = folder / "source" / f"more{number:02}"
        there.mkdir()
        for name in range(100):
            (there / str(name)).touch()
    names, lines = transfer(folder, "download", "-a").read()
    assert not names.complete and 1000 < len(lines) < 1500 and "between the data of files" in names.lost


@pytest.mark.parametrize(
    ("options", "direction", "why"),
    [
        (("-ac",), "download", "the list has checksums in it"),
        (("-a", "--protocol=29"), "upload", "protocol 29 is older than 30"),
        (("-a", "-s"), "upload", "the arguments stand in the stream"),
    ],
)
def test_what_is_not_read_is_said(folder: Path, options: tuple[str, ...], direction: str, why: str) -> None:
    names, lines = transfer(folder, direction, *options).read()
    assert (names.lost, lines) == (why, [])


def test_what_was_not_kept_or_is_something_else_is_said(folder: Path) -> None:
    passed = transfer(folder, "upload", "-a")
    names = RsyncList(passed.command, "upload")
    names.feed(True, passed.target[:100])
    names.feed(False, passed.client[:60])
    names.missing(True)
    assert names.lost == ""
    names.missing(False)
    assert names.lost == "not all of it was kept" and names.feed(False, passed.client[60:]) == []
    names = RsyncList("rsync --server --sender -a . /", "download")
    assert names.feed(True, b"rsync: not found\n") == [] and names.lost == "this is not rsync's protocol"


def test_changed_bytes_break_nothing_and_are_bounded(folder: Path) -> None:
    chance = random.Random(7)
    for direction in ("download", "upload"):
        passed = transfer(folder, direction, "-aHU")
        sender = passed.client if direction == "upload" else passed.target
        for _ in range(300):
            changed = bytearray(sender)
            for _ in range(chance.randrange(1, 4)):
                changed[chance.randrange(min(len(changed), 600))] = chance.randrange(256)
            names = RsyncList(passed.command, direction)
            names.feed(direction == "upload", passed.client if direction == "download" else passed.target)
            at, lines = 0, list[str]()
            while at < len(changed):
                step = chance.randrange(1, 400)
                lines += names.feed(direction == "download", bytes(changed[at : at + step]))
                at += step
            assert len(names._list) <= BUFFERED_MAX + 400 and len(lines) <= MOST_NAMES
            assert all(line.isprintable() for line in lines)
        for _ in range(100):
            names = RsyncList(passed.command, direction)
            for side in (True, False):
                names.feed(side, b"\x1f\0\0\0" + chance.randbytes(chance.randrange(300)))


def test_a_command_line_is_taken_apart() -> None:
    call = Call.of("rsync --server --sender -vlogDtprze.iLsfxCIvu --delete-during . '/srv/a b' /x")
    assert (call.letters, call.paths, call.wants_rules) == ("vlogDtprz", ("/srv/a b", "/x"), True)
    assert Call.of("rsync --server 'x").paths == () and Call.of("rsync").letters == ""


@pytest.mark.parametrize("seed", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\xf8\x01\x02\x03"])
def test_a_seed_behind_the_greeting_is_not_taken_for_flags(folder: Path, seed: bytes) -> None:
    """A target of today answers a client older than 30 with its version and a seed."""
    names = RsyncList(transfer(folder, "upload", "-a", "--protocol=29").command, "upload")
    assert names.feed(True, b"\x1f\x00\x00\x00" + seed) == []
    assert names.feed(False, b"\x1d\x00\x00\x00") == []
    assert names.lost == "protocol 29 is older than 30"
