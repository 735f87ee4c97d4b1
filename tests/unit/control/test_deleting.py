"""Who may ask to delete a recording, and agree to it: a gateway in memory, and rows in a file."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import update
from twisted.internet.defer import execute
from twisted.python.failure import Failure

from bastion.auth.webauthn import Party
from bastion.control.asking import By, ControlError
from bastion.control.deletion import AnswerDeletion, AskDeletion, DeletionsAsked, asking_words
from bastion.control.local import LocalNode
from bastion.control.proving import challenge_of
from bastion.errors import ControlReason
from bastion.observe.audit import AuditFailed
from bastion.session.gateway import DeletionTerms
from bastion.state.deletions import Deletion, deletions
from bastion.state.schema import DELETIONS, PASSKEYS
from tests.unit.control.test_proofs import ORIGIN, UID, Store, gateway, key  # noqa: F401 - fixtures
from tests.unit.state.test_deletions import recording
from tests.unit.state.test_reviewing import NOW, ONE, session

CONSOLE = By(990, "console", "alice")


@pytest.fixture
def desk(gateway, monkeypatch):  # noqa: F811
    """With alice as an admin of the console, and bob's recording."""
    monkeypatch.setattr("bastion.control.deleting.blockingCallFromThread", lambda _, tell, one: tell(one))
    monkeypatch.setattr(Store, "ask", lambda self, question: execute(question, self.database), raising=False)
    session(gateway.state.database, identity="bob", uid="u-2")
    recording(gateway.state.database)
    terms = DeletionTerms(frozenset({"ops"}), 0.0)
    gateway.services = replace(gateway.services, deletions=terms)
    monkeypatch.setattr(gateway.clock, "time", lambda: NOW)
    return gateway


def asked(desk, request):
    """The answer, or the ControlError."""
    got = []
    LocalNode(desk).ask(request).addBoth(got.append)
    return got[0].value if isinstance(got[0], Failure) else got[0]


def others(desk, state="open", by="ada"):
    """Somebody else's question."""
    row = Deletion("k3v2m5q7p2k3v2m5", ONE, state, "x", f"u-{by}", by, "totp", NOW)
    with desk.state.database.write() as connection:
        connection.execute(DELETIONS.insert().values({name: getattr(row, name) for name in row.__slots__}))
    return row.id


@pytest.fixture
def written(desk, monkeypatch):
    """Events of the audit log, which takes them unless the test says otherwise."""
    made: list[object] = []
    monkeypatch.setattr(desk.audit, "emit", lambda event, about: made.append((event, about)))
    return made


def test_an_admin_asks_by_the_beginning_of_an_id_and_it_is_written_down(desk, written):
    made = asked(desk, AskDeletion(ONE[:5], "a password", "123456", by=CONSOLE))
    assert (made.session, made.state, made.asked_by, made.reason) == (ONE, "open", "alice", "a password")
    ((event, about),) = written
    assert (event.event, event.by, event.factor, event.who, about.session) == (
        "deletion_asked",
        "alice",
        "totp",
        "console",
        ONE,
    )
    assert asked(desk, DeletionsAsked()).deletions == (made,)
    own = asked(desk, AnswerDeletion(made.id, True, "123456", by=CONSOLE))
    assert own.reason is ControlReason.NO_ROLE and "somebody else" in own.text


@pytest.mark.parametrize(
    ("yes", "event", "state"), [(True, "deletion_agreed", "agreed"), (False, "deletion_stopped", "refused")]
)
def test_another_answers(desk, written, yes, event, state):
    done = asked(desk, AnswerDeletion(others(desk).upper(), yes, "123456", by=CONSOLE))
    assert (done.state, done.answered_by, done.asked_by) == (state, "alice", "ada")
    assert [(line.event, line.by, line.asked_by) for line, _ in written] == [(event, "alice", "ada")]


@pytest.mark.parametrize(
    ("request_", "reason", "text"),
    [
        (AskDeletion(ONE, "x", "", by=CONSOLE), ControlReason.NO_ROLE, "one-time code is needed"),
        (AskDeletion(ONE, "x", "000000", by=CONSOLE), ControlReason.NO_ROLE, "not accepted"),
        (AskDeletion(ONE, "x", "123456", by=By(0, "root")), ControlReason.NO_ROLE, "nobody in the directory"),
        (AskDeletion(ONE, " ", "123456", by=CONSOLE), ControlReason.ALREADY, "say why"),
        (AskDeletion(ONE, "x" * 3300, "123456", by=CONSOLE), ControlReason.MALFORMED, "up to 800"),
        (AskDeletion("aaa", "x", "123456", by=CONSOLE), ControlReason.MALFORMED, "16 letters"),
        (AskDeletion("aaaa%", "x", "123456", by=CONSOLE), ControlReason.MALFORMED, "16 letters"),
        (AskDeletion("zzzz", "x", "123456", by=CONSOLE), ControlReason.NOT_FOUND, "no session"),
        (AnswerDeletion("zzzz", True, "123456", by=CONSOLE), ControlReason.ALREADY, "nobody has asked"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_and_nothing_written(desk, written, request_, reason, text):
    refused = asked(desk, request_)
    assert isinstance(refused, ControlError) and refused.reason is reason and text in refused.text
    assert deletions(desk.state.database) == [] and written == []


def test_who_is_no_admin_of_the_console_decides_nothing(desk, written):
    desk.services = replace(desk.services, deletions=DeletionTerms(frozenset({"admins"}), 0.0))
    for request in (
        AskDeletion(ONE, "x", "123456", by=CONSOLE),
        AnswerDeletion(others(desk), False, "123456", by=CONSOLE),
    ):
        refused = asked(desk, request)
        assert refused.reason is ControlReason.NO_ROLE and "admin_groups" in refused.text
    desk.services = replace(desk.services, deletions=DeletionTerms())
    assert asked(desk, AskDeletion(ONE, "x", "123456", by=CONSOLE)).reason is ControlReason.NO_ROLE
    assert written == []


def test_what_a_passkey_that_does_not_count_signed_asks_once(desk, written, key):  # noqa: F811
    key.counter = 0
    with desk.state.database.write() as connection:
        connection.execute(update(PASSKEYS).values(counter=0))
    moment = int(NOW)
    options = Party(ORIGIN).request(challenge_of(UID, moment, *asking_words(ONE)))
    order = AskDeletion(ONE, "a password", passkey=key.get(options), moment=moment, by=CONSOLE)
    made = asked(desk, order)
    assert made.state == "open", made
    assert asked(desk, AnswerDeletion(made.id, False, "123456", by=CONSOLE)).state == "refused"
    again = asked(desk, replace(order, why="another reason"))
    assert isinstance(again, ControlError) and "a moment ago" in again.text
    assert asked(desk, AskDeletion(ONE, "a password", "123456", by=CONSOLE)).state == "open"


def test_without_its_line_nothing_is_agreed_to(desk, monkeypatch):
    def full(event, about):
        raise AuditFailed("full")

    monkeypatch.setattr(desk.audit, "emit", full)
    refused = asked(desk, AnswerDeletion(others(desk), True, "123456", by=CONSOLE))
    assert refused.reason is ControlReason.FAILED and deletions(desk.state.database)[0].state == "open"
