"""Commands of a recording: those that were asked for, exactly."""

from __future__ import annotations

import pytest

from bastion.recording.commands import Command, commands_of
from bastion.relay import events as relay
from bastion.sides import Side
from tests.unit.recording.samples import SESSION, Tape


def asked(tape: Tape, channel: int, name: str, **detail: str) -> None:
    tape.recorder.event(relay.ChannelOpened(channel, "session", Side.CLIENT, {}))
    tape.recorder.event(relay.RequestForwarded(channel, Side.CLIENT, name, detail))


def closed(tape: Tape, channel: int) -> None:
    tape.recorder.event(relay.ChannelClosed(channel, "session", 0, 0))


def found(tape: Tape) -> list[Command]:
    tape.burst()
    return list(commands_of(tape.end().reader()))


def test_an_exec_is_exact_with_its_times_and_its_exit() -> None:
    tape = Tape()
    tape.clock.advance(1.5)
    asked(tape, 3, "exec", command="rm -rf /x")
    tape.clock.advance(2.0)
    tape.recorder.event(relay.ExitStatus(3, 4))
    tape.clock.advance(1.0)
    closed(tape, 3)
    (command,) = found(tape)
    assert (command.session, command.channel, command.kind, command.text) == (SESSION, 3, "exec", "rm -rf /x")
    assert (command.source, command.exit_status, command.refused) == ("request", 4, "")
    assert (command.start, command.offset, command.end) == pytest.approx((1.5, 1.5, 3.5))
    assert command.at == pytest.approx(1_800_000_001.5)
    assert command.document()["text"] == "rm -rf /x"


def test_subsystems_and_signals_are_told_and_they_come_as_they_end() -> None:
    tape = Tape()
    asked(tape, 1, "subsystem", subsystem="sftp")
    asked(tape, 2, "exec", command="sleep 9")
    asked(tape, 3, "exec", command="still running")
    tape.recorder.event(relay.ExitSignal(2, "TERM", False, ""))
    closed(tape, 2)
    closed(tape, 1)
    commands = found(tape)
    assert [(one.kind, one.text) for one in commands] == [
        ("exec", "sleep 9"), ("subsystem", "sftp"), ("exec", "still running")]  # fmt: skip
    assert commands[0].signal == "TERM" and commands[2].end is None and commands[2].exit_status is None


def test_what_was_refused_says_so() -> None:
    tape = Tape()
    detail = {"name": "exec", "reason": "no_verb", "detail": {"command": "id"}}
    tape.recorder.note("request_refused", 1, detail)
    asked(tape, 2, "exec", command="ls")
    tape.recorder.event(relay.RequestAnswered(2, Side.TARGET, "exec", False))
    closed(tape, 2)
    assert [(one.text, one.refused) for one in found(tape)] == [("id", "no_verb"), ("ls", "by the target")]
