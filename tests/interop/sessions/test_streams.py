"""What a command writes where: stdout and stderr apart, every byte value, nothing at all, pipes closed early."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from pathlib import Path

import pytest

from tests.support.doors import Door

pytestmark = pytest.mark.interop

EVERY_BYTE = bytes(range(256)) * 1024


def test_stderr_is_kept_apart_from_stdout(door: Door) -> None:
    watch = door.watch()
    done = door.ssh("for i in $(seq 500); do echo out $i; echo err $i >&2; done; exit 3")
    assert done.returncode == 3
    assert done.stdout == b"".join(b"out %d\n" % i for i in range(1, 501))
    assert done.stderr == b"".join(b"err %d\n" % i for i in range(1, 501))
    recorded = watch.session()
    assert recorded.exported("stdout") == done.stdout
    assert recorded.exported("stderr") == done.stderr


def test_stderr_after_stdout_has_ended(door: Door) -> None:
    watch = door.watch()
    done = door.ssh("echo first; exec 1>&-; sleep 0.2; echo last >&2; exit 4")
    assert (done.returncode, done.stdout, done.stderr) == (4, b"first\n", b"last\n")
    recorded = watch.session()
    assert (recorded.exported("stdout"), recorded.exported("stderr")) == (done.stdout, done.stderr)


def test_every_byte_value_both_ways(door: Door) -> None:
    watch = door.watch()
    done = door.ssh("cat", stdin=EVERY_BYTE)
    assert done.returncode == 0 and done.stdout == EVERY_BYTE and done.stderr == b""
    recorded = watch.session()
    assert recorded.exported("stdout") == EVERY_BYTE and recorded.exported("stdin") == EVERY_BYTE


def test_every_byte_value_on_stderr(door: Door) -> None:
    watch = door.watch()
    done = door.ssh("cat >&2", stdin=EVERY_BYTE)
    assert done.stderr == EVERY_BYTE and done.stdout == b""
    assert watch.session().exported("stderr") == EVERY_BYTE


@pytest.mark.parametrize("command", ["true", "cat", "exec 1>&- 2>&-", "cat > /dev/null"])
def test_a_command_that_says_nothing(door: Door, command: str) -> None:
    watch = door.watch()
    done = door.ssh(command)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    recorded = watch.session()
    assert recorded.exported("stdout") == recorded.exported("stderr") == b""
    assert recorded.totals["bytes_in"] == recorded.totals["bytes_out"] == 0


def test_a_command_that_closes_stdout_early_goes_on_reading(door: Door, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    watch = door.watch()
    done = door.ssh(f"echo hello; exec 1>&-; cat > {kept}; exit 5", stdin=EVERY_BYTE)
    assert (done.returncode, done.stdout) == (5, b"hello\n")
    assert kept.read_bytes() == EVERY_BYTE
    recorded = watch.session()
    assert recorded.exported() == b"hello\n" and recorded.exported("stdin") == EVERY_BYTE


def test_a_command_that_leaves_its_input_unread(door: Door) -> None:
    watch = door.watch()
    with door.open("head -c 6 && exit 6") as ssh:
        out, _ = ssh.communicate(b"first\n" + bytes(8 << 20), timeout=60)
    assert (ssh.returncode, out) == (6, b"first\n")
    assert watch.session().exported() == b"first\n"


def test_a_program_that_reads_no_more_stops_its_sender(door: Door) -> None:
    """sshd says so with eow@openssh.com, to a peer that it takes for OpenSSH; else all would be sent for nothing."""
    accepted = [0]

    def feed() -> None:
        assert ssh.stdin is not None
        with contextlib.suppress(OSError):
            while accepted[0] < 1 << 30:
                accepted[0] += ssh.stdin.write(bytes(1 << 20))

    with door.open("head -c 1; exec 0<&-; echo closed; sleep 60") as ssh:
        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        assert ssh.stdout is not None and ssh.stdout.read(8) == b"\0closed\n"
        feeder.join(1.5)
        assert accepted[0] < 32 << 20
        ssh.kill()
        feeder.join(20)


def test_a_client_that_stops_listening_ends_the_command(door: Door) -> None:
    """`ssh web1 yes | head -1`: what was sent in the meantime is in the recording, behind what was shown."""
    watch = door.watch()
    with door.open("yes; echo $? > /dev/null") as ssh:
        assert ssh.stdout is not None
        shown = ssh.stdout.read(1 << 20)
        ssh.stdout.close()
        ssh.wait(60)
    recorded = watch.session().exported()
    assert len(shown) == 1 << 20 and recorded.startswith(shown)
    assert recorded == b"y\n" * (len(recorded) // 2) + b"y" * (len(recorded) % 2)


def test_the_end_of_input_reaches_the_command(door: Door) -> None:
    """Half-close: the command's output begins only when the client's has ended."""
    watch = door.watch()
    counted = door.ssh("cat | wc -c", stdin=EVERY_BYTE)
    assert counted.stdout.strip() == b"%d" % len(EVERY_BYTE)
    assert watch.session().exported() == counted.stdout
    watch = door.watch()
    summed = door.ssh("sha256sum; echo and more; exit 9", stdin=EVERY_BYTE)
    assert summed.returncode == 9
    assert summed.stdout == f"{hashlib.sha256(EVERY_BYTE).hexdigest()}  -\nand more\n".encode()
    assert watch.session().exported() == summed.stdout


def test_no_input_at_all(door: Door) -> None:
    done = door.ssh("wc -c", options=["-n"])
    assert (done.returncode, done.stdout.strip()) == (0, b"0")
