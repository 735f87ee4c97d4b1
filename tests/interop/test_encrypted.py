"""Encrypted recordings: nothing readable on the gateway's disk, an identity reads all of it, others verify it."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pyrage
import pytest

from tests.support.net import LOOPBACK
from tests.support.world import World, poll, running

pytestmark = pytest.mark.interop

SECRETS = (
    "zebraoutput",
    "zebracommand",
    "zebraenv",
    "zebrafile",
    "zebracontent",
    "zebratyped",
)


@pytest.fixture(scope="module", params=[1, 2])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("identities")
    identities = [pyrage.x25519.Identity.generate() for _ in range(2)]
    (folder / "r.txt").write_text("".join(f"{one.to_public()}\n" for one in identities))
    for number, identity in enumerate(identities):
        (folder / f"key{number}").write_text(f"{identity}\n")
        (folder / f"key{number}").chmod(0o600)
    options = f'recipients = "{folder / "r.txt"}"\ninput = true\nmode = "full"\nsftp_hash = true'
    with running(recording=options, workers=request.param, sshd_options=["AcceptEnv LC_*"]) as made:
        made.identity = folder / "key1"  # type: ignore[attr-defined]
        yield made


def identity(world: World) -> tuple[str, ...]:
    return ("--identity", str(world.identity))  # type: ignore[attr-defined]


def shell(world: World) -> pexpect.spawn:
    command = world.ssh_command(options=["-tt"])
    made = pexpect.spawn(command[0], command[1:], env=world.environment(None), timeout=30)
    made.expect(rb"[#$] ")
    return made


def work(world: World, folder: Path) -> None:
    """Each secret passes in a way of its own."""
    folder.mkdir()
    done = world.ssh("true zebracommand; echo zebraoutput", stdin=b"")
    assert b"zebraoutput" in done.stdout
    env = {**world.environment(None), "LC_SECRET": "zebraenv"}
    command = world.ssh_command("echo $LC_SECRET", options=["-o", "SendEnv=LC_SECRET"])
    assert subprocess.run(command, env=env, capture_output=True, timeout=60).stdout == b"zebraenv\n"
    (folder / "zebrafile").write_text("zebracontent\n")
    batch = f"put {folder / 'zebrafile'} {folder / 'zebrafile.there'}\n"
    where = ["-P", str(world.port), f"alice+root+web1@{LOOPBACK}"]
    sent = subprocess.run(
        ["sftp", "-b", "-", *world.ssh_options(), *where],
        input=batch.encode(),
        env=world.environment(None),
        capture_output=True,
        timeout=60,
    )
    assert sent.returncode == 0 and (folder / "zebrafile.there").exists(), sent.stderr
    engineer = shell(world)
    engineer.sendline(b"stty -echo; read x; stty echo; echo read")
    engineer.sendline(b"zebratyped")
    engineer.expect(rb"\rread\r")
    engineer.sendline(b"exit")
    engineer.expect(pexpect.EOF)


def readable(folder: Path, but: Path) -> set[str]:
    """The secrets that stand in a file below `folder`, as they are."""
    found = set()
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_relative_to(but):
            data = path.read_bytes()
            found |= {secret for secret in SECRETS if secret.encode() in data}
    return found


def test_nothing_is_readable_without_an_identity_and_everything_with_one(
    world: World, tmp_path: Path
) -> None:
    work(world, tmp_path / "target")
    sessions = poll(
        lambda: (
            [line["session"] for line in world.audit("session_ended")]
            if len(world.audit("session_ended")) == 4
            else None
        )
    )
    assert readable(world.folder, world.folder / "web1") == set()
    config = ("--config", str(world.folder / "bastion.toml"))
    shown = b""
    for session in sessions:
        closed = world.bastion("export", session, *config, "--format", "json")
        assert closed.returncode == 3 and b"sealed to 2 recipients" in closed.stderr and closed.stdout == b""
        opened = world.bastion("export", session, *config, *identity(world), "--format", "json", "--unmasked")
        assert opened.returncode == 0, opened.stderr
        for line in opened.stdout.splitlines():
            shown += base64.b64decode(json.loads(line).get("data", "")) + line
    assert {secret for secret in SECRETS if secret.encode() not in shown} <= {
        "zebratyped"
    }  # a line of single keys
    checked = poll(lambda: _verified(world, config))
    assert b"ledger" not in checked
    assert world.bastion("drill", *config, *identity(world)).returncode == 0


def _verified(world: World, config: tuple[str, ...]) -> bytes | None:
    """A line of the ledger comes a second later."""
    done = world.bastion("verify", "--all", *config)
    return done.stdout if done.returncode == 0 else None


def test_who_watches_needs_no_identity(world: World) -> None:
    engineer = shell(world)
    session = world.audit("session_started")[-1]["session"]
    command = [*world.program, "watch", session, "--config", str(world.folder / "bastion.toml")]
    watching = pexpect.spawn(command[0], command[1:], env=world.environment(None), timeout=30)
    poll(lambda: world.audit("watch_started"))
    engineer.sendline(b"echo seen-$((20+3))")
    watching.expect(rb"seen-23")
    engineer.sendline(b"exit")
    engineer.expect(pexpect.EOF)
    watching.expect(pexpect.EOF)
