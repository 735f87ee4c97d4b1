"""Who may have a second factor made or taken away, on a whole gateway in memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bastion.auth.totp import TotpKey
from bastion.control.asking import By, ControlError
from bastion.control.orders import EnrolTotp, InviteTotp, ResetTotp
from bastion.errors import ControlReason
from tests.hostile.memory_gateway import MemoryGateway
from tests.unit.control.test_local import ask

ROOT = By(0, "root")


@pytest.fixture
def gateway(tmp_path, monkeypatch):
    made = MemoryGateway(tmp_path, monkeypatch)
    yield made
    made.close()


def refused(gateway, request):
    failure = ask(gateway, request)
    assert isinstance(failure.value, ControlError)
    return failure.value


def test_without_a_key_nothing_can_be_kept(gateway):
    found = refused(gateway, EnrolTotp("alice", ROOT))
    assert found.reason is ControlReason.FAILED and "key_file" in found.text


def test_nobody_invites_himself_nor_anybody_without_a_key(gateway, monkeypatch):
    assert "key_file" in refused(gateway, InviteTotp("alice", ROOT)).text
    services = replace(gateway.program.gateway.services, totp_key=TotpKey(b"k" * 32))
    gateway.program.gateway.services = services
    found = refused(gateway, InviteTotp("Alice", By(1000, "alice")))
    assert found.reason is ControlReason.NO_ROLE and "another admin" in found.text
    assert refused(gateway, InviteTotp("nobody", ROOT)).reason is ControlReason.NOT_FOUND


@pytest.mark.parametrize("name", ["alice", "Alice", " alice "])
def test_nobody_takes_away_his_own(gateway, name):
    found = refused(gateway, ResetTotp(name, "lost it", By(1000, "alice")))
    assert found.reason is ControlReason.NO_ROLE and "another admin" in found.text
