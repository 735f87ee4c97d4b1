"""The recordings' disk is slow, refuses to write or to sync, or is read-only: it is said, and nobody works unrecorded.

The gateway runs with a small library before libc's calls for files, which does what flags in a folder say.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.sshd import sshd_missing
from tests.support.world import World, poll, refusal

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler"),
]
LIBRARY = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
#define REAL(name) ((__typeof__(&name)) dlsym(RTLD_NEXT, #name))
static int told(const char *what) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", getenv("ILL_DISK"), what);
    return access(path, F_OK) == 0;
}
static int is_ours(const char *path) {
    const char *folder = getenv("ILL_FOLDER");
    return strncmp(path, folder, strlen(folder)) == 0;
}
static int is_our_file(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    path[size > 0 ? size : 0] = 0;
    return is_ours(path);
}
static int refused(void) {
    if (told("EIO")) errno = EIO;
    else if (told("EROFS")) errno = EROFS;
    else return 0;
    return 1;
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (told("slow")) usleep(1100000);
    return is_our_file(fd) && refused() ? -1 : REAL(writev)(fd, parts, count);
}
ssize_t write(int fd, const void *data, size_t size) {
    return is_our_file(fd) && refused() ? -1 : REAL(write)(fd, data, size);
}
int ftruncate64(int fd, off64_t size) {
    return is_our_file(fd) && refused() ? -1 : REAL(ftruncate64)(fd, size);
}
int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return flags & (O_WRONLY | O_RDWR) && is_ours(path) && refused() ? -1 : REAL(open64)(path, flags, mode);
}
static int refuses(void) {
    if (told("hangs")) sleep(5);
    errno = EIO;
    return told("refuses");
}
int fdatasync(int fd) { return is_our_file(fd) && refuses() ? -1 : REAL(fdatasync)(fd); }
int fsync(int fd) { return is_our_file(fd) && refuses() ? -1 : REAL(fsync)(fd); }
"""
WORLD = tuple[World, Path]
MIB = 1 << 20
FLOOD = "exec yes"
HANGS = 5.0
REFUSALS = 20
MOST_GROWN = 8 * MIB
"""Of the gateway's memory, while it floods and refuses."""


@pytest.fixture
def ill(tmp_path: Path) -> Iterator[WORLD]:
    """A world, and the folder in which a file makes its disk ill: `slow` writes, syncs that it `refuses` or in which it
    `hangs`, the errors `EIO` and `EROFS` for all that is written.
    """
    source, library = tmp_path / "ill.c", tmp_path / "ill.so"
    source.write_text(LIBRARY)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    flags = tmp_path / "flags"
    flags.mkdir()
    world = World()
    try:
        ill = {"LD_PRELOAD": str(library), "ILL_DISK": str(flags), "ILL_FOLDER": str(world.recordings)}
        world.start(environment=ill)
        yield world, flags
    finally:
        world.close()


def recordings_line(world: World) -> str:
    return next(line for line in world.health()[1] if line.startswith("recordings"))


def test_a_slow_disk_is_said_and_refuses_new_sessions_until_it_is_fast(ill: WORLD) -> None:
    world, flags = ill
    with world.client("cat") as client:
        client.echo(b"fast")
        (flags / "slow").touch()
        client.echo(b"slow")
        poll(lambda: "refusing: a write of the recordings' disk took" in recordings_line(world))
        assert world.health()[0] == 503
        client.echo(b"still slow")  # so that it is slow whatever time has passed
        assert "too slow" in refusal(world.ssh("true"))[0]
        assert world.audit("refused")[-1]["reason"] == "disk_slow"
        (flags / "slow").unlink()
        client.echo(b"goes on")
        poll(lambda: world.health()[0] == 200, timeout=60)
        assert world.ssh("echo in").stdout == b"in\n"
    assert world.metric("bastion_recorder_slow_writes_total") >= 2
    assert "recordings refusing" in world.log.read_text()


def test_a_disk_that_refuses_to_sync_ends_what_it_lost_and_admits_nobody_until_it_syncs(ill: WORLD) -> None:
    world, flags = ill
    with world.client("cat") as client:
        client.echo(b"kept")
        (flags / "refuses").touch()
        client.echo(b"lost, perhaps")
        assert client.wait(60) == 255  # although it says nothing more
        assert b"cannot sync the recording" in client.err
    (ended,) = poll(lambda: world.audit("session_ended"))
    assert ended["reason"] == "recorder_failed"
    poll(lambda: "refusing: cannot sync the recording" in recordings_line(world))
    assert "refused to sync" in refusal(world.ssh("true"))[0]
    (flags / "refuses").unlink()
    poll(lambda: world.health()[0] == 200, timeout=60)
    assert world.ssh("echo in").stdout == b"in\n"
    assert not [name for name in os.listdir(world.recordings) if name.startswith(".")]


def held(world: World, *clients: Client) -> None:
    """What each of them has seen is the beginning of a recording of its own, cut where the disk took nothing more."""
    found = {one["session_id"]: world.recorded(one["session_id"]) for one in world.sessions()}
    for client in clients:
        (session,) = [
            name for name, recorded in found.items() if client.out and recorded.startswith(client.out)
        ]
        (entry,) = [one for one in world.sessions() if one["session_id"] == session]
        assert entry["state"] == "truncated" and entry["problem"] == ""


@pytest.mark.parametrize(
    ("fault", "says"), [("EIO", "Input/output error"), ("EROFS", "Read-only file system")]
)
def test_a_disk_that_takes_nothing_more_ends_sessions_admits_nobody_and_is_forgiven(
    ill: WORLD, fault: str, says: str
) -> None:
    world, flags = ill
    with world.client(FLOOD) as busy, world.client("cat") as idle:
        idle.echo(b"kept")
        busy.expect_bytes(MIB)
        memory = world.memory()
        (flags / fault).touch()
        idle.send(b"never recorded\n")
        for client in (busy, idle):
            assert client.wait(60) == 255
            words = f"bastion: the session cannot be recorded: cannot write the recording: {says}"
            assert words.encode() in client.err
        assert idle.out == b"kept\n"
        dials = world.metric('bastion_upstream_dials_total{reason="ok"}')
        for _ in range(REFUSALS):
            assert says in refusal(world.ssh("true"))[0]
        assert world.metric('bastion_upstream_dials_total{reason="ok"}') == dials
        assert world.memory() - memory < MOST_GROWN
        (flags / fault).unlink()
        poll(lambda: world.health()[0] == 200, timeout=60)
        assert world.ssh("echo in").stdout == b"in\n"
        held(world, busy, idle)


@pytest.mark.soak
def test_a_disk_whose_syncs_take_5_seconds_holds_up_nobody(ill: WORLD) -> None:
    world, flags = ill
    with world.client(FLOOD) as busy, world.client("cat") as client:
        client.echo(b"fast")
        busy.expect_bytes(MIB)
        memory = world.memory()
        (flags / "hangs").touch()
        poll(lambda: world.metric("bastion_recorder_unsynced_seconds") > 3.0)
        began, echoes = time.monotonic(), list[float]()
        while time.monotonic() - began < 3 * HANGS:
            echoes.append(client.echo(b"%d." % len(echoes)))
            threading.Event().wait(0.1)
        assert world.ssh("echo in").stdout == b"in\n"  # it begins, and its end waits for nobody
        assert max(echoes) < 1.0 and world.memory() - memory < MOST_GROWN
        assert len(busy.out) > MIB
        (flags / "hangs").unlink()
        poll(lambda: world.metric("bastion_recorder_unsynced_seconds") < 1.0, timeout=60)
        client.end_input()
        assert client.wait() == 0
        busy.close()
