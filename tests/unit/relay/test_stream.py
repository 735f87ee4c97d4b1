"""SSH inside a forward: nothing of it crosses, both sides read EOF, and the rest lives on."""

import pytest

from bastion.errors import PolicyReason
from bastion.policy.verdict import Verdict
from bastion.relay import events
from bastion.relay.channels import Channel
from bastion.relay.stream import REFUSAL
from bastion.sides import Side
from bastion.wire import messages as m
from bastion.wire import requests as r
from tests.support.playbook import Playbook, Recorded, adjusts, asks, asks_all, confirms, opens, sends
from tests.unit.relay.conftest import MakePlaybook

CLIENT, TARGET = Side.CLIENT, Side.TARGET
BODIES = {
    "direct-tcpip": r.TcpipOpen("localhost", 8080, "127.0.0.1", 5).encode(),
    "direct-streamlocal@openssh.com": r.DirectStreamlocal("/run/x").encode(),
    "forwarded-tcpip": r.TcpipOpen("localhost", 8080, "127.0.0.1", 5).encode(),
    "forwarded-streamlocal@openssh.com": r.ForwardedStreamlocal("/run/x").encode(),
    "x11": r.X11Open("127.0.0.1", 5).encode(),
    "session": b"",
}
INVITATIONS = {
    "forwarded-tcpip": asks_all("tcpip-forward", r.TcpipForward("localhost", 8080), reply=False),
    "forwarded-streamlocal@openssh.com": asks_all(
        "streamlocal-forward@openssh.com", r.StreamlocalForward("/run/x"), reply=False
    ),
}
KINDS = [kind for kind in BODIES if kind not in ("x11", "session")]
# What each side calls the channel.
CLIENTS, TARGETS = 3, 7


def stream(book: Playbook, kind: str = "direct-tcpip") -> Channel:
    """An open channel of `kind`, called CLIENTS by the client and TARGETS by the target."""
    if kind in INVITATIONS:
        book.client(INVITATIONS[kind]).to_target(INVITATIONS[kind])
        asked = opens(kind, TARGETS, body=BODIES[kind])
        book.target(asked).to_client(asked)
        book.client(confirms(TARGETS, CLIENTS)).to_target(confirms(TARGETS, CLIENTS))
    else:
        asked = opens(kind, CLIENTS, body=BODIES[kind])
        book.client(asked).to_target(asked)
        book.target(confirms(CLIENTS, TARGETS)).to_client(confirms(CLIENTS, TARGETS))
    book.untold()
    return max(book.relay.channels.values(), key=lambda channel: channel.id)


def says(book: Playbook, side: Side, data: bytes) -> Playbook:
    return book.target(sends(CLIENTS, data)) if side else book.client(sends(TARGETS, data))


def hears(book: Playbook, side: Side, *pieces: bytes) -> Playbook:
    if side:
        return book.to_target(*(sends(TARGETS, data) for data in pieces))
    return book.to_client(*(sends(CLIENTS, data) for data in pieces))


def refused(channel_id: int, by: Side) -> events.StreamRefused:
    return events.StreamRefused(channel_id, by, PolicyReason.NESTED_SSH, REFUSAL, "builtin:nested-ssh")


def cut_off(book: Playbook) -> Playbook:
    """Both sides read EOF."""
    return book.to_client(m.Eof(CLIENTS)).to_target(m.Eof(TARGETS))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [CLIENT, TARGET])
def test_ssh_is_cut_off_on_both_sides(playbook: MakePlaybook, kind: str, side: Side) -> None:
    book = playbook()
    channel = stream(book, kind).id
    says(book, side, b"SSH-2.0-OpenSSH_9.2\r\n")
    cut_off(book).told(refused(channel, side))
    # Data that was under way is dropped, and so is the end that was said already.
    book.client(sends(TARGETS, b"more"), m.ExtendedData(TARGETS, 1, b"more"), m.Eof(TARGETS)).silence()
    book.target(sends(CLIENTS, b"SSH-2.0-x")).silence().told()
    # The rest is as ever, and so is the end of the channel.
    for line in (adjusts(TARGETS, 100), asks(TARGETS, "eow@openssh.com"), m.Close(TARGETS)):
        book.client(line).to_target(line)
    book.untold()
    book.target(m.Eof(CLIENTS)).silence()
    book.target(m.Close(CLIENTS)).to_client(m.Close(CLIENTS)).told(events.ChannelClosed(channel, kind, 0, 0))
    # The numbers are free and the connection lives on.
    book.session(CLIENTS, TARGETS)
    says(book, CLIENT, b"ls")
    hears(book, TARGET, b"ls").done()


def test_a_side_that_was_cut_off_keeps_to_its_window(playbook: MakePlaybook) -> None:
    book = playbook()
    stream(book)
    says(book, CLIENT, b"SSH-2.0-x")
    cut_off(book)
    for _ in range(64 - 1):
        says(book, CLIENT, bytes(32768)).silence()
    book.client_breaks(sends(TARGETS, bytes(32768)), "CHANNEL_DATA").done()


def test_data_after_a_side_has_said_eof_itself_is_an_error_though_it_was_cut(playbook: MakePlaybook) -> None:
    book = playbook()
    stream(book)
    says(book, CLIENT, b"SSH-2.0-x")
    cut_off(book)
    book.client(m.Eof(TARGETS)).silence()
    book.client_breaks(sends(TARGETS, b"more"), "after EOF").done()


@pytest.mark.parametrize("side", [CLIENT, TARGET])
@pytest.mark.parametrize("cut", [(b"S", b"SH-2.0"), (b"SS", b"H", b"-"), (b"SSH", b"", b"-2.0")])
def test_nothing_of_a_banner_crosses_however_it_is_cut(
    playbook: MakePlaybook, side: Side, cut: tuple[bytes, ...]
) -> None:
    book = playbook()
    channel = stream(book).id
    for piece in cut[:-1]:
        says(book, side, piece)
        if piece:
            book.silence().told()
        else:
            hears(book, side.other, b"").untold()
    says(book, side, cut[-1])
    cut_off(book).told(refused(channel, side)).done()


def test_a_greeting_before_the_banner_hides_nothing(playbook: MakePlaybook) -> None:
    book = playbook()
    stream(book)
    says(book, TARGET, b"hello\r\nSSH-2.0-x\r\n")
    hears(book, CLIENT, b"hello\r\nSSH-2.0-x\r\n")
    says(book, CLIENT, b"SSH-2.0-y\r\n")
    cut_off(book).done()


def test_what_could_become_ssh_and_does_not_goes_on_in_order(playbook: MakePlaybook) -> None:
    book = playbook()
    channel = stream(book).id
    says(book, CLIENT, b"SS").silence()
    says(book, CLIENT, b"TP/1.0")
    hears(book, TARGET, b"SS", b"TP/1.0")
    book.told(Recorded(channel, CLIENT, 0, b"SS"), Recorded(channel, CLIENT, 0, b"TP/1.0"))
    assert book.relay.channels[channel].bytes == [8, 0]
    # Now one letter of the other side is no reason to wait.
    says(book, TARGET, b"S")
    hears(book, CLIENT, b"S").done()


def test_one_side_sets_free_what_was_held_of_the_other(playbook: MakePlaybook) -> None:
    book = playbook()
    stream(book)
    says(book, TARGET, b"S").silence()
    says(book, CLIENT, b"hello")
    hears(book, TARGET, b"hello")
    hears(book, CLIENT, b"S").done()


@pytest.mark.parametrize("end", [m.Eof, m.Close])
def test_so_short_a_stream_is_no_ssh(playbook: MakePlaybook, end: type[m.Eof | m.Close]) -> None:
    book = playbook()
    stream(book)
    says(book, CLIENT, b"SSH").silence()
    book.client(end(TARGETS))
    book.to_target(sends(TARGETS, b"SSH"), end(TARGETS)).done()


@pytest.mark.parametrize("end", [m.Eof, m.Close])
def test_a_side_that_had_ended_already_is_not_ended_twice(
    playbook: MakePlaybook, end: type[m.Eof | m.Close]
) -> None:
    book = playbook()
    channel = stream(book).id
    book.client(end(TARGETS)).to_target(end(TARGETS)).untold()
    says(book, TARGET, b"SSH-2.0-x\r\n")
    book.to_client(m.Eof(CLIENTS)).told(refused(channel, TARGET)).done()


def test_the_end_of_the_connection_closes_a_channel_that_was_cut(playbook: MakePlaybook) -> None:
    book = playbook()
    channel = stream(book).id
    says(book, CLIENT, b"SSH-2.0-x\r\n")
    cut_off(book).untold()
    book.relay.finish()
    book.told(events.ChannelClosed(channel, "direct-tcpip", 0, 0)).done()


def test_ssh_passes_and_is_noted_where_a_rule_lets_it(playbook: MakePlaybook) -> None:
    book = playbook(refused={"direct-tcpip": Verdict(True, PolicyReason.ALLOWED, "inner", allow_ssh=True)})
    channel = stream(book).id
    says(book, CLIENT, b"SS").silence()
    says(book, CLIENT, b"H-2.0-x\r\n")
    hears(book, TARGET, b"SS", b"H-2.0-x\r\n")
    book.told(
        events.StreamSsh(channel, CLIENT, "inner"),
        Recorded(channel, CLIENT, 0, b"SS"),
        Recorded(channel, CLIENT, 0, b"H-2.0-x\r\n"),
    )
    says(book, TARGET, b"SSH-2.0-y\r\n")
    hears(book, CLIENT, b"SSH-2.0-y\r\n").done()


@pytest.mark.parametrize("side", [CLIENT, TARGET])
def test_a_session_may_say_what_it_likes(playbook: MakePlaybook, side: Side) -> None:
    """`cat banner.txt`, `ssh other` and `nc host 22` are recorded like everything in a session."""
    book = playbook()
    book.session(CLIENTS, TARGETS)
    says(book, side, b"SSH-2.0-OpenSSH\r\n")
    hears(book, side.other, b"SSH-2.0-OpenSSH\r\n").done()


def test_ssh_far_into_a_stream_is_nobodys_banner(playbook: MakePlaybook) -> None:
    book = playbook()
    stream(book)
    for side in (CLIENT, TARGET):
        says(book, side, b"GET / ")
        hears(book, side.other, b"GET / ")
    says(book, CLIENT, b"SSH-2.0-x\r\n")
    hears(book, TARGET, b"SSH-2.0-x\r\n")
    assert all(half.content is None for half in map(next(iter(book.relay.channels.values())).half, Side))
    book.done()
