"""asyncssh, which drops a peer that overruns a window: commands, sftp, many at once, forwards."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.support.doors import Door
from tests.support.patterns import pattern
from tests.support.trees import file_sum, make_file, make_tree, tree_sums
from tests.support.web import Web

pytestmark = pytest.mark.interop


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))


def test_commands(door: Door) -> None:
    async def work() -> asyncssh.SSHCompletedProcess:
        async with door.asyncssh() as connection:
            return await connection.run("cat; echo err >&2; exit 7", input=pattern(8 << 20), encoding=None)

    watch = door.watch()
    done = run(work())
    assert (done.exit_status, done.stdout, done.stderr) == (7, pattern(8 << 20), b"err\n")
    recorded = watch.session()
    assert recorded.exported() == done.stdout and recorded.exported("stderr") == b"err\n"


def test_forty_at_once(door: Door) -> None:
    async def work() -> list[bytes]:
        async with door.asyncssh() as connection:
            texts = [b"%d" % number * 30_000 for number in range(40)]
            done = await asyncio.gather(
                *(
                    connection.run(f"echo {number}; cat", input=text, encoding=None)
                    for number, text in enumerate(texts)
                )
            )
            return [one.stdout for one in done]

    watch = door.watch()
    seen = run(work())
    assert seen == [b"%d\n" % number + b"%d" % number * 30_000 for number in range(40)]
    assert sorted(watch.session().streams().values()) == sorted(seen)


def test_sftp(door: Door, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "here")
    large = make_file(tmp_path / "large", (16 << 20) + 1)

    async def work() -> None:
        async with door.asyncssh() as connection, connection.start_sftp_client() as sftp:
            await sftp.put(str(tree), str(tmp_path / "there"), recurse=True)
            await sftp.get(str(tmp_path / "there"), str(tmp_path / "back"), recurse=True)
            await sftp.put(str(large), str(tmp_path / "large-there"))
            await sftp.get(str(tmp_path / "large-there"), str(tmp_path / "large-back"))

    watch = door.watch()
    run(work())
    assert tree_sums(tmp_path / "there") == tree_sums(tmp_path / "back") == tree_sums(tree)
    assert file_sum(tmp_path / "large-there") == file_sum(tmp_path / "large-back") == file_sum(large)
    recorded = watch.session()
    assert recorded.programs() == ["subsystem sftp"]
    moved = {line["bytes_written"] + line["bytes_read"] for line in recorded.audit("sftp_file")}
    assert large.stat().st_size in moved


def test_a_local_forward(door: Door, tmp_path: Path) -> None:
    whole = make_file(tmp_path / "web" / "file", 1 << 20).read_bytes()

    async def work(port: int) -> bytes:
        async with door.asyncssh() as connection:
            reader, writer = await connection.open_connection("localhost", port)
            writer.write(b"GET /file HTTP/1.0\r\n\r\n")
            answer = await reader.read()
            writer.close()
            return bytes(answer)

    watch = door.watch()
    with Web(tmp_path / "web") as web:
        answer = run(work(web.port))
    assert answer.endswith(b"\r\n\r\n" + whole)
    assert watch.session().exported() == answer
