"""The tree of a session's files, as a page without a script."""

from __future__ import annotations

from html import unescape

import pytest

from bastion.clock import FixedClock
from bastion.recording.recorder import Recorder
from tests.support.world import poll
from tests.unit.cli.made import FIRST
from tests.unit.console.conftest import MARKUP, header
from tests.unit.console.made import ConsoleSite, Elements

pytestmark = pytest.mark.slow

MOVED = "ffffffffgggggggg"


def moved(made: ConsoleSite) -> None:
    about, clock = header(MOVED, "eve", "web1"), FixedClock()
    writer, recorder = made.store.create(about), Recorder(about, clock)
    recorder.note("channel_opened", 1, {"kind": "session"})
    recorder.note("request_forwarded", 1, {"name": "subsystem", "detail": {"subsystem": "sftp"}})
    recorder.note("sftp_started", 1, {})
    for path in ("/srv/a.txt", f"/srv/{MARKUP}", "b.txt"):
        clock.advance(1)
        values = {"path": path, "bytes_read": 0, "bytes_written": 7, "sha256": "ab" * 32, "outcome": "ok"}
        recorder.note("sftp_file", 1, {**values, "flags": "write"})
    recorder.note(
        "sftp_operation", 1, {"name": "rename", "path": "/srv/a.txt", "to": "/srv/c.txt", "outcome": "ok"}
    )
    writer.write(recorder.take())
    writer.close(recorder.finish("client_closed"))
    poll(lambda: writer.closed, text="the file was never closed")
    made.index(about)


def test_files_stand_as_a_tree_with_what_was_done_and_when(console: ConsoleSite) -> None:
    moved(console)
    browser = console.browser("ada", "127.3.2.1")
    assert f"/sessions/{MOVED}/files" in browser.get(f"/sessions/{MOVED}").text
    got = browser.get(f"/sessions/{MOVED}/files")
    found = Elements(got.text).found
    assert {tag for tag, _ in found} & {"script", "img", "iframe"} == set()
    assert not any(
        name.startswith("on") for tag, attributes in found for name in attributes if tag != "details"
    )
    links = [str(attributes.get("href")) for tag, attributes in found if tag == "a"]
    assert f"/sessions/{MOVED}/play?at=1.000&channel=1" in links and not any(
        "javascript" in one for one in links
    )
    text = unescape(got.text)
    for part in ("<code>/</code>", "<code>~</code>", "<code>a.txt</code>", "<code>b.txt</code>", "put: 7 bytes",
                 "rename: ok, to /srv/c.txt", "rename: ok, from /srv/a.txt", "alert(1)"):  # fmt: skip
        assert part in text, part
    line = console.audit("recordings_read")[-1]
    assert (line["command"], line["session"]) == ("console files", MOVED)
    assert "No file was touched" in browser.get(f"/sessions/{FIRST}/files").text
    assert console.browser("abe", "127.3.2.2").get(f"/sessions/{MOVED}/files").status == 403
