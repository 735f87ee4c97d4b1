"""What was done with files, as a tree: sftp and scp, at the paths that were named, bounded."""

from __future__ import annotations

from typing import Any

import pytest

from bastion.recording import file_tree
from bastion.recording.bulk import Mode, RecordingPolicy
from bastion.recording.file_tree import FileTree, walk
from bastion.sides import Side
from tests.unit.recording.samples import Tape

HOSTILE = "<img src=x onerror=alert(1)>\x1b]0;x\x07\u202e"


def tape() -> Tape:
    return Tape(RecordingPolicy(mode=Mode.FULL, input=True))


def sftp(made: Tape, *notes: tuple[str, dict[str, Any]]) -> Tape:
    made.recorder.note("channel_opened", 1, {"kind": "session"})
    made.recorder.note("request_forwarded", 1, {"name": "subsystem", "detail": {"subsystem": "sftp"}})
    made.recorder.note("sftp_started", 1, {})
    for event, values in notes:
        made.clock.advance(1)
        made.recorder.note(event, 1, values)
    return made.end()


def told(made: Tape) -> FileTree:
    tree = FileTree()
    for _ in walk(made.reader(), tree):
        pass
    return tree


def flat(tree: FileTree) -> dict[str, list[tuple[float, str]]]:
    """Path -> what was done there."""
    found: dict[str, list[tuple[float, str]]] = {}

    def look(place: Any, path: str) -> None:
        if place["deeds"]:
            found[path] = [(time, text) for time, _, text in place["deeds"]]
        for one in place["below"]:
            look(one, f"{path}|{one['name']}" if path else one["name"])

    look(tree.top.document(), "")
    return found


def operation(name: str, path: str, outcome: str = "ok", **more: str) -> tuple[str, dict[str, Any]]:
    return "sftp_operation", {"name": name, "path": path, "outcome": outcome, **more}


def closed(path: str, read: int = 0, written: int = 0) -> tuple[str, dict[str, Any]]:
    values = {
        "path": path,
        "bytes_read": read,
        "bytes_written": written,
        "sha256": "ab" * 32,
        "outcome": "ok",
    }
    return "sftp_file", {**values, "flags": "read"}


def test_sftp_stands_at_its_paths_in_the_order_of_time() -> None:
    found = flat(
        told(
            sftp(
                tape(),
                closed("/srv/www/index.html", written=120),
                operation("rename", "/srv/www/index.html", to="/srv/www/old.html"),
                operation("remove", "/srv/www/../x", "permission denied"),
                closed("notes.txt", read=7),
                operation("mkdir", "./backup//today"),
                (
                    "sftp_refused",
                    {"name": "open", "path": "/etc/shadow", "text": "no reading there", "rule": "r"},
                ),
                operation("close", "/srv/www/index.html"),
                operation("realpath", "."),
            )
        )
    )
    digest = "sha256 " + "ab" * 32
    assert found == {
        "/|srv|www|index.html": [
            (1.0, f"put: 120 bytes, {digest}, ok"),
            (2.0, "rename: ok, to /srv/www/old.html"),
        ],
        "/|srv|www|old.html": [(2.0, "rename: ok, from /srv/www/index.html")],
        "/|srv|www|..|x": [(3.0, "remove: permission denied")],
        "~|notes.txt": [(4.0, f"get: 7 bytes, {digest}, ok")],
        "~|backup|today": [(5.0, "mkdir: ok")],
        "/|etc|shadow": [(6.0, "REFUSED open: no reading there")],
    }


def scp(command: str, side: Side, *data: bytes) -> Tape:
    made = tape()
    made.recorder.note("channel_opened", 1, {"kind": "session"})
    made.recorder.note("request_forwarded", 1, {"name": "exec", "detail": {"command": command}})
    for piece in data:
        made.clock.advance(1)
        made.recorder.data(1, side, 0, piece)
    return made.end()


def test_scp_stands_where_it_put_its_files_and_where_they_came_from() -> None:
    sent = (
        b"D0755 0 site\n",
        b"C0644 5 a.txt\n",
        b"hello\0",
        b"D0700 0 deep\n",
        b"E\n",
        b"C0600 2 b\nhi\1",
        b"E\n",
    )
    up = flat(told(scp("scp -r -t '/srv/my site'", Side.CLIENT, *sent)))
    assert list(up) == [
        "/|srv|my site|site", "/|srv|my site|site|a.txt", "/|srv|my site|site|b", "/|srv|my site|site|deep",
    ]  # fmt: skip
    assert up["/|srv|my site|site"] == [(1.0, "made: folder, mode 0755")]
    ((time, text),) = up["/|srv|my site|site|a.txt"]
    assert time == 3.0 and text.startswith("put: 5 bytes, sha256 2cf24dba") and text.endswith("mode 0644, ok")
    assert up["/|srv|my site|site|b"][0][1].endswith("failed")
    down = flat(told(scp("scp -f /etc/hosts", Side.TARGET, b"C0644 5 hosts\n", b"hello\0")))
    assert list(down) == ["/|etc|hosts"] and down["/|etc|hosts"][0][1].startswith("get: 5 bytes")
    assert list(flat(told(scp("scp -f hosts", Side.TARGET, b"C0644 5 hosts\n", b"hello\0")))) == ["~|hosts"]
    assert list(flat(told(scp("scp -t .", Side.CLIENT, b"C0644 5 a\n", b"hello\0")))) == ["~|a"]
    assert flat(told(scp("scp -t /x; sh", Side.CLIENT, b"C0644 5 a\n", b"hello\0"))) == {}
    assert list(flat(told(scp("scp -t '/x", Side.CLIENT, b"C0644 5 a\n", b"hello\0")))) == ["~|'|x|a"]


def test_names_are_text_and_of_a_length() -> None:
    found = flat(told(sftp(tape(), closed(f"/{HOSTILE}/{'n' * 900}"), closed("/" + "d/" * 300 + "end"))))
    assert not any(char in path for path in found for char in "\x1b\x07\u202e") and any(
        "<img" in one for one in found
    )
    assert max(path.count("|") for path in found) == file_tree.DEEPEST
    assert all(len(name) <= file_tree.LONGEST_NAME + 3 for path in found for name in path.split("|"))


@pytest.mark.parametrize("limit", ["MOST_PLACES", "MOST_DEEDS"])
def test_there_are_so_many_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(file_tree, limit, 5)
    tree = told(sftp(tape(), *(closed(f"/f{number}") for number in range(20))))
    assert tree.more in (15, 16) and len(flat(tree)) == 20 - tree.more
