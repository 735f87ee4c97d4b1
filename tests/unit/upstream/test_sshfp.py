"""SSHFP records of a real small DNS server, honest and hostile; only what is proved and fits counts."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.rcode
import pytest

from bastion.options.kinds import Address
from bastion.upstream import sshfp
from bastion.upstream.sshfp import Records, SshfpFailed, algorithm_of, ask_all
from bastion.wire.keys import PrivateKey
from tests.support.dns import Answer, Resolver, records
from tests.support.net import LOOPBACK, free_port

KEY = PrivateKey.generate_ed25519().public
PRINT = hashlib.sha256(KEY.blob).hexdigest()
HOST = "web1.example.com"
GOOD = f"{HOST}. 60 IN SSHFP 4 2 {PRINT}"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever answers is waited for, on a machine that has much else to do too."""
    monkeypatch.setattr(sshfp, "DEADLINE", 60.0)
    monkeypatch.setattr(sshfp, "TRY", 20.0)


@pytest.fixture
def soon(patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """For answers that never come, or that are passed over."""
    monkeypatch.setattr(sshfp, "TRY", 0.5)


@contextmanager
def resolver(udp: Answer, tcp: Answer | None = None) -> Iterator[tuple[Resolver, Address]]:
    made = Resolver(udp, tcp)
    try:
        yield made, Address(LOOPBACK, made.port)
    finally:
        made.stop()


def asked(udp: Answer, tcp: Answer | None = None) -> Records:
    with resolver(udp, tcp) as (_, place):
        return ask_all([place], HOST)


def refused(udp: Answer, tcp: Answer | None = None) -> str:
    with pytest.raises(SshfpFailed) as failed:
        asked(udp, tcp)
    return failed.value.text


def saying(*lines: str, **more: int) -> Answer:
    return lambda query: records(query, *lines, **more).to_wire(max_size=65535)


def test_a_proved_record_vouches_for_its_key_alone() -> None:
    with resolver(saying(GOOD)) as (server, place):
        found = ask_all([place], HOST)
    assert server.asked == [(f"{HOST}.", "SSHFP")]
    assert found.vouch_for(KEY) and not found.vouch_for(PrivateKey.generate_ed25519().public)


def test_the_type_of_the_key_is_compared_too() -> None:
    assert algorithm_of(KEY) == 4
    assert not asked(saying(GOOD.replace("SSHFP 4", "SSHFP 1"))).vouch_for(KEY)


def test_an_alias_is_followed_when_all_of_it_is_proved() -> None:
    chain = f"{HOST}. 60 IN CNAME real.example.net."
    assert asked(saying(chain, GOOD.replace(HOST, "real.example.net"))).vouch_for(KEY)


def test_without_the_ad_bit_nothing_counts() -> None:
    assert "not proved by DNSSEC (no AD bit)" in refused(saying(GOOD, ad=False))


def test_sha1_is_refused() -> None:
    sha1 = hashlib.sha1(KEY.blob).hexdigest()
    assert "only SSHFP records of SHA-1" in refused(saying(f"{HOST}. 60 IN SSHFP 4 1 {sha1}"))


REFUSED: dict[str, tuple[Answer, str]] = {
    "no records": (saying(), f"no SSHFP record; make them with: ssh-keygen -r {HOST}"),
    "no such name": (saying(rcode=dns.rcode.NXDOMAIN), "does not exist"),
    "bogus": (saying(rcode=dns.rcode.SERVFAIL), "the resolver says SERVFAIL"),
    "a record of another name": (saying(GOOD.replace(HOST, "evil.example.com")), "no SSHFP record"),
    "an alias to itself": (saying(f"{HOST}. 60 IN CNAME {HOST}."), "no answer that can be used"),
    "aliases in a circle": (
        saying(f"{HOST}. 60 IN CNAME a.example.com.", f"a.example.com. 60 IN CNAME {HOST}."),
        "no answer that can be used",
    ),
    "aliases without end": (
        saying(
            f"{HOST}. 60 IN CNAME n0.example.com.",
            *(f"n{i}.example.com. 60 IN CNAME n{i + 1}.example.com." for i in range(40)),
        ),
        "no answer that can be used",
    ),
}

PASSED_OVER: dict[str, tuple[Answer, str]] = {
    "silence": (lambda query: None, "no answer that can be used (Timeout)"),
    "garbage": (lambda query: b"\xff" * 64, "no answer that can be used"),
    "half an answer": (lambda query: saying(GOOD)(query)[:30], "no answer that can be used"),  # type: ignore[index]
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_answer_is_refused_in_words(case: str) -> None:
    answer, words = REFUSED[case]
    assert words in refused(answer)


@pytest.mark.parametrize("case", PASSED_OVER)
def test_what_is_passed_over_is_waited_out(case: str, soon: None) -> None:
    answer, words = PASSED_OVER[case]
    assert words in refused(answer)


def changed(how: Callable[[dns.message.Message], None]) -> Answer:
    def answer(query: dns.message.Message) -> bytes:
        made = records(query, GOOD)
        how(made)
        return made.to_wire()

    return answer


def other_id(message: dns.message.Message) -> None:
    message.id ^= 1


def other_question(message: dns.message.Message) -> None:
    message.question = dns.message.make_query("evil.example.com", "SSHFP").question


def no_response(message: dns.message.Message) -> None:
    message.flags &= ~dns.flags.QR


@pytest.mark.parametrize("how", [other_id, other_question, no_response])
def test_an_answer_to_something_else_is_passed_over(
    how: Callable[[dns.message.Message], None], soon: None
) -> None:
    assert "Timeout" in refused(changed(how))


def truncated(query: dns.message.Message) -> bytes:
    made = dns.message.make_response(query)
    made.flags |= dns.flags.TC | dns.flags.AD
    return made.to_wire()


def test_a_truncated_answer_is_asked_for_again_over_tcp() -> None:
    many = [f"{HOST}. 60 IN SSHFP 4 2 {number:064x}" for number in range(60)]
    with resolver(truncated, saying(GOOD, *many)) as (server, place):
        assert ask_all([place], HOST).vouch_for(KEY)
        assert server.over_tcp == 1


def test_a_huge_answer_is_refused() -> None:
    many = [f"{HOST}. 60 IN SSHFP 4 2 {number:064x}" for number in range(900)]
    assert "more than 64 SSHFP records" in refused(truncated, saying(GOOD, *many))


def test_tcp_that_ends_in_the_middle_is_no_answer() -> None:
    assert "no answer that can be used" in refused(truncated, lambda query: saying(GOOD)(query)[:20])  # type: ignore[index]


def test_the_next_resolver_is_asked_when_one_is_silent(soon: None) -> None:
    gone = Address(LOOPBACK, free_port())
    with resolver(saying(GOOD)) as (_, place):
        assert ask_all([gone, place], HOST).vouch_for(KEY)


def test_the_next_resolver_is_not_asked_when_one_says_no() -> None:
    with (
        resolver(saying(GOOD)) as (server, place),
        resolver(saying(GOOD, ad=False)) as (_, unproved),
        pytest.raises(SshfpFailed, match="no AD bit"),
    ):
        ask_all([unproved, place], HOST)
    assert server.asked == []


def test_without_a_resolver_nobody_is_asked() -> None:
    with pytest.raises(SshfpFailed, match="no resolver on this machine"):
        ask_all([], HOST)
    with pytest.raises(SshfpFailed, match="no name that DNS can have"):
        ask_all([], "a" * 70)


def test_no_answer_makes_this_process_import_anything() -> None:
    before = set(sys.modules)
    with resolver(saying(GOOD, f"{HOST}. 60 IN TXT text", f"{HOST}. 60 IN TYPE65280 \\# 1 00")) as (_, place):
        assert ask_all([place], HOST).vouch_for(KEY)
    assert {name for name in set(sys.modules) - before if name.startswith("dns.")} == set()
