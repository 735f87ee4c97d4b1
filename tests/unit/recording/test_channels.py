"""Every channel of a recording by name, whatever it printed."""

from __future__ import annotations

from bastion.recording import channels
from bastion.recording.channels import MOST_REFUSALS, choose_channel, survey
from bastion.relay import events as relay
from bastion.sides import Side
from tests.unit.recording.samples import Tape


def command(tape: Tape, channel: int, text: str, output: bytes = b"", status: int | None = 0) -> None:
    tape.recorder.event(relay.ChannelOpened(channel, "session", Side.CLIENT, {}))
    tape.recorder.event(relay.ChannelConfirmed(channel))
    tape.recorder.event(relay.RequestForwarded(channel, Side.CLIENT, "exec", {"command": text}))
    if output:
        tape.out(output, channel)
    if status is not None:
        tape.recorder.event(relay.ExitStatus(channel, status))
    tape.recorder.event(relay.ChannelClosed(channel, "session", 0, len(output)))
    tape.burst()


def test_a_command_that_printed_nothing_is_named_with_its_exit() -> None:
    tape = Tape()
    command(tape, 1, "rm -rf /x")
    (found,) = survey(tape.end().reader()).channels.values()
    assert found.label == "1: exec rm -rf /x, exit 0, nothing shown" and found.state == "closed"


def test_all_others_are_named_and_what_was_refused() -> None:
    tape = Tape()
    command(tape, 1, "true")
    command(tape, 2, "cat /etc/hostname | base64", b"eA==\n", status=None)
    tape.recorder.event(relay.ExitSignal(2, "TERM", False, ""))
    where = {"host": "db", "port": 5432}
    tape.recorder.event(relay.ChannelOpened(3, "direct-tcpip", Side.CLIENT, where))
    tape.recorder.event(relay.ChannelFailed(3, 2, "no"))
    tape.recorder.note("channel_refused", 0, {"kind": "direct-tcpip", "reason": "no_rule", "detail": where})
    found = survey(tape.end().reader())
    assert choose_channel(found.channels, None).id == 2
    assert found.others(2) == (
        "2 other channels: 1: exec true, exit 0, nothing shown; 3: direct-tcpip db:5432, refused by the target, "
        "nothing shown; 1 refused: direct-tcpip db:5432 (no_rule)"
    )
    assert found.channels[2].outcome == "killed by SIGTERM, 5 bytes shown"


def test_a_refused_command_is_what_was_asked_of_its_channel() -> None:
    tape = Tape()
    tape.recorder.event(relay.ChannelOpened(1, "session", Side.CLIENT, {}))
    for _ in range(MOST_REFUSALS + 5):
        detail = {"name": "exec", "reason": "no_verb", "detail": {"command": "id\x1b[2J"}}
        tape.recorder.note("request_refused", 1, detail)
    channel = survey(tape.end().reader()).channels[1]
    assert channel.what == "exec id\\x1b[2J (refused)" and len(channel.refused) == MOST_REFUSALS
    assert f"{MOST_REFUSALS + 5} requests refused" in channel.outcome


def test_what_a_peer_says_is_cut_and_cannot_act() -> None:
    tape = Tape()
    command(tape, 1, "echo \x1b]0;x\x07\u202e" + "y" * 100_000)
    channel = survey(tape.end().reader()).channels[1]
    assert len(channel.program) < 5000 and len(channel.label) < 300 and channel.label.isprintable()


def test_more_channels_than_are_kept_are_counted() -> None:
    tape = Tape()
    kept, channels.MOST_CHANNELS = channels.MOST_CHANNELS, 3
    try:
        for number in range(1, 8):
            command(tape, number, f"echo {number}", b"x")
        found = survey(tape.end().reader())
    finally:
        channels.MOST_CHANNELS = kept
    assert (len(found.channels), found.more) == (3, 4) and found.others(1).startswith("6 other channels: ")
