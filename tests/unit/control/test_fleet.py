"""All gateways as one, over real TLS in memory: locks everywhere, orders obeyed or refused, silence named, and nothing
new where nobody knows what is locked."""

from __future__ import annotations

import pytest
from twisted.internet.defer import succeed

from bastion.cli.output import time_text
from bastion.clock import SystemClock
from bastion.control.asking import By, ControlError, Ended, Stream
from bastion.control.codec import MAX_NUMBER
from bastion.control.fleet import CONFIRMED, LAST_MOMENT, LOOK, named
from bastion.control.lock_keeping import EXPIRY_LOOK, LINES_AT_ONCE
from bastion.control.node import Kill, Live, LiveAsked, LiveRow, NodeStatus, Selection, Status, StatusAsked
from bastion.control.orders import AddLock, LocksAsked, RemoveLock, Watched, WatchSession
from bastion.control.roles import Role
from bastion.control.there import SOON, LocksTold
from bastion.errors import ControlReason
from bastion.observe.families.nodes import LOCKS_CONFIRMED_AGE_SECONDS, NODE_REFUSALS, NODES
from bastion.observe.meters import MICROSECONDS
from bastion.policy.lock_list import Gone
from bastion.policy.locks import Lock, LockKind
from tests.support.fleet import Company

USER = LockKind.USER
SOURCE = LockKind.SOURCE
NET = "192.0.2.0/24"


@pytest.fixture
def company(tmp_path):
    made = Company(tmp_path)
    yield made
    made.close()


@pytest.fixture
def three(tmp_path):
    made = Company(tmp_path, 3)
    yield made
    made.close()


def lock(value=NET, kind=SOURCE):
    return AddLock(kind, value, "an exercise", None)


def locked(gateway):
    return [one.value for one in gateway.process.locks]


def error(got, reason):
    assert len(got) == 1, "no answer yet"
    found = got[0].value
    assert isinstance(found, ControlError) and found.reason is reason, found
    return found.text


# -- who is here -------------------------------------------------------------------------------------------------------


def test_everybody_is_listed_wherever_it_is_asked(company):
    one, two = company.gateways
    one.process.sessions["a"], two.process.sessions["b"] = "alice", "bob"
    for gateway in company.gateways:
        got = gateway.ask(LiveAsked())
        company.net.advance(0)
        ((live,),) = (got,)
        assert {(row.id, row.node) for row in live.rows} == {("a", "gw1/worker 0"), ("b", "gw2/worker 0")}
        assert live.silent == ()
    got = one.ask(StatusAsked())
    company.net.advance(0)
    assert [node.name for node in got[0].nodes] == ["gw1/worker 0", "gw2/worker 0"]


def test_one_that_hangs_is_named_in_two_seconds_and_the_others_are_shown(three):
    one, two, _ = three.gateways
    one.process.sessions["a"], two.process.sessions["b"] = "alice", "bob"
    three.net.frozen.add("gw3")
    got = one.ask(LiveAsked())
    three.net.run(SOON - 0.2)
    assert got == []
    three.net.run(0.3)
    assert [row.id for row in got[0].rows] == ["a", "b"] and got[0].silent == ("gw3",)
    three.net.run(10.0)
    got = one.ask(StatusAsked())
    three.net.advance(0)
    assert [(node.name, node.state) for node in got[0].nodes][-1] == ("gw3", "silent"), "and then at once"


def test_what_nobody_knows_here_is_asked_of_this_gateway_alone(company):
    one, two = company.gateways
    before = len(two.process.asked)
    assert one.ask(LocksAsked())[0].locks == () and len(two.process.asked) == before


# -- orders ------------------------------------------------------------------------------------------------------------


def test_a_kill_reaches_all_and_is_written_down_where_it_is_obeyed(company):
    one, two = company.gateways
    one.process.sessions["a"], two.process.sessions["b"] = "alice", "alice"
    two.process.sessions["c"] = "carol"
    got = one.ask(Kill(Selection(user="alice"), "stolen laptop"), By(1000, "root"))
    company.net.advance(0)
    assert got == [Ended(2, 0, 0, ("a", "b"))] and list(two.process.sessions) == ["c"]
    (here,), (there,) = one.events("killed"), two.events("killed")
    assert (here["who"], there["who"], there["why"]) == ("root", "root@gw1", "stolen laptop")


def test_a_session_elsewhere_is_ended_by_its_name(company):
    one, two = company.gateways
    two.process.sessions["b"] = "bob"
    got = one.ask(Kill(Selection(id="b"), "x"))
    company.net.advance(0)
    assert got[0].ids == ("b",) and one.events("killed") == []
    got = one.ask(Kill(Selection(id="b"), "x"))
    company.net.advance(0)
    error(got, ControlReason.NOT_FOUND)


def test_whoever_has_no_role_there_is_refused_there_and_named(company):
    one, two = company.gateways
    company.roles["carol"] = frozenset({Role.AUDITOR})
    two.process.sessions["b"] = "bob"
    got = one.ask(Kill(Selection(user="bob"), "x"), By(7, "carol"))
    company.net.advance(0)
    text = error(got, ControlReason.TIMEOUT)
    assert "gw2 (refused: carol of gw1 has auditor at gw2, which may not kill)" in text
    assert list(two.process.sessions) == ["b"] and two.meters.value(NODE_REFUSALS, "no_role") == 1
    (line,) = two.events("node_refused")
    assert (line["node"], line["command"], line["who"], line["reason"]) == (
        "gw1",
        "node_kill",
        "carol",
        "no_role",
    )
    got = one.ask(LiveAsked(), By(7, "carol"))
    company.net.advance(0)
    assert [row.id for row in got[0].rows] == ["b"], "an auditor looks"
    got = one.ask(LiveAsked(), By(8, "dave"))
    company.net.advance(0)
    assert got[0].rows == () and "dave of gw1 has no role at gw2" in got[0].silent[0]


@pytest.mark.parametrize("name", ["uid 1000", "", "root\n", "../x", "ROOT", "a" * 64])
def test_a_name_that_is_none_has_no_role(company, name):
    one, two = company.gateways
    company.roles[name] = frozenset(Role)
    got = one.ask(Kill(Selection(everything=True), "x"), By(0, name))
    company.net.advance(0)
    assert "no role" in error(got, ControlReason.TIMEOUT) and two.events("killed") == []


def test_an_order_without_a_reason_reaches_nobody(company):
    one, two = company.gateways
    before = len(two.process.asked)
    error(one.ask(Kill(Selection(everything=True), " ")), ControlReason.MALFORMED)
    company.net.advance(0)
    assert not any(isinstance(asked, Kill) for asked in two.process.asked[before:])


def test_a_session_elsewhere_is_watched(company):
    one, two = company.gateways
    two.process.sessions["b"] = "bob"
    shown = []
    got = one.ask(WatchSession("b", "odd hours"), stream=Stream(lambda event, size: shown.append(event)))
    company.net.advance(0)
    assert shown[0]["blocks"] == "of b" and got == []
    (asked,) = [one for one in two.process.asked if isinstance(one, WatchSession)]
    assert asked.by == By(0, "root@gw1")
    two.process.watched.callback(Watched("ended", "it has ended"))
    company.net.advance(0)
    assert got == [Watched("ended", "it has ended")]


# -- locks -------------------------------------------------------------------------------------------------------------


def test_a_lock_is_everywhere_before_whoever_made_it_is_told(company):
    one, two = company.gateways
    two.process.sessions["b"] = NET
    got = one.ask(lock())
    company.net.advance(0)
    assert got[0].ids == ("b",) and locked(one) == locked(two) == [NET]
    (line,) = two.events("lock_followed")
    assert (line["node"], line["by"], line["why"]) == ("gw1", "root (uid 0)", "an exercise")
    got = two.ask(RemoveLock(NET))
    company.net.advance(0)
    assert got[0].silent == () and locked(one) == locked(two) == []
    assert one.events("unlock_followed")[0]["node"] == "gw2"
    company.net.run(5.0)
    assert locked(one) == locked(two) == [] and company.store.rows == {}


def test_where_no_gateway_is_reached_the_store_tells_of_a_lock_in_two_seconds(company):
    one, two = company.gateways
    for name in ("gw1", "gw2"):
        company.net.pull(name)
    company.net.run(5.0)
    text = error(one.ask(lock()), ControlReason.TIMEOUT)
    assert "gw2 did not answer" in text and locked(one) == [NET]
    company.net.run(2.0)
    assert locked(two) == [NET] and two.events("lock_followed")[0].get("node", "") == ""
    one.ask(RemoveLock(NET))
    company.net.run(2.0)
    assert locked(two) == []


def test_where_the_store_is_away_the_gateways_tell_each_other_also_later(company):
    one, two = company.gateways
    company.store.away = True
    company.net.pull("gw2")
    company.net.run(5.0)
    error(one.ask(lock()), ControlReason.TIMEOUT)
    company.net.run(3.0)
    assert locked(two) == [NET], "it asks gw1, which it can still reach"
    company.net.cut.clear()
    two.ask(RemoveLock(NET))
    company.net.run(8.0)
    assert locked(one) == []
    company.store.away = False
    company.net.run(3.0)
    assert company.store.rows == {} and locked(one) == locked(two) == []


def test_many_locks_of_a_gateway_that_was_away_are_learned_at_once(company):
    one, two = company.gateways
    company.store.away = True
    for name in ("gw1", "gw2"):
        company.net.pull(name)
    company.net.run(5.0)
    for number in range(300):
        one.ask(lock(f"web{number}", LockKind.TARGET))
    company.net.cut.clear()
    company.net.run(8.0)
    assert set(locked(one)) == set(locked(two)) and len(locked(two)) == 300


def test_a_lock_on_a_peer_that_hangs_answers_in_two_seconds_and_names_it(three):
    one, two, _ = three.gateways
    three.net.frozen.add("gw3")
    got = one.ask(lock())
    three.net.run(SOON + 0.1)
    assert "gw3 did not answer" in error(got, ControlReason.TIMEOUT)
    assert locked(one) == locked(two) == [NET]


# -- whether they are known --------------------------------------------------------------------------------------------


def test_all_is_well(company):
    one, _ = company.gateways
    assert one.process.known() and one.meters.value(NODES, "connected") == 1
    assert one.meters.value(NODES, "missing") == 0
    assert one.meters.value(LOCKS_CONFIRMED_AGE_SECONDS) <= 2 * MICROSECONDS


def test_the_store_alone_or_the_gateways_alone_are_enough(company):
    one, two = company.gateways
    company.store.away = True
    company.net.run(3 * CONFIRMED)
    assert one.process.known() and two.process.known()
    company.store.away = False
    for name in ("gw1", "gw2"):
        company.net.pull(name)
    company.net.run(3 * CONFIRMED)
    assert one.process.known() and two.process.known()
    assert one.meters.value(NODES, "missing") == 1
    assert [line["state"] for line in one.events("node_state")] == ["connected", "missing"]


def test_with_neither_nothing_new_begins_after_thirty_seconds_until_one_is_back(company):
    one, _ = company.gateways
    company.store.away = True
    for name in ("gw1", "gw2"):
        company.net.pull(name)
    company.net.run(CONFIRMED - 3.0)
    assert one.process.known()
    company.net.run(5.0)
    assert not one.process.known()
    assert one.meters.value(LOCKS_CONFIRMED_AGE_SECONDS) > CONFIRMED * MICROSECONDS
    company.store.away = False
    company.net.run(2 * LOOK)
    assert one.process.known()


def test_one_of_several_gateways_is_not_enough(three):
    one, *_ = three.gateways
    three.store.away = True
    three.net.pull("gw3")
    three.net.run(CONFIRMED + 5.0)
    assert not one.process.known(), "gw3 may have a lock that gw2 does not know"


def test_a_process_that_is_told_nothing_more_refuses_by_itself(company):
    one, _ = company.gateways
    one.fleet.stop()
    company.net.run(CONFIRMED - 2.0)
    assert one.process.known()
    company.net.run(4.0)
    assert not one.process.known()


def test_a_gateway_that_begins_waits_until_it_is_known(tmp_path):
    company = Company(tmp_path, 1)
    (one,) = company.gateways
    got = []
    one.fleet.confirmed().addCallback(got.append)
    assert got == [None] and one.fleet.confirmation.seconds > CONFIRMED - 3
    company.close()


def test_while_nobody_says_it_a_gateway_that_begins_has_no_locks_to_trust(tmp_path):
    company = Company(tmp_path, 2)
    one, _ = company.gateways
    one.stop()
    company.store.away = True
    company.net.pull("gw2")
    company.net.doors["gw1"] = one.door
    one.process.confirmed_until = 0.0
    one.fleet._stored_at = one.peers[0].told_at = float("-inf")
    got = []
    one.start()
    one.fleet.confirmed().addCallback(got.append)
    company.net.run(10.0)
    assert got == [] and not one.process.known()
    company.store.away = False
    company.net.run(2.0)
    assert got == [None] and one.process.known()
    company.close()


# -- a gateway that lies -----------------------------------------------------------------------------------------------


def test_whatever_a_gateway_calls_its_processes_its_name_is_before_it_and_no_terminal_obeys_it():
    row = LiveRow("a", "session", "alice", "u", "192.0.2.1", "jump", 1.0, node="gw1/worker\x1b[2J")
    live = named("gw2", Live((row,), ("\x1b]0;x\x07",)))
    assert live.rows[0].node == "gw2/gw1/worker\\x1b[2J" and "\x1b" not in live.silent[0]
    assert named("gw2", Status((NodeStatus("\u202egw1", "running"),))).nodes[0].name == "gw2/\\u202egw1"
    assert named("gw2", Ended(1)) == Ended(1)


def test_what_a_gateway_says_when_it_refuses_is_shown_as_it_is(company, monkeypatch):
    one, two = company.gateways

    def lie(node, request, stream):
        raise ControlError(ControlReason.NO_ROLE, "\x1b[31m" + "x" * 1000)

    monkeypatch.setattr(two.door, "_answer", lie)
    got = one.ask(LiveAsked())
    company.net.advance(0)
    assert "\\x1b[31m" in got[0].silent[0] and len(got[0].silent[0]) < 260


def test_a_gateway_that_locks_and_unlocks_without_end_does_not_fill_the_log(company):
    one, two = company.gateways
    made_at = SystemClock().time()
    for turn in range(50):
        change = made_at + turn
        locks = tuple(Lock(LockKind.TARGET, f"t{n}", "x", "y", change) for n in range(100))
        for told in (
            LocksTold(locks, ()),
            LocksTold((), tuple(Gone(x.kind, x.value, change) for x in locks)),
        ):
            two.peers[0].ask(told).addErrback(lambda _: None)
            company.net.advance(0.05)
    assert len(one.events("lock_followed")) + len(one.events("unlock_followed")) <= LINES_AT_ONCE + 100
    assert locked(one) == []


def test_what_a_gateway_says_that_it_has_ended_can_be_counted_and_shown():
    said = Ended(-7, 2, MAX_NUMBER, ("a\x1b[2J",), ("gw3",))
    assert named("gw2", said) == Ended(0, 2, MAX_NUMBER, ("a\\x1b[2J",), ("gw2/gw3",))


@pytest.mark.parametrize(("at", "shown"), [(-1.0, 0.0), (9e15, LAST_MOMENT), (5.0, 5.0)])
def test_a_time_that_no_calendar_has_is_the_nearest(at, shown):
    row = LiveRow("a", "session", "u", "u", "s", "jump", at)
    assert named("gw2", Live((row,))).rows[0].started_at == shown
    assert named("gw2", Status((NodeStatus("w", "running", started_at=at),))).nodes[0].started_at == shown
    assert time_text(shown)


def test_what_a_gateway_that_lies_has_ended_is_in_no_ones_way(company, monkeypatch):
    one, two = company.gateways
    lie = Ended(MAX_NUMBER, -1, 0, ("x",))
    monkeypatch.setattr(two.desk.keeper, "learn", lambda node, locks, gone: succeed(lie))
    got = one.ask(lock())
    company.net.advance(0)
    assert (got[0].sessions, got[0].tunnels) == (MAX_NUMBER, 0)
    (line,) = one.events("locked")
    assert (line["sessions"], line["tunnels"]) == (MAX_NUMBER, 0)


def test_a_gateway_that_begins_and_knows_nothing_confirms_nothing(tmp_path):
    made = Company(tmp_path, started=False)
    one, two = made.gateways
    made.store.away = True
    one.start()
    two.start()
    made.net.run(CONFIRMED)
    assert all(peer.here for peer in one.peers), "it is there all the same"
    assert not one.process.known() and not two.process.known(), "neither has ever known what is locked"
    made.store.away = False
    made.net.run(2 * LOOK)
    assert one.process.known() and two.process.known()
    made.store.away = True
    made.net.run(CONFIRMED + 5.0)
    assert one.process.known() and two.process.known(), "and now they do"
    two.stop()
    fresh = made.again(two)
    made.net.run(CONFIRMED + 5.0)
    assert one.process.known() and fresh.process.known(), "one that knows is enough for one that begins"
    made.close()


def test_a_session_that_is_here_is_watched_here_whoever_else_says_that_it_has_it(company):
    one, two = company.gateways
    one.process.sessions["b"] = two.process.sessions["b"] = "bob"
    one.ask(WatchSession("b", "odd hours"), stream=Stream(lambda event, size: None))
    company.net.advance(0)
    assert [
        len([1 for asked in at.process.asked if isinstance(asked, WatchSession)]) for at in (one, two)
    ] == [1, 0]


def test_a_lock_that_is_over_by_one_clock_is_not_over_by_all(company):
    one, two = company.gateways
    one.ask(AddLock(USER, "alice", "an exercise", 3600.0))
    company.net.advance(0)
    two.desk.keeper._clock = Later()
    company.net.run(EXPIRY_LOOK + 2.0)
    assert locked(two) == [] and locked(one) == ["alice"] and len(company.store.rows) == 1


class Later(SystemClock):
    """A clock that is two hours ahead."""

    def time(self):
        return SystemClock.time() + 7200.0


def test_a_machine_that_was_suspended_knows_nothing_until_it_is_told(company):
    one = company.gateways[0]
    assert one.process.known()
    company.store.away = True
    company.net.cut.update(("gw1", "gw2"))
    company.net.pull("gw2")
    company.net.run(3.0)
    assert one.process.known()
    one.fleet._clock = Slept()
    company.net.run(LOOK)
    assert not one.process.known() and one.fleet.age > CONFIRMED
    company.store.away = False
    company.net.run(3.0)
    assert one.process.known()


class Slept(SystemClock):
    """Of a machine that was suspended for an hour."""

    def boot(self):
        return SystemClock.boot() + 3600.0


def test_a_store_that_became_another_server_is_told_again_what_it_has_lost(company):
    one, two = company.gateways
    one.ask(lock())
    company.net.run(3.0)
    company.store.rows.clear()
    company.store.timeline = "00000002"
    company.net.run(3.0)
    assert locked(one) == locked(two) == [NET] and len(company.store.rows) == 1
    one.ask(RemoveLock(NET))
    company.net.run(3.0)
    assert locked(one) == locked(two) == [] and not company.store.rows


def apart(company):
    """Nobody reaches another; the store is reached by all."""
    for gateway in company.gateways:
        company.net.pull(gateway.name)
    company.net.run(3.0)


def test_a_lock_whose_row_its_maker_never_saw_ends_at_all_when_the_store_has_its_end(company):
    """gw2 has read it and taken it away before gw1 looks again."""
    one, two = company.gateways
    apart(company)
    one.ask(lock())
    one.fleet._asking = True  # its question takes its time
    company.net.run(2.0)
    assert locked(two) == locked(one) == [NET]
    two.ask(RemoveLock(NET))
    company.net.run(2.0)
    assert locked(two) == [] and locked(one) == [NET] and company.store.rows == {}
    one.fleet._asking = False
    company.net.run(2.0)
    assert locked(one) == [] and one.events("unlock_followed")[-1]["value"] == NET


def test_a_lock_that_is_written_after_its_end_is_over_everywhere(tmp_path):
    """gw1 owes the row, and hears of nothing; gw2 and gw3 have heard of both."""
    company = Company(tmp_path, 3)
    one, two, three = company.gateways
    one.process.write = lambda: None
    one.ask(lock())
    company.net.run(2.0)
    assert [locked(each) for each in (two, three)] == [[NET]] * 2
    apart(company)
    two.ask(RemoveLock(NET))
    company.net.run(2.0)
    assert locked(one) == locked(two) == locked(three) == [] and company.store.rows == {}
    del one.process.write
    one.process.owed = [order for order in one.process.owed if not order.gone]
    one.process.write()
    assert len(company.store.rows) == 1
    company.net.run(2.0)
    assert company.store.rows == {} and [locked(each) for each in company.gateways] == [[]] * 3
    company.close()
