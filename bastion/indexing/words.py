"""Words of lines for a full-text index, and what a question asks of a line (L2, pure).

Invariant: whatever line `Question.takes` takes, the words of a page with it have all of `Question.words`: the index
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
_QUOTED: Final = re.compile(r'"([^"]*)"|(\S+)')

LONGEST_WORD: Final = 40
"""Characters of a word that are told apart: base64 is no language."""


def folded(text: str) -> str:
    """Without case, accents and width."""
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFKD", text)
    bare = "".join(char for char in plain if not unicodedata.combining(char))
    return unicodedata.normalize("NFC", bare).casefold()


def words_of(text: str) -> list[str]:
    """The words of a line or page, folded."""
    return [word[:LONGEST_WORD] for word in _WORD.findall(folded(text))]


@dataclass(frozen=True)
class Question:
    """What is looked for: terms that all stand in one line, words or phrases, as they are written but for case. A term
    begins where a word begins, and may end inside one.
    """

    terms: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Question:
        """`rm "-rf /srv"`: words, and phrases in quotation marks."""
        terms = (folded(quoted or bare).strip() for quoted, bare in _QUOTED.findall(text))
        return cls(tuple(term for term in terms if _WORD.search(term)))

    @cached_property
    def words(self) -> tuple[tuple[str, bool], ...]:
        """(word, whether it may go on) of all terms: what an index can be asked."""
        found: dict[str, bool] = {}
        for term in self.terms:
            words = words_of(term)
            for place, word in enumerate(words):
                last = place == len(words) - 1 and term[-1:] == word[-1:]
                found[word] = found.get(word, True) and (last or len(word) == LONGEST_WORD)
        return tuple(found.items())

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], ...]:
        def begins(term: str) -> str:
            return rf"(?<![^\W_{_CJK}])" if _WORD.match(term) and not re.match(f"[{_CJK}]", term) else ""

        return tuple(re.compile(begins(term) + re.escape(term)) for term in self.terms)

    def takes(self, line: str) -> bool:
        """All terms stand in this line."""
        text = folded(line)
        return all(pattern.search(text) for pattern in self._patterns)
