"""`bastion search`, and `bastion commands` from the index."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from types import GeneratorType
from typing import Any

import pytest

from bastion.cli.commands import commands
from bastion.cli.index import index
from bastion.cli.search import search
from bastion.indexing.store import IndexFile
from tests.unit.cli.made import run
from tests.unit.indexing.made import IDS, START, recorded


@pytest.fixture
def indexed(tmp_path: Path) -> Path:
    recorded(tmp_path, 0, "one\npermission denied here\nthree\n", "rm -rf /srv")
    recorded(tmp_path, 1, "denied: no permission\n\x1b]0;evil\x07\u202edenied backwards\n", "ls")
    assert run(index, tmp_path).exit_code == 0
    return tmp_path


def lines(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    result = run(search, folder, "--json", *arguments)
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == (0 if found else 1), result.output
    return found


def test_a_line_is_told_with_where_to_see_it(indexed: Path) -> None:
    (line,) = lines(indexed, "permission denied", "-C", "1")
    assert (line["session"], line["channel"], line["offset"], line["at"]) == (IDS[0], 1, 10.0, START + 10)
    assert (line["before"], line["text"], line["after"]) == (["one"], "permission denied here", ["three"])
    assert line["replay"] == f"bastion replay {IDS[0]} --channel 1 --at 8.0"
    result = run(search, indexed, "permission denied", "-C", "1")
    assert "user0  deploy@web0" in result.stdout and "  > permission denied here\n  - three" in result.stdout


def test_lines_are_chosen_by_who_where_and_when(indexed: Path) -> None:
    assert [one["session"][0] for one in lines(indexed, "permission", "denied")] == ["b", "a"]
    assert [one["session"][0] for one in lines(indexed, "denied", "--user", "user0")] == ["a"]
    assert [one["session"][0] for one in lines(indexed, "permission", "--target", "web1")] == ["b"]
    assert [one["session"][0] for one in lines(indexed, "permission", "--until", "2027-01-15T08:10")] == ["a"]
    assert lines(indexed, "permission", "--since", "2027-01-15T08:16:51") == []
    assert len(lines(indexed, "denied", "--limit", "1")) == 1
    assert lines(indexed, "nowhere") == []


def test_a_limit_leaves_no_question_open(indexed: Path) -> None:
    """What is open is closed by whoever collects it, perhaps in another thread, which SQLite refuses."""
    result = run(search, indexed, "denied", "--limit", "1")
    assert result.exit_code == 0 and result.exc_info is not None  # its traceback holds what the command held
    asked = [one for one in gc.get_objects() if isinstance(one, GeneratorType)]
    assert not [one for one in asked if one.gi_code is IndexFile.search.__code__ and one.gi_frame is not None]


def test_nothing_of_a_result_acts_on_the_terminal(indexed: Path) -> None:
    result = run(search, indexed, "backwards")
    assert result.exit_code == 0 and "denied backwards" in result.stdout
    assert "\u202e" not in result.stdout and "\x1b" not in result.stdout


def test_a_question_without_words_or_an_index_is_a_wrong_call(indexed: Path, tmp_path: Path) -> None:
    assert run(search, indexed, "--", "/ -").exit_code == 2
    (tmp_path / "none").mkdir()
    result = run(search, tmp_path / "none", "word")
    assert result.exit_code == 2 and "bastion index" in result.stderr


def test_commands_come_from_the_index_and_from_files_that_are_not_in_it(indexed: Path) -> None:
    def told() -> list[tuple[str, str, str, str]]:
        found = map(json.loads, run(commands, indexed, "--json").stdout.splitlines())
        return [
            (one["session"][0], one["text"], one["user"], one["target"])
            for one in found
            if one["kind"] == "exec"
        ]

    assert told() == [("b", "ls", "user1", "web1"), ("a", "rm -rf /srv", "user0", "web0")]
    recorded(indexed, 2, "", "uptime")
    newest = [("c", "uptime", "user2", "web2")]
    assert told() == [*newest, ("b", "ls", "user1", "web1"), ("a", "rm -rf /srv", "user0", "web0")]
    for path in indexed.glob(f"*/{IDS[1]}.rec"):
        path.unlink()
    assert told() == [*newest, ("a", "rm -rf /srv", "user0", "web0")]
    (indexed / "index" / "reading.db").write_bytes(b"damaged" * 100)
    assert told() == [*newest, ("a", "rm -rf /srv", "user0", "web0")], "an index is never needed"


def test_the_same_question_gives_the_same_with_and_without_an_index(indexed: Path) -> None:
    arguments = ("--json", "--grep", "rm", "--target", "web0", "--since", "2027-01-15")
    with_index = run(commands, indexed, *arguments).stdout
    (indexed / "index" / "reading.db").unlink()
    assert with_index and run(commands, indexed, *arguments).stdout == with_index
