"""What is fuzzed of reading recordings: files in any state, and what peers put into them."""

from __future__ import annotations

import io
import unicodedata

from bastion.recording import reader as recording
from bastion.recording.format import FormatError
from bastion.recording.rsync import MOST_NAMES, RsyncList
from bastion.recording.running import LONGEST_COMMAND, Typed
from bastion.recording.typed import Typing
from bastion.recording.unwrapping import DataKeys
from bastion.recording.verifying import verify
from bastion.wire.printable import printable


def recordings(data: bytes) -> None:
    """A recording in any state of decay: read, opened, and judged, with a key that it cannot have."""
    assert not verify(io.BytesIO(data), "", ()).good
    try:
        opened = recording.Reader(io.BytesIO(data), "k3v2m5q7p2r4t6wa", None, DataKeys.joined)
        for _ in opened:
            pass
    except FormatError:
        pass


RSYNC = (
    "rsync --server -logDtpre.iLsfxCIvu . /srv",
    "rsync --server --sender -logDtpre.iLsfxCIvu . /srv",
    "rsync --server -logDtpre.iLsfxCIvu --delete . /srv",
    "rsync --server --sender -rUHe.LsfxCIvu . /srv",
)
"""Uploads and downloads as rsync 3.2 calls itself on a target."""


def rsync(data: bytes) -> None:
    """`command and step, size, greeting of the receiver, sender`: whole and in pieces the names are the same."""
    if len(data) < 2:
        return
    command = RSYNC[data[0] % len(RSYNC)]
    upload = "--sender" not in command
    receiver, sender = data[2 : 2 + data[1]], data[2 + data[1] :]
    found = []
    for step in (max(1, len(sender)), 1 + (data[0] >> 4)):
        names = RsyncList(command, "upload" if upload else "download")
        lines = names.feed(upload, receiver)
        for at in range(0, len(sender), step):
            lines += names.feed(not upload, sender[at : at + step])
        assert len(lines) == min(names.names, MOST_NAMES)
        assert all(line == printable(line, len(line)) for line in lines)
        found.append((lines, names.lost, names.complete))
    assert found[0] == found[1]


def typed(data: bytes) -> None:
    """What a terminal shows, in pieces, and what of it somebody typed: text without controls, and not too much."""
    if len(data) < 2:
        return
    told: list[Typed] = []
    size = ((1, 1), (7, 3), (40, 10), (80, 24))[data[0] % 4]
    typing = Typing(size, bool(data[0] & 4), told.append)
    step = 1 + data[1] % 64
    for number, at in enumerate(range(2, len(data), step)):
        piece = data[at : at + step]
        if piece[0] == 0xFE:
            typing.typed(piece)
        elif piece[0] == 0xFF:
            typing.resize((1 + piece[-1] % 90, 1 + piece[-1] % 30))
        else:
            typing.output(piece, float(number))
    typing.close(float(len(data)))
    for one in told:
        assert one.text.strip() and len(one.text) <= LONGEST_COMMAND
        assert not set(map(unicodedata.category, one.text.replace("\n", ""))) & {"Cc"}
        assert one.offset <= one.start and (one.end is None or one.start <= one.end)
