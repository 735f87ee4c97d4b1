"""One-time codes over the control socket: judged by a whole gateway in memory, and charged."""

from __future__ import annotations

from dataclasses import replace

import pytest
from twisted.internet.defer import fail, succeed

from bastion.auth.totp import TotpKey
from bastion.control.proving import CodeUsed, UseCode
from bastion.errors import AuthReason, Refused
from bastion.session.gateway import Gateway
from tests.hostile.memory_gateway import MemoryGateway
from tests.unit.control.test_local import ask

NEAR, FAR = "192.0.2.1", "198.51.100.7"


@pytest.fixture
def gateway(tmp_path, monkeypatch):
    made = MemoryGateway(tmp_path, monkeypatch)
    yield made
    made.close()


@pytest.fixture
def codes(gateway, monkeypatch):
    """What was asked of the store, which takes 123456 alone."""
    asked: list[tuple[str, str]] = []

    def check(uid, answer, asker):
        asked.append((uid, answer))
        wrong = Refused(AuthReason.BAD_CODE if uid else AuthReason.NOT_ENROLLED, "no")
        return succeed(False) if uid and answer == "123456" else fail(wrong)

    monkeypatch.setattr(Gateway, "codes", property(lambda self: check))
    return asked


def test_without_a_key_of_second_factors_no_code_is_right(gateway):
    assert ask(gateway, UseCode("u-alice", NEAR, "123456")) == CodeUsed("codes_unavailable")


def test_a_code_is_used_up_or_the_reason_is_told(gateway, codes):
    services = replace(gateway.program.gateway.services, totp_key=TotpKey(b"k" * 32))
    gateway.program.gateway.services = services
    assert ask(gateway, UseCode("u-alice", NEAR, "123456")) == CodeUsed("ok", False)
    assert ask(gateway, UseCode("u-alice", NEAR, "000000")) == CodeUsed("bad_code")
    assert codes == [("u-alice", "123456"), ("u-alice", "000000")]


def test_guesses_are_charged_to_the_source_and_never_judged_after_a_few(gateway, codes):
    found = [ask(gateway, UseCode("u-alice", NEAR, "000000")).reason for _ in range(12)]
    assert found[0] == "bad_code" and found[-1] == "throttled" and len(codes) < 12
    assert ask(gateway, UseCode("u-alice", NEAR, "123456")) == CodeUsed("throttled")
    assert ask(gateway, UseCode("u-alice", FAR, "123456")) == CodeUsed("ok"), "others are not kept out"


def test_a_name_of_nobody_waits_for_the_store_and_costs_nothing(gateway, codes):
    found = {ask(gateway, UseCode("", NEAR, "123456")).reason for _ in range(12)}
    assert found == {"not_enrolled"} and len(codes) == 12


def test_what_is_no_code_is_not_looked_at(gateway, codes):
    assert ask(gateway, UseCode("u-alice", NEAR, "1" * 65)) == CodeUsed("bad_code")
    assert ask(gateway, UseCode("u-alice", "1" * 65, "123456")) == CodeUsed("bad_code")
    assert codes == []
