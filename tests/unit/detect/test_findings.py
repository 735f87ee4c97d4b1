"""A finding has a name that the same lines give it again."""

from __future__ import annotations

from bastion.detect.findings import MOST_SESSIONS, Draft, finding
from bastion.errors import Detection

DRAFT = Draft(Detection.NEW_NETWORK, "192.0.2.0/24", "home", "elsewhere", tuple("abcdefghijklmnopqrstuvwxyz"))


def test_its_name_is_its_own():
    first = finding(DRAFT, "notice", 5.0, "alice")
    assert first == finding(DRAFT, "notice", 5.0, "alice")
    assert (
        len({first.id, finding(DRAFT, "notice", 5.001, "alice").id, finding(DRAFT, "notice", 5.0, "bob").id})
        == 3
    )
    assert finding(DRAFT, "alert", 5.0, "alice\ud800").id


def test_it_names_the_last_sessions():
    found = finding(DRAFT, "alert", 5.0, "alice")
    assert len(found.sessions) == MOST_SESSIONS and found.sessions[-1] == "z"
    assert found.document()["kind"] == "new_network" and found.document()["sessions"] == list(found.sessions)
