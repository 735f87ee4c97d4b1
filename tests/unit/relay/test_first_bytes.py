"""SSH inside a stream is seen however it is cut, nothing of it passes, and nothing else waits for long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.relay.first_bytes import BANNER, FirstBytes, Look
from bastion.sides import Side

CLIENT, TARGET = Side.CLIENT, Side.TARGET


def play(first, talk):
    """What passes of a talk, by side, and whether it ended as SSH. Pieces that are held come out later or never."""
    passed = [b"", b""]
    for side, data in talk:
        look = first.look(side, data)
        if look is Look.SSH:
            return passed, True
        for one in (CLIENT, TARGET):
            passed[one] += first.release(one)
        if look is Look.PASS:
            passed[side] += data
    return passed, False


@pytest.mark.parametrize("side", [CLIENT, TARGET])
@pytest.mark.parametrize("cut", [[4], [1, 1, 1, 1], [2, 2], [3, 1], [1, 3], [1, 0, 3]])
def test_a_banner_is_seen_however_it_is_cut_and_nothing_of_it_passes(side, cut):
    banner, talk, at = b"SSH-2.0-OpenSSH_9.2\r\n", [], 0
    for size in cut:
        talk.append((side, banner[at : at + size]))
        at += size
    passed, ssh = play(FirstBytes(), [*talk, (side, banner[at:])])
    assert ssh and passed == [b"", b""]


def test_a_server_that_talks_first_does_not_hide_the_client():
    talk = [(TARGET, b"hello\r\nSSH-2.0-x\r\n"), (CLIENT, b"S"), (CLIENT, b"SH"), (CLIENT, b"-2.0-y\r\n")]
    passed, ssh = play(FirstBytes(), talk)
    assert ssh and b"SSH-" not in passed[CLIENT]


def test_one_letter_of_an_answer_does_not_wait():
    # PostgreSQL: SSLRequest, answered with S, then TLS.
    passed, ssh = play(
        FirstBytes(), [(CLIENT, b"\0\0\0\x08\x04\xd2\x16/"), (TARGET, b"S"), (CLIENT, b"\x16\x03\x01")]
    )
    assert not ssh and passed == [b"\0\0\0\x08\x04\xd2\x16/\x16\x03\x01", b"S"]


def test_what_was_held_goes_first_when_it_is_decided_or_ends():
    first = FirstBytes()
    assert first.look(CLIENT, b"SS") is Look.HOLD
    assert first.release(CLIENT) == b""
    assert first.look(CLIENT, b"TP") is Look.PASS
    assert first.release(CLIENT) == b"SS"
    short = FirstBytes()
    assert short.look(TARGET, b"SSH") is Look.HOLD
    assert short.end(TARGET) == b"SSH" and short.end(TARGET) == b""


def test_the_other_side_sets_free_what_was_held():
    first = FirstBytes()
    assert first.look(TARGET, b"S") is Look.HOLD
    assert first.look(CLIENT, b"GET /") is Look.PASS
    assert first.release(TARGET) == b"S"
    assert not first.over and first.look(TARGET, b"SH-") is Look.SSH


@given(
    st.lists(st.tuples(st.sampled_from([CLIENT, TARGET]), st.binary(max_size=6) | st.sampled_from(
        [b"S", b"SS", b"SSH", b"H-", b"SSH-2.0"])), max_size=12)
)  # fmt: skip
def test_order_and_bytes_are_kept_and_no_more_than_three_are_held(talk):
    first = FirstBytes()
    passed, ssh = play(first, talk)
    for side in (CLIENT, TARGET):
        sent = b"".join(data for who, data in talk if who is side)
        assert sent.startswith(passed[side])
        if not ssh:
            held = first.end(side)
            assert passed[side] + held == sent and len(held) < len(BANNER)
        assert not passed[side].startswith(BANNER)
