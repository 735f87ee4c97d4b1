"""scp and rsync as commands (L1, pure): recognised by their command line, and scp's own protocol read.

For readers of the log and of recordings, and for nothing else: a command line is the engineer's word, and no permission
ever hangs on it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import NamedTuple

from bastion.wire.printable import printable

# A line of scp's protocol: a mode, a size and a name of at most 4,096 bytes.
LONGEST_LINE = 8192

# Folders in each other that are told apart.
DEEPEST = 64

_FILE = re.compile(rb"([CD])([0-7]{1,6}) (\d{1,19}) (.+)", re.DOTALL)
_TIMES = re.compile(rb"T\d{1,20} \d{1,20} \d{1,20} \d{1,20}")

# More than one program may run behind these, and then output is not scp's or rsync's alone.
_SHELL = re.compile(r"[;&|<>`\n\r]|\$\(")


def transfer_of(command: str) -> tuple[str, str]:
    """(`scp` or `rsync`, `upload` or `download`) of a command line; empty for any other.

    OpenSSH's scp -O starts `scp -t` (it will send) or `scp -f` on the target, rsync `rsync --server`, with
    `--sender` where the target is the one who sends. A program under another name, behind a shell or sudo's
    options, or that only calls itself so is not seen.
    """
    words = command[:4096].split()
    if words[:1] == ["sudo"]:
        words = words[1:]
    program = words[0].rpartition("/")[2] if words else ""
    flags = [word for word in words[1:] if word.startswith("-") and word != "--"]
    if program == "rsync" and "--server" in flags:
        return "rsync", "download" if "--sender" in flags else "upload"
    if program == "scp":
        letters = {letter for flag in flags if not flag.startswith("--") for letter in flag[1:]}
        if "t" in letters or "f" in letters:
            return "scp", "download" if "f" in letters else "upload"
    return "", ""


def alone(command: str) -> bool:
    """The shell on the target runs nothing but this one program, as far as its command line tells."""
    return _SHELL.search(command) is None


class Copied(NamedTuple):
    """One thing that the sending side of scp says. `path` is below the place of the command line, as names of folders
    and of the file; `text` is what came of it, without the name."""

    path: tuple[str, ...]
    is_folder: bool
    text: str


class ScpStream:
    """What the sending side of scp says: feed it the bytes; get a line for each file, folder and complaint, and
    `heard` gets files and folders as values.

    `broken` is true once it is not scp's protocol (or bytes of a name are missing): nothing more is read from it then.
    """

    def __init__(self, heard: Callable[[Copied], None] = lambda one: None) -> None:
        self.broken = False
        self._heard = heard
        self._folders: list[str] = []
        self._line = b""
        self._left = -1  # bytes of the file that are to come; -1 between files
        self._file = ("", 0, "")
        self._digest = hashlib.sha256()
        self._whole = True

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` completes."""
        lines: list[str] = []
        at = 0
        while at < len(data) and not self.broken:
            if self._left > 0:
                piece = data[at : at + self._left]
                self._digest.update(piece)
                self._left -= len(piece)
                at += len(piece)
            elif self._left == 0:  # one byte behind each file says whether it was read well
                lines.append(self._told(data[at] == 0))
                self._left = -1
                at += data[at] == 0
            else:
                at = self._next(data, at, lines)
        return lines

    def missing(self, size: int) -> None:
        """That many bytes passed here and were not kept."""
        if size <= 0:
            return
        if 0 < size <= self._left:
            self._left -= size
            self._whole = False
        else:
            self.broken = True

    def _next(self, data: bytes, at: int, lines: list[str]) -> int:
        end = data.find(b"\n", at)
        stop = len(data) if end < 0 else end
        self._line += data[at : min(stop, at + LONGEST_LINE)]
        if len(self._line) >= LONGEST_LINE:
            self.broken = True
        elif end >= 0:
            line, self._line = self._line.lstrip(b"\0"), b""
            self._read(line, lines)
        elif self._line.strip(b"\0")[:1] not in (b"", b"C", b"D", b"E", b"T", b"\x01", b"\x02"):
            self.broken = True
        else:
            self._line = self._line.lstrip(b"\0")
        return stop + 1

    def _read(self, line: bytes, lines: list[str]) -> None:
        match = _FILE.fullmatch(line)
        if match is not None:
            kind, mode, size, name = match.groups()
            shown = printable(name.decode("utf-8", "backslashreplace"), 1024)
            if kind == b"D":
                self._folders = [*self._folders, shown][-DEEPEST:]
                self._heard(Copied(tuple(self._folders), True, f"folder, mode {mode.decode()}"))
                lines.append(f"folder {shown}, mode {mode.decode()}")
                return
            self._file = (shown, int(size), mode.decode())
            self._left, self._digest, self._whole = int(size), hashlib.sha256(), True
        elif line[:1] in (b"\x01", b"\x02"):
            lines.append(f"refused: {printable(line[1:].decode('utf-8', 'replace'), 512)}")
        elif line == b"E":
            self._folders = self._folders[:-1]
            lines.append("end of folder")
        elif _TIMES.fullmatch(line) is None:
            self.broken = True

    def _told(self, well: bool) -> str:
        name, size, mode = self._file
        digest = f"sha256 {self._digest.hexdigest()}" if self._whole else "no sha256: not all of it was kept"
        said = f"{size} bytes, {digest}, mode {mode}, {'ok' if well else 'failed'}"
        self._heard(Copied((*self._folders, name), False, said))
        return f"file {name}: {said}"
