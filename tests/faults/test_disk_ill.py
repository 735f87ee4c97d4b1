"""The recordings' disk takes a second for each write, or refuses to sync: it is said, and nobody works unrecorded.

The gateway runs with a small library before libc's writev and fdatasync, which does what files in a folder say.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sshd import sshd_missing
from tests.support.world import World, poll, refusal

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler"),
]
LIBRARY = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>
static int told(const char *what) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", getenv("ILL_DISK"), what);
    return access(path, F_OK) == 0;
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    static ssize_t (*real)(int, const struct iovec *, int);
    if (!real) real = dlsym(RTLD_NEXT, "writev");
    if (told("slow")) usleep(1100000);
    return real(fd, parts, count);
}
static int refuses(void) { errno = EIO; return -1; }
int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fdatasync");
    return told("refuses") ? refuses() : real(fd);
}
int fsync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fsync");
    return told("refuses") ? refuses() : real(fd);
}
"""
WORLD = tuple[World, Path]


@pytest.fixture
def ill(tmp_path: Path) -> Iterator[WORLD]:
    """A world, and the folder in which a file `slow` or `refuses` makes its disk so."""
    source, library = tmp_path / "ill.c", tmp_path / "ill.so"
    source.write_text(LIBRARY)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    flags = tmp_path / "flags"
    flags.mkdir()
    world = World()
    try:
        world.start(environment={"LD_PRELOAD": str(library), "ILL_DISK": str(flags)})
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
