"""SFTP requests on the wire: known ones there and back, everything else a defined error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.errors import ProtocolError
from bastion.wire import sftp
from bastion.wire.data import string, uint32, uint64
from bastion.wire.sftp import Attributes, parse_request
from tests.support import sftp_words as words

SET = Attributes(size=5, owner=(1, 2), permissions=0o100640, times=(3, 4))


@pytest.mark.parametrize(
    ("raw", "name", "paths", "handles"),
    [
        (words.opens(7, b"/a", 26), "open", (b"/a",), ()),
        (words.closes(7), "close", (), (b"h",)),
        (words.asks_path(sftp.STAT, 7, b"/a"), "stat", (b"/a",), ()),
        (words.asks_path(sftp.SETSTAT, 7, b"/a", SET.encode()), "setstat", (b"/a",), ()),
        (words.asks_path(sftp.MKDIR, 7, b"/a", SET.encode()), "mkdir", (b"/a",), ()),
        (sftp.packet(sftp.FSETSTAT, 7, string(b"h") + SET.encode()), "fsetstat", (), (b"h",)),
        (words.renames(7, b"/a", b"/b"), "rename", (b"/a", b"/b"), ()),
        (words.extended(7, sftp.POSIX_RENAME, string(b"a") + string(b"b")), sftp.POSIX_RENAME, (b"a", b"b"), ()),
        (words.extended(7, sftp.FSYNC, string(b"h")), sftp.FSYNC, (), (b"h",)),
        (words.extended(7, sftp.LSETSTAT, string(b"a") + SET.encode()), sftp.LSETSTAT, (b"a",), ()),
        (words.extended(7, sftp.LIMITS), sftp.LIMITS, (), ()),
        (
            words.extended(7, sftp.COPY_DATA, string(b"h") + uint64(0) * 2 + string(b"i") + uint64(0)),
            sftp.COPY_DATA,
            (),
            (b"h", b"i"),
        ),
        (words.extended(7, sftp.USERS_GROUPS, string(uint32(1)) + string(b"")), sftp.USERS_GROUPS, (), ()),
    ],
)  # fmt: skip
def test_known_requests(raw, name, paths, handles):
    request = parse_request(raw[4:])
    assert (request.name, request.paths, request.handles, request.id) == (name, paths, handles, 7)
    assert request.known and request.whole
    if paths:
        assert request.with_paths(paths) == raw
        assert parse_request(request.with_paths(tuple(path[:0] for path in paths))[4:]).rest == request.rest


def test_attributes_are_read():
    request = parse_request(words.asks_path(sftp.SETSTAT, 1, b"/a", SET.encode())[4:])
    assert request.attributes == SET
    assert parse_request(words.opens(1, b"/a", 26)[4:]).flags == 26


def test_what_is_unknown_is_named_and_not_guessed_at():
    assert not parse_request(sftp.packet(77, 1, b"xyz")[4:]).known
    unknown = parse_request(words.extended(1, "check-file@example.com", b"xyz")[4:])
    assert (unknown.name, unknown.known) == ("check-file@example.com", False)
    assert parse_request(words.extended(1, "é", b"")[4:]).name == ""


def test_bytes_left_over_are_noticed():
    assert not parse_request(words.closes(1)[4:] + b"x").whole


@given(st.binary(max_size=200))
def test_garbage_is_a_protocol_error_or_a_request(raw):
    for parse in (parse_request, sftp.parse_first_name):
        try:
            parse(raw)
        except ProtocolError:
            pass


@given(st.sampled_from([3, 4, 5, *range(7, 21), 200]), st.binary(max_size=120))
def test_garbage_behind_a_known_type(kind, body):
    try:
        request = parse_request(sftp.packet(kind, 9, body)[4:])
    except ProtocolError:
        return
    assert request.id == 9


def test_words_for_people():
    assert sftp.status_name(3) == "permission_denied"
    assert sftp.status_name(77) == "status_77"
    assert sftp.flag_names(sftp.FXF_WRITE | sftp.FXF_CREAT) == "write,create"
    assert sftp.flag_names(0) == "none"
