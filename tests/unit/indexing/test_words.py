"""Words of lines, and what a question asks of them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.indexing import words as words_module
from bastion.indexing.words import LONG_LINE, LONGEST_WORD, NEAR, Question, folded, indexed, words_of
from tests.support.examples import examples


def test_words() -> None:
    assert words_of("rm -rf /srv/Old_Data") == ["rm", "rf", "srv", "old", "data"]
    assert words_of("Café ÉCOLE ｆｕｌｌ") == ["cafe", "ecole", "full"]
    assert words_of("错误 error日志") == ["错", "误", "error", "日", "志"]
    assert words_of("x" * 100) == ["x" * LONGEST_WORD]
    assert words_of(" -- / ") == []


@pytest.mark.parametrize(
    ("asked", "line", "found"),
    [
        ("rm", "$ rm -rf /x", True),
        ("RM srv", "rm -rf /srv", True),
        ("rm", "confirm", False),
        ("conf", "cat config", True),
        ("config", "conf", False),
        ('"rm -rf"', "rm -rf /x", True),
        ('"rm -rf"', "rm -v -rf", False),
        ("rm -rf", "x -rf rm", True),
        ("/srv", "ls /srv/x", True),
        ("错误", "发生错误了", True),
        ("错误", "错 误", False),
        ("cafe", "un café", True),
        ("10.0.0.1", "from 10.0.0.12", True),
        ("a b", "only a", False),
        ("deploy@web1", "ssh deploy@web1", True),
    ],
)
def test_lines_that_are_asked_for(asked: str, line: str, found: bool) -> None:
    question = Question.of(asked)
    assert question.takes(line) is found


def test_a_question_without_a_word_asks_nothing() -> None:
    assert Question.of(' "" -- "/" ').terms == ()


def stands_in(question: Question, page: str) -> bool:
    """As the index answers: words as its tokenizer finds them, in their order."""
    there = [word for word in re.split("[^0-9A-Za-z\x80-\U0010ffff]+", indexed(page)) if word]
    if there[-1:] == [LONG_LINE]:
        there.pop()
    assert there == [word for line in page.split("\n") for word in words_of(line)]

    def at(place: int, words: tuple[str, ...], more: bool) -> bool:
        last = there[place + len(words) - 1 : place + len(words)]
        begun = tuple(there[place : place + len(words) - 1]) == words[:-1]
        return begun and (last == [words[-1]] or (more and last[:1] and last[0].startswith(words[-1])))

    return all(any(at(place, *phrase) for place in range(len(there))) for phrase in question.phrases)


@examples(500)
@given(st.text(max_size=60), st.data())
def test_the_index_hides_no_line(line: str, data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, len(line)))
    term = line[begin : data.draw(st.integers(begin, len(line)))].replace('"', " ")
    question = Question.of(f'"{term}"')
    if question.terms and question.takes(line):
        assert stands_in(question, f"before\n{line}\nbehind it")


def test_a_page_with_a_long_line_says_so() -> None:
    assert LONG_LINE not in indexed(f"{'a ' * NEAR}\n{'b ' * NEAR}\n{'c' * 999}")
    assert LONG_LINE in indexed(f"x\n{'a ' * (NEAR + 1)}") and LONG_LINE in indexed("错" * 2 * NEAR + "误")
    assert Question.of(LONG_LINE).terms == ()


def test_lines_are_told_by_their_numbers() -> None:
    page = "rm x\nconfirm\n\nÉté: x rm -rf\nx"
    assert Question.of("rm x").places(page) == [0, 3]
    assert Question.of('"ete: x"').places(page) == [3]
    assert Question.of("x").places(page) == [0, 3, 4] and Question.of("x z").places(page) == []
    assert Question.of('"x\nconfirm"').places(page) == []


def begins(line: str, term: str) -> bool:
    """A term stands in a folded line where a word begins, told character by character."""
    places = [place for place in range(len(line)) if line.startswith(term, place)]
    bound = words_module._BOUND.match(term)
    return any(not (bound and place and words_module._BOUND.match(line[place - 1])) for place in places)


@examples(500)
@given(
    st.lists(st.text("ab é错.", max_size=12), min_size=1, max_size=6),
    st.lists(st.text("ab é错.", min_size=1, max_size=3), min_size=1, max_size=3),
)
def test_the_lines_of_a_page_are_those_with_all_terms(lines: list[str], terms: list[str]) -> None:
    question = Question.of(" ".join(f'"{term}"' for term in terms))
    page = [folded(line) for line in lines]
    wanted = [n for n, line in enumerate(page) if all(begins(line, term) for term in question.terms)]
    if question.terms:
        assert question.places("\n".join(lines)) == wanted


def test_a_line_is_looked_at_once_however_often_it_has_a_term() -> None:
    page = f"{'error ' * 100_000}\nerror here"
    assert Question.of("error here").places(page) == [1]


@examples(200)
@given(st.text())
def test_folding_twice_is_folding_once(text: str) -> None:
    assert folded(folded(text)) == folded(text)
