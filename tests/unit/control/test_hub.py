"""Several nodes as one: everybody is asked at the same time, and who is gone or silent is no reason to know nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from twisted.internet.defer import Deferred

from bastion.control.hub import Hub
from bastion.control.node import (
    By,
    ControlError,
    Ended,
    Kill,
    Live,
    LiveAsked,
    LiveRow,
    Node,
    Selection,
    Stream,
)
from bastion.control.orders import KeepLock, Locks, SetLocks, Watched, WatchSession
from bastion.errors import ControlReason
from bastion.policy.locks import Lock, LockKind


class Fake(Node):
    def __init__(self, name):
        self.name, self.asked, self.answers = name, [], []

    def ask(self, request, stream=None):
        self.asked.append(request)
        answer = Deferred()
        self.answers.append(answer)
        return answer


def row(id):
    return LiveRow(id, "session", "alice", "u", "192.0.2.1", "jump", 1.0)


def outcome(deferred):
    got = []
    deferred.addBoth(got.append)
    return got


KILL = Kill(Selection(user="alice"), "why", By(0, "root"))


def error(reason, text="no"):
    return ControlError(reason, text)


def test_one_node_is_asked_as_it_is():
    node = Fake("one")
    got = outcome(Hub(node).ask(LiveAsked()))
    node.answers[0].callback(Live((row("a"),)))
    assert got == [Live((row("a"),))]


def test_all_are_asked_at_once_and_answer_as_one():
    nodes = [Fake("one"), Fake("two")]
    hub = Hub(*nodes)
    got = outcome(hub.ask(LiveAsked()))
    assert [len(node.asked) for node in nodes] == [1, 1]
    nodes[1].answers[0].callback(Live((row("b"),)))
    assert got == []
    nodes[0].answers[0].callback(Live((row("a"),)))
    assert [one.id for one in got[0].rows] == ["a", "b"]


def test_nodes_come_and_go():
    nodes = [Fake("one"), Fake("two")]
    hub = Hub(nodes[0])
    hub.join(nodes[1])
    hub.leave(nodes[0])
    hub.leave(nodes[0])
    hub.ask(LiveAsked())
    assert [len(node.asked) for node in nodes] == [0, 1] and list(hub) == [nodes[1]]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (Ended(1), Ended(2), Ended(3)),
        (error(ControlReason.NOT_FOUND), Ended(2), Ended(2)),
        (error(ControlReason.LINK_LOST), Ended(2), Ended(2)),
        (error(ControlReason.TIMEOUT), Ended(2), Ended(2, silent=("one",))),
        (error(ControlReason.TIMEOUT), error(ControlReason.NOT_FOUND), Ended(silent=("one",))),
        (error(ControlReason.NOT_FOUND), error(ControlReason.NOT_FOUND), ControlReason.NOT_FOUND),
        (error(ControlReason.LINK_LOST), error(ControlReason.LINK_LOST), ControlReason.LINK_LOST),
        (error(ControlReason.NOT_FOUND), error(ControlReason.FAILED), ControlReason.FAILED),
        (RuntimeError("secret"), Ended(1), ControlReason.FAILED),
    ],
)
def test_an_ending_is_everybodys_and_says_when_somebody_was_not_told(first, second, expected):
    nodes = [Fake("one"), Fake("two")]
    got = outcome(Hub(*nodes).ask(KILL))
    for node, answer in zip(nodes, (first, second), strict=True):
        (node.answers[0].errback if isinstance(answer, Exception) else node.answers[0].callback)(answer)
    if isinstance(expected, Ended):
        assert got == [expected]
    else:
        assert got[0].value.reason is expected and "secret" not in got[0].value.text


def test_who_is_silent_is_named_in_a_list():
    nodes = [Fake("one"), Fake("two")]
    got = outcome(Hub(*nodes).ask(LiveAsked()))
    nodes[0].answers[0].callback(Live(()))
    nodes[1].answers[0].errback(error(ControlReason.TIMEOUT))
    assert got == [Live((), ("two",))]


@pytest.mark.parametrize("reason", [ControlReason.LINK_LOST, ControlReason.TIMEOUT])
def test_one_is_enough(reason):
    nodes = [Fake("one"), Fake("two"), Fake("three")]
    got = outcome(Hub(*nodes).ask_any(LiveAsked()))
    nodes[0].answers[0].errback(error(reason))
    nodes[1].answers[0].callback(Live(()))
    assert got == [Live(())] and nodes[2].asked == []


def test_one_that_says_no_is_the_answer_and_none_is_none():
    node = Fake("one")
    got = outcome(Hub(node, Fake("two")).ask_any(LiveAsked()))
    node.answers[0].errback(error(ControlReason.FAILED))
    assert got[0].value.reason is ControlReason.FAILED
    assert outcome(Hub().ask_any(LiveAsked()))[0].value.reason is ControlReason.LINK_LOST


WATCH = WatchSession("a", "why", By(0, "root"))


def watch(*names):
    nodes = [Fake(name) for name in names]
    return nodes, outcome(Hub(*nodes).ask(WATCH, Stream(lambda event, size: None)))


def test_everybody_is_asked_at_once_who_has_a_session_and_the_first_that_has_it_shows_it():
    nodes, got = watch("one", "two", "three")
    assert [node.asked for node in nodes] == [[LiveAsked(Selection(id="a"))]] * 3
    nodes[0].answers[0].callback(Live(()))
    nodes[1].answers[0].callback(Live((row("a"),)))  # nobody waits for the third
    assert nodes[1].asked[1:] == [WATCH] and got == []
    nodes[1].answers[1].callback(Watched("ended", "over"))
    assert got == [Watched("ended", "over")] and len(nodes[0].asked) == len(nodes[2].asked) == 1


@pytest.mark.parametrize("request_for", [KILL, WATCH], ids=lambda one: one.command)
def test_a_process_of_the_version_before_is_asked_for_the_account_alone(request_for):
    asked = replace(request_for, by=By(990, "console", "ada"))
    node = Fake("old")
    outcome(Hub(node).ask(asked, Stream(lambda event, size: None)))
    node.answers[0].errback(error(ControlReason.MALFORMED))
    assert node.asked == [asked, replace(request_for, by=By(990, "console"))]


@pytest.mark.parametrize(
    ("second", "reason", "text"),
    [
        (Live(()), ControlReason.NOT_FOUND, "nothing is open under that name"),
        (error(ControlReason.LINK_LOST), ControlReason.NOT_FOUND, "nothing is open under that name"),
        (error(ControlReason.TIMEOUT), ControlReason.TIMEOUT, "two did not answer: nothing is open"),
        (RuntimeError("secret"), ControlReason.TIMEOUT, "two did not answer: nothing is open"),
    ],
)
def test_who_did_not_answer_is_named_when_nobody_has_it(second, reason, text):
    nodes, got = watch("one", "two")
    nodes[0].answers[0].callback(Live(()))
    assert got == []
    (nodes[1].answers[0].errback if isinstance(second, Exception) else nodes[1].answers[0].callback)(second)
    assert got[0].value.reason is reason and got[0].value.text.startswith(text)


def test_who_leaves_while_they_are_asked_asks_nobody_any_more():
    nodes = [Fake("one"), Fake("two")]
    watching = Hub(*nodes).ask(WATCH, Stream(lambda event, size: None))
    got = outcome(watching)
    watching.cancel()
    assert len(got) == 1 and all(node.answers[0].called for node in nodes)


LOCK = Lock(LockKind.USER, "alice", "left", "sec", 1.0)
BY_ID = Lock(LockKind.USER, "alice", "left", "sec", 1.0, None, "u-1")


@pytest.mark.parametrize("others", [0, 1])
def test_a_process_of_the_version_before_is_told_of_locks_by_name(others):
    elder, rest = Fake("elder"), [Fake("new") for _ in range(others)]
    got = outcome(Hub(elder, *rest).ask(SetLocks((BY_ID,))))
    for node in rest:
        node.answers[0].callback(Ended(1))
        assert node.asked == [SetLocks((BY_ID,))]
    elder.answers[0].errback(error(ControlReason.MALFORMED))
    assert elder.asked == [SetLocks((BY_ID,)), SetLocks((LOCK,))]
    elder.answers[1].callback(Ended(2))
    assert got[0].sessions == 2 + others


def test_what_is_wrong_with_a_question_without_ids_is_no_matter_of_versions():
    node = Fake("one")
    got = outcome(Hub(node).ask(SetLocks((LOCK,))))
    node.answers[0].errback(error(ControlReason.MALFORMED))
    assert got[0].value.reason is ControlReason.MALFORMED and len(node.asked) == 1


@pytest.mark.parametrize("reason", [ControlReason.MALFORMED, ControlReason.UNKNOWN_COMMAND])
def test_who_does_not_know_the_question_is_not_the_one_to_answer_it(reason):
    elder, new = Fake("elder"), Fake("new")
    got = outcome(Hub(elder, new).ask_any(KeepLock(BY_ID)))
    elder.answers[0].errback(error(reason))
    new.answers[0].callback(Locks((BY_ID,)))
    assert got == [Locks((BY_ID,))] and new.asked == [KeepLock(BY_ID)]
