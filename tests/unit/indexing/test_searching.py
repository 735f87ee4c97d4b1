"""Lines are found, the newest session first, however they are looked for."""

from __future__ import annotations

import random
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from bastion.indexing import searching
from bastion.indexing.pages import Page
from bastion.indexing.searching import Search
from bastion.indexing.store import IndexFile
from bastion.indexing.words import Question
from bastion.recording.listed import Wanted
from tests.unit.indexing.made import ONE, TWO, found, put


def test_lines_are_found_the_newest_session_first(file: IndexFile) -> None:
    put(file, ONE, "one error", "nothing", "two errors")
    put(file, TWO, "error three")
    assert found(file, "error") == [
        ("b", 0.0, "error three"),
        ("a", 0.0, "one error"),
        ("a", 2.0, "two errors"),
    ]
    assert found(file, "error one") == [("a", 0.0, "one error")]
    assert found(file, "one nothing") == [], "both words stand in the page, in no line"
    (hit,) = file.search(Question.of("nothing"), file.sessions(), 1)
    assert (hit.before, hit.after, hit.channel) == (("one error",), ("two errors",), 1)
    assert list(file.search(Question.of("error"), {})) == []


@pytest.mark.parametrize(("at_first", "for_a_hit"), [(0, 0), (1, 1), (7, 2), (128, 16)])
def test_the_newest_are_those_of_all_sessions_that_are_wanted(
    file: IndexFile, monkeypatch: pytest.MonkeyPatch, at_first: int, for_a_hit: int
) -> None:
    monkeypatch.setattr(searching, "AT_FIRST", at_first)
    monkeypatch.setattr(searching, "FOR_A_HIT", for_a_hit)
    monkeypatch.setattr(searching, "FIRST_BATCH", 1)
    monkeypatch.setattr(searching, "LARGEST_BATCH", 3)
    chance = random.Random(1)
    for number in range(40):
        one = ONE._replace(
            id=f"{number:016}", started_at=chance.choice((0.0, 100.0 * number)), duration=chance.random() * 500,
            identity=chance.choice(("alice", "bob")), login=chance.choice(("deploy", "root")),
            target=chance.choice(("web1", "web1:2222", "db1")), source=f"10.0.0.{number}",
            rules="a,b"[: number % 2 * 2 + 1],
        )  # fmt: skip
        put(file, one, "an error", f"word{number}", *["error again"] * (number % 3), end=number % 7 != 0)
    for wanted in (
        Wanted(), Wanted(user="bob"), Wanted(login="root", user="alice"), Wanted(target="web1"), Wanted(since=1500.0),
        Wanted(until=2000.0), Wanted(since=900.0, until=2500.0, target="db1"), Wanted(rule="b"), Wanted(user="nobody"),
        Wanted(source=ip_network("10.0.0.0/28")),
    ):  # fmt: skip
        chosen = {number: one for number, one in file.sessions().items() if wanted.takes(one)}
        for words in ("error", "word17", "an error", "nothing", "error again"):
            question = Question.of(words)
            assert list(file.newest(question, wanted, 1)) == list(file.search(question, chosen, 1)), wanted
    assert list(file.newest(Question.of(""), Wanted())) == []


def test_a_long_session_among_the_newest_is_not_read_whole(
    file: IndexFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one with more pages than are read at first, those alone are opened that have the words."""
    monkeypatch.setattr(searching, "AT_FIRST", 3)
    put(file, ONE, "an old error")
    long = put(file, TWO, "page 0", end=False)
    pages = [Page(1, [f"page {place}", "error"[: 5 * (place == 7)]], [0.0, 1.0]) for place in range(1, 50)]
    file.add(long, 1, pages)
    file.end(long, [], "[]", "")
    opened, rows = list[int](), Search._rows

    def noted(self: Search, numbers: list[int]) -> Iterator[tuple[int, tuple[int, bytes]]]:
        opened.extend(numbers)
        return rows(self, numbers)

    monkeypatch.setattr(Search, "_rows", noted)
    hits = list(file.newest(Question.of("error"), Wanted()))
    assert [(hit.session.id[0], hit.text) for hit in hits] == [("b", "error"), ("a", "an old error")]
    assert [number % searching.SESSION_PAGES for number in opened] == [7, 0]


def test_words_are_found_however_far_apart_they_stand_in_a_line(file: IndexFile) -> None:
    far = f"first {'x ' * 500} last"
    put(file, ONE, "first", *["y " * 50] * 20, "last")
    put(file, TWO, "before", far, "behind")
    assert found(file, "last first") == found(file, '"first x" last') == [("b", 1.0, far)]
    assert found(file, "first x x") == [("b", 1.0, far)] and found(file, "last before") == []
