"""At which line each key of a TOML text stands (L0, pure).

`tomllib` reads values and forgets where they stood. This walks a text that `tomllib` has accepted and notes
the line of every table, key, list element and inline key. It judges nothing: on a valid text it finds every
path, on any other it stops where it no longer understands, and errors then name the nearest table.
"""

from __future__ import annotations

import re
import tomllib

from bastion.options import Key, KeyPath

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_LITERAL = re.compile(r"'[^'\n]*'")
_LONG_BASIC = re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}(?!")', re.DOTALL)
_LONG_LITERAL = re.compile(r"'''.*?'{3,5}(?!')", re.DOTALL)
_SCALAR = re.compile(r"[^,\]}#\n]+")


class _Lost(Exception):
    """The text is not what the walk expects. Never leaves `key_lines`."""


class _Walk:
    """One pass over one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._counted = (0, 1)
        self.lines: dict[KeyPath, int] = {}
        self._arrays: dict[KeyPath, int] = {}

    def run(self) -> None:
        table: KeyPath = ()
        while True:
            self._skip_blank()
            if self._at >= len(self._text):
                return
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> KeyPath:
        """`[a.b]` or `[[a.b]]`; where a part is an array of tables, its last element is meant."""
        line = self._line()
        double = self._text.startswith("[[", self._at)
        self._at += 2 if double else 1
        path: KeyPath = ()
        keys = self._dotted()
        for index, key in enumerate(keys):
            path = (*path, key)
            if index < len(keys) - 1:
                path = self._inside(path)
        self._expect("]]" if double else "]")
        if double:
            self.lines.setdefault(path, line)
            self._arrays[path] = self._arrays.get(path, -1) + 1
        path = self._inside(path)
        self.lines[path] = line
        return path

    def _inside(self, path: KeyPath) -> KeyPath:
        return (*path, self._arrays[path]) if path in self._arrays else path

    def _pair(self, table: KeyPath) -> None:
        line = self._line()
        path = table
        for key in self._dotted():
            path = (*path, key)
            self.lines.setdefault(path, line)
        self._expect("=")
        self._skip_spaces()
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        text, at = self._text, self._at
        if text.startswith("[", at):
            self._list(path)
        elif text.startswith("{", at):
            self._inline(path)
        else:
            for pattern in (_LONG_BASIC, _LONG_LITERAL, _BASIC, _LITERAL, _SCALAR):
                if found := pattern.match(text, at):
                    self._at = found.end()
                    return
            raise _Lost

    def _list(self, path: KeyPath) -> None:
        self._expect("[")
        index = 0
        while not self._ends_with("]"):
            self.lines[(*path, index)] = self._line()
            self._value((*path, index))
            index += 1
            self._skip_blank()
            if not self._text.startswith(",", self._at):
                self._expect("]")
                return
            self._at += 1

    def _inline(self, path: KeyPath) -> None:
        self._expect("{")
        while not self._ends_with("}"):
            self._pair(path)
            self._skip_blank()
            if not self._text.startswith(",", self._at):
                self._expect("}")
                return
            self._at += 1

    def _ends_with(self, bracket: str) -> bool:
        self._skip_blank()
        if self._text.startswith(bracket, self._at):
            self._at += 1
            return True
        return False

    def _dotted(self) -> list[Key]:
        keys = [self._key()]
        while True:
            self._skip_spaces()
            if not self._text.startswith(".", self._at):
                return keys
            self._at += 1
            keys.append(self._key())

    def _key(self) -> Key:
        self._skip_spaces()
        for pattern in (_BARE_KEY, _BASIC, _LITERAL):
            if found := pattern.match(self._text, self._at):
                self._at = found.end()
                return _unquoted(found.group())
        raise _Lost

    def _expect(self, mark: str) -> None:
        self._skip_spaces()
        if not self._text.startswith(mark, self._at):
            raise _Lost
        self._at += len(mark)

    def _skip_blank(self) -> None:
        found = _BLANK.match(self._text, self._at)
        assert found is not None
        self._at = found.end()

    def _skip_spaces(self) -> None:
        while self._at < len(self._text) and self._text[self._at] in " \t":
            self._at += 1

    def _line(self) -> int:
        """The line of the current place; counts on from where it was asked last."""
        place, line = self._counted
        line += self._text.count("\n", place, self._at)
        self._counted = (self._at, line)
        return line


def _unquoted(key: str) -> str:
    if key[0] == "'":
        return key[1:-1]
    if key[0] == '"':
        # The escapes of a quoted key are those of a string, and tomllib knows them.
        value: str = tomllib.loads(f"key = {key}")["key"]
        return value
    return key


def key_lines(text: str) -> dict[KeyPath, int]:
    """Path of each key of `text` -> its 1-based line. List elements have their index as the last part."""
    walk = _Walk(text)
    try:
        walk.run()
    except (_Lost, tomllib.TOMLDecodeError, RecursionError):
        pass  # what was found so far still helps
    return walk.lines
