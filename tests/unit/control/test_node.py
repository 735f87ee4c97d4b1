"""How answers of several processes become one."""

from __future__ import annotations

from bastion.control.node import (
    WINDOW,
    Counted,
    Ended,
    Kill,
    Live,
    LiveAsked,
    LiveRow,
    NodeStatus,
    SnapshotAsked,
    Status,
    StatusAsked,
    Stream,
    added,
)
from bastion.observe.meters import (
    CONFIG_RESTART_PENDING,
    CONNECTIONS_ACCEPTED,
    LAG_SECONDS,
    SESSIONS_LIVE,
    Meters,
    merge,
)


def test_counters_and_histograms_are_added_and_gauges_as_they_are_declared():
    one, two = Meters({"version": "1"}), Meters({"version": "2"})
    for meters, count in ((one, 1), (two, 2)):
        meters.add(CONNECTIONS_ACCEPTED, by=count)
        meters.add(SESSIONS_LIVE, "jump", by=count)
        meters.set(CONFIG_RESTART_PENDING, count)
        meters.observe(LAG_SECONDS, 0.002 * count)
    whole = SnapshotAsked.merged([Counted(one.snapshot()), Counted(two.snapshot())]).snapshot
    assert whole["connections_accepted_total"] == {"": [3]}
    assert whole["sessions_live"] == {"direct": [0], "jump": [3]}
    assert whole["config_restart_pending"] == {"": [2]}
    assert (
        sum(whole["event_loop_lag_seconds"][""][:-1]) == 2 and whole["event_loop_lag_seconds"][""][-1] == 6000
    )
    assert len(whole["build_info"]) == 2  # two versions run: both are shown
    assert merge(one.families, [whole]) == merge(one.families, [one.snapshot(), two.snapshot()])


def test_what_only_one_version_knows_is_kept_and_what_does_not_fit_is_not_added():
    assert added([{"a": {"": [1]}}, {"b": {"x": [2]}}, {}]) == {"a": {"": [1]}, "b": {"x": [2]}}
    assert added([{"a": {"": [1, 2]}}, {"a": {"": [1]}}]) == {"a": {"": [1, 2]}}


def row(id, at):
    return LiveRow(id, "session", "alice", "u", "192.0.2.1", "jump", at)


def test_who_is_here_is_the_union_oldest_first_and_says_who_is_silent():
    live = LiveAsked.merged(
        [Live((row("b", 2.0),)), Live((row("a", 1.0),)), LiveAsked.unanswered("worker 3")]
    )
    assert [one.id for one in live.rows] == ["a", "b"] and live.silent == ("worker 3",)


def test_endings_are_added_up():
    assert Kill.merged([Ended(1, 2, 3, ("a",)), Ended(1, 0, 0, ("b",))]) == Ended(2, 2, 3, ("a", "b"))


def test_a_silent_process_is_shown_as_such():
    status = StatusAsked.merged([Status((NodeStatus("one", "running"),)), StatusAsked.unanswered("two")])
    assert [(node.name, node.state) for node in status.nodes] == [("one", "running"), ("two", "silent")]


def test_a_stream_sends_no_more_than_was_taken():
    got, heard = [], []
    stream = Stream(lambda event, size: got.append(event))
    stream.on_credit = heard.append
    assert stream.offer({"n": 1}, WINDOW - 1) and stream.offer({"n": 2}, 1)
    assert not stream.offer({"n": 3}, 1) and [event["n"] for event in got] == [1, 2]
    stream.grant(5)
    assert stream.offer({"n": 4}, 5) and not stream.offer({"n": 5}, 1)
    stream.grant(10 * WINDOW)  # never more than the window
    assert stream.credit == WINDOW and heard == [5, WINDOW]
    stream.grant(1)
    assert heard == [5, WINDOW]
