"""The queue: what is to be reviewed by when, and what settles it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bastion.recording.format import Header
from bastion.recording.listed import Wanted
from bastion.recording.listing import Recordings
from bastion.state import review_queue as module
from bastion.state.changes import apply
from bastion.state.database import Database
from bastion.state.findings import Row
from bastion.state.paging import Place, page_of
from bastion.state.review_queue import Reason, Rules, chosen_among, duty_at, queue_of
from bastion.state.reviewing import Reviewer, add_mark, add_tag
from bastion.state.rows import Moved, Writer, session_ended, session_started
from tests.unit.state.test_findings import keep, row
from tests.unit.state.test_reviewing import ADA, BEA, NOW, ONE, session, silent

TWO, THREE = "bbbbbbbbccccdddd", "ccccccccccccdddd"
DAY = 86400.0
RULES = Rules(3 * DAY)
LATER = NOW + DAY


def waiting(database: Database, rules: Rules = RULES, now: float = LATER) -> list[str]:
    return [duty.session.id for duty in queue_of(database, rules, now).duties]


def alert(name: str, sessions: str, at: float = NOW, **more: object) -> Row:
    return replace(row(name), sessions=sessions, at=at, made_at=at, **more)  # type: ignore[arg-type]


def test_a_session_for_an_emergency_waits_from_its_end_on(database: Database) -> None:
    header = Header(ONE, "root-glass", "u-glass", "web1", "root", NOW - 100, break_glass_why="outage")
    with database.write() as connection:
        apply(connection, session_started(header, "x.rec", Writer("gw1", "h.1")))
        apply(
            connection,
            session_started(replace(header, session_id=TWO, break_glass_why=""), "y", Writer("gw1", "h.1")),
        )
    (duty,) = queue_of(database, RULES, NOW).duties
    assert (duty.session.id, duty.session.state, duty.due_at) == (ONE, "live", NOW - 100 + 3 * DAY)
    with database.write() as connection:
        apply(connection, session_ended(ONE, "ended", NOW, "client_closed", Moved(1, 2), 3))
    queue = queue_of(database, RULES, LATER)
    (duty,) = queue.duties
    assert duty.open_reasons == (Reason("break_glass", NOW),) and duty.due_at == NOW + 3 * DAY
    assert (queue.overdue(NOW + 3 * DAY - 1), queue.overdue(NOW + 3 * DAY)) == (0, 1)
    add_mark(database, ONE, ADA, "planned", NOW + 5, silent)
    assert waiting(database) == []


def test_alerts_wait_and_notices_and_what_is_muted_do_not(database: Database) -> None:
    for name in (ONE, TWO, THREE):
        session(database, name)
    keep(
        database, alert("a1", f"{ONE},zzzz"), alert("a2", TWO, level="notice"), alert("a3", THREE, mute="m1")
    )
    assert waiting(database) == [ONE]
    duty, findings = duty_at(database, TWO, RULES)
    assert duty is not None and duty.done and [one.id for one in findings] == ["a2"]
    duty, findings = duty_at(database, ONE, RULES)
    assert duty is not None and duty.open_reasons == (Reason("alert", NOW, "a1"),)
    assert duty_at(database, "zzzzzzzzzzzzzzzz", RULES) == (None, [])


def test_an_alert_about_a_connection_is_about_what_came_through_it(database: Database) -> None:
    session(database, ONE, connection="oooooooooooooooo")
    session(database, "oooooooooooooooo.3", kind="tunnel", connection="oooooooooooooooo")
    session(database, TWO)
    keep(database, alert("a1", "oooooooooooooooo"))
    assert waiting(database) == [ONE, "oooooooooooooooo.3"]
    duty, findings = duty_at(database, ONE, RULES)
    assert duty is not None and not duty.done and len(findings) == 1


def test_a_mark_settles_what_was_known_then_and_a_later_alert_waits_anew(database: Database) -> None:
    session(database)
    keep(database, alert("a1", ONE, NOW), alert("a2", ONE, NOW + 10))
    add_mark(database, ONE, ADA, "", NOW + 5, silent)
    (duty,) = queue_of(database, RULES, LATER).duties
    assert duty.open_reasons == (Reason("alert", NOW + 10, "a2"),) and duty.due_at == NOW + 10 + 3 * DAY
    add_mark(database, ONE, ADA, "", NOW + 11, silent)
    assert waiting(database) == []


def test_what_comes_again_and_again_is_due_by_the_first(database: Database) -> None:
    session(database)
    keep(database, *(alert(f"a{number}", ONE, NOW + number * DAY) for number in range(5)))
    (duty,) = queue_of(database, RULES, NOW + 5 * DAY).duties
    assert duty.due_at == NOW + 3 * DAY


def test_two_different_people_where_the_rules_want_two(database: Database) -> None:
    session(database, emergency=1)
    rules = Rules(DAY, frozenset(("break_glass",)))
    add_mark(database, ONE, ADA, "", NOW, silent)
    add_mark(database, ONE, Reviewer("u-ada", "ada-renamed"), "", NOW + 1, silent)
    (duty,) = queue_of(database, rules, LATER).duties
    assert duty.missing == 1 and len(duty.marks) == 2
    add_mark(database, ONE, BEA, "", NOW + 2, silent)
    assert waiting(database, rules) == []


def test_what_is_due_first_stands_in_front_and_a_part_says_so(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate((ONE, TWO, THREE)):
        session(database, name, emergency=1, started_at=NOW - number, ended_at=NOW - number)
    assert waiting(database) == [THREE, TWO, ONE] and not queue_of(database, RULES, LATER).cut
    monkeypatch.setattr(module, "MOST_EMERGENCIES", 2)
    queue = queue_of(database, RULES, LATER)
    assert [duty.session.id for duty in queue.duties] == [TWO, ONE] and queue.cut


def test_a_list_is_chosen_by_alerts_tags_and_marks(database: Database, tmp_path: Path) -> None:
    (tmp_path / "recordings").mkdir()
    shelf = Place(Recordings(tmp_path / "recordings"), "gw1")
    for name in (ONE, TWO, THREE):
        session(database, name)
    keep(database, alert("a1", ONE), alert("a2", TWO))
    add_mark(database, ONE, ADA, "", NOW + 1, silent)
    add_tag(database, THREE, ADA, "case-7", NOW, silent)

    def listed(alert: bool = False, review: str = "", tag: str = "", now: float = LATER) -> set[str]:
        page = page_of(
            database, shelf, Wanted(), "", None, 50, now,
            lambda connection: chosen_among(connection, RULES, alert, review, tag, now),
        )  # fmt: skip
        return {one.id for one in page.rows}

    assert listed() == {ONE, TWO, THREE} and listed(alert=True) == {ONE, TWO}
    assert listed(review="due") == {TWO} and listed(review="overdue") == set()
    assert listed(review="overdue", now=NOW + 3 * DAY) == {TWO}
    assert listed(review="reviewed") == {ONE} and listed(review="unreviewed") == {TWO, THREE}
    assert listed(tag="case-7") == {THREE} and listed(tag="other") == set()
    assert listed(alert=True, review="reviewed") == {ONE} and listed(alert=True, tag="case-7") == set()
