"""Every message number in every state of both roles, against the table."""

from __future__ import annotations

import pytest

from bastion.transport.key_exchange import KeyExchange
from bastion.transport.settings import ClosedBy
from bastion.transport.states import ROUTES, TABLE, Role, Route, State
from bastion.transport.transport import Transport
from bastion.wire.data import string, uint32
from bastion.wire.numbers import (
    MSG_DISCONNECT,
    MSG_EXT_INFO,
    MSG_KEXINIT,
    MSG_NEWKEYS,
    MSG_PING,
    MSG_PONG,
    MSG_UNIMPLEMENTED,
)
from tests.hostile.rawssh import RawSsh
from tests.unit.transport.parts import Bench, log_in, raw_side, shake

IN_TABLE = "is not allowed in state"
BODIES = {
    MSG_DISCONNECT: uint32(11) + string(b"bye") + string(b""),
    MSG_EXT_INFO: uint32(0),
    MSG_NEWKEYS: b"",
    MSG_PING: string(b"ping"),
}


def body_of(raw: RawSsh, number: int) -> bytes:
    """A payload with this number, well formed where the transport reads it itself."""
    if number == MSG_KEXINIT:
        raw.ours = raw.make_kexinit().encode()
        return raw.ours
    return bytes([number]) + BODIES.get(number, b"\0\0\0\0")


def reach(state: State, server: bool) -> tuple[Bench, RawSsh]:
    """A transport that has really come to `state`."""
    bench, raw = raw_side(server)
    if state is State.VERSION:
        return bench, raw
    raw.send_version()
    raw.read_version()
    if state is State.FIRST_KEXINIT:
        return bench, raw
    if state in (State.FIRST_METHOD, State.FIRST_NEWKEYS):
        raw.send_kexinit()
        raw.read_kexinit()
        raw.settle()
        if state is State.FIRST_NEWKEYS:
            finish_method(raw)
        return bench, raw
    raw.exchange()
    if state is State.SECURED:
        return bench, raw
    if state in (State.UNAUTHENTICATED, State.LATE_EXT_INFO):
        raw.send(b"\x02\0\0\0\0")
        if state is State.LATE_EXT_INFO:
            raw.send(b"\x07\0\0\0\0")
        return bench, raw
    bench.trust()
    if state in (State.REKEY_METHOD, State.REKEY_NEWKEYS):
        raw.send_kexinit()
        raw.read_kexinit()
        raw.settle()
        if state is State.REKEY_NEWKEYS:
            finish_method(raw)
    elif state is State.CLOSED:
        bench.transport.disconnect(11, "done")
    return bench, raw


def finish_method(raw: RawSsh) -> None:
    if not raw.server:
        raw.send_method()
    raw.read_method()


REACHABLE = [
    (state, role)
    for role in Role
    for state in State
    if state not in (State.VERSION, State.CLOSED)
    and not (role is Role.SERVER and state is State.LATE_EXT_INFO)
]


@pytest.mark.parametrize(("state", "role"), REACHABLE, ids=lambda value: value.value)
def test_a_transport_really_comes_to_each_state(state: State, role: Role) -> None:
    bench, _ = reach(state, role is Role.SERVER)
    assert bench.transport.state is state


INTERESTING = sorted(
    {0, *range(1, 9), 9, 19, 20, 21, 22, *range(29, 36), 49, *range(50, 62), 79, *range(80, 84)}
)
INTERESTING += [89, *range(90, 102), 127, 128, 191, 192, 193, 194, 255]


@pytest.mark.parametrize(("state", "role"), REACHABLE, ids=lambda value: value.value)
def test_each_message_in_each_state_that_was_really_reached(state: State, role: Role) -> None:
    for number in INTERESTING:
        bench, raw = reach(state, role is Role.SERVER)
        before = bench.transport._reader.sequence
        raw.send(body_of(raw, number))
        judge(bench, raw, state, TABLE[role][state].get(number, Route.REFUSE), number, before)


@pytest.mark.parametrize("role", Role, ids=lambda value: value.value)
@pytest.mark.parametrize("state", [state for state in State if state is not State.VERSION])
def test_all_256_numbers_in_a_state_that_was_set(
    state: State, role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole matrix, over a transport put into the state by force: what is routed where is noted."""
    routed: list[int] = []
    monkeypatch.setattr(Transport, "_control", lambda self, *message: routed.append(Route.CONTROL))
    monkeypatch.setattr(KeyExchange, "take_method", lambda self, payload: routed.append(Route.EXCHANGE))
    for number in range(256):
        routed.clear()
        bench, raw = raw_side(role is Role.SERVER)
        raw.send_version()
        raw.read_version()
        raw.read_all()
        bench.transport._output._queue = None  # nothing is held back, so that answers can be seen
        bench.transport.receiver = bench.receiver.burst
        bench.transport.enter(state)
        raw.send(bytes([number]) + b"\0\0\0\0")
        if bench.service.got:
            routed.append(Route.SERVICE)
        if bench.receiver.payloads:
            routed.append(Route.RECEIVER)
        if bench.closed:
            assert IN_TABLE in bench.reason.text
            routed.append(Route.REFUSE)
        if any(payload[0] == MSG_UNIMPLEMENTED for payload in raw.read_all()):
            routed.append(Route.UNIMPLEMENTED)
        expected = TABLE[role][state].get(number, Route.REFUSE)
        if state is State.CLOSED or expected is Route.DROP:
            assert routed == [], number
        else:
            assert routed == [expected], number


def judge(bench: Bench, raw: RawSsh, state: State, route: Route, number: int, sequence: int) -> None:
    refused = bool(bench.closed) and IN_TABLE in bench.reason.text
    where = f"{number} in {state}"
    assert refused is (route is Route.REFUSE), where
    if state in (State.FIRST_NEWKEYS, State.REKEY_NEWKEYS):
        raw.read_newkeys()  # ours went out before: what follows is under the new keys
    if refused:
        assert bench.reason.by is ClosedBy.US and bench.reason.code == 2, where
        assert raw.read_disconnect()[0] == 2, where
        return
    assert (number in [got for got, _ in bench.service.got]) is (route is Route.SERVICE), where
    assert (len(bench.receiver.payloads) == 1) is (route is Route.RECEIVER), where
    if route is Route.UNIMPLEMENTED:
        # RFC 4253 section 11.4: it names the packet that was not understood
        assert raw.read_until(MSG_UNIMPLEMENTED) == b"\x03" + uint32(sequence), where
    elif number == MSG_DISCONNECT:
        assert bench.reason.by is ClosedBy.PEER and bench.reason.text == "bye", where
    elif number == MSG_PING:
        assert raw.read_until(MSG_PONG) == b"\xc1" + string(b"ping"), where
    elif route is not Route.EXCHANGE:
        assert not bench.closed, where


# -- what the table itself must say ------------------------------------------------------------------------


def numbers(role: Role, state: State, route: Route) -> set[int]:
    return {number for number, found in TABLE[role][state].items() if found is route}


@pytest.mark.parametrize("role", Role)
def test_nothing_but_the_exchange_before_newkeys(role: Role) -> None:
    for state in (State.FIRST_KEXINIT, State.FIRST_METHOD, State.FIRST_NEWKEYS):
        assert set(TABLE[role][state]) <= {1, 20, 21, *range(30, 50)}


@pytest.mark.parametrize("role", Role)
def test_connection_messages_only_after_authentication(role: Role) -> None:
    for state in State:
        found = numbers(role, state, Route.RECEIVER)
        assert found == ({80, 81, 82, *range(90, 101)} if state is State.AUTHENTICATED else set())


def test_no_role_takes_what_only_it_may_send() -> None:
    for state in State:
        assert not {6, 51, 52, 53, 60} & set(TABLE[Role.SERVER][state])
        if state is not State.AUTHENTICATED:
            assert not {5, 50, 61} & set(TABLE[Role.CLIENT][state])
        else:
            assert not {5, 50, 61} & set(TABLE[Role.CLIENT][state])


@pytest.mark.parametrize("role", Role)
def test_every_role_has_every_state_and_the_bytes_agree_with_the_table(role: Role) -> None:
    assert set(TABLE[role]) == set(State)
    for state, row in TABLE[role].items():
        for number in range(256):
            assert ROUTES[role][state][number] == row.get(number, Route.REFUSE)


def test_requests_after_success_are_ignored() -> None:
    bench, raw = raw_side(True)
    log_in(bench, raw)
    raw.send(b"\x32" + string(b"bob") + string(b"ssh-connection") + string(b"none"))
    assert not bench.closed and bench.service.got == []


def test_a_receiver_must_be_there() -> None:
    bench, raw = raw_side(True)
    shake(bench, raw)
    bench.transport.authenticated()
    raw.send(b"\x5ehello")
    assert "nobody" in bench.reason.text or "anybody" in bench.reason.text
