"""An sftp channel that is only followed: what the tap is told, and that every byte goes on."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.relay import events as e
from bastion.relay.limits import RelayLimits
from bastion.relay.sftp import audit as sftp_audit
from bastion.sides import Side
from bastion.wire import messages as m
from bastion.wire import requests as r
from bastion.wire import sftp
from bastion.wire.data import string, uint64
from bastion.wire.sftp import Attributes
from tests.support import sftp_words as w
from tests.support.examples import examples
from tests.support.playbook import Playbook, asks, sends

SFTP = r.Subsystem("sftp")
WRITE = sftp.FXF_WRITE | sftp.FXF_CREAT | sftp.FXF_TRUNC


class Talk:
    """A followed sftp channel; `client` and `target` say bytes, in messages of `step` bytes."""

    def __init__(self, *, hashing=True, begun=True, step=30_000):
        self.book = Playbook(limits=RelayLimits(sftp_hash=hashing))
        self.book.session(window=1 << 30, target_window=1 << 30)
        asked = asks(0, "subsystem", SFTP)
        self.book.client(asked).to_target(asked)
        self.book.target(m.ChannelSuccess(0)).to_client(m.ChannelSuccess(0)).untold()
        self.step = step
        if begun:
            self.client(w.INIT).target(w.VERSION)

    def client(self, *packets):
        for line in self._messages(packets):
            self.book.client(line).to_target(line)
        return self

    def target(self, *packets):
        for line in self._messages(packets):
            self.book.target(line).to_client(line)
        return self

    def _messages(self, packets):
        raw = b"".join(packets)
        return [sends(0, raw[at : at + self.step]) for at in range(0, len(raw), self.step)]

    def heard(self):
        """The sftp events since the last call; the data is always told, too."""
        news = self.book.tap.heard[self.book._told :]
        self.book.untold()
        return [one for one in news if type(one).__name__.startswith("Sftp")]


def file(number=1, path="/f", flags="read", outcome="ok", read=0, written=0, content=None, why=""):
    digest = "" if content is None else hashlib.sha256(content).hexdigest()
    return e.SftpFile(1, number, path, flags, outcome, read, written, digest, why)


def test_a_channel_is_followed_from_the_subsystem_request_on(playbook):
    book = playbook()
    book.session()
    asked = asks(0, "subsystem", SFTP)
    book.client(asked).to_target(asked)
    book.told(
        e.RequestForwarded(1, Side.CLIENT, "subsystem", {"subsystem": "sftp"}, "test rule"),
        e.SftpStarted(1, restricted=False),
    )
    book.done()


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 7, 30_000])
def test_a_download_in_order_has_its_digest(step):
    content = bytes(range(256)) * 300
    talk = Talk(step=step)
    talk.client(w.opens(1, b"/f")).target(w.handle(1))
    assert talk.heard() == [e.SftpOperation(1, "open", "ok", "/f", "", 1, {"flags": "read"})]
    talk.client(*(w.reads(2 + at // 30_000, at, 30_000) for at in range(0, 120_000, 30_000)))
    talk.target(w.data(2, content[:30_000]), w.data(3, content[30_000:60_000]), w.data(4, content[60_000:]))
    talk.target(w.status(5, sftp.FX_EOF))
    talk.client(w.reads(6, len(content), 13_200)).target(w.status(6, sftp.FX_EOF))
    talk.client(w.closes(7)).target(w.status(7))
    assert talk.heard() == [file(read=len(content), content=content)]
    talk.book.done()


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 30_000])
def test_an_upload_in_order_has_its_digest(step):
    content = bytes(range(256)) * 200
    talk = Talk(step=step)
    talk.client(w.opens(1, b"/f", WRITE)).target(w.handle(1)).heard()
    talk.client(w.writes(2, 0, content[:30_000]), w.writes(3, 30_000, content[30_000:]))
    talk.target(w.status(2), w.status(3))
    talk.client(w.closes(4)).target(w.status(4))
    assert talk.heard() == [file(flags="write,create,truncate", written=len(content), content=content)]


def test_the_size_that_the_target_named_is_an_end_too():
    talk = Talk()
    talk.client(w.asks_path(sftp.STAT, 1, b"/f")).target(w.attributes(1, 5))
    talk.client(w.opens(2, b"/f")).target(w.handle(2)).heard()
    talk.client(w.reads(3, 0, 5)).target(w.data(3, b"hello"))
    talk.client(w.closes(4)).target(w.status(4))
    assert talk.heard() == [file(read=5, content=b"hello")]


def test_a_size_that_was_set_is_an_end_for_an_upload():
    talk = Talk()
    talk.client(w.opens(1, b"/f", sftp.FXF_WRITE)).target(w.handle(1)).heard()
    talk.client(w.writes(2, 0, b"hello")).target(w.status(2))
    cut = sftp.packet(sftp.FSETSTAT, 3, string(b"h") + Attributes(size=5).encode())
    talk.client(cut).target(w.status(3))
    talk.client(w.closes(4)).target(w.status(4))
    wanted = [e.SftpOperation(1, "fsetstat", "ok", "/f", "", 1, {"size": 5})]
    assert talk.heard() == [*wanted, file(flags="write", written=5, content=b"hello")]


def test_an_empty_upload_is_the_digest_of_nothing():
    talk = Talk()
    talk.client(w.opens(1, b"/f", WRITE)).target(w.handle(1)).heard()
    talk.client(w.closes(2)).target(w.status(2))
    assert talk.heard() == [file(flags="write,create,truncate", content=b"")]


def resize(number, size):
    return sftp.packet(sftp.FSETSTAT, number, string(b"h") + Attributes(size=size).encode())


@pytest.mark.parametrize(
    ("flags", "asked", "answered", "why"),
    [
        (WRITE, [w.writes(2, 5, b"hello")], [w.status(2)], "not passed from its beginning"),
        (
            WRITE,
            [w.writes(2, 0, b"hello"), w.writes(3, 3, b"x")],
            [w.status(2), w.status(3)],
            "not passed in order",
        ),
        (WRITE, [w.writes(2, 0, b"hello")], [w.status(2, sftp.FX_FAILURE)], "a write failed"),
        (WRITE, [w.writes(2, 0, b"hello")], [], "closed before every answer had come"),
        (WRITE, [w.writes(2, 0, b"hello"), resize(3, 2)], [w.status(2), w.status(3)], "cut after it was written"),
        (
            sftp.FXF_WRITE,
            [w.writes(2, 0, b"hello")],
            [w.status(2)],
            "written into a file that may have had more",
        ),
        (
            WRITE,
            [w.writes(2, 0, b"hello"), resize(3, 9)],
            [w.status(2), w.status(3)],
            "written into a file that may have had more",
        ),
        (WRITE | sftp.FXF_APPEND, [w.writes(2, 0, b"hello")], [w.status(2)], "opened to append"),
        (sftp.FXF_READ, [w.reads(2, 0, 9)], [w.data(2, b"hello")], "not read to its end"),
        (
            sftp.FXF_READ,
            [w.reads(2, 0, 5), w.reads(3, 5, 5)],
            [w.data(3, b"world"), w.data(2, b"hello")],
            "not passed from its beginning",
        ),
        (sftp.FXF_READ, [w.reads(2, 0, 5)], [w.status(2, sftp.FX_FAILURE)], "a read failed"),
        (
            3,
            [w.reads(2, 0, 5), w.writes(3, 5, b"x")],
            [w.data(2, b"hello"), w.status(3)],
            "read and written under one handle",
        ),
        (
            3,
            [w.writes(2, 0, b"x"), w.reads(3, 0, 5)],
            [w.status(2), w.data(3, b"x")],
            "read and written under one handle",
        ),
        (sftp.FXF_READ, [], [], "not read to its end"),
    ],
)  # fmt: skip
def test_without_the_whole_file_in_order_there_is_no_digest(flags, asked, answered, why):
    talk = Talk()
    talk.client(w.opens(1, b"/f", flags)).target(w.handle(1))
    talk.client(*asked).target(*answered).heard()
    talk.client(w.closes(9)).target(w.status(9))
    closed = talk.heard()[-1]
    assert isinstance(closed, e.SftpFile)
    assert (closed.sha256, closed.unhashed) == ("", why)


def test_hashing_can_be_switched_off():
    talk = Talk(hashing=False)
    talk.client(w.opens(1, b"/f", WRITE)).target(w.handle(1)).heard()
    talk.client(w.writes(2, 0, b"hello"), w.closes(3)).target(w.status(2), w.status(3))
    assert talk.heard() == [file(flags="write,create,truncate", written=5, why="hashing is switched off")]


def test_a_copy_on_the_target_passes_nobody():
    talk = Talk()
    talk.client(w.opens(1, b"/a"), w.opens(2, b"/b", WRITE)).target(
        w.handle(1, b"a"), w.handle(2, b"b")
    ).heard()
    copy = string(b"a") + uint64(0) * 2 + string(b"b") + uint64(0)
    talk.client(w.extended(3, sftp.COPY_DATA, copy)).target(w.status(3))
    talk.client(w.closes(4, b"b")).target(w.status(4))
    assert talk.heard() == [
        e.SftpOperation(1, sftp.COPY_DATA, "ok", "/a", "", 1),
        file(2, "/b", "write,create,truncate", why="copied on the target"),
    ]


def test_every_operation_has_the_outcome_of_the_target():
    talk = Talk()
    no = sftp.FX_NO_SUCH_FILE
    rename = string(b"/a") + string(b"/b")
    talk.client(
        w.asks_path(sftp.REALPATH, 1, b"."), w.asks_path(sftp.STAT, 2, b"/x"), w.renames(3, b"/a", b"/b"),
        w.asks_path(sftp.MKDIR, 4, b"/d", Attributes(permissions=0o40750).encode()),
        w.asks_path(sftp.SETSTAT, 5, b"/d", Attributes(owner=(5, 6), times=(7, 8)).encode()),
        w.extended(6, sftp.POSIX_RENAME, rename), w.extended(7, "made-up@example.com", b"?"),
        sftp.packet(99, 8, b"?"), w.asks_path(sftp.OPENDIR, 9, b"/d"), w.opens(10, b"/\xff", 3),
    )  # fmt: skip
    talk.target(
        w.names(1, b"/home/a"), w.status(2, no), w.status(3), w.status(4), w.status(5, 3), w.status(6),
        w.status(7, 8), w.status(8, 8), w.handle(9), w.status(10, no),
    )  # fmt: skip
    assert talk.heard() == [
        e.SftpOperation(1, "realpath", "ok", "."),
        e.SftpOperation(1, "stat", "no_such_file", "/x"),
        e.SftpOperation(1, "rename", "ok", "/a", "/b"),
        e.SftpOperation(1, "mkdir", "ok", "/d", detail={"permissions": "0750"}),
        e.SftpOperation(1, "setstat", "permission_denied", "/d", detail={"uid": 5, "gid": 6, "modified": 8}),
        e.SftpOperation(1, sftp.POSIX_RENAME, "ok", "/a", "/b"),
        e.SftpOperation(1, "made-up@example.com", "op_unsupported"),
        e.SftpOperation(1, "request-99", "op_unsupported"),
        e.SftpOperation(1, "opendir", "ok", "/d", "", 1),
        e.SftpOperation(1, "open", "no_such_file", "/\\xff", detail={"flags": "read,write"}),
    ]
    talk.client(sftp.packet(sftp.READDIR, 1, string(b"h")), w.closes(2)).target(
        w.names(1, b"a", b"b"), w.status(2)
    )
    assert talk.heard() == []
    talk.book.done()


def test_what_was_open_at_the_end_is_told():
    talk = Talk()
    talk.client(w.opens(1, b"/f"), w.opens(2, b"/g")).target(w.handle(1, b"f"), w.handle(2, b"g")).heard()
    talk.client(w.closes(3, b"f"))
    talk.book.client(m.Close(0)).to_target(m.Close(0))
    assert talk.heard() == []
    talk.book.target(m.Close(0)).to_client(m.Close(0))
    assert talk.heard() == [
        file(1, "/f", outcome="not_closed", why="not closed"),
        file(2, "/g", outcome="not_closed", why="not closed"),
    ]
    assert isinstance(talk.book.tap.heard[-1], e.ChannelClosed)


def test_the_end_of_the_connection_closes_too():
    talk = Talk()
    talk.client(w.opens(1, b"/f")).target(w.handle(1)).heard()
    talk.book.relay.finish()
    assert talk.heard() == [file(outcome="not_closed", why="not closed")]


FAULTS = [
    (Side.CLIENT, b"SSH-2.0-nothing of sftp", "impossible length"),
    (Side.CLIENT, w.INIT, "second init"),
    (Side.CLIENT, w.asks_path(sftp.STAT, 50, b"/a") * 2, "in use"),
    (Side.CLIENT, sftp.packet(sftp.READ, 1, b""), "read is malformed"),
    (Side.CLIENT, sftp.packet(sftp.WRITE, 1, string(b"h")), "write is malformed"),
    (Side.CLIENT, sftp.packet(sftp.WRITE, 1, string(b"h") + bytes(8) + b"\0\0\0\5abc"), "not its own"),
    (Side.CLIENT, sftp.packet(sftp.CLOSE, 1, string(bytes(257))), "longer than allowed"),
    (Side.CLIENT, sftp.packet(sftp.STAT, 1, b"\0\0\1\0abc"), "truncated"),
    (Side.TARGET, w.status(99), "answer to nothing"),
    (Side.TARGET, w.VERSION, "nobody asked"),
    (Side.TARGET, sftp.packet(77, 1), "unknown type"),
    (Side.TARGET, w.status(40), "empty success"),
    (Side.TARGET, w.data(40, b"x"), "nobody asked"),
    (Side.TARGET, w.attributes(40), "wrong type"),
    (Side.TARGET, sftp.packet(sftp.HANDLE, 40, string(bytes(257))), "handle"),
    (Side.TARGET, sftp.packet(sftp.HANDLE, 40, string(b"h") + b"x"), "trailing"),
    (Side.TARGET, w.data(41, bytes(20)), "nobody asked"),
    (Side.TARGET, sftp.packet(sftp.DATA, 41, b"\0\0\0\5abc"), "not its own"),
    (Side.TARGET, sftp.packet(sftp.STATUS, 41), "truncated"),
    (Side.TARGET, sftp.packet(sftp.ATTRS, 42, b"\0\0\0\1"), "truncated"),
    (Side.TARGET, w.names(43, b"/a", b"/b"), "one name"),
    (Side.TARGET, w.handle(44), "nobody asked"),
]


@pytest.mark.parametrize(("side", "raw", "why"), FAULTS, ids=[f"{s.name}-{why}" for s, _, why in FAULTS])
def test_what_cannot_be_followed_is_said_once_and_flows_on(side, raw, why):
    talk = Talk()
    talk.client(w.opens(40, b"/o"), w.reads(41, 0, 10), w.asks_path(sftp.STAT, 42, b"/s"))
    talk.client(w.asks_path(sftp.REALPATH, 43, b"."), w.extended(44, "made-up@example.com")).heard()
    say = talk.client if side is Side.CLIENT else talk.target
    say(raw)
    (unparsed,) = talk.heard()
    assert isinstance(unparsed, e.SftpUnparsed)
    assert unparsed.by is side and why in unparsed.why
    say(b"anything at all" * 3, w.INIT)
    talk.client(b"\xff" * 50).target(b"\xff" * 50)
    assert talk.heard() == []
    talk.book.done()


def test_a_version_that_is_not_3_is_not_followed():
    talk = Talk(begun=False)
    talk.client(sftp.packet(sftp.INIT, 6)).target(sftp.packet(sftp.VERSION_REPLY, 6))
    assert [one.why for one in talk.heard()] == ["sftp: a version that is not known here"]


def test_a_client_of_version_6_at_a_server_of_version_3_is_followed():
    talk = Talk(begun=False)
    talk.client(sftp.packet(sftp.INIT, 6)).target(w.VERSION).client(w.renames(1, b"/a", b"/b")).target(
        w.status(1)
    )
    assert talk.heard() == [e.SftpOperation(1, "rename", "ok", "/a", "/b")]


def test_sftp_on_a_terminal_is_not_believed(playbook):
    book = playbook()
    book.pty()
    asked = asks(0, "subsystem", SFTP)
    book.client(asked).to_target(asked)
    assert book.tap.heard[-1] == e.SftpUnparsed(1, Side.CLIENT, "sftp on a terminal")
    book.done()


def test_a_target_without_sftp_leaves_a_plain_channel(playbook):
    book = playbook()
    book.session()
    asked, started = asks(0, "subsystem", SFTP), asks(0, "exec", r.Exec(b"/usr/lib/sftp-server"))
    book.client(asked, sends(0, b"\0\0\0")).to_target(asked, sends(0, b"\0\0\0"))
    book.target(m.ChannelFailure(0)).to_client(m.ChannelFailure(0))
    assert book.tap.heard[-2] == e.SftpUnparsed(1, Side.TARGET, "the target has no sftp")
    book.untold()
    book.client(started, sends(0, w.INIT)).to_target(started, sends(0, w.INIT))
    assert not any(type(one).__name__.startswith("Sftp") for one in book.tap.heard[book._told :])
    book.done()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("packets", "why"),
    [
        ((w.asks_path(sftp.STAT, n, b"/") for n in range(sftp_audit.OUTSTANDING + 1)), "without an answer"),
        ((w.opens(n, b"/") for n in range(sftp_audit.HANDLES + 1)), "open files"),
        ((w.asks_path(sftp.STAT, n, bytes(10_000)) for n in range(110)), "too many paths"),
    ],
)
def test_the_tables_are_bounded(packets, why):
    talk = Talk()
    talk.client(*packets)
    (unparsed,) = talk.heard()
    assert why in unparsed.why


def test_paths_of_what_is_done_are_forgotten():
    talk = Talk()
    path = b"/" + b"x" * 4000
    for _ in range(300):
        talk.client(w.opens(1, path)).target(w.handle(1)).client(w.closes(2)).target(w.status(2))
        talk.client(w.asks_path(sftp.STAT, 3, path)).target(w.status(3, 2))
    assert not [one for one in talk.heard() if isinstance(one, e.SftpUnparsed)]


def test_a_request_that_nobody_could_keep_is_named_only():
    talk = Talk()
    talk.client(w.asks_path(sftp.REMOVE, 1, bytes(20_000))).target(w.status(1, 4))
    assert talk.heard() == [e.SftpOperation(1, "remove", "failure")]


@examples(200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(Side)),
            st.one_of(
                st.binary(max_size=60),
                st.builds(
                    sftp.packet,
                    st.sampled_from([1, 2, 3, 4, 5, 6, 9, 10, 11, 16, 17, 18, 101, 102, 103, 104, 105, 200, 201]),
                    st.integers(0, 4),
                    st.binary(max_size=40),
                ),
                st.sampled_from([
                    w.opens(1, b"/f"), w.handle(1), w.reads(2, 0, 9), w.data(2, b"abc"), w.closes(3), w.status(3),
                    w.writes(4, 0, b"abc"), w.status(4), w.asks_path(sftp.REALPATH, 0, b"."), w.names(0, b"/h"),
                ]),
            ),
        ),
        max_size=12,
    ),
    st.integers(1, 40),
)  # fmt: skip
def test_whatever_is_said_goes_on_byte_for_byte(lines, step):
    talk = Talk(step=step)
    for side, raw in lines:
        (talk.client if side is Side.CLIENT else talk.target)(raw)
    assert sum(isinstance(one, e.SftpUnparsed) for one in talk.heard()) <= 1
    talk.book.done()
