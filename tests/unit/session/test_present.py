"""Who is here: in the table from the opening to the end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from bastion.policy.locks import Party, party_of
from bastion.session.present import Counts, Kind, Presence, Present


def one(id: str, kind: Kind = Kind.SESSION) -> Present:
    return Present(id, kind, Party("alice", "u", "192.0.2.1"), "jump", 1.0, lambda end: None)


def test_what_is_open_is_in_the_table() -> None:
    table = Presence()
    table.add(one("a"))
    table.add(one("b", Kind.TUNNEL))
    assert len(table) == 2 and table.count(Kind.TUNNEL) == 1 and table.count(Kind.CONNECTION) == 0
    for present in table:
        table.remove(present.id)
        table.remove(present.id)
    assert len(table) == 0


def test_the_direct_door_has_one_name_for_connection_and_session() -> None:
    table = Presence()
    table.add(one("a", Kind.CONNECTION))
    table.add(one("a", Kind.SESSION))
    assert [present.kind for present in table] == [Kind.SESSION]


def test_what_is_not_counted_is_nothing() -> None:
    assert one("a").counts() == Counts(0, 0, 0)


def test_a_party_is_whoever_has_proved_it_and_with_what() -> None:
    identity: Any = SimpleNamespace(
        name="alice", uid="u-1", source_address="192.0.2.1", certificate=None, key_fingerprint="SHA256:k",
        also_shown=(),
    )  # fmt: skip
    assert party_of(identity) == Party("alice", "u-1", "192.0.2.1", ("SHA256:k",))
    identity.certificate = SimpleNamespace(
        fingerprint="SHA256:c", key_id="alice@laptop", serial=7, ca_fingerprint="SHA256:ca"
    )
    identity.also_shown = ("SHA256:k", "SHA256:second")
    shown = ("SHA256:k", "SHA256:c", "alice@laptop", "7@SHA256:ca", "SHA256:second")
    assert party_of(identity) == Party("alice", "u-1", "192.0.2.1", shown)
