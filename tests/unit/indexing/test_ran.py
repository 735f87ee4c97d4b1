"""Commands by their words: sessions that they lead to, and a file of the version before that becomes one of ours."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest

from bastion.indexing import ran as module
from bastion.indexing.ran import COLUMNS
from bastion.indexing.store import IndexFile, IndexUnfit
from bastion.indexing.words import Question
from bastion.recording.commands import Command
from bastion.recording.listed import Listed, Wanted

ONE = Listed("a" * 16, "ended", 100.0, "alice", "deploy", "web1", 60.0, 5, "2027-01-15/a.rec")


@pytest.fixture
def file(tmp_path: Path) -> IndexFile:
    return IndexFile(tmp_path / "index" / "reading.db", make=True)


def put(file: IndexFile, one: Listed, *texts: str, end: bool = True) -> int:
    number = file.begin(one, "u", "10.0.0.1", 10, 20)
    if end:
        commands = [
            Command(one.id, 1, "typed", text, float(at), one.started_at + at, float(at), "heuristic")
            for at, text in enumerate(texts)
        ]
        file.end(number, commands, "[]", "")
    return number


def found(file: IndexFile, words: str, wanted: Wanted | None = None) -> list[str]:
    ran = file.ran(Question.of(words))
    return [name for _, name in ran.newest(wanted or Wanted(), None) if ran.takes(name)]


def test_a_session_is_found_by_the_words_of_one_of_its_commands(file: IndexFile) -> None:
    put(file, ONE, "ls -la /srv", "rm -rf /tmp/x")
    put(file, ONE._replace(id="b" * 16, started_at=200.0), "rm -rf \\\n  /srv/data", "ls")
    put(file, ONE._replace(id="c" * 16, started_at=300.0), "rm -rf /half", end=False)
    assert found(file, "rm") == ["b" * 16, "a" * 16]
    assert found(file, "rm srv") == ["b" * 16], "both words stand in two commands of the other"
    assert found(file, '"rm -rf"') == ["b" * 16, "a" * 16] and found(file, '"-rf /srv"') == []
    assert found(file, "RM dat") == ["b" * 16], "a term may end in a word, whatever its case"
    assert found(file, "nothing") == [] and not file.ran(Question.of("rm")).takes("z" * 16)
    assert file.known_until() == 200.0


@pytest.mark.parametrize("few", [3, 1000])
def test_newest_leads_to_all_that_are_taken_and_wanted_in_their_order(
    file: IndexFile, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(module, "FEW", few)
    chance, sessions = random.Random(2), list[tuple[Listed, list[str]]]()
    for number in range(60):
        one = ONE._replace(
            id=f"{number:016}".translate(str.maketrans("0189", "abcd")), started_at=100.0 * chance.randrange(40),
            identity=chance.choice(("alice", "bob")), login=chance.choice(("deploy", "root")), duration=50.0,
        )  # fmt: skip
        texts = [chance.choice(("ls", "rm -rf /srv", "cat rm srv.txt", "srv")) for _ in range(3)]
        put(file, one, *texts)
        sessions.append((one, texts))
    for words in ("rm srv", "ls", "cat", '"rm -rf"', "none"):
        question = Question.of(words)
        for wanted in (
            Wanted(),
            Wanted(user="bob"),
            Wanted(login="root", until=2000.0),
            Wanted(since=1500.0),
        ):
            expected = sorted(
                (
                    (one.started_at, one.id)
                    for one, texts in sessions
                    if wanted.takes(one) and any(map(question.takes, texts))
                ),
                reverse=True,
            )
            ran = file.ran(question)
            taken = [one for one in ran.newest(wanted, None) if ran.takes(one[1])]
            assert [one for one in taken if one in expected] == expected, (words, wanted)
            at = expected[len(expected) // 2 : len(expected) // 2 + 1]
            if at:
                behind = [one for one in ran.newest(wanted, at[0]) if one in expected]
                assert behind == [one for one in expected if one < at[0]]


def test_what_is_common_is_not_led_to_and_is_taken_all_the_same(
    file: IndexFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(file, ONE, "ls", "rm x")
    put(file, ONE._replace(id="b" * 16), "ls", "ls -l")
    put(file, ONE._replace(id="c" * 16), "cat x")
    monkeypatch.setattr(module, "MOST_MATCHES", 3)
    ran = file.ran(Question.of("ls"))
    assert ran.is_common and not file.ran(Question.of("cat")).is_common
    assert [ran.takes(name * 16) for name in "abcd"] == [True, True, False, False]


def test_commands_of_a_session_that_is_removed_lead_nowhere(file: IndexFile) -> None:
    number = put(file, ONE, "rm topsecretword", "ls")
    put(file, ONE._replace(id="b" * 16), "ls", "ls -l")
    file.remove(number)
    file.settle()
    assert found(file, "topsecretword") == [] and found(file, "ls") == ["b" * 16]
    file.close()
    assert b"topsecretword" not in file.path.read_bytes()


def before(path: Path, now: IndexFile) -> None:
    """The file as the version before has it: with commands that have no words."""
    now.settle()
    now.close()
    database = sqlite3.connect(path, isolation_level=None)
    names = ", ".join(COLUMNS)
    database.execute(f"CREATE TABLE old (session INTEGER NOT NULL, {names})")
    # as they were written: those of one session behind each other, sessions in any order
    database.execute(
        f"INSERT INTO old SELECT number / {module.SESSION_COMMANDS}, {names} FROM commands"
        f" ORDER BY number / {module.SESSION_COMMANDS} DESC, number"
    )
    database.execute("DROP TABLE commands")
    database.execute("DROP TABLE command_words")
    database.execute("DROP INDEX sessions_walked")
    database.execute("ALTER TABLE old RENAME TO commands")
    database.execute("CREATE INDEX commands_session ON commands (session)")
    database.execute("CREATE INDEX sessions_started ON sessions (started_at)")
    database.execute("PRAGMA user_version = 5")
    database.close()


def test_a_file_of_the_version_before_is_made_one_of_ours_and_nothing_is_read_again(file: IndexFile) -> None:
    numbers = [
        put(file, ONE, "rm -rf /a", "ls", "a line with ünïcode"),
        put(file, ONE._replace(id="b" * 16, started_at=300.0), "ls", "cat x"),
    ]
    told = list(file.commands(file.sessions()))
    before(file.path, file)
    with pytest.raises(IndexUnfit, match=r"the version before: run `bastion index`"):
        IndexFile(file.path)
    raised = IndexFile(file.path, make=True)
    assert list(raised.commands(raised.sessions())) == told and len(told) == 5
    assert found(raised, "ls") == ["b" * 16, "a" * 16] and found(raised, "unicode") == ["a" * 16]
    raised.remove(numbers[0])
    assert found(raised, "rm") == [] and found(raised, "ls") == ["b" * 16]
    put(raised, ONE._replace(id="d" * 16, started_at=5.0), "rm again")
    assert found(raised, "rm") == ["d" * 16]
    raised.close()
    again = IndexFile(file.path)
    assert found(again, "cat") == ["b" * 16]


def test_a_file_that_is_damaged_is_told(file: IndexFile) -> None:
    put(file, ONE, "ls")
    ran = file.ran(Question.of("ls"))
    sqlite3.connect(file.path, isolation_level=None).execute("DROP TABLE commands")
    with pytest.raises(IndexUnfit):
        ran.takes(ONE.id)
    sqlite3.connect(file.path, isolation_level=None).execute("DROP TABLE command_words")
    with pytest.raises(IndexUnfit):
        file.ran(Question.of("ls"))
