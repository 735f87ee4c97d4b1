"""A shell in a terminal: its size and changes of it, Ctrl-C, signals; every byte shown is in the recording."""

from __future__ import annotations

import pytest

from tests.support.doors import Door
from tests.support.terminals import Terminal

pytestmark = pytest.mark.interop


def test_the_size_of_the_terminal_and_its_changes(door: Door) -> None:
    watch = door.watch()
    with Terminal(door, size=(31, 97)) as terminal:
        assert terminal.ask("stty size") == "31 97"
        terminal.resize(50, 132)
        terminal.until("stty size", "50 132")
        terminal.resize(10, 40)
        terminal.until("stty size", "10 40")
        terminal.leave("exit 7")
        assert terminal.exit_status == 7
    recorded = watch.session()
    assert recorded.exported("stdout") == terminal.shown
    assert recorded.exported("stdin") == terminal.typed
    assert recorded.channels()[1].size == (97, 31)
    changes = [(event["cols"], event["rows"]) for event in recorded.events("window_changed")]
    assert changes == [(132, 50), (40, 10)]


def test_control_c_interrupts_what_runs(door: Door) -> None:
    watch = door.watch()
    with Terminal(door) as terminal:
        terminal.type("sh -c 'echo star\\ted; exec sleep 60'\r")
        terminal.expect("started\r\n")
        terminal.type("\x03")
        terminal.expect_prompt()
        assert terminal.ask("echo $?") == "130"
        terminal.leave("exit")
    recorded = watch.session()
    assert recorded.exported() == terminal.shown and recorded.exported("stdin") == terminal.typed


def test_a_command_in_a_terminal_sees_one(door: Door) -> None:
    watch = door.watch()
    done = door.ssh("tty; echo err >&2; exit 3", options=["-tt"])
    assert done.returncode == 3 and done.stdout.startswith(b"/dev/pts/") and done.stdout.endswith(b"err\r\n")
    assert watch.session().exported() == done.stdout


def test_without_a_terminal_there_is_none(door: Door) -> None:
    assert door.ssh("tty").stdout == b"not a tty\n"


def test_a_terminal_that_is_closed_hangs_up_its_shell(door: Door) -> None:
    """Keystrokes that end ssh itself: `~.`"""
    watch = door.watch()
    with Terminal(door) as terminal:
        shell = int(terminal.ask("echo $$"))
        terminal.type("\r~.")
        terminal.expect_end()
        assert terminal.exit_status == 255
    recorded = watch.session()
    assert recorded.exported() == terminal.shown
    door.wait_until_gone(shell)
