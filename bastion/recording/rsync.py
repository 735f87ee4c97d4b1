"""The names in rsync's own protocol (L1, pure): its command line, and the file list that its sender begins with.

What is read are protocols 30 and later (rsync 3.0 of 2008, and later): the greeting, the multiplexed stream, and lists
of files until the first file's data comes; a list is never compressed. `lost` says why names are not decoded, or not
all: a stream that is not understood is said to be that, and nothing is guessed. For readers of recordings, and for
nothing else.
"""

from __future__ import annotations

import re
import shlex
import stat
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from bastion.wire.printable import printable

MOST_NAMES: Final = 10_000
"""Lines of one transfer; more are counted."""

GREETING: Final = 16
"""Bytes in which a version and the flags are."""

MOST_ENTRIES: Final = 1 << 20
"""Of one list: two bytes are kept of each."""

BUFFERED_MAX: Final = 64 << 10
"""Bytes that wait for the rest of one entry: two paths of 4,096 bytes and two names are less."""

LONGEST_PATH: Final = 4096

# xmit flags of an entry, flist.c of rsync 3
_SAME_MODE, _SAME_UID, _SAME_GID, _SAME_NAME, _LONG_NAME, _SAME_TIME = 2, 8, 16, 32, 64, 128
_SAME_MAJOR, _HLINKED, _USER_NAME, _GROUP_NAME = 1 << 8, 1 << 9, 1 << 10, 1 << 11
_HLINK_FIRST, _MOD_NSEC, _SAME_ATIME, _CRTIME_IS_MTIME = 1 << 12, 1 << 13, 1 << 14, 1 << 17
_EXTENDED, _ENDLIST = 1 << 2, 1 << 12

# compatibility flags of the greeting, compat.c
_INC_RECURSE, _VARINT_FLAGS = 1, 1 << 7
_NO_FLAGS: Final = -1

_DEVICES, _SPECIALS = (stat.S_IFCHR, stat.S_IFBLK), (stat.S_IFIFO, stat.S_IFSOCK)

_FLIST_EOF, _FLIST_OFFSET = -2, -101
_TAG_BASE: Final = 7
_TAGS: Final = frozenset((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 22, 33, 42, 86, 100, 101, 102))
_CHOICES = re.compile(rb"[a-z0-9]+( [a-z0-9]+)*").fullmatch


class _Short(Exception):
    """The rest has not come yet."""


class _Odd(Exception):
    """This is not what rsync sends, or something that is not read here."""


@dataclass(frozen=True, slots=True)
class Call:
    """The command line of rsync on the target. `letters` are its short options, `paths` what it reads or writes."""

    letters: str
    words: tuple[str, ...]
    paths: tuple[str, ...]

    @classmethod
    def of(cls, command: str) -> Call:
        """As far as it can be taken apart."""
        try:
            words = shlex.split(command)
        except ValueError:
            words = command.split()
        start = words.index("--server") + 1 if "--server" in words else len(words)
        options = words[start:]
        place = options.index(".") if "." in options else len(options)
        given = options[:place]
        short = [word[1:].partition("e")[0] for word in given if re.match(r"-[A-Za-z]", word)]
        return cls("".join(short), tuple(given), tuple(options[place + 1 :]))

    @property
    def wants_rules(self) -> bool:
        """An upload begins with filter rules."""
        return "m" in self.letters or any(word.startswith("--delete") for word in self.words)

    @property
    def unread(self) -> str:
        """What is in its lists that is not read here, "" for nothing."""
        for letter, text in (("c", "checksums"), ("A", "ACLs"), ("X", "extended attributes")):
            if letter in self.letters:
                return f"the list has {text} in it"
        return ""


class _Bytes:
    """Bytes read from the front."""

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        if size < 0 or size > BUFFERED_MAX:
            raise _Odd("an impossible length")
        if self.at + size > len(self._data):
            raise _Short
        self.at += size
        return bytes(self._data[self.at - size : self.at])

    def byte(self) -> int:
        return self.take(1)[0]

    def int32(self) -> int:
        return int.from_bytes(self.take(4), "little", signed=True)

    def varint(self) -> int:
        return self._long(1, 4)

    def varlong(self, least: int) -> int:
        return self._long(least, 8)

    def _long(self, least: int, most: int) -> int:
        """io.c: the first byte says by its leading ones how many more come than `least`."""
        first = self.byte()
        extra = next((count for count in range(7) if not first & (0x80 >> count)), 6)
        extra = min(extra, 6)
        if least - 1 + extra > most:
            raise _Odd("an impossible number")
        rest = self.take(least - 1 + extra)
        high = first & ((1 << (8 - extra)) - 1) if extra else first
        return int.from_bytes(rest + bytes([high]), "little")

    def text(self, size: int) -> bytes:
        if not 0 <= size <= LONGEST_PATH:
            raise _Odd("an impossible length of a name")
        return self.take(size)


class RsyncList:
    """The names that one transfer is about. Feed it what both sides send; get a line for each.

    `lost` says why no more are read, "" while all is well; `complete` that the sender said that these were all.
    """

    def __init__(self, command: str, direction: str) -> None:
        self.call = Call.of(command)
        self.lost = self.call.unread
        self.complete = False
        self.names = 0
        self._upload = direction == "upload"
        if self._upload and "s" in self.call.letters:
            self.lost = "the arguments stand in the stream"
        self._flags: int | None = None  # of the greeting
        self._raw = bytearray()  # of the sender, before it is taken apart
        self._greeting = bytearray()  # of the receiver
        self._heard = False
        self._greeted = False
        self._left = 0  # bytes of this frame that are to come
        self._is_data = False
        self._list = bytearray()
        self._next: Callable[[_Bytes], Iterator[str]] = self._rules if self.call.wants_rules else self._entry
        if not self._upload:
            self._next = self._entry
        self._lists = _Lists(self.call.letters)

    @property
    def done(self) -> bool:
        """No more is read."""
        return bool(self.lost) or self.complete

    def feed(self, from_target: bool, data: bytes) -> list[str]:
        """The lines that `data` completes."""
        lines: list[str] = []
        if self.done:
            return lines
        try:
            if from_target is self._upload:  # the receiver: its greeting alone is of interest
                self._receiver(from_target, data)
            else:
                self._sender(data, lines)
        except _Odd as error:
            self._lose(str(error))
        return lines

    def missing(self, from_target: bool) -> None:
        """Bytes that passed and were not kept."""
        if not self.done and from_target is not self._upload:
            self._lose("not all of it was kept")

    def _lose(self, why: str) -> None:
        self.lost = why
        self._raw.clear()
        self._list.clear()

    def _receiver(self, from_target: bool, data: bytes) -> None:
        """Its version, and where it is the target the flags that both go by."""
        if self._heard:
            return
        self._greeting += data[:GREETING]
        source = _Bytes(self._greeting)
        try:
            self._version(source)
            if from_target:
                self._flags = self._answered(source)
        except _Short:
            return
        self._heard = True
        self._greeting.clear()

    def _answered(self, source: _Bytes) -> int:
        """The target's flags. To a client older than 30 it sends none, and what stands there is a seed: any number."""
        try:
            return source.varint()
        except _Odd:
            return _NO_FLAGS

    def _sender(self, data: bytes, lines: list[str]) -> None:
        at = 0
        if not self._greeted:
            self._raw += data
            if len(self._raw) > BUFFERED_MAX and self._flags is None and self._upload:
                raise _Odd("the target's greeting is not there")
            used = self._greet()
            if used is None:
                return
            data, at, self._greeted = bytes(self._raw[used:]), 0, True
            self._raw.clear()
        while at < len(data) and not self.done:
            if self._left:
                piece = data[at : at + self._left]
                self._left -= len(piece)
                at += len(piece)
                if self._is_data:
                    self._list += piece
                    self._read(lines)
                continue
            need = 4 - len(self._raw)
            self._raw += data[at : at + need]
            at += need
            if len(self._raw) == 4:
                tag = self._raw[3] - _TAG_BASE
                if tag not in _TAGS:
                    raise _Odd("its stream is not understood")
                self._left, self._is_data = int.from_bytes(self._raw[:3], "little"), tag == 0
                self._raw.clear()

    def _greet(self) -> int | None:
        """How long the sender's greeting is; None when it is not all there."""
        source = _Bytes(self._raw)
        try:
            self._version(source)
            if not self._upload:
                self._flags = source.varint()
            if self._flags is None:
                return None
            if self._flags == _NO_FLAGS:
                raise _Odd("an impossible number")
            start, seed = source.at, 0 if self._upload else 4
            for choices in (1, 2, 0) if self._flags & _VARINT_FLAGS else (0,):
                source.at = start
                if self._fits(source, choices, seed):
                    self._lists.flags = self._flags
                    return source.at
        except _Short:
            if len(self._raw) > 4096:
                raise _Odd("its greeting is not understood") from None
            return None
        raise _Odd("its greeting is not understood")

    def _fits(self, source: _Bytes, choices: int, seed: int) -> bool:
        """So many lists of checksums and compressions, a seed, and then the head of a frame?"""
        for _ in range(choices):
            size = source.byte()
            if size & 0x80:
                size = (size & 0x7F) << 8 | source.byte()
            if size > 1024 or _CHOICES(source.take(size)) is None:
                return False
        source.take(seed)
        end = source.at
        tag = source.take(4)[3] - _TAG_BASE
        source.at = end
        return tag in _TAGS

    def _version(self, source: _Bytes) -> None:
        version = source.int32()
        if not 20 <= version <= 40:
            raise _Odd("this is not rsync's protocol")
        if version < 30:
            raise _Odd(f"protocol {version} is older than 30")
        self._lists.is_30 |= version == 30

    # -- the list ----------------------------------------------------------------------------------------

    def _read(self, lines: list[str]) -> None:
        """Every entry that is there whole."""
        used = 0
        source = _Bytes(self._list)
        try:
            while not self.done:
                lists, step = self._lists.copy(), self._next
                try:
                    lines += step(source)
                except _Short:
                    self._lists, self._next = lists, step
                    break
                used = source.at
        finally:
            del self._list[:used]
        if len(self._list) > BUFFERED_MAX:
            raise _Odd("an entry is too long")

    def _rules(self, source: _Bytes) -> Iterator[str]:
        size = source.int32()
        source.text(size)
        if not size:
            self._next = self._entry
        return iter(())

    def _entry(self, source: _Bytes) -> Iterator[str]:
        line = self._lists.entry(source)
        if line is None:
            if self._flags is not None and self._flags & _INC_RECURSE:
                self._next = self._index
            else:
                self.complete = True
            return iter(())
        self.names += 1
        return iter((line,) if self.names <= MOST_NAMES else ())

    def _index(self, source: _Bytes) -> Iterator[str]:
        """What comes behind a list: another one, the word that there is none, or files' data."""
        number = self._lists.index(source)
        if number == _FLIST_EOF:
            self.complete = True
        elif number <= _FLIST_OFFSET:
            self._lists.begin()
            self._next = self._entry
        else:
            raise _Odd("more names come between the data of files, which is not followed")
        return iter(())


class _Lists:
    """Entries of one list after the other: each leaves out what it has in common with the one before."""

    def __init__(self, letters: str) -> None:
        self._letters = letters
        self.flags = 0
        self.is_30 = False  # what both speak; later ones leave out what nobody reads
        self._name = b""
        self._mode = 0
        self._start, self._used = 1, 0  # the number of the first entry, and how many there are
        self._modes = array("H")  # of each entry; a hard link has that of the first one
        self._positive, self._negative = -1, 1

    def copy(self) -> _Lists:
        other = _Lists(self._letters)
        other.flags, other.is_30, other._name, other._mode = self.flags, self.is_30, self._name, self._mode
        other._start, other._used, other._modes = self._start, self._used, self._modes
        other._positive, other._negative = self._positive, self._negative
        return other

    def begin(self) -> None:
        """A list of another folder."""
        self._start, self._used = self._start + self._used + 1, 0

    def index(self, source: _Bytes) -> int:
        """io.c, read_ndx: the difference to the last one of its sign."""
        first = source.byte()
        if first == 0:
            return -1
        negative = first == 0xFF
        if negative:
            first = source.byte()
        value = self._negative if negative else self._positive
        if first == 0xFE:
            two = source.take(2)
            if two[0] & 0x80:
                rest = source.take(2)
                value = int.from_bytes(bytes([two[1], rest[0], rest[1], two[0] & 0x7F]), "little")
            else:
                value += two[0] << 8 | two[1]
        else:
            value += first
        if negative:
            self._negative = value
            return -value
        self._positive = value
        return value

    def entry(self, source: _Bytes) -> str | None:
        """One entry as a line; None for the end of the list."""
        flags = self._xmit_flags(source)
        if not flags:
            return None
        same = source.byte() if flags & _SAME_NAME else 0
        size = source.varint() if flags & _LONG_NAME else source.byte()
        if same > len(self._name):
            raise _Odd("a name begins as none before it")
        name = self._name[:same] + source.text(size)
        if not name or len(name) > LONGEST_PATH or b"\0" in name:
            raise _Odd("an impossible name")
        self._name, self._used = name, self._used + 1
        shown = printable(name.decode("utf-8", "backslashreplace"), LONGEST_PATH)
        if flags & _HLINKED and not flags & _HLINK_FIRST:
            first = source.varint()
            start = self._start if self.flags & _INC_RECURSE else 0
            if first >= start:
                if first - start >= self._used - 1:
                    raise _Odd("a hard link to an entry that has not come")
                self._mode = self._modes[first - start]
                self._note_mode()
                return f"hard link {shown}: to entry {first - start + 1} of this list"
        line = self._about(source, flags, shown)
        self._note_mode()
        return line

    def _note_mode(self) -> None:
        if self._used > MOST_ENTRIES:
            raise _Odd("a list is too long")
        del self._modes[self._used - 1 :]  # of an entry that was read before all of it had come
        self._modes.append(self._mode)

    def _xmit_flags(self, source: _Bytes) -> int:
        if self.flags & _VARINT_FLAGS:
            flags = source.varint()
            if not flags:
                source.varint()  # errors of reading, at the sender
            return flags
        flags = source.byte()
        if flags & _EXTENDED:
            flags |= source.byte() << 8
            if flags == _EXTENDED | _ENDLIST:
                source.varint()
                return 0
        return flags

    def _about(self, source: _Bytes, flags: int, shown: str) -> str:
        letters, size = self._letters, source.varlong(3)
        if not flags & _SAME_TIME:
            source.varlong(4)
        if flags & _MOD_NSEC:
            source.varint()
        if "N" in letters and not flags & _CRTIME_IS_MTIME:
            source.varlong(4)
        if not flags & _SAME_MODE:
            self._mode = source.int32() & 0xFFFF
        kind = stat.S_IFMT(self._mode)
        if "U" in letters and kind != stat.S_IFDIR and not flags & _SAME_ATIME:
            source.varlong(4)
        for letter, is_same, named in (("o", _SAME_UID, _USER_NAME), ("g", _SAME_GID, _GROUP_NAME)):
            if letter in letters and not flags & is_same:
                source.varint()
                if flags & named:
                    source.text(source.byte())
        if "D" in letters and (kind in _DEVICES or (self.is_30 and kind in _SPECIALS)):
            if not flags & _SAME_MAJOR:
                source.varint()
            source.varint()
        if kind == stat.S_IFLNK and "l" in letters:
            target = source.text(source.varint()).decode("utf-8", "backslashreplace")
            return f"link {shown} -> {printable(target, LONGEST_PATH)}"
        mode = f"mode {stat.S_IMODE(self._mode):04o}"
        if kind == stat.S_IFDIR:
            return f"folder {shown}, {mode}"
        if kind == stat.S_IFREG:
            return f"file {shown}: {size} bytes, {mode}"
        if kind in _DEVICES or kind in _SPECIALS:
            return f"device or socket {shown}, {mode}"
        raise _Odd("an entry that is neither file, folder, link nor device")
