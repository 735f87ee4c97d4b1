"""A scope only refuses, by what the directory says of the account and by every name that a certificate has."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bastion.auth.ca_scope import CaScope, CaScopes
from bastion.auth.identity import Account
from bastion.errors import AuthReason, Refused

ALICE = Account("ext-alice", "u-1", frozenset({"contractors", "ops"}))
BOB = Account("bob", "u-2", frozenset({"ops"}))


def refuses(call: Any, *arguments: Any) -> bool:
    try:
        call(*arguments)
    except Refused as refusal:
        assert refusal.reason is AuthReason.CERT_OUT_OF_SCOPE
        return True
    return False


@pytest.mark.parametrize(
    ("scope", "alice", "bob"),
    [
        (CaScope(), False, False),
        (CaScope(users=("ext-*",)), False, True),
        (CaScope(users=("bob",)), True, False),
        (CaScope(groups=frozenset({"contractors"})), False, True),
        (CaScope(users=("bob",), groups=frozenset({"contractors"})), False, False),
        (CaScope(groups=frozenset({"contractor"})), True, True),
    ],
)
def test_whom_it_refuses(scope: CaScope, alice: bool, bob: bool) -> None:
    assert (refuses(scope.check_account, ALICE), refuses(scope.check_account, BOB)) == (alice, bob)


def test_every_principal_must_fit() -> None:
    scope = CaScope(principals=("ext-*", "shared"))
    assert not refuses(scope.check_principals, ("ext-alice", "shared"))
    assert refuses(scope.check_principals, ("ext-alice", "root"))
    assert not refuses(CaScope().check_principals, ("root",))


def test_a_ca_that_stands_in_several_files_is_held_to_each() -> None:
    scopes = CaScopes({b"ca": (CaScope(users=("ext-*",)), CaScope(principals=("ext-*",)))})
    certificate: Any = SimpleNamespace(signature_key_blob=b"ca", principals=("root",))
    other: Any = SimpleNamespace(signature_key_blob=b"other", principals=("root",))
    assert refuses(scopes.check_claims, certificate) and refuses(scopes.check_account, certificate, BOB)
    assert not refuses(scopes.check_account, certificate, ALICE)
    assert not refuses(scopes.check_claims, other) and not refuses(scopes.check_account, other, BOB)
