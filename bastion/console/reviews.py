"""What reviewers leave at a session, and the sessions that wait for one (L4).

Invariants: whatever is left has its line in the audit log, in the same step; nobody marks a session of his own; what
was written is text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, Final, TypeVar

from bastion.console.answers import Answer, document, see
from bastion.console.desk import Call
from bastion.console.reads import Trouble
from bastion.errors import ConsoleReason
from bastion.observe.events import About
from bastion.observe.events.reviewing import SessionReviewed
from bastion.recording.format import REF_LENGTH
from bastion.state.database import Database
from bastion.state.findings import Row
from bastion.state.hold_lifts import held
from bastion.state.pruning import Hold
from bastion.state.review_queue import Duty, Queue, duty_at, explained, queue_of
from bastion.state.reviewing import (
    Left,
    NotTaken,
    Reviewer,
    Tell,
    Written,
    add_mark,
    add_note,
    add_tag,
    drop_tag,
    left_at,
)

T = TypeVar("T")
Z = TypeVar("Z")
Told = Callable[[Z], None]
"""Writes the audit line about what the store is about to keep."""

SHOWN: Final = 500
"""Rows of the page; those that are due first."""

WORDS: Final = {"break_glass": "an account for emergencies", "alert": "an alert"}
"""Why a session is to be reviewed, for people."""

BY_TWO: Final = "two people have to review that session, and an API token is none: sign in for it"


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What a session's page has of reviewers and detections. `may`: whoever looks may mark it as reviewed."""

    left: Left
    duty: Duty | None
    findings: tuple[Row, ...]
    may: bool
    held: Hold | None = None

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {
            "notes": [_written(one) for one in self.left.notes],
            "marks": [_written(one) for one in self.left.marks],
            "tags": [_written(one) for one in self.left.tags],
            "alerts": explained(self.findings),
            "held": None if self.held is None else asdict(self.held),
            "due": None if self.duty is None or self.duty.done else _duty(self.duty),
        }


def _written(one: Any) -> dict[str, Any]:
    values = asdict(one)
    del values["session_id"]
    return values


async def reviewed_of(call: Call, session: str, live: bool) -> Reviewed:
    """What is known of one session."""
    rules = call.desk.review

    def look(database: Database) -> tuple[Left, Hold | None, Duty | None, list[Row]]:
        return left_at(database, session), held(database, session), *duty_at(database, session, rules)

    left, hold, duty, findings = await call.desk.reads.ask(look, call.asker)
    may = duty is not None and not live and not _is_own(call, duty)
    return Reviewed(left, duty, tuple(findings), may, hold)


def _is_own(call: Call, duty: Duty) -> bool:
    return reviewer_of(call).is_person(duty.session.uid, duty.session.identity)


# -- the queue -------------------------------------------------------------------------------------------------------


async def _queue(call: Call) -> Queue:
    call.note_read("reviews", "")
    rules, now = call.desk.review, call.desk.clock.time()
    return await call.desk.reads.ask(lambda database: queue_of(database, rules, now), call.asker)


async def reviews(call: Call) -> Answer:
    """Sessions that are to be reviewed, the one that is due first in front."""
    queue, now = await _queue(call), call.desk.clock.time()
    return call.page(
        "reviews.html",
        duties=[(duty, _is_own(call, duty)) for duty in queue.duties[:SHOWN]],
        more=max(0, len(queue.duties) - SHOWN),
        overdue=queue.overdue(now),
        cut=queue.cut,
        now=now,
        within=call.desk.review.within,
        words=WORDS,
    )


async def api_reviews(call: Call) -> Answer:
    """The same for programs."""
    queue, now = await _queue(call), call.desk.clock.time()
    return document(
        {
            "reviews": [_duty(duty) for duty in queue.duties],
            "overdue": queue.overdue(now),
            "cut": queue.cut,
        }
    )


def _duty(duty: Duty) -> dict[str, Any]:
    session = duty.session
    return {
        "id": session.id,
        "kind": session.kind,
        "identity": session.identity,
        "login": session.login,
        "target": session.target,
        "state": session.state,
        "started_at": session.started_at,
        "reasons": [reason._asdict() for reason in duty.open_reasons],
        "due_at": duty.due_at,
        "missing": duty.missing,
        "marks": [_written(mark) for mark in duty.marks],
    }


# -- leaving something -----------------------------------------------------------------------------------------------


async def note(call: Call) -> Answer:
    """Leave a note."""
    await _note(call)
    return _back(call)


async def api_note(call: Call) -> Answer:
    """The same for programs."""
    return document(_written(await _note(call)))


async def _note(call: Call) -> Written:
    words, now = call.asked.form.get("text", ""), call.desk.clock.time()
    session, by = call.found.parts["session"], reviewer_of(call)
    return await _leave(
        call, "note", words, lambda store, tell: add_note(store, session, by, words, now, tell)
    )


async def reviewed(call: Call) -> Answer:
    """Mark it as reviewed."""
    await _mark(call)
    return _back(call)


async def api_mark(call: Call) -> Answer:
    """The same for programs, where one person is enough: a token is no second one."""
    return document(_written(await _mark(call)))


async def _mark(call: Call) -> Written:
    words, now = call.asked.form.get("text", ""), call.desk.clock.time()
    session, by = call.found.parts["session"], reviewer_of(call)
    rules, token = call.desk.review, call.somebody.by_token

    def mark(store: Database, tell: Tell) -> Written:
        duty = duty_at(store, session, rules)[0] if token else None
        if duty is not None and any(rules.needed(reason.why) > 1 for reason in duty.reasons):
            raise Trouble(ConsoleReason.OUT_OF_SCOPE, BY_TWO)
        return add_mark(store, session, by, words, now, tell)

    return await _leave(call, "mark", words, mark)


async def tag(call: Call) -> Answer:
    """Put a tag there, or take one away."""
    await _tag(call, call.asked.form.get("tag", "").strip().lower())
    return _back(call)


async def api_tag(call: Call) -> Answer:
    """The same for programs; whether there was anything to do."""
    return document({"done": await _tag(call, call.asked.form.get("tag", ""))})


async def _tag(call: Call, word: str) -> bool:
    form, now = call.asked.form, call.desk.clock.time()
    session, by = call.found.parts["session"], reviewer_of(call)
    do = form.get("do", "add")
    if do == "drop":
        return await _leave(call, "untag", "", lambda store, tell: drop_tag(store, session, word, tell))
    if do != "add":
        raise Trouble(ConsoleReason.BAD_REQUEST, "a tag is added or dropped")
    return await _leave(call, "tag", "", lambda store, tell: add_tag(store, session, by, word, now, tell))


def _back(call: Call) -> Answer:
    return see(f"/sessions/{call.found.parts['session']}#reviewers")


def reviewer_of(call: Call) -> Reviewer:
    """Whoever has signed in."""
    return Reviewer(call.somebody.uid, call.somebody.name)


async def _leave(call: Call, what: str, words: str, work: Callable[[Database, Tell], T]) -> T:
    """Do it, with its line. Raises Trouble."""
    session, who = call.found.parts["session"], call.somebody
    about = About(session, session[:REF_LENGTH], user=who.name, source=call.asked.source)
    said = " ".join(words.split())
    digest = sha256(said.encode()).hexdigest() if said else ""

    def tell(name: str) -> None:
        call.emit(SessionReviewed(what, who.uid, name, digest, who.by_token), about)

    return await taken(call, work, tell)


async def taken(call: Call, work: Callable[[Database, Told[Z]], T], tell: Told[Z]) -> T:
    """Change the store; what it does not take is told as such. Raises Trouble."""
    try:
        return await call.desk.reads.change(work, tell, call.asker)
    except NotTaken as error:
        reason = ConsoleReason.OWN if error.own else ConsoleReason.BAD_REQUEST
        raise Trouble(reason, error.text) from None
