"""Filters as a URL and back."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from bastion.console.filters import COMMAND_MAX, LISTED, ROWS, filters_of
from bastion.recording.listed import Wanted
from bastion.state.paging import Cursor

NOW = 1_800_000_000.0
AFTER = Cursor(1_799_999_999.25, "aaaabbbbccccdddd")


def test_no_filter_chooses_everything() -> None:
    found = filters_of({}, NOW)
    assert (
        found.wanted == Wanted()
        and not found.faults
        and found.rows == ROWS
        and found.url("/sessions") == "/sessions"
    )


def test_filters_are_read_and_written() -> None:
    query = {
        "user": " alice ", "target": "web1", "login": "deploy", "rule": "staff", "source": "10.1.0.0/16",
        "since": "7d", "until": "2027-01-15T08:00", "kind": "exec", "state": "incomplete",
    }  # fmt: skip
    found = filters_of(query, NOW)
    assert not found.faults
    wanted = found.wanted
    assert (wanted.user, wanted.target, wanted.login, wanted.rule) == ("alice", "web1", "deploy", "staff")
    assert (wanted.since, str(wanted.source), wanted.incomplete) == (NOW - 7 * 86400, "10.1.0.0/16", True)
    assert wanted.until == 1_800_000_000.0 and (found.kind, wanted.tunnels) == ("exec", False)
    again = filters_of(dict(parse_qsl(found.url("/sessions", AFTER).partition("?")[2])), NOW)
    assert again.wanted == wanted and again.after == AFTER and again.given == found.given
    assert "user=alice" in found.asked and "rule=staff" in found.asked


def test_words_of_a_command_are_a_filter_of_the_list_alone() -> None:
    found = filters_of({"command": 'rm "-rf /srv"', "user": "alice", "since": "7d"}, NOW, LISTED)
    assert not found.faults and found.command is not None and found.command.terms == ("rm", "-rf /srv")
    assert found.asked == 'command=rm "-rf /srv" since=7d user=alice'
    assert found.url("/sessions") == "/sessions?user=alice&since=7d&command=rm+%22-rf+%2Fsrv%22"
    assert found.since(NOW) == "/sessions?user=alice&since=2027-01-15T08%3A00%3A00"
    assert filters_of({}, NOW, LISTED).command is None
    assert set(filters_of({"command": "rm"}, NOW).faults) == {"command"}
    for wrong in ("...", "x" * (COMMAND_MAX + 1)):
        assert set(filters_of({"command": wrong}, NOW, LISTED).faults) == {"command"}


def test_tunnels_are_a_kind() -> None:
    found = filters_of({"kind": "tunnel"}, NOW)
    assert found.wanted.tunnels is True and found.kind == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("source", "web1"), ("since", "yesterday-ish"), ("until", "9999999999999-01-01"), ("kind", "shel"),
        ("state", "dead"), ("after", "x"), ("after", "1~aaaa"), ("rows", "0"), ("rows", "201"), ("rows", "1e3"),
        ("user", "a" * 300), ("nonsense", "x"),
    ],
)  # fmt: skip
def test_what_is_no_filter_is_told_beside_its_field(name: str, value: str) -> None:
    assert set(filters_of({name: value}, NOW).faults) == {name}


def test_a_place_in_the_list_is_read_back_to_the_bit() -> None:
    for started in (1_800_000_000.123456, 0.1, 1e9):
        cursor = Cursor(started, "aaaabbbbccccdddd.7")
        assert Cursor.of(str(cursor)) == cursor
