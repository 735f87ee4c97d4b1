"""New keys in the middle of a transfer, asked for by the client every megabyte: nothing is lost or doubled.

The sshd of the shared world asks for new keys every 16 MB, so that exchanges of both legs meet.
"""

from __future__ import annotations

import pytest

from tests.support.doors import Door
from tests.support.patterns import pattern, pattern_command

pytestmark = pytest.mark.interop

SIZE = 24 << 20
OPTIONS = ["-v", "-o", "RekeyLimit=1M"]


def count_of_rekeys(err: bytes) -> int:
    return err.count(b"SSH2_MSG_NEWKEYS received")


def test_keys_change_while_output_flows(door: Door) -> None:
    watch = door.watch()
    done = door.ssh(pattern_command(SIZE), options=OPTIONS)
    assert done.returncode == 0 and done.stdout == pattern(SIZE)
    assert count_of_rekeys(done.stderr) > 10
    assert watch.session().exported() == done.stdout


def test_keys_change_while_input_flows(door: Door) -> None:
    watch = door.watch()
    done = door.ssh("sha256sum", options=OPTIONS, stdin=pattern(SIZE))
    assert done.returncode == 0 and count_of_rekeys(done.stderr) > 10
    recorded = watch.session()
    assert recorded.exported("stdin") == pattern(SIZE) and recorded.exported() == done.stdout


def test_keys_change_while_both_flow(door: Door) -> None:
    watch = door.watch()
    done = door.ssh("cat", options=OPTIONS, stdin=pattern(SIZE))
    assert done.returncode == 0 and done.stdout == pattern(SIZE)
    assert count_of_rekeys(done.stderr) > 10
    assert watch.session().exported() == pattern(SIZE)
