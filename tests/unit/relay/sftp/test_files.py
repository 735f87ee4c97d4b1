"""One open file: a digest is given for what passed whole, and a reason for everything else."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.relay.sftp.files import OpenFile
from bastion.wire import sftp

NEW = sftp.FXF_WRITE | sftp.FXF_CREAT | sftp.FXF_TRUNC


def opened(flags, *, directory=False, hashing=True):
    return OpenFile(1, b"/f", flags, directory=directory, hashing=hashing)


def read(file, offset, data, size=None):
    """The client asks, the target answers with `data`."""
    file.read_asked()
    file.reading(offset, len(data))
    file.body(data)


def write(file, offset, data, code=sftp.FX_OK):
    file.writing(offset, len(data))
    file.body(data)
    file.written(len(data), code)


def digest(data):
    return hashlib.sha256(data).hexdigest(), ""


@given(st.lists(st.binary(max_size=9)), st.booleans())
def test_what_passes_in_order_to_its_end_has_its_digest(parts, by_size):
    whole, file = b"".join(parts), opened(sftp.FXF_READ)
    at = 0
    for part in parts:
        read(file, at, part)
        at += len(part)
    if by_size:
        file.size = len(whole)
    else:
        file.read_asked()
        file.read_failed(at, sftp.FX_EOF)
    assert file.outcome(True) == digest(whole)
    assert (file.bytes_read, file.bytes_written) == (len(whole), 0)


@given(st.lists(st.binary(max_size=9)))
def test_so_has_what_is_written_into_an_emptied_file(parts):
    file, at = opened(NEW), 0
    for part in parts:
        write(file, at, part)
        at += len(part)
    assert file.outcome(True) == digest(b"".join(parts))
    assert file.bytes_written == at


@pytest.mark.parametrize(
    ("flags", "may_read", "may_write"),
    [
        (0, True, False),
        (sftp.FXF_READ, True, False),
        (sftp.FXF_WRITE, False, True),
        (sftp.FXF_APPEND, False, True),
        (sftp.FXF_READ | sftp.FXF_WRITE, True, True),
        (sftp.FXF_CREAT, True, False),
    ],
)
def test_what_an_open_is_good_for(flags, may_read, may_write):
    file = opened(flags)
    assert (file.may_read, file.may_write) == (may_read, may_write)


def outcome_of(flags, *steps, closed=True):
    file = opened(flags)
    for step in steps:
        step(file)
    return file.outcome(closed)


READ_ALL = (
    lambda file: read(file, 0, b"ab"),
    lambda file: (file.read_asked(), file.read_failed(2, sftp.FX_EOF)),
)


MORE = "written into a file that may have had more"
BOTH = "read and written under one handle"


@pytest.mark.parametrize(
    ("flags", "steps", "why"),
    [
        (sftp.FXF_READ, [lambda f: read(f, 5, b"x")], "not passed from its beginning"),
        (sftp.FXF_READ, [*READ_ALL, lambda f: read(f, 9, b"x")], "not passed in order"),
        (sftp.FXF_READ, [lambda f: read(f, 0, b"x")], "not read to its end"),
        (sftp.FXF_READ, [lambda f: f.read_asked(), lambda f: f.read_failed(0, sftp.FX_FAILURE)], "a read failed"),
        (sftp.FXF_READ, [*READ_ALL, lambda f: f.read_asked()], "closed before every answer had come"),
        (NEW, [lambda f: write(f, 0, b"x", sftp.FX_FAILURE)], "a write failed"),
        (NEW, [lambda f: write(f, 0, b"xy"), lambda f: f.resizing(1)], "cut after it was written"),
        (NEW | sftp.FXF_APPEND, [lambda f: write(f, 0, b"x")], "opened to append"),
        (sftp.FXF_WRITE, [lambda f: write(f, 0, b"x")], MORE),
        (NEW, [lambda f: write(f, 0, b"x"), lambda f: setattr(f, "size", 2)], MORE),
        (NEW | sftp.FXF_READ, [lambda f: write(f, 0, b"x"), lambda f: f.read_asked()], BOTH),
        (NEW | sftp.FXF_READ, [lambda f: f.read_asked(), lambda f: write(f, 0, b"x")], BOTH),
    ],
)  # fmt: skip
def test_without_the_whole_there_is_a_reason(flags, steps, why):
    assert outcome_of(flags, *steps) == ("", why)


def test_a_file_that_nobody_closed_has_none():
    assert outcome_of(sftp.FXF_READ, *READ_ALL, closed=False) == ("", "not closed")


def test_the_first_reason_counts():
    file = opened(sftp.FXF_READ)
    file.spoil("first")
    file.spoil("second")
    assert file.outcome(True) == ("", "first")


def test_nothing_is_hashed_where_it_is_switched_off_and_of_directories():
    assert opened(NEW, hashing=False).outcome(True) == ("", "hashing is switched off")
    assert opened(0, directory=True).outcome(True) == ("", "")
