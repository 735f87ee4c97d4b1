"""An sftp channel under a rule: what is refused never reaches the target, what is allowed is not changed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.errors import PolicyReason, ProtocolError
from bastion.policy.sftp import SftpRights, parse_pattern
from bastion.relay import events as e
from bastion.relay.limits import RelayLimits
from bastion.relay.sftp import control as sftp_control
from bastion.sides import Side
from bastion.wire import messages as m
from bastion.wire import requests as r
from bastion.wire import sftp
from bastion.wire.data import string, uint32, uint64
from bastion.wire.sftp import Attributes
from tests.support import sftp_words as w
from tests.support.examples import examples
from tests.support.playbook import Playbook, adjusts, asks, opens, sends

SFTP = r.Subsystem("sftp")
WINDOW = 1 << 20
WRITE = sftp.FXF_WRITE | sftp.FXF_CREAT | sftp.FXF_TRUNC
READER = {"download": ["/pub/**"], "list": ["/pub/**"]}
WRITER = {"upload": ["/in/**"], "modify": ["/in/**"]}


def rights(**tables):
    made = SftpRights.of(
        [("files", {verb: tuple(map(parse_pattern, texts)) for verb, texts in tables.items()})]
    )
    assert made is not None
    return made


class Talk:
    """A controlled channel. `client` says packets and returns what reached the target and the client."""

    def __init__(self, tables=READER, *, begun=True, window=WINDOW, limits=None):
        self.book = Playbook(limits=limits)
        self.book.policy.sftp = rights(**tables)
        reserve = min(32 * 1024, window // 8) + window // 2
        self.book.client(opens("session", 0, window)).to_target(opens("session", 0, window - reserve))
        confirmed = m.ChannelOpenConfirmation(0, 0, WINDOW, 32768)
        self.book.target(confirmed).to_client(confirmed)
        asked = asks(0, "subsystem", SFTP)
        self.book.client(asked).to_target(asked)
        self.book.target(m.ChannelSuccess(0)).to_client(m.ChannelSuccess(0)).untold()
        if begun:
            self.passes(w.INIT)
            self.answers(w.VERSION)

    @property
    def half(self):
        return self.book.relay.channels[1].half(Side.TARGET)

    def passes(self, raw):
        self.book.client(sends(0, raw)).to_target(sends(0, raw))

    def answers(self, raw):
        self.book.target(sends(0, raw)).to_client(sends(0, raw))

    def refused(self, raw, text, number=1):
        """The request is answered by the gateway, and its bytes are given back."""
        self.book.client(sends(0, raw))
        self.book.to_client(sends(0, w.denied(number, text)), adjusts(0, len(raw)))

    def opened(self, path, flags=sftp.FXF_READ, name=b"h"):
        self.passes(w.opens(900, path, flags))
        self.answers(w.handle(900, name))

    def heard(self, kind=e.SftpRefused):
        news = self.book.tap.heard[self.book._told :]
        self.book.untold()
        return [one for one in news if isinstance(one, kind)]


SET = Attributes(permissions=0o600).encode()
NO_VERB = PolicyReason.VERB_NOT_ALLOWED
NO_PATH = PolicyReason.PATH_NOT_ALLOWED

REFUSED = [
    (READER, w.opens(1, b"/etc/passwd"), "download", NO_PATH, "download is not allowed at this path"),
    (READER, w.opens(1, b"/pub/../etc/passwd"), "download", NO_PATH, "download is not allowed at this path"),
    (READER, w.opens(1, b"/pub/x", WRITE), "upload", NO_VERB, "upload is not allowed here"),
    (READER, w.opens(1, b"/pub/x", sftp.FXF_READ | sftp.FXF_TRUNC), "upload", NO_VERB, "upload is not allowed here"),
    (READER, w.opens(1, b"/pub/x", 3), "upload", NO_VERB, "upload is not allowed here"),
    (READER, w.opens(1, b"/pub/x", 64), "other", NO_VERB, "a flag of this open is not known"),
    (READER, w.opens(1, b"/pub/a\0b"), "other", NO_PATH, "this path cannot be judged"),
    (READER, w.opens(1, b"/pub/a\\..\\..\\b"), "other", NO_PATH, "this path cannot be judged"),
    (READER, w.opens(1, b"/pub/" + b"x" * 4096), "other", NO_PATH, "this path cannot be judged"),
    ({"modify": ["**"]}, w.renames(1, b"/a", b"/b\0c"), "other", NO_PATH, "this path cannot be judged"),
    (READER, w.asks_path(sftp.OPENDIR, 1, b"/etc"), "list", NO_PATH, "list is not allowed at this path"),
    (READER, w.asks_path(sftp.STAT, 1, b"/etc/x"), "list", NO_PATH, "nothing is allowed at this path"),
    (READER, w.asks_path(sftp.LSTAT, 1, b"x"), "list", NO_PATH, "nothing is allowed at this path"),
    (READER, w.asks_path(sftp.READLINK, 1, b"/etc/x"), "list", NO_PATH, "nothing is allowed at this path"),
    (READER, w.asks_path(sftp.REALPATH, 1, b"/etc"), "list", NO_PATH, "nothing is allowed at this path"),
    (READER, w.asks_path(sftp.REMOVE, 1, b"/pub/x"), "modify", NO_VERB, "modify is not allowed here"),
    (READER, w.asks_path(sftp.RMDIR, 1, b"/pub/x"), "modify", NO_VERB, "modify is not allowed here"),
    (READER, w.asks_path(sftp.MKDIR, 1, b"/pub/x", SET), "modify", NO_VERB, "modify is not allowed here"),
    (READER, w.asks_path(sftp.SETSTAT, 1, b"/pub/x", SET), "modify", NO_VERB, "modify is not allowed here"),
    (READER, w.renames(1, b"/pub/x", b"/pub/y"), "modify", NO_VERB, "modify is not allowed here"),
    (WRITER, w.renames(1, b"/in/x", b"/pub/y"), "modify", NO_PATH, "modify is not allowed at this path"),
    (
        WRITER, sftp.packet(sftp.SYMLINK, 1, string(b"/in/x") + string(b"/in/y")),
        "modify", NO_VERB, "symbolic links cannot be made here",
    ),
    (
        WRITER | {"download": ["/in/pub/**"]}, w.renames(1, b"/in/x", b"/in/pub/x"),
        "modify", NO_VERB, "the new name would allow what the old one does not",
    ),
    (
        WRITER, w.extended(1, sftp.HARDLINK, string(b"/etc/x") + string(b"/in/y")),
        "modify", NO_PATH, "modify is not allowed at this path",
    ),
    (
        WRITER, w.extended(1, sftp.LSETSTAT, string(b"/etc/x") + SET),
        "modify", NO_PATH, "modify is not allowed at this path",
    ),
    (
        READER, w.extended(1, sftp.STATVFS, string(b"/etc")),
        "list", NO_PATH, "nothing is allowed at this path",
    ),
    (
        READER, w.extended(1, sftp.EXPAND_PATH, string(b"~root/x")),
        "list", NO_PATH, "nothing is allowed at this path",
    ),
    (WRITER, w.extended(1, sftp.HOME_DIRECTORY, string(b"a")), "list", NO_VERB, "list is not allowed here"),
    (WRITER, w.extended(1, "copy-file@example.com", b"x"), "other", NO_VERB, "this extension is not known"),
    (WRITER, w.extended(1, "\u00e9", b"x"), "other", NO_VERB, "this extension is not known"),
    (WRITER, sftp.packet(99, 1, b"x"), "other", NO_VERB, "this request is not known"),
    (READER, w.reads(1, 0, 9), "download", NO_VERB, "the file is not open for this"),
    (READER, w.writes(1, 0, b"x" * 900), "upload", NO_VERB, "the file is not open for this"),
    (READER, w.closes(1), "other", NO_VERB, "the file is not open"),
    (READER, w.closes(1) + b"", "other", NO_VERB, "the file is not open"),
    (READER, sftp.packet(sftp.REMOVE, 1, string(b"/pub/x") + b"more"), "other", NO_VERB, "this request is malformed"),
    (READER, w.asks_path(sftp.STAT, 1, b"/pub/" + bytes(30_000)), "other", NO_VERB, "this request is malformed"),
    (READER, w.extended(1, sftp.FSYNC, string(b"h")), "other", NO_VERB, "the file is not open"),
    (
        WRITER, w.extended(1, sftp.COPY_DATA, string(b"h") + uint64(0) * 2 + string(b"i") + uint64(0)),
        "download", NO_VERB, "the file is not open for this",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("tables", "raw", "verb", "reason", "text"), REFUSED)
def test_refused_requests(tables, raw, verb, reason, text):
    talk = Talk(tables)
    talk.refused(raw, text)
    (refusal,) = talk.heard()
    assert (refusal.verb, refusal.reason, refusal.text, refusal.rule) == (verb, reason, text, "files")
    talk.passes(w.asks_path(sftp.REALPATH, 1, b"."))
    talk.answers(w.names(1, b"/home/a"))
    talk.book.done()


ALLOWED = [
    (READER, w.opens(1, b"/pub/x")),
    (READER, w.opens(1, b"//pub/./x/", 0)),
    (READER, w.asks_path(sftp.OPENDIR, 1, b"/pub")),
    (READER, w.asks_path(sftp.STAT, 1, b"/pub/x")),
    (READER, w.asks_path(sftp.STAT, 1, b"/")),
    (READER, w.asks_path(sftp.REALPATH, 1, b"/pub")),
    (READER, w.extended(1, sftp.LIMITS)),
    (READER, w.extended(1, sftp.USERS_GROUPS, string(b"") + string(b""))),
    (READER, w.extended(1, sftp.STATVFS, string(b"/pub"))),
    (WRITER, w.opens(1, b"/in/x", WRITE)),
    (WRITER, w.asks_path(sftp.MKDIR, 1, b"/in/x", SET)),
    ({"upload": ["/in/**"]}, w.asks_path(sftp.MKDIR, 1, b"/in/x", SET)),
    (WRITER, w.asks_path(sftp.REMOVE, 1, b"/in/x")),
    (WRITER, w.asks_path(sftp.SETSTAT, 1, b"/in/x", SET)),
    (WRITER, w.renames(1, b"/in/x", b"/in/y")),
    (WRITER, w.extended(1, sftp.POSIX_RENAME, string(b"/in/x") + string(b"/in/y"))),
    (WRITER, w.extended(1, sftp.HARDLINK, string(b"/in/x") + string(b"/in/y"))),
    ({"download": ["~/**"]}, w.opens(1, b"x/y")),
]


@pytest.mark.parametrize(("tables", "raw"), ALLOWED)
@pytest.mark.parametrize("step", [1, 5, 1000])
def test_allowed_requests_go_on_as_they_came(tables, raw, step):
    talk = Talk(tables)
    for at in range(0, len(raw), step):
        talk.book.client(sends(0, raw[at : at + step]))
        if at + step < len(raw):
            talk.book.silence()
    talk.book.to_target(sends(0, raw))
    assert talk.heard() == []
    talk.answers(w.status(1, 4))
    talk.book.done()


def test_verdicts_follow_handles():
    talk = Talk(READER | WRITER)
    talk.opened(b"/pub/x", sftp.FXF_READ, b"r")
    talk.opened(b"/in/x", WRITE, b"w")
    talk.passes(w.reads(1, 0, 9, b"r"))
    talk.passes(w.writes(2, 0, b"hello", b"w"))
    talk.answers(w.data(1, b"hello") + w.status(2))
    talk.refused(w.writes(1, 0, b"hello", b"r"), "the file is not open for this")
    talk.refused(w.reads(1, 0, 9, b"w"), "the file is not open for this")
    touch = sftp.packet(sftp.FSETSTAT, 1, string(b"r") + SET)
    talk.refused(touch, "the file is not open for this")
    talk.passes(sftp.packet(sftp.FSETSTAT, 3, string(b"w") + SET))
    talk.answers(w.status(3))
    talk.passes(sftp.packet(sftp.FSTAT, 3, string(b"r")))
    talk.answers(w.attributes(3, 5))
    copy = uint64(0) * 2
    talk.passes(w.extended(4, sftp.COPY_DATA, string(b"r") + copy + string(b"w") + uint64(0)))
    talk.answers(w.status(4))
    talk.refused(
        w.extended(1, sftp.COPY_DATA, string(b"w") + copy + string(b"r") + uint64(0)),
        "the file is not open for this",
    )
    talk.passes(w.closes(5, b"r"))
    talk.refused(w.reads(1, 0, 9, b"r"), "the file is not open for this")
    talk.answers(w.status(5))
    talk.book.done()


def test_the_data_of_an_allowed_write_streams():
    talk = Talk(WRITER)
    talk.opened(b"/in/x", WRITE)
    content = bytes(range(256)) * 300
    raw = w.writes(1, 0, content)
    talk.book.client(sends(0, raw[:20])).silence()
    talk.book.client(sends(0, raw[20:40])).to_target(sends(0, raw[:40]))
    talk.passes(raw[40:30_000])
    talk.passes(raw[30_000:60_000])
    # The end of one write and the beginning of the next in one message.
    following = w.writes(2, len(content), b"more")
    talk.book.client(sends(0, raw[60_000:] + following[:9])).to_target(sends(0, raw[60_000:]))
    talk.book.client(sends(0, following[9:])).to_target(sends(0, following))
    talk.book.done()


def test_what_is_joined_is_cut_to_the_packets_of_the_target():
    talk = Talk(WRITER)
    talk.opened(b"/in/x", WRITE)
    raw = w.writes(1, 0, bytes(40_000))
    talk.book.client(sends(0, raw[:20])).silence()
    talk.book.client(sends(0, raw[20 : 20 + 32_768])).to_target(
        sends(0, raw[:32_768]), sends(0, raw[32_768:32_788])
    )
    talk.passes(raw[32_788:])
    talk.book.done()


def test_refused_data_is_swallowed_to_its_end_and_given_back():
    talk = Talk(READER)
    talk.opened(b"/pub/x")
    raw, following = w.writes(1, 0, bytes(40_000)), w.reads(2, 0, 9)
    talk.book.client(sends(0, raw[:30_000]))
    talk.book.to_client(sends(0, w.denied(1, "the file is not open for this")), adjusts(0, 30_000))
    talk.book.client(sends(0, raw[30_000:] + following)).to_target(sends(0, following))
    talk.book.to_client(adjusts(0, len(raw) - 30_000))
    talk.book.done()


def test_a_path_with_dots_goes_on_in_its_normal_form():
    talk = Talk(READER | WRITER)
    for path, normal in ((b"/pub/a/../b", b"/pub/b"), (b"/x/../pub/./b", b"/pub/b")):
        raw, sent = w.opens(1, path), w.opens(1, normal)
        talk.book.client(sends(0, raw)).to_target(sends(0, sent)).to_client(adjusts(0, len(raw) - len(sent)))
        talk.answers(w.status(1, 2))
    raw, sent = (
        w.extended(1, sftp.POSIX_RENAME, string(old) + string(b"/in/y")) for old in (b"/in/a/../x", b"/in/x")
    )
    talk.book.client(sends(0, raw)).to_target(sends(0, sent)).to_client(adjusts(0, len(raw) - len(sent)))
    talk.answers(w.status(1))
    talk.book.done()


def test_the_home_is_what_the_target_answered_first():
    talk = Talk({"download": ["/home/a/pub/**"]})
    talk.refused(w.opens(1, b"pub/x"), "download is not allowed at this path")
    talk.passes(w.asks_path(sftp.REALPATH, 1, b"."))
    talk.answers(w.names(1, b"/home/a"))
    talk.passes(w.opens(1, b"pub/x"))
    talk.answers(w.status(1, 2))
    talk.passes(w.asks_path(sftp.REALPATH, 1, b"."))
    talk.answers(w.names(1, b"/home/a/pub"))
    talk.refused(w.opens(1, b"x"), "download is not allowed at this path")
    talk.book.done()


def test_no_version_above_3_is_asked_for():
    talk = Talk(begun=False)
    extra = string(b"name") + string(b"value")
    talk.book.client(sends(0, sftp.packet(sftp.INIT, 6, extra)))
    talk.book.to_target(sends(0, sftp.packet(sftp.INIT, 3, extra)))
    talk.answers(w.VERSION)
    talk.book.done()


def test_an_answer_waits_for_the_end_of_the_packet_of_the_target():
    talk = Talk()
    talk.opened(b"/pub/x")
    talk.passes(w.reads(1, 0, 100))
    answer, no = w.data(1, bytes(100)), w.opens(2, b"/etc/x")
    talk.answers(answer[:50])
    talk.book.client(sends(0, no)).silence()
    talk.answers(answer[50:70])
    denied = sends(0, w.denied(2, "download is not allowed at this path"))
    talk.book.target(sends(0, answer[70:])).to_client(sends(0, answer[70:]), denied, adjusts(0, len(no)))
    talk.book.done()


def test_an_answer_goes_between_two_packets_of_one_message():
    talk = Talk()
    talk.opened(b"/pub/x")
    for number in (1, 2, 3):
        talk.passes(w.reads(number, 0, 100))
    stream = b"".join(w.data(number, bytes(100)) for number in (1, 2, 3))
    talk.answers(stream[:50])
    no = w.opens(9, b"/etc/x")
    talk.book.client(sends(0, no)).silence()
    cut = 2 * len(stream) // 3
    denied = sends(0, w.denied(9, "download is not allowed at this path"))
    talk.book.target(sends(0, stream[50 : cut + 7]))
    talk.book.to_client(
        sends(0, stream[50:cut]), denied, adjusts(0, len(no)), sends(0, stream[cut : cut + 7])
    )
    talk.answers(stream[cut + 7 :])
    talk.book.done()


def test_without_reserve_answers_wait_and_nothing_is_given_back():
    talk = Talk(window=1024)
    no = w.opens(1, b"/etc/x")
    denied = w.denied(1, "download is not allowed at this path")
    fits = talk.half.window.reserve // len(denied)
    for _ in range(fits):
        talk.refused(no, "download is not allowed at this path")
    talk.book.client(sends(0, no)).client(sends(0, no)).silence()
    assert talk.half.window.reserve < len(denied)
    # The client's adjust fills the reserve first, and the answers go; the rest is for the target.
    talk.book.client(adjusts(0, 300)).to_client(sends(0, denied * 2), adjusts(0, 2 * len(no)))
    talk.book.client(adjusts(0, 1000))
    talk.book.to_target(adjusts(0, 1300 - (fits + 2) * len(denied)))
    talk.book.done()


def test_answers_are_cut_to_the_packets_of_the_client():
    talk = Talk(window=1 << 20)
    no = w.opens(1, b"/etc/x")
    denied = w.denied(1, "download is not allowed at this path")
    burst = no * 600
    talk.book.client(sends(0, burst))
    sent = [m.Data.parse(payload) for payload in talk.book.out.to_client[:-1]]
    assert b"".join(one.data for one in sent) == denied * 600
    assert max(len(one.data) for one in sent) <= 32768
    talk.book.out.to_client.clear()
    talk.book.done()


@pytest.mark.slow
def test_a_client_that_reads_nothing_is_ended():
    talk = Talk(window=1 << 30)
    talk.half.window.reserve = 0
    talk.book.relay.channels[1].half(Side.CLIENT).window.room = 1 << 30
    burst = w.opens(1, b"/etc/x") * 1000
    with pytest.raises(ProtocolError, match="too many refused requests at once"):
        for _ in range(1 + sftp_control.ANSWERS // 50_000):
            talk.book.client(sends(0, burst))


def test_refusals_are_counted_like_all_others():
    talk = Talk(limits=RelayLimits(refusals=3))
    for _ in range(3):
        talk.refused(w.opens(1, b"/etc/x"), "download is not allowed at this path")
    with pytest.raises(ProtocolError, match="too many refused"):
        talk.book.client(sends(0, w.opens(1, b"/etc/x")))


def test_a_window_too_small_for_any_answer_is_an_error():
    with pytest.raises(ProtocolError, match="too small"):
        Talk(window=100).book.client(sends(0, w.opens(1, b"/etc/x")))


@pytest.mark.parametrize(
    ("side", "raw", "match"),
    [
        (Side.CLIENT, b"not sftp at all", "impossible length"),
        (Side.CLIENT, w.INIT, "second init"),
        (Side.CLIENT, sftp.packet(sftp.OPEN, 1, uint32(99)), "truncated"),
        (Side.CLIENT, w.asks_path(sftp.STAT, 1, b"/pub") * 2, "in use"),
        (Side.TARGET, w.status(7), "answer to nothing"),
        (Side.TARGET, b"\0\0\0\0", ""),
    ],
)
def test_what_cannot_be_followed_is_a_protocol_error_here(side, raw, match):
    talk = Talk()
    if raw == b"\0\0\0\0":
        raw, match = bytes(20), "impossible length"
    breaks = talk.book.client_breaks if side is Side.CLIENT else talk.book.target_breaks
    breaks(sends(0, raw), match)


def test_a_request_before_init_is_a_protocol_error():
    talk = Talk(begun=False)
    talk.book.client_breaks(sends(0, w.opens(1, b"/etc/x")), "before init")


def test_stderr_of_the_client_is_swallowed():
    talk = Talk()
    talk.book.client(m.ExtendedData(0, 1, b"hello")).to_client(adjusts(0, 5))
    talk.book.target(m.ExtendedData(0, 1, b"hello")).to_client(m.ExtendedData(0, 1, b"hello"))
    talk.book.done()


def test_a_target_that_used_its_window_for_stderr_gets_from_the_reserve():
    talk = Talk(window=64 * 1024)
    window, reserve = talk.half.window.room, talk.half.window.reserve
    chatter = m.ExtendedData(0, 1, bytes(window))
    talk.book.target(chatter).to_client(chatter)
    lent = reserve - 32 * 1024 + 1
    talk.book.to_target(adjusts(0, lent))
    assert (talk.half.window.room, talk.half.window.reserve) == (lent, reserve - lent)
    talk.book.done()


def test_nothing_is_injected_into_sftp():
    talk = Talk()
    assert not talk.book.relay.inject(1, b"hello", 0, talk.book.out)
    talk.book.done()


def test_no_answer_goes_out_after_the_end_of_the_target():
    talk = Talk()
    talk.book.target(m.Eof(0)).to_client(m.Eof(0))
    talk.book.client(sends(0, w.opens(1, b"/etc/x"))).silence()
    talk.book.target(m.Close(0)).to_client(m.Close(0))
    talk.book.client(m.Close(0)).to_target(m.Close(0))
    talk.book.done()


def test_a_terminal_and_controlled_sftp_do_not_go_together(playbook):
    asked = asks(0, "subsystem", SFTP)
    pty = asks(0, "pty-req", r.PtyRequest(b"xterm", 80, 24))
    book = playbook()
    book.policy.sftp = rights(**READER)
    book.client(opens("session", 0, 800)).to_target(opens("session", 0, 300))
    book.target(m.ChannelOpenConfirmation(0, 0, 800, 32768)).to_client(
        m.ChannelOpenConfirmation(0, 0, 800, 32768)
    )
    book.client(pty).to_target(pty)
    book.target(m.ChannelFailure(0)).to_client(m.ChannelFailure(0)).untold()
    book.client(asked).to_client(m.ChannelFailure(0))
    (refusal,) = [one for one in book.tap.heard[book._told :] if isinstance(one, e.RequestRefused)]
    assert refusal.text == "sftp cannot be controlled on a terminal"
    book.done()
    talk = Talk()
    talk.book.client(pty).to_client(m.ChannelFailure(0))
    talk.book.done()


def test_data_before_controlled_sftp_rules_it_out(playbook):
    """A target that keeps it for its program would be asked what nobody has judged."""
    early = sends(0, w.INIT + w.opens(1, b"/etc/shadow"))
    book = playbook()
    book.policy.sftp = rights(**READER)
    book.client(opens("session", 0, 800)).to_target(opens("session", 0, 300))
    confirmed = m.ChannelOpenConfirmation(0, 0, 800, 32768)
    book.target(confirmed).to_client(confirmed)
    book.client(early).to_target(early).untold()
    book.client(asks(0, "subsystem", SFTP)).to_client(m.ChannelFailure(0))
    (refusal,) = [one for one in book.tap.heard[book._told :] if isinstance(one, e.RequestRefused)]
    assert refusal.text == "sftp cannot be controlled where data came before it"
    book.done()


def test_a_channel_that_is_no_sftp_gets_the_window_that_was_kept_back(playbook):
    for program in (
        asks(0, "shell"),
        asks(0, "exec", r.Exec(b"ls")),
        asks(0, "subsystem", r.Subsystem("netconf")),
    ):
        book = playbook()
        book.policy.sftp = rights(**READER)
        book.client(opens("session", 0, 800)).to_target(opens("session", 0, 300))
        confirmed = m.ChannelOpenConfirmation(0, 0, 800, 32768)
        book.target(confirmed).to_client(confirmed)
        book.client(program).to_target(program)
        book.target(m.ChannelSuccess(0)).to_client(m.ChannelSuccess(0)).to_target(adjusts(0, 400))
        half = book.relay.channels[1].half(Side.TARGET)
        assert (half.window.room, half.window.reserve, half.window.reserve_size) == (700, 100, 100)
        book.done()
    quiet = asks(0, "shell", reply=False)
    book = playbook()
    book.policy.sftp = rights(**READER)
    book.client(opens("session", 0, 800)).to_target(opens("session", 0, 300))
    book.target(confirmed).to_client(confirmed)
    book.client(quiet).to_target(quiet, adjusts(0, 400))
    book.done()


def test_a_target_without_sftp_gives_back_what_was_held(playbook):
    book = playbook()
    book.policy.sftp = rights(**READER)
    book.client(opens("session", 0, 800)).to_target(opens("session", 0, 300))
    confirmed = m.ChannelOpenConfirmation(0, 0, 800, 32768)
    book.target(confirmed).to_client(confirmed)
    asked = asks(0, "subsystem", SFTP)
    book.client(asked, sends(0, w.INIT[:5])).to_target(asked)
    book.target(m.ChannelFailure(0)).to_client(adjusts(0, 5), m.ChannelFailure(0))
    assert book.tap.heard[-2] == e.SftpUnparsed(1, Side.TARGET, "the target has no sftp")
    book.done()


def test_the_tap_is_told_what_goes_on_and_what_does_not():
    talk = Talk()
    no, yes = w.opens(1, b"/etc/x"), w.asks_path(sftp.STAT, 2, b"/pub")
    talk.book.untold()
    talk.book.client(sends(0, no + yes))
    talk.book.out.clear()
    heard = talk.book.tap.heard[talk.book._told :]
    assert [type(one).__name__ for one in heard] == ["SftpRefused", "Recorded"]
    assert heard[1].data == yes
    assert talk.book.relay.channels[1].bytes[0] == len(w.INIT) + len(yes)
    talk.book.done()


@examples(150)
@given(st.lists(st.binary(min_size=1, max_size=80), max_size=6), st.booleans())
def test_garbage_never_reaches_the_target_unjudged(lines, begun):
    talk = Talk(begun=begun)
    for raw in lines:
        try:
            talk.book.client(sends(0, raw))
        except ProtocolError:
            break
        for payload in talk.book.out.to_target:
            # Whatever goes on is whole packets of kinds that a reader may send.
            for packet in w.packets(m.Data.parse(payload).data):
                assert packet[4] in {
                    sftp.INIT,
                    sftp.STAT,
                    sftp.LSTAT,
                    sftp.READLINK,
                    sftp.REALPATH,
                    sftp.EXTENDED,
                }
        talk.book.out.clear()
