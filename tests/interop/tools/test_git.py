"""git over ssh: clone, push, fetch, with protocol version 2 as the environment asks."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.doors import Door, missing
from tests.support.trees import make_tree, tree_sums

pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(missing("git")), reason=missing("git") or "there")]

IDENTITY = {
    "GIT_AUTHOR_NAME": "Alice", "GIT_AUTHOR_EMAIL": "alice@example.com", "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_COMMITTER_NAME": "Alice", "GIT_COMMITTER_EMAIL": "alice@example.com", "GIT_CONFIG_SYSTEM": "/dev/null",
}  # fmt: skip


def git(door: Door, folder: Path, *arguments: str) -> str:
    environment = {**IDENTITY, "GIT_SSH_COMMAND": door.rsh, "GIT_SSH_VARIANT": "ssh"}
    done = door.run(["git", *arguments], folder=folder, environment=environment)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def files(folder: Path) -> dict[str, str]:
    return {name: total for name, total in tree_sums(folder).items() if not name.startswith(".git/")}


def test_clone_push_and_fetch(door: Door, tmp_path: Path) -> None:
    bare = tmp_path / "server" / "project.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(bare)], check=True)
    url = f"ssh://{door.host}{bare}"
    watch = door.watch()
    git(door, tmp_path, "clone", "-q", url, "first")
    make_tree(tmp_path / "first" / "tree")
    git(door, tmp_path / "first", "add", "-A")
    git(door, tmp_path / "first", "commit", "-q", "-m", "one")
    git(door, tmp_path / "first", "push", "-q", "origin", "HEAD:main")
    git(door, tmp_path, "clone", "-q", "-b", "main", url, "second")
    assert files(tmp_path / "second") == files(tmp_path / "first") != {}
    (tmp_path / "second" / "more").write_text("more\n")
    git(door, tmp_path / "second", "add", "-A")
    git(door, tmp_path / "second", "commit", "-q", "-m", "two")
    git(door, tmp_path / "second", "push", "-q", "origin", "main")
    git(door, tmp_path / "first", "pull", "-q", "origin", "main")
    assert files(tmp_path / "second") == files(tmp_path / "first")
    subprocess.run(["git", "-C", str(bare), "fsck", "--strict"], check=True, capture_output=True)
    recorded = watch.sessions(5)
    programs = [one.programs()[0].split()[1] for one in recorded]
    assert programs == [
        "git-upload-pack",
        "git-receive-pack",
        "git-upload-pack",
        "git-receive-pack",
        "git-upload-pack",
    ]
    # What was pushed is in the recording: a pack, whole.
    assert b"PACK" in recorded[1].exported("stdin") and b"PACK" in recorded[2].exported()
    sent = [event["detail"] for event in recorded[0].events("request_forwarded") if event["name"] == "env"]
    assert {"GIT_PROTOCOL"} <= {detail["name"] for detail in sent}
