"""OpenSSH's sftp with a batch: every operation, and large files whose sums the audit log has."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.doors import Door
from tests.support.patterns import pieces
from tests.support.trees import file_sum, make_tree, tree_sums

pytestmark = pytest.mark.interop

SIZES = [
    pytest.param(20 * 10**6, id="20MB"),
    pytest.param(5 * 10**9, id="5GB", marks=pytest.mark.soak),
]

OPERATIONS = (
    "mkdir folder",
    "rename old folder/new",
    "ln -s folder/new link",
    "chmod 640 folder/new",
    "ls -la",
    "ln folder/new hard",
    "df",
    "rm hard",
    "symlink folder other",
    "pwd",
    "mkdir gone",
    "rmdir gone",
)


def sftp(door: Door, *lines: str, timeout: float = 60) -> None:
    batch = "".join(line + "\n" for line in lines).encode()
    done = door.run(door.command("sftp", "-b", "-", door.host), stdin=batch, timeout=timeout)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("size", SIZES)
def test_a_large_file_there_and_back(door: Door, tmp_path: Path, size: int) -> None:
    here, there, back = tmp_path / "here", tmp_path / "there", tmp_path / "back"
    with here.open("wb") as file:
        file.writelines(pieces(size))
    watch = door.watch()
    sftp(door, f"put {here} {there}", f"get {there} {back}", timeout=1800)
    assert file_sum(there) == file_sum(back) == file_sum(here)
    for path in (here, there, back):
        path.unlink()
    recorded = watch.session()
    assert recorded.file_sums() == [recorded.file_sums()[0]] * 2
    files = recorded.audit("sftp_file")
    assert [(line["bytes_written"], line["bytes_read"]) for line in files] == [(size, 0), (0, size)]
    recorded.remove()


def test_a_tree_there_and_back(door: Door, tmp_path: Path) -> None:
    here = make_tree(tmp_path / "here")
    watch = door.watch()
    sftp(door, f"put -R {here} {tmp_path}/there", f"get -R {tmp_path}/there {tmp_path}/back")
    assert tree_sums(tmp_path / "there") == tree_sums(tmp_path / "back") == tree_sums(here)
    wanted = sorted([*tree_sums(here).values()] * 2)
    assert sorted(watch.session().file_sums()) == wanted


def test_every_other_operation(door: Door, tmp_path: Path) -> None:
    (tmp_path / "old").write_text("content")
    watch = door.watch()
    sftp(door, f"cd {tmp_path}", *OPERATIONS)
    assert (tmp_path / "folder" / "new").read_text() == "content"
    assert (tmp_path / "folder" / "new").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "link").readlink() == Path("folder/new") and (tmp_path / "other").is_dir()
    assert not (tmp_path / "hard").exists() and not (tmp_path / "gone").exists()
    names = {line["name"] for line in watch.session().audit("sftp_operation")}
    assert len(names) >= 6, names


def test_resumed_transfers(door: Door, tmp_path: Path) -> None:
    """A file that did not pass whole has no sum."""
    whole = b"".join(pieces(3 << 20))
    (tmp_path / "here").write_bytes(whole)
    (tmp_path / "there").write_bytes(whole[: 1 << 20])
    watch = door.watch()
    sftp(door, f"put -a {tmp_path}/here {tmp_path}/there")
    assert (tmp_path / "there").read_bytes() == whole
    (line,) = watch.session().audit("sftp_file")
    assert line["bytes_written"] == 2 << 20 and "sha256" not in line and line["unhashed"]
