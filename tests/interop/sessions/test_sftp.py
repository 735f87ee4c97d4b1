"""The sftp subsystem: the protocol as it is, and OpenSSH's sftp on top of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.doors import Door
from tests.support.trees import file_sum, make_file

pytestmark = pytest.mark.interop


def test_put_and_get(door: Door, tmp_path: Path) -> None:
    here = make_file(tmp_path / "here", (3 << 20) + 17)
    there, back = tmp_path / "there", tmp_path / "back"
    watch = door.watch()
    batch = f"put {here} {there}\nget {there} {back}\nls -l {there}\n".encode()
    done = door.run(door.command("sftp", "-b", "-", door.host), stdin=batch)
    assert done.returncode == 0, done.stderr
    assert file_sum(there) == file_sum(back) == file_sum(here)
    recorded = watch.session()
    assert recorded.programs() == ["subsystem sftp"]


def test_the_bytes_of_the_protocol(door: Door) -> None:
    """INIT, REALPATH: what comes back is what is recorded, bit for bit."""
    init = bytes.fromhex("00000005 01 00000003")
    realpath = bytes.fromhex("0000000e 10 00000007 00000005") + b"/tmp/"
    watch = door.watch()
    with Client(door.command("ssh", "-s", door.host, "sftp"), door.environment()) as client:
        client.send(init + realpath)
        client.expect(b"/tmp")
        client.end_input()
        assert client.wait() == 0
        seen = client.out
    assert seen[4:9] == bytes.fromhex("02 00000003")
    recorded = watch.session()
    assert recorded.exported() == seen and recorded.exported("stdin") == init + realpath
