"""Words of lines for a full-text index, and what a question asks of a line (L2, pure).

Invariant: whatever line `Question.takes` takes, the words of a page with it have all of `Question.phrases`: the index
never hides a line. Scripts without blanks (CJK, kana, hangul) are words of one character each.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from typing import Final

_CJK: Final = (
    "\u2e80-\u2fff\u3005-\u3007\u3021-\u3029\u3038-\u30ff\u3100-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f"
    "\uac00-\ud7ff\uf900-\ufaff\uff66-\uffdc\U00020000-\U0003ffff"
)
_WORD: Final = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+")
_BOUND: Final = re.compile(rf"[^\W_{_CJK}]")
_QUOTED: Final = re.compile(r'"([^"]*)"|(\S+)')

LONGEST_WORD: Final = 40
"""Characters of a word that are told apart: base64 is no language."""

NEAR: Final = 60
"""Words of a line that an index tells from a page; one that has more is marked by LONG_LINE in its page's words."""

LONG_LINE: Final = "\ue000"
"""Stands in no line's words."""

_LONG: Final = re.compile(rf"([a-z0-9]{{{LONGEST_WORD}}})[a-z0-9]+")


def folded(text: str) -> str:
    """Without case, accents and width; line by line."""
    if text.isascii():
        return text.lower()
    if "\n" in text:
        return "\n".join(map(folded, text.split("\n")))
    plain = unicodedata.normalize("NFKD", text)
    bare = "".join(char for char in plain if not unicodedata.combining(char))
    return unicodedata.normalize("NFC", bare).casefold()


def words_of(text: str) -> list[str]:
    """The words of a line or page, folded."""
    return [word[:LONGEST_WORD] for word in _WORD.findall(folded(text))]


def indexed(text: str) -> str:
    """What an index is given of a page: a tokenizer that divides at all of ASCII but letters and digits finds
    `words_of` in it, in their order."""
    found = [
        _LONG.sub(r"\1", line.lower()) if line.isascii() else " ".join(words_of(line))
        for line in text.split("\n")
    ]
    if any(len(line) > 2 * NEAR and len(_WORD.findall(line)) > NEAR for line in found):
        found.append(LONG_LINE)
    return "\n".join(found)


@dataclass(frozen=True)
class Question:
    """What is looked for: terms that all stand in one line, words or phrases, as they are written but for case. A term
    begins where a word begins, and may end inside one.
    """

    terms: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Question:
        """`rm "-rf /srv"`: words, and phrases in quotation marks."""
        terms = (
            " ".join(folded(quoted or bare).splitlines()).strip() for quoted, bare in _QUOTED.findall(text)
        )
        return cls(tuple(term for term in terms if _WORD.search(term)))

    @cached_property
    def phrases(self) -> tuple[tuple[tuple[str, ...], bool], ...]:
        """(words that follow each other, whether the last may go on) of each term: what an index can be asked."""
        found = []
        for term in self.terms:
            words = words_of(term)
            last = words[-1]
            goes_on = term[-1:] == last[-1:] and not re.match(f"[{_CJK}]", last)
            found.append((tuple(words), goes_on or len(last) == LONGEST_WORD))
        return tuple(found)

    @cached_property
    def match(self) -> str:
        """As FTS5 is asked, "" for nothing: terms of one line stand near each other, or in a page with a long line."""
        terms = [f'"{" ".join(words)}"{"*" if more else ""}' for words, more in self.phrases]
        if len(terms) < 2:
            return "".join(terms)
        return f'NEAR({" ".join(terms)}, {NEAR}) OR (({" AND ".join(terms)}) AND "{LONG_LINE}")'

    def takes(self, line: str) -> bool:
        """All terms stand in this line."""
        return bool(self.places(" ".join(line.split("\n"))))

    def places(self, page: str) -> list[int]:
        """The numbers of the lines, from 0, in which all terms stand."""
        text = folded(page)
        if not all(term in text for term in self.terms):
            return []
        first, *others = sorted(self.terms, key=len, reverse=True)
        found, line, at = list[int](), 0, 0
        while (place := _begun(text, first, at)) >= 0:
            line += text.count("\n", at, place)
            at = text.find("\n", place)
            at = len(text) if at < 0 else at  # each line once, however often the first term stands in it
            here = text[text.rfind("\n", 0, place) + 1 : at]
            if all(_begun(here, term, 0) >= 0 for term in others):
                found.append(line)
        return found


def _begun(text: str, term: str, at: int) -> int:
    """Where a term stands next in a text and begins a word, if it begins with one; -1 where it does not."""
    bound = _BOUND.match(term) is not None
    place = text.find(term, at)
    while place > 0 and bound and _BOUND.match(text[place - 1]):
        place = text.find(term, place + 1)
    return place
