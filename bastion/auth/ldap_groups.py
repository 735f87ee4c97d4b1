"""Which groups an LDAP account is in (L2): those it names, those found by a search, nested ones, the primary one.

Invariants: with a base, only entries below it are groups, whatever calls itself so elsewhere; a group is known by its
DN and, beside it, by the name that begins it; a group's name never passes for a DN. A walk over nested groups asks for
each once, goes `group_depth` levels up and no further, and ends with a refusal at MAX_GROUPS.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ldap3.utils.conv import escape_filter_chars

from bastion.auth.identity import group_form
from bastion.auth.ldap_config import IN_CHAIN, WALK, LdapConfig
from bastion.auth.ldap_dn import dn_form, first_value, is_within
from bastion.auth.ldap_entry import Entry, number
from bastion.errors import BastionError

MAX_GROUPS: Final = 1024
"""Groups of one account. Windows itself stops at about 1,015 in a logon token."""

MAX_GROUP_NAME: Final = 255

LEVEL_BATCH: Final = 50
"""Groups whose outer groups one search asks for: a filter of 20 KiB with DNs of 200 bytes in two attributes."""

ACCOUNT_SID: Final = ("objectSid", "primaryGroupID")
"""What of an account tells its primary group (MS-ADTS section 3.1.1.4.5.2 and 2.2.18)."""

# LDAP_MATCHING_RULE_TRANSITIVE_EVAL (MS-ADTS section 3.1.1.3.4.4.3): the server itself goes up all the way.
_TRANSITIVE: Final = ":1.2.840.113556.1.4.1941:"

Search = Callable[[str, str, Sequence[str], int], tuple[list[Entry], bool]]
"""Entries below a base that match a filter, with these attributes, at most so many; and whether there are more."""


class TooMany(BastionError):
    """More values than a limit of ours allows; the text is ours."""


class GroupReader:
    """How groups are read where this configuration holds. For all threads at once."""

    def __init__(self, config: LdapConfig) -> None:
        self._config = config
        self._usual = 0  # searches beyond the first that the last account took

    def attributes(self) -> list[str]:
        """What is to be read of an account for `of`."""
        named = ["memberOf"] if self._config.member_of else []
        return [*named, *ACCOUNT_SID] if self._config.primary_group else named

    def of(
        self, search: Search, entry: Entry, name: str, known: frozenset[str] | None
    ) -> tuple[frozenset[str], frozenset[str]]:
        """All groups of the account, and those of them that a search gave, now or, `known`, a moment ago.
        Raises TooMany, and whatever `search` does."""
        config = self._config
        named = named_groups(entry, config.group_base) if config.member_of else []
        searched = self._searched(search, entry, name, named) if known is None else known
        groups = group_marks((dn, _name_in(dn, config.group_name_attribute)) for dn in named) | searched
        if len(groups) > 2 * MAX_GROUPS:  # each has a DN, and most have a name
            raise TooMany(f"the account is in more than {MAX_GROUPS} groups")
        return groups, searched

    def as_if(self, search: Search, dn: str, name: str) -> None:
        """As many searches as an account takes, for one that does not exist. Raises as `of` does."""
        if self._config.group_base is not None:
            for _ in range(1 + self._usual):
                self._found(search, self._holding([dn], name))

    # -- searches --------------------------------------------------------------------------------------------

    def _searched(self, search: Search, entry: Entry, name: str, named: Sequence[str]) -> frozenset[str]:
        config = self._config
        if config.group_base is None:
            return frozenset()
        groups = _Groups()
        direct = groups.take(self._found(search, self._holding([entry.dn], name)))
        searches = 0
        if config.primary_group:
            primary, searches = self._primary(search, entry)
            direct += (found := groups.take(primary))
            if found and config.nested_groups == IN_CHAIN:
                groups.take(self._found(search, self._holding([group.dn for group in found])))
                searches += 1
        if config.nested_groups == WALK:
            searches += self._walk(search, groups, [*named, *(group.dn for group in direct)])
        self._usual = searches
        return group_marks(
            (group.dn, group_name(group, config.group_name_attribute)) for group in groups.entries
        )

    def _walk(self, search: Search, groups: _Groups, level: Sequence[str]) -> int:
        """Outer groups of the groups in `level`, and theirs in turn. How many searches it took."""
        searches = 0
        for _ in range(self._config.group_depth):
            outer: list[Entry] = []
            for start in range(0, len(level), LEVEL_BATCH):
                found = self._found(search, self._holding(level[start : start + LEVEL_BATCH]))
                outer += groups.take(found)
                searches += 1
            level = [group.dn for group in outer]
        return searches

    def _primary(self, search: Search, entry: Entry) -> tuple[list[Entry], int]:
        """The group that an account of Active Directory is in without being named by it, and the searches it took."""
        sids, rid = entry.values.get("objectsid", ()), number(entry, "primaryGroupID")
        sid = group_sid(sids[0], rid) if len(sids) == 1 and rid is not None else None
        if sid is None:
            return [], 0
        written = "".join(f"\\{byte:02x}" for byte in sid)
        return self._found(search, f"(objectSid={written})"), 1

    def _holding(self, dns: Sequence[str], name: str = "") -> str:
        """The filter for groups that name one of these as a member, or the account by its name."""
        parts = []
        for kind in self._config.group_members:
            if kind == "memberUid":
                parts += [f"(memberUid={escape_filter_chars(name)})"] if name else []
                continue
            chain = _TRANSITIVE if kind == "member" and self._config.nested_groups == IN_CHAIN else ""
            parts += [f"({kind}{chain}={escape_filter_chars(dn)})" for dn in dns]
        return f"(|{''.join(parts)})"

    def _found(self, search: Search, members: str) -> list[Entry]:
        config = self._config
        assert config.group_base is not None
        wanted = f"(&{config.group_filter}{members})"
        found, more = search(config.group_base, wanted, (config.group_name_attribute,), MAX_GROUPS)
        if more:
            raise TooMany(f"the account is in more than {MAX_GROUPS} groups")
        base = config.group_base
        return [group for group in found if is_within(group.dn, base)]


class _Groups:
    """Groups that were found, each once, however it is reached."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._seen: set[str] = set()

    def take(self, found: Iterable[Entry]) -> list[Entry]:
        """Those that are new. Raises TooMany."""
        new = []
        for group in found:
            form = dn_form(group.dn)
            if form is not None and form not in self._seen:
                self._seen.add(form)
                new.append(group)
        self.entries += new
        if len(self._seen) > MAX_GROUPS:
            raise TooMany(f"the account is in more than {MAX_GROUPS} groups")
        return new


# -- what a group is called ----------------------------------------------------------------------------------


def group_marks(groups: Iterable[tuple[str, str]]) -> frozenset[str]:
    """What rules may call these groups, each a DN and a name ("" for none), in the one form of either."""
    marks = set()
    for dn, name in groups:
        marks.add(dn_form(dn) or "")
        marks |= group_names([name])
    return frozenset(marks - {""})


def group_names(values: Iterable[str]) -> frozenset[str]:
    """Group names in their one form. Unusable ones are left out, and those that could be taken for a DN: whoever may
    make a group could call it so."""
    usable = (group_form(name) for name in values if len(name) <= MAX_GROUP_NAME and name.isprintable())
    return frozenset(form for form in usable if form and dn_form(form) is None)


def group_name(entry: Entry, attribute: str) -> str:
    """A group's one name: the value in its DN, as memberOf shows it, or else its only value, or ""."""
    try:
        return first_value(entry.dn, attribute)
    except ValueError:
        values = entry.texts(attribute)
        return values[0] if len(values) == 1 else ""


def named_groups(entry: Entry, base: str | None) -> list[str]:
    """The DNs in memberOf; with `base`, only those below it, which alone are groups then."""
    return [dn for dn in entry.texts("memberOf") if base is None or is_within(dn, base)]


def group_sid(sid: bytes, rid: int) -> bytes | None:
    """The SID of the group with this relative id in the domain of the account with `sid` (MS-DTYP section 2.4.2.2), or
    None where that is none."""
    if len(sid) < 12 or sid[0] != 1 or len(sid) != 8 + 4 * sid[1] or not 0 < rid < 1 << 32:
        return None
    return sid[:-4] + struct.pack("<I", rid)


def _name_in(dn: str, attribute: str) -> str:
    try:
        return first_value(dn, attribute)
    except ValueError:
        return ""
