"""What never crosses, and what happens to it."""

from __future__ import annotations

import pytest

from bastion.errors import ProtocolError
from bastion.relay.relay import Unimplemented
from bastion.sides import Side
from bastion.wire import messages as m
from tests.support.playbook import Playbook, asks_all, sends
from tests.unit.relay.conftest import MakePlaybook

ASSIGNED = {80, 81, 82, *range(90, 101)}


@pytest.mark.parametrize("side", list(Side))
def test_every_number_below_80_is_bound_to_its_leg(side: Side) -> None:
    for number in range(80):
        book = Playbook()
        with pytest.raises(ProtocolError, match="bound to its leg") as caught:
            book.relay.receive(side, bytes([number]) + b"payload", book.out)
        assert not isinstance(caught.value, Unimplemented)
        book.done()


@pytest.mark.parametrize("side", list(Side))
def test_unassigned_numbers_are_unimplemented_and_the_relay_goes_on(
    playbook: MakePlaybook, side: Side
) -> None:
    book = playbook()
    book.session()
    for number in range(80, 256):
        if number not in ASSIGNED:
            with pytest.raises(Unimplemented) as caught:
                book.relay.receive(side, bytes([number]) + b"payload", book.out)
            assert caught.value.side is side
    book.silence()
    book.client(sends(0, b"alive")).to_target(sends(0, b"alive"))
    book.done()


@pytest.mark.parametrize("side", list(Side))
def test_an_empty_payload_is_an_error(playbook: MakePlaybook, side: Side) -> None:
    book = playbook()
    (book.client_breaks if side is Side.CLIENT else book.target_breaks)(b"", "empty").done()


@pytest.mark.parametrize("name", ["hostkeys-00@openssh.com", "hostkeys-prove-00@openssh.com"])
def test_host_key_requests_stay_on_their_leg(playbook: MakePlaybook, name: str) -> None:
    book = playbook()
    keys = asks_all(name, b"\x00\x00\x00\x04keys", reply=False)
    book.target(keys).silence().told()
    book.client(keys).silence().told()
    wanted = asks_all(name, b"\x00\x00\x00\x04keys")
    book.client(wanted).to_client(m.RequestFailure())
    book.target(wanted).to_target(m.RequestFailure())
    book.done()


def test_the_error_names_the_side_and_the_relay_stays_over(playbook: MakePlaybook) -> None:
    book = playbook()
    book.session()
    book.target_breaks(sends(9, b"x"), "CHANNEL_DATA for an unknown channel")
    with pytest.raises(ProtocolError, match="over"):
        book.relay.receive(Side.CLIENT, sends(0, b"x").encode(), book.out)
    book.done()
