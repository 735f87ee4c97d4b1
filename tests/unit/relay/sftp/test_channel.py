"""A followed channel: it begins and stops being one, and its bytes are the relay's business all the while."""

import pytest

from bastion.relay import events as e
from bastion.relay.channels import Channel
from bastion.relay.limits import Actions
from bastion.relay.sftp.channel import AuditedSftp
from bastion.sides import Side
from tests.support import sftp_words as w
from tests.support.playbook import ListTap, Recorded


@pytest.fixture
def tap():
    return ListTap()


@pytest.fixture
def channel():
    return Channel(1, "session", Side.CLIENT)


def followed(channel, tap):
    audited, out = AuditedSftp(channel, tap, hashing=True), Actions()
    audited.start(out)
    return audited, out


def contents(channel):
    return [channel.half(side).content for side in Side]


def test_from_its_start_on_data_of_both_sides_comes_here(channel, tap):
    audited, out = followed(channel, tap)
    assert contents(channel) == [audited, audited]
    assert tap.heard == [e.SftpStarted(1, False)]
    audited.data(channel.half(Side.CLIENT), b"payload", w.INIT, out)
    assert (out.to_target, out.to_client) == ([b"payload"], [])
    assert tap.heard[1:] == [Recorded(1, Side.CLIENT, 0, w.INIT)]
    assert channel.bytes == [len(w.INIT), 0]


@pytest.mark.parametrize("side", Side)
def test_what_cannot_be_followed_goes_on_and_is_said_first(channel, tap, side):
    audited, out = followed(channel, tap)
    audited.data(channel.half(side), b"payload", b"no sftp at all", out)
    assert out.onward[side] == [b"payload"]
    assert contents(channel) == [None, None]
    unparsed, told = tap.heard[1:]
    assert (unparsed.by, told) == (side, Recorded(1, side, 0, b"no sftp at all"))


def test_on_a_terminal_it_is_never_followed(channel, tap):
    channel.pty_asked = True
    followed(channel, tap)
    assert contents(channel) == [None, None]
    assert tap.heard[1:] == [e.SftpUnparsed(1, Side.CLIENT, "sftp on a terminal")]


def test_files_that_are_open_at_the_end_are_told(channel, tap):
    audited, out = followed(channel, tap)
    client, target = channel.half(Side.CLIENT), channel.half(Side.TARGET)
    audited.data(client, b"", w.INIT + w.opens(1, b"/f"), out)
    audited.data(target, b"", w.VERSION + w.handle(1), out)
    audited.eof(client, out)
    audited.credit(out)
    audited.closed()
    (file,) = [event for event in tap.heard if isinstance(event, e.SftpFile)]
    assert (file.path, file.outcome) == ("/f", "not_closed")
