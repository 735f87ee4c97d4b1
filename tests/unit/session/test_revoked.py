"""What is open ends when what it was opened with is revoked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from bastion.auth.revocation import Revocation
from bastion.errors import EndReason
from bastion.policy.locks import Party
from bastion.session.ending import End
from bastion.session.gateway import REVOKED
from bastion.session.present import Kind, Presence, Present
from bastion.session.revoked import end_revoked
from bastion.wire.keys import PrivateKey
from bastion.wire.krl import RevokedKeys, of_keys

ALICE, BOB = (PrivateKey.generate_ed25519().public for _ in range(2))


def ended(revoked: RevokedKeys | None) -> list[tuple[str, End]]:
    """What ends of alice's three and bob's one, in order."""
    found: list[tuple[str, End]] = []
    present = Presence()
    for id, kind, key in (
        ("outer", Kind.CONNECTION, ALICE),
        ("tunnel", Kind.TUNNEL, ALICE),
        ("session", Kind.SESSION, ALICE),
        ("bobs", Kind.SESSION, BOB),
    ):
        party = Party("somebody", "u-1", "192.0.2.1", (key.fingerprint(),))
        present.add(
            Present(id, kind, party, "jump", 0.0, lambda end, id=id: found.append((id, end)))  # type: ignore[misc]
        )
    auth = SimpleNamespace(revocation=Revocation(revoked))
    gateway: Any = SimpleNamespace(present=present, services=SimpleNamespace(auth=auth))
    assert end_revoked(gateway) == len(found)
    return found


def test_all_that_was_opened_with_it_from_the_inside_out() -> None:
    found = ended(of_keys([ALICE.blob]))
    assert [id for id, _ in found] == ["session", "tunnel", "outer"]
    assert {(end.reason, end.text) for _, end in found} == {(EndReason.LOCKED, REVOKED)}


def test_nothing_ends_of_anybody_else_or_while_nobody_knows() -> None:
    assert ended(RevokedKeys()) == ended(of_keys([])) == ended(None) == []
