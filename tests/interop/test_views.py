"""What was run is in every view of its recording: commands without output, channels beside a shell, files."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.support.net import LOOPBACK
from tests.support.recorded import Watch
from tests.support.sshd import sshd_missing
from tests.support.world import World

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]
WHERE = f"alice+root+web1@{LOOPBACK}"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World()
    try:
        made.start()
        yield made
    finally:
        made.close()


def viewed(world: World, *arguments: str) -> str:
    """Both streams of a command on the recordings, as one text."""
    command = [sys.executable, "-m", "bastion", *arguments, "--recordings", str(world.recordings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stderr + done.stdout


def run(world: World, tool: str, *arguments: str) -> None:
    """sftp or scp through the direct door, to its good end."""
    command = [tool, *world.ssh_options("alice"), "-P", str(world.port), *arguments]
    done = subprocess.run(command, capture_output=True, timeout=60, env=world.environment(None))
    assert done.returncode == 0, done.stderr


def test_a_command_without_output_is_in_every_view(world: World) -> None:
    watch = Watch(world)
    assert world.ssh("rm -rf /tmp/nothing-here").returncode == 0
    session = watch.session().session
    assert "exec rm -rf /tmp/nothing-here (exit 0)" in viewed(world, "sessions")
    for command in (["replay"], ["export", "--format", "text"], ["export", "--format", "asciicast"]):
        text = viewed(world, *command, session)
        assert "exec rm -rf /tmp/nothing-here" in text and "exit 0, nothing shown" in text
    text = viewed(world, "export", "--format", "json", session)
    assert '"program": "exec rm -rf /tmp/nothing-here"' in text


def test_a_live_session_is_followed_to_its_end(world: World) -> None:
    watch = Watch(world)
    client = subprocess.Popen(
        world.ssh_command("echo be''gun; read x; echo over-$x"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert client.stdin is not None and client.stdout is not None
    try:
        assert client.stdout.readline() == b"begun\n"
        (entry,) = json.loads(viewed(world, "sessions", "--live", "--json"))
        session = entry["session_id"]
        assert "still running" in viewed(world, "replay", "--speed", "0", session)
        command = [sys.executable, "-m", "bastion", "replay", "--follow", session, "--recordings"]
        with subprocess.Popen([*command, str(world.recordings)], stdout=subprocess.PIPE) as follower:
            assert follower.stdout is not None
            seen = b""
            while b"begun\r\n" not in seen:
                seen += follower.stdout.read1()  # type: ignore[attr-defined]
            client.stdin.write(b"now\n")
            client.stdin.close()
            seen += follower.stdout.read()
        assert b"over-now\r\n" in seen and b"exit 0" in seen and b"still running" not in seen
    finally:
        client.kill()
        client.wait()
        client.stdout.close()
    watch.session()


def test_files_that_moved_are_listed(world: World, tmp_path: Path) -> None:
    data = b"content\n" * 200
    (tmp_path / "here").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    watch = Watch(world)
    batch = tmp_path / "batch"
    batch.write_text(f"put {tmp_path}/here {tmp_path}/there\nget {tmp_path}/there {tmp_path}/back\n")
    run(world, "sftp", "-b", str(batch), WHERE)
    text = viewed(world, "replay", watch.session().session)
    assert f"put {tmp_path}/there: {len(data)} bytes, sha256 {digest}, ok" in text
    assert f"get {tmp_path}/there: {len(data)} bytes, sha256 {digest}, ok" in text
    assert "not kept" not in text
    watch = Watch(world)
    run(world, "scp", "-O", f"{WHERE}:{tmp_path}/there", str(tmp_path / "again"))
    text = viewed(world, "export", "--format", "text", watch.session().session)
    assert f"file there: {len(data)} bytes, sha256 {digest}, mode 0644, ok" in text
    assert "content" not in text


def test_channels_beside_a_shell_are_named_and_shown(world: World, tmp_path: Path) -> None:
    watch = Watch(world)
    shared = ["-o", f"ControlPath={tmp_path}/socket"]
    master = world.client(options=[*shared, "-M", "-tt"])
    try:
        master.send(b"echo rea''dy\r")
        master.expect(b"ready")
        assert world.ssh("echo from-the-command | base64", options=shared).stdout
        assert world.ssh("true", options=shared).returncode == 0
        master.send(b"exit 3\r")
        assert master.wait(20) == 3
    finally:
        master.close()
    session = watch.session().session
    for command in (["replay", "--speed", "0"], ["export", "--format", "text"], ["export"]):
        text = viewed(world, *command, session)
        assert "2 other channels: 2: exec echo from-the-command | base64, exit 0" in text
        assert "exec true, exit 0, nothing shown" in text
        text = viewed(world, *command, "--all", session)
        assert "ZnJvbS10aGUtY29tbWFuZAo=" in text and "channel 3: exec true" in text
        assert "exit 3" in text and text.index("exec true") < text.rindex("exit")


LONG = "tr a-z A-Z < /srv/one | sort | uniq -c | sort -rn | head -20 > /srv/two/three # end"
KEYS = [
    ("PS1='of-some-host-with-a-long-name:/srv/data'\"$ \"", "data$ "),
    (LONG, "data$ "),
    ("\x1b[A\x01: \x1b[F, EDITED", "data$ "),
    (r"printf 'pass=a\033[5bz\n'", "data$ "),
    (r"printf '\033(0lqqk\033(B\n'", "data$ "),
    ("echo 你好\x1b[D\x1b[DX", "data$ "),
    (r"tput init; tabs 4; printf 'a\tb\n'; tabs 8", "data$ "),
    (r"printf 'a\033krm -rf /\033\\b\n'", "data$ "),
]


def test_text_is_what_the_terminal_showed(world: World) -> None:
    watch = Watch(world)
    program, *rest = world.ssh_command(
        "env LC_ALL=C.UTF-8 TERM=xterm bash --norc --noprofile", options=["-tt"]
    )
    shell = pexpect.spawn(program, rest, dimensions=(24, 80), timeout=20, env=world.environment(None))
    try:
        shell.expect(r"[#$] ")
        for keys, answer in KEYS:
            shell.send(keys + "\r")
            shell.expect_exact("\n")
            shell.expect_exact(answer)
        shell.send("exit 0\r")
        shell.expect(pexpect.EOF)
    finally:
        shell.close(force=True)
    session = watch.session().session
    text = viewed(world, "export", "--format", "text", session)
    prompt = "of-some-host-with-a-long-name:/srv/data$ "
    for line in (LONG, f": {LONG}, EDITED"):
        whole = prompt + line
        assert "\n".join(whole[at : at + 80] for at in range(0, len(whole), 80)) + "\n" in text
    for line in ("pass=aaaaaaz", "┌──┐", prompt + "echo X你好", "X你好", "a   b", "ab"):
        assert f"\n{line}\n" in text, line
    assert "[bastion: hidden by ESC k in some terminals: rm -rf /]" in text
    assert "1 strings that some terminals show" in text
    assert "[ESC k: rm -rf /]" in viewed(world, "replay", "--speed", "0", session)
