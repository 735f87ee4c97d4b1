"""Order and circuit breaker of the LDAP servers."""

from __future__ import annotations

from bastion.auth.ldap_servers import ServerOrder, Taken


def taken(order: ServerOrder, now: float, *tried: int) -> Taken:
    found = order.take(now, tried)
    assert found is not None
    return found


def test_the_first_healthy_server_is_preferred() -> None:
    order = ServerOrder(3, rest=30)
    assert [taken(order, 0, *tried).index for tried in ((), (0,), (0, 1))] == [0, 1, 2]
    assert order.take(0, (0, 1, 2)) is None


def test_a_failing_server_is_left_alone_while_another_works() -> None:
    order = ServerOrder(2, rest=30)
    assert order.failed(taken(order, 0), 0) is True
    assert order.healthy() == 1
    assert taken(order, 29.9) == Taken(1, probe=False)
    assert order.failed(Taken(0, probe=False), 5) is False  # somebody who was still on the way


def test_after_its_rest_one_login_at_a_time_tries_it() -> None:
    order = ServerOrder(2, rest=30)
    order.failed(taken(order, 0), 0)
    probe = taken(order, 30)
    assert probe == Taken(0, probe=True)
    assert taken(order, 30) == Taken(1, probe=False)
    assert order.worked(probe) is True
    assert taken(order, 31) == Taken(0, probe=False)
    assert order.worked(Taken(0, probe=False)) is False


def test_a_probe_that_fails_rests_again() -> None:
    order = ServerOrder(2, rest=30)
    order.failed(taken(order, 0), 0)
    order.failed(taken(order, 30), 35)
    assert taken(order, 64).index == 1
    assert taken(order, 65) == Taken(0, probe=True)


def test_when_all_fail_one_login_at_a_time_tries_and_recovery_is_immediate() -> None:
    order = ServerOrder(1, rest=30)
    order.failed(taken(order, 0), 0)
    probe = taken(order, 1)
    assert probe.probe
    assert order.take(1) is None  # the second one is told at once
    order.failed(probe, 2)
    probe = taken(order, 3)
    assert order.worked(probe) is True
    assert taken(order, 3) == Taken(0, probe=False)


def test_all_failing_the_one_that_failed_longest_ago_is_tried() -> None:
    order = ServerOrder(2, rest=30)
    order.failed(taken(order, 0), 0)
    order.failed(taken(order, 1, 0), 1)
    assert taken(order, 5).index == 0
    assert taken(order, 5).index == 1
    assert order.take(5) is None


def test_released_lets_the_next_one_try() -> None:
    order = ServerOrder(1, rest=30)
    order.failed(taken(order, 0), 0)
    probe = taken(order, 1)
    order.released(probe)
    assert taken(order, 1).probe


def test_giving_back_a_plain_server_does_not_end_a_probe() -> None:
    order = ServerOrder(1, rest=30)
    early = taken(order, 0)
    order.failed(early, 0)
    assert taken(order, 31).probe
    order.failed(Taken(0, probe=False), 32)
    assert order.take(70) is None
