"""Message numbers and codes: those of the RFCs, and a word for each."""

from __future__ import annotations

from twisted.conch.ssh import connection, transport, userauth

from bastion.wire import numbers
from bastion.wire.numbers import Disconnect, OpenFailure

OURS = {name: value for name, value in vars(numbers).items() if name.startswith("MSG_")}


def test_every_number_has_a_name_for_people() -> None:
    assert numbers.name_of(94) == "CHANNEL_DATA"
    assert numbers.name_of(30) == "KEX_30"
    assert numbers.name_of(60) == "USERAUTH_60"
    assert numbers.name_of(140) == "number 140"
    assert all(numbers.name_of(number) for number in range(256))


def test_a_name_is_that_of_the_constant() -> None:
    named = {name.removeprefix("MSG_"): value for name, value in OURS.items()}
    assert all(named[name] == number for number, name in numbers.NAMES.items())


def test_what_depends_on_the_method_has_no_name_of_its_own() -> None:
    assert not any(30 <= number <= 49 or 60 <= number <= 79 for number in numbers.NAMES)


def test_the_numbers_are_those_that_others_use() -> None:
    """Conch's, which were written down by somebody else."""
    theirs = {**vars(transport), **vars(userauth), **vars(connection)}
    shared = {name for name in OURS if name in theirs}
    assert len(shared) > 25
    assert {name: OURS[name] for name in shared} == {name: theirs[name] for name in shared}


def test_codes_are_those_that_others_use() -> None:
    assert len(Disconnect) == 15 and list(Disconnect) == list(range(1, 16))
    for code in Disconnect:
        found = getattr(transport, f"DISCONNECT_{code.name}", code.value)
        assert found == code, code.name
    assert [getattr(connection, f"OPEN_{code.name}") for code in OpenFailure] == list(OpenFailure)
