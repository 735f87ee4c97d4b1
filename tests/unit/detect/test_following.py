"""Whose a line is that names only its session."""

from __future__ import annotations

import bastion.detect.following as module
from bastion.detect.following import Following


def started(session: str, user: str) -> dict:
    return {"event": "session_started", "session": session, "user": user}


def test_a_sessions_lines_are_whose_it_began_for():
    follow = Following()
    assert follow.user(started("s1", "alice")) == "alice"
    assert follow.user({"event": "sftp_file", "session": "s1"}) == "alice"
    assert follow.user({"event": "session_ended", "session": "s1"}) == "alice"
    assert follow.user({"event": "sftp_file", "session": "s1"}) == "", "what has ended is nobody's"


def test_a_name_that_was_typed_is_nobody():
    follow = Following()
    assert follow.user({"event": "auth", "connection": "c1", "user": "alice", "result": "refused"}) == "alice"
    assert follow.user({"event": "refused", "what": "tunnel", "connection": "c1"}) == ""
    follow.user({"event": "auth", "connection": "c1", "user": "alice", "result": "ok"})
    assert follow.user({"event": "refused", "what": "tunnel", "connection": "c1"}) == "alice"


def test_who_comes_through_the_direct_door_is_the_same_person():
    follow = Following()
    typed = {"event": "auth", "connection": "c1", "user": "alice+root+web1", "result": "ok"}
    assert follow.user(typed) == "alice" and follow.user({**typed, "user": "alice+web1"}) == "alice"
    assert follow.user({"event": "refused", "what": "tunnel", "connection": "c1"}) == "alice"


def test_what_is_followed_has_a_limit(monkeypatch):
    monkeypatch.setattr(module, "MOST_FOLLOWED", 2)
    follow = Following()
    for number in range(3):
        follow.user(started(f"s{number}", "alice"))
    assert [follow.user({"event": "sftp_file", "session": f"s{n}"}) for n in range(3)] == [
        "",
        "alice",
        "alice",
    ]
