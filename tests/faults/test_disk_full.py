"""The disk under the recordings fills: nobody works unrecorded, the words say why, and it recovers by itself."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.sshd import sshd_missing
from tests.support.world import World, poll, refusal

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root"),
]

SIZE = 16 << 20
FLOOR = 4 << 20
FILES = 200
REFUSALS = 20
MOST_GROWN = 8 << 20
"""Of the gateway's memory, in bytes, while it refuses."""
# Numbered lines without an end, each with ballast: the disk is full within a second or two.
FLOOD = f"i=0; while :; do i=$((i+1)); echo line $i {'x' * 400}; done"


class Disk:
    """A small tmpfs, mounted; `fill` leaves so many bytes free, `free` gives everything back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SIZE},nr_inodes={FILES},mode=0700", "tmpfs", str(folder)],
            check=True,
        )
        self._ballast, self._hoard = folder / "ballast", folder / "hoard"

    def left(self) -> int:
        status = os.statvfs(self.folder)
        return status.f_bavail * status.f_frsize

    def fill(self, leave: int = 0) -> None:
        """Take what is left. The gateway may write between the look and the taking: then once more."""
        with self._ballast.open("ab") as file:
            while True:
                try:
                    os.posix_fallocate(file.fileno(), 0, max(1, self._size() + self.left() - leave))
                    return
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    if not self.left():
                        return

    def hoard(self) -> None:
        """Take all its inodes, and next to no room."""
        self._hoard.mkdir()
        with contextlib.suppress(OSError):
            for number in range(FILES):
                (self._hoard / str(number)).touch()

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)
        shutil.rmtree(self._hoard, ignore_errors=True)

    def _size(self) -> int:
        return self._ballast.stat().st_size

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=True)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    try:
        made = Disk(tmp_path_factory.mktemp("disk") / "recordings")
    except subprocess.CalledProcessError:
        pytest.skip("this machine lets nobody mount a tmpfs")
    yield made
    made.unmount()


@pytest.fixture(scope="module")
def shared(disk: Disk) -> Iterator[World]:
    made = World(recordings=disk.folder, recording=f'disk_floor = "{FLOOR >> 20}MiB"\nmode = "full"')
    yield made.start()
    made.close()


@pytest.fixture
def world(shared: World, disk: Disk) -> Iterator[World]:
    """With an empty disk before every test; after it, new sessions work once there is room."""
    yield shared
    for day in disk.folder.glob("2*"):
        for recording in day.iterdir():
            recording.unlink()
    disk.free()
    # What a session wrote that has just ended may still be open.
    poll(lambda: disk.left() > SIZE - FLOOR, 30.0, "files that are removed are still open")
    done = shared.ssh("echo well again")
    assert (done.returncode, done.stdout) == (0, b"well again\n"), "it did not recover by itself"


def type_until_it_ends(client: Client, line: bytes) -> None:
    """Send a line ten times a second while the session lasts: a small write may still fit into a full disk."""

    def type_on() -> None:
        with contextlib.suppress(OSError):
            while client.running:
                client.send(line)
                threading.Event().wait(0.1)

    typist = threading.Thread(target=type_on)
    typist.start()
    typist.join(20)
    assert not typist.is_alive(), f"the session goes on: {client.out[-200:]!r}"


def check_told(world: World, client: Client, words: str) -> str:
    """The session ended with a line that says why; the session id."""
    assert client.wait(30) == 255
    told = re.findall(rb"bastion: the session cannot be recorded: ([^\r\n]*?)(?: \(ref|\r|\n|$)", client.err)
    assert told and words.encode() in told[0], client.err
    line = world.new_audit("session_ended")[-1]
    assert line["reason"] == "recorder_failed" and words in line["text"]
    failed = [one for one in world.audit("recorder_failed") if one["session"] == line["session"]]
    assert len(failed) == 1 and failed[0]["text"] in line["text"]
    return str(line["session"])


def check_refused(world: World) -> None:
    """A new session is refused with a line that says why, and nothing was dialled for it."""
    dials = world.metric('bastion_upstream_dials_total{reason="ok"}')
    with world.moves('bastion_recorder_admission_refusals_total{reason="disk_floor"}'):
        text, reference = refusal(world.ssh("true"))
    assert text == "sessions cannot be recorded now: the recordings' disk is nearly full"
    assert world.metric('bastion_upstream_dials_total{reason="ok"}') == dials
    assert "make room" in world.explain(reference)


def test_a_session_that_fills_the_disk_ends_and_nothing_seen_is_missing(world: World, disk: Disk) -> None:
    failures = 'bastion_recorder_failures_total{reason="disk_floor"}'
    before = world.metric(failures) + world.metric('bastion_recorder_failures_total{reason="disk_full"}')
    with world.client(FLOOD) as client:
        session = check_told(world, client, "full")
        recorded = world.recorded(session)
        assert len(recorded) > FLOOR and recorded.startswith(client.out)
        assert client.out.startswith(b"line 1 ")
    after = world.metric(failures) + world.metric('bastion_recorder_failures_total{reason="disk_full"}')
    assert after == before + 1
    entry = next(one for one in world.sessions() if one["session_id"] == session)
    assert entry["state"] in ("ended", "truncated") and entry["problem"] == ""
    assert (entry["state"], entry["reason"]) in (("ended", "recorder_failed"), ("truncated", ""))
    check_refused(world)
    shown = world.bastion("sessions", "--recordings", str(world.recordings))
    assert session.encode()[:6] in shown.stdout


def test_a_terminal_is_told_in_the_terminal(world: World, disk: Disk) -> None:
    with world.client(options=("-tt",)) as client:
        client.send(b"stty -echo; echo; echo ready\n")
        client.expect(b"\nready")
        disk.fill()
        poll(lambda: disk.left() == 0)
        type_until_it_ends(client, b"echo more\n")
        session = check_told(world, client, "full")
        # It may come to the screen twice: OpenSSH prints the terminal's copy when it has the time to.
        printed, _, _ = client.out.partition(b"\r\nbastion: the session cannot be recorded")
        disk.free()
        assert world.recorded(session).startswith(printed)


def test_a_disk_that_somebody_else_fills_ends_a_session_at_its_next_byte(world: World, disk: Disk) -> None:
    with world.client("cat") as client:
        client.echo(b"before")
        disk.fill()
        type_until_it_ends(client, b"after\n")
        session = check_told(world, client, "full")
        assert client.out.startswith(b"before\n") and len(client.out) < 16384
        disk.free()
        assert world.recorded(session) == client.out


def test_below_the_floor_new_sessions_are_refused_and_running_ones_go_on(world: World, disk: Disk) -> None:
    with world.client("cat") as client:
        client.echo(b"before")
        disk.fill(leave=FLOOR - (1 << 20))
        check_refused(world)
        client.echo(b"still")
        disk.free()
        assert world.ssh("true").returncode == 0
        client.end_input()
        assert client.wait() == 0


def test_below_half_the_floor_running_ones_end_while_there_is_room_for_their_end(
    world: World, disk: Disk
) -> None:
    with world.client("cat") as client:
        client.echo(b"before")
        disk.fill(leave=FLOOR // 4)
        type_until_it_ends(client, b"more\n")
        session = check_told(world, client, "nearly full")
        entry = next(one for one in world.sessions() if one["session_id"] == session)
        assert (entry["state"], entry["reason"]) == ("ended", "recorder_failed")
        assert world.recorded(session) == client.out


def test_the_free_space_is_a_metric(world: World, disk: Disk) -> None:
    disk.fill(leave=FLOOR * 2)
    poll(lambda: abs(world.metric("bastion_recording_store_free_bytes") - FLOOR * 2) < 1 << 20)
    disk.free()
    poll(lambda: world.metric("bastion_recording_store_free_bytes") > FLOOR * 3)


def test_without_inodes_new_sessions_are_refused_and_running_ones_are_recorded(
    world: World, disk: Disk
) -> None:
    with world.client("cat") as client:
        client.echo(b"before")
        dials = world.metric('bastion_upstream_dials_total{reason="ok"}')
        memory = world.memory()
        disk.hoard()
        assert disk.left() > FLOOR
        for _ in range(REFUSALS):
            text, _ = refusal(world.ssh("true"))
            assert "the recordings' disk has no inodes left" in text
        assert world.metric('bastion_upstream_dials_total{reason="ok"}') == dials
        assert world.memory() - memory < MOST_GROWN
        assert any("no inodes" in line for line in world.health()[1])
        client.echo(b"still")
        disk.free()
        assert world.ssh("echo in").stdout == b"in\n"
        client.end_input()
        assert client.wait() == 0
        (session,) = [one["session_id"] for one in world.sessions() if one["ran"][0]["what"] == "exec cat"]
        assert world.recorded(session) == client.out


def test_refused_and_flooded_it_needs_no_more_memory(world: World, disk: Disk) -> None:
    with world.client("exec base64 /dev/urandom") as client:
        client.expect_bytes(1 << 20)
        memory = world.memory()
        assert client.wait(60) == 255
        for _ in range(REFUSALS):
            assert "nearly full" in refusal(world.ssh("true"))[0]
        assert world.memory() - memory < MOST_GROWN
