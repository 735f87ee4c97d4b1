"""What was learned, kept and read back, and learned of one person by two."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest

from bastion.detect.detector import Detector
from bastion.detect.findings import Finding
from bastion.detect.learned import (
    Unfit,
    document_of,
    merged,
    person_of,
    rest_of,
    restore,
    take,
)
from bastion.detect.memory import HALF_LIFE, LONGEST_NAME, Daily, Hours, Names, Recent
from bastion.detect.person import MOST_NETWORKS, Person
from bastion.detect.places import Spot, locate_by
from bastion.detect.settings import Settings
from bastion.errors import Detection
from tests.support.tales import DAY, GIB, START, Told, lookup

ELSEWHERE = "198.51.100.7"


def again(document: Any) -> Any:
    """As it comes back from where it was kept."""
    return json.loads(json.dumps(document))


def successor(tale: Told) -> None:
    """Another detector goes on with what this one has learned."""
    before = tale.detector
    settings = tale.settings
    made = Detector(settings, locate_by(settings.network_bits, settings.trusted, lookup))
    restore(made, again(rest_of(before)))
    for user, person in before.people.items():
        take(made, user, person_of(again(document_of(person))))
    tale.detector = made


def weeks() -> Told:
    tale = Told(lookup)
    tale.days(28)
    tale.days(0)
    tale.at(10)
    return tale


def incident(tale: Told) -> list[Finding]:
    """Somebody from elsewhere, who carries much away; and a session that ran before."""
    found = len(tale.found)
    about = tale.outer(source=ELSEWHERE)
    tale.tunnel(about, out=9 * GIB)
    tale.break_glass(why="trial")
    tale.session(target="web9", source=ELSEWHERE, key="SHA256:b")
    return tale.found[found:]


def test_a_successor_finds_what_its_predecessor_would_have() -> None:
    one, other = weeks(), weeks()
    expected = incident(one)
    successor(other)
    assert incident(other) == expected and len(expected) >= 4
    assert {Detection.NEW_NETWORK, Detection.TUNNEL_DATA, Detection.BREAK_GLASS} <= {
        finding.kind for finding in expected
    }


def test_sessions_that_run_and_keys_of_targets_are_remembered() -> None:
    tale = weeks()
    running = tale.session()
    ended = tale.session()
    tale.end(ended)
    successor(tale)
    assert tale.detector.following.users == {
        name: user for name, user in tale.detector.following.users.items() if name != ended.session
    }
    assert tale.detector.following.users[running.session] == "alice"
    tale.session(key="SHA256:other")
    assert [one.kind for one in tale.of(Detection.HOST_KEY_CHANGED)] == [Detection.HOST_KEY_CHANGED]


def test_what_was_told_is_not_told_again_by_a_successor() -> None:
    tale = weeks()
    tale.break_glass(why="trial")
    successor(tale)
    tale.break_glass(why="trial")
    assert len(tale.of(Detection.BREAK_GLASS)) == 1


def test_a_whole_person_comes_back_as_it_was() -> None:
    tale = weeks()
    incident(tale)
    for person in tale.detector.people.values():
        assert person_of(again(document_of(person))) == person
    assert person_of({}) == Person()


def junk(value: Any) -> dict[str, Any]:
    return {one.name: value for one in fields(Person)}


@pytest.mark.parametrize(
    "document",
    [
        None, [], "x", junk("x"), junk(7), junk([]), junk([1, 2, 3]), {"hours": [0, [1.0] * 23]},
        {"place": [1, 2, 3]}, {"place": [1.0, 99.0, 0.0, 1.0, "x", "n", "s"]}, {"networks": {"a": [1]}},
        {"place": [1.0, float("nan"), 0.0, 1.0, "x", "n", "s"]}, {"tried": [["a", "b"]]}, {"last_session": 7},
    ],
)  # fmt: skip
def test_what_was_not_written_here_is_nobody(document: Any) -> None:
    with pytest.raises(Unfit):
        person_of(document)


def test_what_comes_back_is_no_larger_than_what_is_kept() -> None:
    many = {f"n{number}" + "x" * 500: [float(number), 1] for number in range(1000)}
    person = person_of({"networks": many, "tried": [[float(number), "t", "s"] for number in range(5000)]})
    assert len(person.networks.days) == MOST_NETWORKS and len(person.tried.entries) == person.tried.limit
    assert all(len(name) <= LONGEST_NAME for name in person.networks.days)
    assert person_of({"first": float("inf"), "last": -1}) == Person()


def test_damage_of_the_rest_changes_nothing() -> None:
    tale = weeks()
    before = rest_of(tale.detector)
    for document in (None, {}, {**again(before), "running": 7}, {**again(before), "host_keys": {"a": 7}}):
        with pytest.raises(Unfit):
            restore(tale.detector, document)
    assert rest_of(tale.detector) == before


# -- of one person, by two -----------------------------------------------------------------------------------------


def names(**seen: tuple[float, int]) -> Names:
    return Names(3, dict(seen))


def test_two_that_learned_of_one_person_know_what_both_know() -> None:
    one = Person(first=START, last=START + DAY, last_session="s1", networks=names(a=(1.0, 5), b=(2.0, 1)))
    other = Person(
        first=START + 5, last=START + 2 * DAY, last_session="s2", networks=names(a=(3.0, 2), c=(4.0, 1))
    )
    one.place = (START, Spot(1.0, 2.0, 50.0), "a", "s1")
    one.tried = Recent(4, [(1.0, "t1", "s"), (3.0, "t3", "s")])
    other.tried = Recent(4, [(1.0, "t1", "s"), (2.0, "t2", "s")])
    for made in (merged(one, other), merged(other, one)):
        assert (made.first, made.last, made.last_session) == (START, START + 2 * DAY, "s2")
        assert made.networks.days == {"b": (2.0, 1), "a": (3.0, 5), "c": (4.0, 1)}
        assert list(made.networks.days) == ["b", "a", "c"], "the one seen last stands last"
        assert [entry[1] for entry in made.tried.entries] == ["t1", "t2", "t3"]
        assert made.place == one.place


def test_the_limits_hold_for_what_both_know() -> None:
    one = Person(networks=Names(3, {f"a{number}": (float(number), 1) for number in range(3)}))
    other = Person(networks=Names(3, {f"b{number}": (number + 0.5, 1) for number in range(3)}))
    assert list(merged(one, other).networks.days) == ["b1", "a2", "b2"]


def test_amounts_of_a_day_are_not_added_up_and_a_peak_decays() -> None:
    one, other = Person(sftp=Daily(10, 5.0, 8.0)), Person(sftp=Daily(10, 7.0, 2.0))
    assert merged(one, other).sftp == Daily(10, 7.0, 8.0)
    later = Person(sftp=Daily(40, 1.0, 0.0))
    made = merged(one, later).sftp
    assert (made.day, made.amount) == (40, 1.0) and made.peak == pytest.approx(
        8.0 * 0.5 ** (30 * DAY / HALF_LIFE)
    )


def test_hours_are_compared_at_one_moment() -> None:
    old = Hours([4.0] + [0.0] * 23, 1000.0)
    new = Hours([0.0, 1.0] + [0.0] * 22, 1000.0 + HALF_LIFE / 3600)
    for made in (merged(Person(hours=old), Person(hours=new)), merged(Person(hours=new), Person(hours=old))):
        assert made.hours.slot == new.slot and made.hours.weight[:2] == pytest.approx([2.0, 1.0])


def test_merging_with_oneself_is_nothing_new() -> None:
    tale = weeks()
    incident(tale)
    alice = tale.detector.people["alice"]
    assert document_of(merged(alice, person_of(again(document_of(alice))))) == document_of(alice)


def test_room_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bastion.detect.learned.MOST_PEOPLE", 1)
    detector = Detector(Settings(), locate_by(24, ()))
    for name in ("alice", "bob", "alice"):
        take(detector, name, Person(first=len(detector.people) + 1.0))
    assert list(detector.people) == ["alice"] and detector.people["alice"].first == 2.0
