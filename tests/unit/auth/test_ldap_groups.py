"""Groups: by DN below a base, nested with a circle and a limit, and the primary group of Active Directory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.auth.identity import group_form
from bastion.auth.ldap_config import LdapConfig, ServerAddress
from bastion.auth.ldap_dn import dn_form
from bastion.auth.ldap_entry import Entry
from bastion.auth.ldap_groups import (
    LEVEL_BATCH,
    MAX_GROUPS,
    GroupReader,
    TooMany,
    group_marks,
    group_name,
    group_names,
    group_sid,
    named_groups,
)
from tests.unit.auth.test_ldap_entry import entry

GROUPS = "ou=groups,dc=example,dc=org"
ALICE = "uid=alice,ou=people,dc=example,dc=org"
# S-1-5-21-1-2-3-1105, and the relative id of "Domain Users".
SID = bytes.fromhex("0105000000000005150000000100000002000000030000005104 0000".replace(" ", ""))
DOMAIN_USERS = 513


def reader(**changes: Any) -> GroupReader:
    servers = (ServerAddress.parse("ldaps://ldap.example.org"),)
    return GroupReader(
        LdapConfig(**{"servers": servers, "user_base": "dc=org", "group_base": GROUPS} | changes)
    )


class Tree:
    """Answers searches from a table of groups and their members, as a server would, and counts them."""

    def __init__(self, **members: Sequence[str]) -> None:
        self.members = members
        self.filters: list[str] = []
        self.more = False

    def __call__(
        self, base: str, wanted: str, attributes: Sequence[str], limit: int
    ) -> tuple[list[Entry], bool]:
        assert (base, tuple(attributes), limit) == (GROUPS, ("cn",), MAX_GROUPS)
        self.filters.append(wanted)
        found = [
            entry(f"cn={name},{GROUPS}", cn=name)
            for name, members in self.members.items()
            if any(f"(member={member})" in wanted for member in members)
        ]
        return found, self.more


def names(groups: frozenset[str]) -> set[str]:
    return {group for group in groups if "=" not in group}


def cn(name: str) -> str:
    return f"cn={name},{GROUPS}"


def test_member_of_counts_below_the_base_only() -> None:
    found = entry(
        memberof=[f"cn=sre,{GROUPS}", "cn=admins,ou=playground,dc=example,dc=org", "broken", f"ou=x,{GROUPS}"]
    )
    assert named_groups(found, GROUPS) == [f"cn=sre,{GROUPS}", f"ou=x,{GROUPS}"]
    groups, searched = reader().of(Tree(), found, "alice", None)
    assert groups == {"sre", cn("sre"), f"ou=x,{GROUPS}"} and searched == frozenset()
    wide, _ = reader(group_base=None).of(Tree(), found, "alice", None)
    assert names(wide) == {"sre", "admins"} and "cn=admins,ou=playground,dc=example,dc=org" in wide


def test_a_server_that_answers_with_entries_from_elsewhere_gives_no_groups() -> None:
    def lying(*_: Any) -> tuple[list[Entry], bool]:
        return [entry("cn=admins,ou=playground,dc=example,dc=org", cn="admins"), entry("", cn="root")], False

    assert reader().of(lying, entry(ALICE), "alice", None) == (frozenset(), frozenset())


def test_what_was_found_a_moment_ago_is_not_searched_again() -> None:
    tree = Tree(sre=[ALICE])
    assert reader().of(tree, entry(ALICE), "alice", frozenset({"db"})) == ({"db"}, {"db"})
    assert tree.filters == []


# -- nested ----------------------------------------------------------------------------------------------------

CIRCLE = {
    "inner": [ALICE, cn("outer")],
    "middle": [cn("inner")],
    "outer": [cn("middle"), cn("inner")],
    "no": [],
}


@pytest.mark.parametrize(
    ("depth", "expected"),
    [(0, {"inner"}), (1, {"inner", "middle", "outer"}), (5, {"inner", "middle", "outer"})],
)
def test_a_circle_is_walked_once(depth: int, expected: set[str]) -> None:
    tree = Tree(**CIRCLE)
    nested = {"nested_groups": "walk", "group_depth": depth} if depth else {}
    groups, searched = reader(**nested).of(tree, entry(ALICE), "alice", None)
    assert names(groups) == expected and groups == searched
    assert groups == expected | {cn(name) for name in expected}
    assert len(tree.filters) == {0: 1, 1: 2, 5: 3}[depth]


def test_a_walk_ends_at_its_depth() -> None:
    tree = Tree(g0=[ALICE], **{f"g{level}": [cn(f"g{level - 1}")] for level in range(1, 9)})
    groups, _ = reader(nested_groups="walk", group_depth=3).of(tree, entry(ALICE), "alice", None)
    assert names(groups) == {"g0", "g1", "g2", "g3"}
    assert len(tree.filters) == 4


def test_a_walk_begins_at_what_member_of_names_too() -> None:
    found = entry(ALICE, memberof=[cn("inner"), "cn=gang,ou=playground,dc=example,dc=org"])
    tree = Tree(outer=[cn("inner")], vault=["cn=gang,ou=playground,dc=example,dc=org"])
    groups, _ = reader(nested_groups="walk").of(tree, found, "alice", None)
    assert names(groups) == {"inner", "outer"}  # what stands elsewhere leads nowhere


def test_a_wide_level_is_asked_for_in_pieces() -> None:
    wide = {f"g{number}": [ALICE] for number in range(2 * LEVEL_BATCH + 1)}
    tree = Tree(**wide, top=[cn(f"g{2 * LEVEL_BATCH}")])
    groups, _ = reader(nested_groups="walk", group_depth=1).of(tree, entry(ALICE), "alice", None)
    assert "top" in groups and len(tree.filters) == 1 + 3


def test_too_many_groups_refuse() -> None:
    tree = Tree(sre=[ALICE])
    tree.more = True
    with pytest.raises(TooMany):
        reader().of(tree, entry(ALICE), "alice", None)
    many = Tree(start=[ALICE], **{f"g{number}": [cn("start")] for number in range(MAX_GROUPS)})
    with pytest.raises(TooMany):
        reader(nested_groups="walk").of(many, entry(ALICE), "alice", None)
    named = entry(ALICE, memberof=[f"cn=g{number},{GROUPS}" for number in range(MAX_GROUPS + 1)])
    with pytest.raises(TooMany):
        reader().of(Tree(), named, "alice", None)


def test_who_does_not_exist_costs_as_many_searches_as_the_last_who_does() -> None:
    groups = reader(nested_groups="walk")
    groups.of(Tree(**CIRCLE), entry(ALICE), "alice", None)
    tree = Tree()
    groups.as_if(tree, "uid=decoy,dc=org", "nobody")
    assert len(tree.filters) == 3
    reader(group_base=None).as_if(tree, "uid=decoy,dc=org", "nobody")
    assert len(tree.filters) == 3


# -- Active Directory, in entries of its shape --------------------------------------------------------------


def test_in_chain_asks_the_server_to_go_up() -> None:
    tree = Tree()
    reader(nested_groups="in-chain", group_members=("member",)).of(tree, entry(ALICE), "alice", None)
    assert tree.filters == [f"(&(objectClass=*)(|(member:1.2.840.113556.1.4.1941:={ALICE})))"]


def test_the_primary_group_is_found_by_its_sid() -> None:
    found = entry(ALICE, objectSid=SID, primaryGroupID=str(DOMAIN_USERS))
    filters: list[str] = []

    def search(base: str, wanted: str, *_: Any) -> tuple[list[Entry], bool]:
        filters.append(wanted)
        return ([entry(cn("Domain Users"), cn="Domain Users")] if "objectSid=" in wanted else []), False

    asked = reader(primary_group=True, nested_groups="in-chain", group_members=("member",))
    assert asked.attributes() == ["memberOf", "objectSid", "primaryGroupID"]
    groups, _ = asked.of(search, found, "alice", None)
    assert groups == {"domain users", f"cn=domain users,{GROUPS}"}
    written = "".join(f"\\{byte:02x}" for byte in SID[:-4] + b"\x01\x02\0\0")
    assert filters[1] == f"(&(objectClass=*)(objectSid={written}))"
    assert filters[2] == f"(&(objectClass=*)(|(member:1.2.840.113556.1.4.1941:={cn('Domain Users')})))"


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"objectSid": SID},
        {"primaryGroupID": "513"},
        {"objectSid": SID[:-1], "primaryGroupID": "513"},
        {"objectSid": [SID, SID], "primaryGroupID": "513"},
        {"objectSid": b"\x02" + SID[1:], "primaryGroupID": "513"},
        {"objectSid": SID, "primaryGroupID": "0"},
        {"objectSid": SID, "primaryGroupID": "-1"},
        {"objectSid": SID, "primaryGroupID": str(1 << 32)},
        {"objectSid": SID, "primaryGroupID": "x"},
    ],
)
def test_an_entry_that_tells_no_primary_group_is_asked_for_none(values: dict[str, Any]) -> None:
    tree = Tree()
    reader(primary_group=True).of(tree, entry(ALICE, **values), "alice", None)
    assert len(tree.filters) == 1


@given(st.binary(max_size=80), st.integers())
def test_any_sid_is_survived(sid: bytes, rid: int) -> None:
    made = group_sid(sid, rid)
    assert made is None or (len(made) == len(sid) and made[:-4] == sid[:-4])


# -- names -----------------------------------------------------------------------------------------------------


def test_group_names_that_cannot_be_used_are_left_out() -> None:
    assert group_names(["a", "", "x" * 256, "line\nbreak", " B  c "]) == {"a", "b c"}


@pytest.mark.parametrize(
    "name", [cn("sre"), cn("SRE"), "cn=a;ou=b", "cn\uff1dsre\uff0cou\uff1dgroups\uff0cdc\uff1dorg"]
)
def test_a_name_that_could_be_taken_for_a_dn_is_none(name: str) -> None:
    """Whoever may make a group in one place could call it as one in another is called."""
    assert group_names([name]) == frozenset()
    escaped = name.replace(",", "\\,").replace(";", "\\;")
    (mark,) = group_marks([(f"cn={escaped},{GROUPS}", name)])
    assert mark == dn_form(f"cn={escaped},{GROUPS}") != dn_form(cn("sre"))


def test_group_name_is_the_one_in_the_dn() -> None:
    assert group_name(entry(f"cn=sre,{GROUPS}", cn=["admins", "sre"]), "cn") == "sre"
    assert group_name(entry(f"gid=7,{GROUPS}", cn="db"), "cn") == "db"
    assert group_name(entry(f"gid=7,{GROUPS}", cn=["db", "admins"]), "cn") == ""


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_name_never_has_the_form_of_a_dn(first: str, second: str) -> None:
    for name in (f"cn={first},ou={second}", f"{first}={second}", first):
        assert all(dn_form(form) is None and group_form(form) == form for form in group_names([name]))
