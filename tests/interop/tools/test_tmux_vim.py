"""tmux and vi in a terminal, driven by keystrokes: what the screen got is in the recording, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.doors import Door, missing
from tests.support.terminals import Terminal

pytestmark = pytest.mark.interop
TMUX = pytest.mark.skipif(bool(missing("tmux")), reason=missing("tmux") or "there")
VI = pytest.mark.skipif(bool(missing("vi")), reason=missing("vi") or "there")


@VI
def test_vi(door: Door, tmp_path: Path) -> None:
    file = tmp_path / "file"
    watch = door.watch()
    with Terminal(door, size=(30, 100)) as terminal:
        terminal.type(f"vi -u NONE -N {file}\r")
        terminal.expect("file")
        terminal.type("ifirst line\rsecond lyne")
        terminal.expect("lyne")
        terminal.type("\x1bbcwline\x1b")
        terminal.resize(20, 60)
        terminal.type("yyp:%s/first/1st/\r:w\r")
        terminal.expect("written")
        terminal.type(":q\r")
        terminal.expect_prompt()
        terminal.leave("exit 4")
        assert terminal.exit_status == 4
    assert file.read_text() == "1st line\nsecond line\nsecond line\n"
    recorded = watch.session()
    assert recorded.exported("stdout") == terminal.shown and recorded.exported("stdin") == terminal.typed
    assert [(event["cols"], event["rows"]) for event in recorded.events("window_changed")] == [(60, 20)]


@TMUX
def test_tmux(door: Door, tmp_path: Path) -> None:
    """A session that outlives its connection: detach, come back, and find it."""
    socket = f"bastion-{door.name}"
    # Keys that come fast are no paste here.
    (tmp_path / "conf").write_text("set -g assume-paste-time 0\n")
    tmux = f"env -u TMUX tmux -u -L {socket} -f {tmp_path}/conf"
    watch = door.watch()
    try:
        with Terminal(door, size=(30, 100)) as terminal:
            terminal.type(f"{tmux} new-session -s work 'PS1=\"in''side> \" sh'\r")
            terminal.expect("inside> ")
            terminal.type("echo MARK''ED\r")
            terminal.expect("MARKED")
            terminal.type("\x02c")  # another window, and back
            terminal.expect("1:")
            terminal.type("\x020")
            terminal.expect("MARKED")
            terminal.type("\x02d")
            terminal.expect("[detached (from session work)]")
            terminal.expect_prompt()
            terminal.leave("exit")
        with Terminal(door, size=(20, 80)) as again:
            again.type(f"{tmux} attach\r")
            again.expect("MARKED")
            again.type("tmux kill-server\r")
            again.expect("[server exited]")
            again.expect_prompt()
            again.leave("exit 5")
            assert again.exit_status == 5
    finally:
        door.ssh(f"{tmux} kill-server")
    first, second, _ = watch.sessions(3)
    assert first.exported("stdout") == terminal.shown and first.exported("stdin") == terminal.typed
    assert second.exported("stdout") == again.shown and second.exported("stdin") == again.typed
