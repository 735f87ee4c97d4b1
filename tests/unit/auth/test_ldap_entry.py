"""What an LDAP entry says: name, id and keys, with hostile and broken values among them."""

from __future__ import annotations

import uuid

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from bastion.auth.ldap_entry import (
    MAX_KEYS,
    Entry,
    account_name,
    authorised_keys,
    immutable_id,
    own_name,
)
from bastion.wire.key_options import MAX_LINE
from bastion.wire.keys import parse_authorized_key


def entry(dn: str = "uid=alice,dc=example,dc=org", **values: str | bytes | list[str]) -> Entry:
    found: dict[str, list[bytes]] = {}
    for name, value in values.items():
        listed = value if isinstance(value, list) else [value]
        found[name.lower().replace("_", "-")] = [
            item.encode() if isinstance(item, str) else item for item in listed
        ]
    return Entry(dn, found)


def key_line() -> str:
    public = Ed25519PrivateKey.generate().public_key()
    return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


# -- name and id ---------------------------------------------------------------------------------------


def test_the_name_is_the_entrys_own() -> None:
    assert own_name(entry(uid=["other", "Alice"]), "uid", "alice") == "Alice"


@pytest.mark.parametrize("value", ["alice2", " alice", "ａlice", "alicé", "alice\0", "ali\u212ae"])
def test_a_value_that_only_a_matching_rule_calls_equal_is_no_match(value: str) -> None:
    assert own_name(entry(uid=value), "uid", "alice") is None


def test_an_alias_leads_to_the_one_name_of_its_entry() -> None:
    found = entry(uid="Alice", mail=["a.b@example.org", "Alice@Example.org"], upn="alice@corp")

    def name(asked: str, *aliases: str, of: Entry = found) -> str | None:
        return account_name(of, "uid", aliases, asked)

    assert name("alice") == name("alice@example.org", "upn", "mail") == name("alice@corp", "upn") == "alice"
    assert name("alice@example.org", "upn") is None and name("alice@corp") is None
    assert name("bob@example.org", "mail") is None
    for uid in (["alice", "alicia"], "Alice Example", "alice@example.org", b"\xff", []):
        other = entry(uid=uid, mail="alice@example.org")
        assert name("alice@example.org", "mail", of=other) is None


def test_immutable_id() -> None:
    unique = uuid.uuid4()
    assert immutable_id(entry(entryuuid=str(unique)), "entryUUID") == str(unique)
    assert immutable_id(entry(objectguid=unique.bytes_le), "objectGUID") == str(unique)
    for bad in (entry(), entry(entryuuid=["a", "b"]), entry(entryuuid=b"\xff"), entry(entryuuid="x" * 500)):
        assert immutable_id(bad, "entryUUID") is None


# -- keys ----------------------------------------------------------------------------------------------


def test_one_bad_key_hides_no_other() -> None:
    first, last = key_line(), key_line()
    values = [first, "nonsense", "ssh-ed25519 AAAA", "x" * 10_000, f"no-such-option {key_line()}", last]
    keys, unusable = authorised_keys(entry(sshpublickey=values), "sshPublicKey")
    assert [key.key.blob for key in keys] == [
        authorised_keys(entry(sshpublickey=line), "sshPublicKey")[0][0].key.blob for line in (first, last)
    ]
    assert unusable == 4


def test_key_options_are_kept() -> None:
    keys, unusable = authorised_keys(
        entry(sshpublickey=f'restrict,command="backup" {key_line()}'), "sshPublicKey"
    )
    assert unusable == 0
    assert keys[0].options.command == "backup" and keys[0].options.permits == frozenset()


def test_keys_are_bounded() -> None:
    line = key_line()
    keys, unusable = authorised_keys(entry(sshpublickey=[line] * (MAX_KEYS + 5)), "sshPublicKey")
    assert (len(keys), unusable) == (MAX_KEYS, 5)


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_any_key_values_are_survived(values: list[bytes]) -> None:
    found = Entry("uid=a", {"sshpublickey": values})
    keys, unusable = authorised_keys(found, "sshPublicKey")
    assert len(keys) + unusable <= sum(1 + value.count(b"\n") for value in values)


def blobs(*lines: str) -> list[bytes]:
    return [parse_authorized_key(line).key.blob for line in lines]


def test_a_value_may_be_a_piece_of_an_authorized_keys_file() -> None:
    first, second, third = key_line(), key_line(), key_line()
    values = [f"# laptop\r\n{first} one\r\n\r\n  \n{second}\n", f"nonsense\nrestrict {third}"]
    keys, unusable = authorised_keys(entry(sshpublickey=values), "sshPublicKey")
    assert [key.key.blob for key in keys] == blobs(first, second, third)
    assert [len(key.options.permits) for key in keys] == [5, 5, 0]
    assert unusable == 1


def test_a_comment_may_be_written_in_latin_1() -> None:
    line = key_line()
    value = f"{line} caf\u00e9 \u00fcber".encode("latin-1") + b"\n" + f"{line} caf\u00e9".encode()
    keys, unusable = authorised_keys(entry(sshpublickey=value), "sshPublicKey")
    assert (len(keys), unusable) == (2, 0)
    assert [key.comment for key in keys] == ["caf\ufffd \ufffdber", "caf\u00e9"]


@pytest.mark.parametrize(
    "line",
    [
        b'command="caf\xe9" KEY',
        b'from="10.0.0.\xe9" KEY comment',
        b"restri\xe9ct KEY",
        b"restrict\xe9 KEY",
        b"\xe9 KEY",
        b"KEY\xe9",
        b'command="\xe9" KEY \xe9',
    ],
)
def test_what_is_not_utf_8_before_the_comment_costs_the_key(line: bytes) -> None:
    """An option that cannot be read is never left out."""
    value = line.replace(b"KEY", key_line().encode())
    assert authorised_keys(entry(sshpublickey=value), "sshPublicKey") == ((), 1)


def test_a_value_of_many_lines_is_bounded() -> None:
    line = key_line()
    many = "\n".join([line] * (MAX_KEYS + 5))
    assert authorised_keys(entry(sshpublickey=[many, line]), "sshPublicKey")[1] == 6
    endless = b"a\n" * (MAX_KEYS * MAX_LINE)
    assert authorised_keys(entry(sshpublickey=[endless, line]), "sshPublicKey")[1] == 1
