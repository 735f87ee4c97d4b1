"""A whole gateway with a real bucket: recordings go there, and whatever the bucket does, sessions go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hostile_s3 import HostileS3
from tests.support.processes import is_alive
from tests.support.s3 import BUCKET, LOCKED, SECRET, S3Server, s3_missing
from tests.support.world import World, poll

pytestmark = [pytest.mark.slow, pytest.mark.interop]

PATIENCE = 60.0  # a look every 5 s, a try every 60 at most


@pytest.fixture
def server() -> Iterator[S3Server]:
    if s3_missing():
        pytest.skip(s3_missing())
    made = S3Server()
    try:
        yield made.start().make_buckets()
    finally:
        made.close()


def world_of(server: S3Server, workers: int = 1, port: int = 0, more: str = "") -> World:
    return World(workers=workers, config=server.section(port, more=more))


def bastion(world: World, *words: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "bastion", *words, "--config", str(world.config)]
    return subprocess.run(command, capture_output=True, timeout=120)


def local(world: World) -> list[Path]:
    return sorted(world.recordings.glob("*/*.rec"))


def uploaded(server: S3Server, count: int, bucket: str = BUCKET) -> set[str]:
    def there() -> set[str]:
        names = server.names(bucket)
        return names if len(names) >= count else set()

    found: set[str] = poll(there, PATIENCE, "it never came to the bucket")
    return found


def told(world: World) -> list[str]:
    """What the processes that upload have said."""
    return [line for line in world.log.read_text().splitlines() if "uploads:" in line]


def uploader_of(world: World) -> int:
    def found() -> int:
        told = subprocess.run(
            ["pgrep", "-P", str(world.pid), "-f", "bastion.assembly.uploading"],
            capture_output=True,
            text=True,
        ).stdout.split()
        return int(told[0]) if told else 0

    pid: int = poll(found, PATIENCE, "nothing uploads")
    return pid


@pytest.mark.parametrize("workers", [1, 2])
def test_a_recording_goes_to_the_bucket_and_is_listed_played_and_exported_from_there(
    server: S3Server, workers: int
) -> None:
    world = world_of(server, workers)
    with world:
        assert world.ssh("echo over there").stdout == b"over there\n"
        (key,) = uploaded(server, 1)
        poll(lambda: not local(world), PATIENCE, "the local copy stays")
        session = Path(key).stem
        assert key.startswith("gw1/20")
        (row,) = json.loads(bastion(world, "sessions", "--json").stdout)
        assert (row["session_id"], row["state"], row["file"]) == (session, "ended", f"s3://{BUCKET}/{key}")
        for name in (session[:8], session, f"s3://{BUCKET}/{key}"):
            done = bastion(world, "export", name, "--format", "raw", "--unredacted")
            assert (done.returncode, done.stdout) == (0, b"over there\n"), done.stderr
        assert b"over there" in bastion(world, "replay", session, "--speed", "0").stdout
        assert bastion(world, "state", "check").returncode == 0
        poll(lambda: world.metric('bastion_recording_uploads_total{result="ok"}') == 1, PATIENCE)
        assert world.metric("bastion_recording_spool_recordings") == 0
        status = bastion(world, "status").stdout.decode()
        assert "uploads:" in status and "nothing waits" in status
        assert SECRET not in world.log.read_text()
        # what somebody has changed there is not shown
        server.client.put_object(Bucket=BUCKET, Key=key, Body=b"forged")
        done = bastion(world, "replay", session, "--speed", "0")
        assert done.returncode == 3 and b"is not what was uploaded" in done.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_sessions_go_on_without_the_store_and_nothing_is_lost(server: S3Server, workers: int) -> None:
    world = world_of(server, workers)
    with world:
        server.stop()
        for number in range(3):
            assert world.ssh(f"echo {number}").returncode == 0
        poll(lambda: world.metric("bastion_recording_spool_recordings") == 3, PATIENCE)
        assert world.metric("bastion_recording_spool_bytes") == sum(
            path.stat().st_size for path in local(world)
        )
        poll(lambda: world.metric('bastion_recording_uploads_total{result="unreachable"}') > 0, PATIENCE)
        poll(lambda: "uploads degraded" in " ".join(world.health()[1]), PATIENCE)
        assert world.health()[0] == 200
        kept = {path.stem: path.read_bytes() for path in local(world)}
        uploader = uploader_of(world)
        world.kill()
        poll(lambda: not is_alive(uploader), PATIENCE, "it outlives its gateway")
        world.start()
        assert world.ssh("echo again").returncode == 0
        poll(lambda: len(told(world)) == 2, PATIENCE, "the new one does not say that the store is away")
        server.start()
        names = uploaded(server, 4)
        poll(lambda: not local(world), 90, "the local copies stay")
        for name in names:
            assert kept.get(Path(name).stem, server.get(name)) == server.get(name)
        poll(lambda: "uploads degraded" not in " ".join(world.health()[1]), PATIENCE)
        poll(lambda: "the store works again" in told(world)[-1], PATIENCE)
        assert len(told(world)) < 12


def test_a_bucket_that_lies_about_its_checksum_gets_no_local_copy_deleted(server: S3Server) -> None:
    with HostileS3(server.port) as hostile:
        hostile.fault, hostile.applies = "checksum", lambda method, path: method == "HEAD"
        world = world_of(server, port=hostile.port)
        with world:
            assert world.ssh("echo proof").returncode == 0
            poll(lambda: world.metric('bastion_recording_uploads_total{result="checksum"}') > 0, PATIENCE)
            assert len(local(world)) == 1
            hostile.heal()
            poll(lambda: not local(world), PATIENCE)
            poll(lambda: world.metric('bastion_recording_uploads_total{result="ok"}') == 1, PATIENCE)


def test_an_uploader_that_dies_is_started_again_and_a_reload_gives_it_another_bucket(
    server: S3Server,
) -> None:
    world = world_of(server)
    with world:
        first = uploader_of(world)
        os.kill(first, 9)
        poll(lambda: uploader_of(world) != first, PATIENCE)
        world.config.write_text(world.config.read_text().replace(f'"{BUCKET}"', f'"{LOCKED}"'))
        world.reload()
        assert world.ssh("echo elsewhere").returncode == 0
        (key,) = uploaded(server, 1, LOCKED)
        assert server.names(BUCKET) == set() and key.startswith("gw1/")
        poll(lambda: not local(world), PATIENCE)


def test_prune_and_doctor_know_the_bucket(server: S3Server) -> None:
    world = world_of(server, more='lock = "compliance"\nlock_for = "1d"\n')
    world.config.write_text(
        world.config.read_text().replace(f'"{BUCKET}"', f'"{LOCKED}"')
        + "[retention]\nmax_size = 1\nat_least = 0\n"
    )
    with world:
        assert world.ssh("echo locked").returncode == 0
        uploaded(server, 1, LOCKED)
        poll(lambda: not local(world), PATIENCE)
        done = bastion(world, "prune", "--yes")
        assert done.returncode == 1 and b"object lock (compliance) keeps it until" in done.stderr, done.stderr
        assert len(server.names(LOCKED)) == 1
        looked = bastion(world, "doctor", "--only", "bucket").stdout
        assert b"object lock is on" in looked and b"an upload was begun and given up" in looked, looked
        # without a lock
        text = world.config.read_text().replace(f'"{LOCKED}"', f'"{BUCKET}"').replace("compliance", "off")
        world.config.write_text(text)
        world.reload()
        assert world.ssh("echo free").returncode == 0
        (key,) = uploaded(server, 1)
        poll(lambda: len(local(world)) == 0, PATIENCE)
        looked = bastion(world, "doctor", "--only", "bucket").stdout
        assert b"a probe was put, proved, read and deleted" in looked and server.names(BUCKET) == {key}
        done = bastion(world, "prune", "--yes")
        assert done.returncode == 1 and server.names(BUCKET) == set(), (
            done.stderr
        )  # the other one stays in its bucket
        assert {line["session"] for line in world.audit("recording_deleted")} == {Path(key).stem}
