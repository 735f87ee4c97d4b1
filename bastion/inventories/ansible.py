"""What `ansible-inventory --list` prints, as tables of targets (L2, pure).

Groups with `hosts`, `children` and `vars` (or a list of hosts alone, as older scripts print them) beside
`_meta.hostvars`. A host's own variables win over those of its groups, a group's over those of the groups around it, as
Ansible has it: <https://docs.ansible.com/ansible/latest/inventory_guide/intro_inventory.html>. Templates are not
rendered: a host whose address is one is a fault. Hosts that Ansible reaches by something else than SSH are left out.

Invariant: a variable that no option names is never looked at, so nothing secret of an inventory goes further.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from bastion.inventories.section import FAULTS_MAX, InventorySource
from bastion.options import At, Unreadable, shown
from bastion.options.kinds import integer, text
from bastion.policy.patterns import matches_any
from bastion.policy.targets import HOST, LABEL_KEY, LABEL_VALUE, LOGIN, SSH_PORT

GROUPS_MAX: Final = 10_000
DEPTH_MAX: Final = 32
"""Groups of one inventory, and how deep they lie in each other: people's have five levels."""

SSH: Final = frozenset(("ssh", "smart", "paramiko", "paramiko_ssh"))
"""`ansible_connection` of hosts that are reached by SSH; "smart" is the old default."""

MEMBERSHIPS_MAX: Final = 2_000_000
"""Hosts times the groups around each, and groups times those around them: some ten seconds of one processor, and twice
what 10,000 hosts in 100 groups each have."""

ALL: Final = "all"
META: Final = "_meta"

_PORT = integer(1, 65535)
_VALUE = text("label", LABEL_VALUE, "letters, digits and . _ -, at most 63")


class _Groups:
    """The groups of one document."""

    def __init__(self, document: Mapping[str, Any], root: At) -> None:
        self._vars: dict[str, Mapping[str, Any]] = {}
        self._parents: dict[str, list[str]] = {}
        self._depths: dict[str, int] = {}
        self._above: dict[str, tuple[str, ...]] = {}
        self._last: tuple[list[str], Sequence[str]] = (
            [],
            [],
        )  # of the host before: most are in the same groups
        self._memberships = 0
        self._root = root
        self.of_host: dict[str, list[str]] = {}  # in the order in which they were met
        named = [name for name in document if name != META]
        if len(named) > GROUPS_MAX:
            raise root.wrong(f"has {len(named)} groups", f"{GROUPS_MAX} at most")
        for name in named:
            self._group(name, document[name], root.child(name))

    def _group(self, name: str, group: Any, at: At) -> None:
        if isinstance(group, list):
            group = {"hosts": group}
        if not isinstance(group, dict):
            raise at.wrong("must be an object", "hosts, children, vars")
        for key in group:
            if key not in ("hosts", "children", "vars"):
                raise at.child(key).wrong("is not known of a group", "hosts, children, vars")
        variables = group.get("vars", {})
        if not isinstance(variables, dict):
            raise at.child("vars").wrong("must be an object")
        self._vars[name] = variables
        for host in _names(group.get("hosts", []), at.child("hosts")):
            self.of_host.setdefault(host, []).append(name)
        for child in _names(group.get("children", []), at.child("children")):
            if child == ALL:
                raise at.child("children").wrong("all is in every other group then: groups lie in a circle")
            self._parents.setdefault(child, []).append(name)

    def around(self, host: str) -> Sequence[str]:
        """All groups that the host is in, the widest first."""
        groups = self.of_host[host]
        if groups != self._last[0]:
            found = {above for group in groups for above in self._counted(self._whole(group))}
            self._last = groups, sorted(found, key=lambda name: (self._depth(name, ()), name))
        return self._counted(self._last[1])

    def _counted(self, found: Sequence[str]) -> Sequence[str]:
        self._memberships += len(found)
        if self._memberships > MEMBERSHIPS_MAX:
            raise self._root.wrong(
                "has too many groups around its hosts", f"{MEMBERSHIPS_MAX} in all at most"
            )
        return found

    def _whole(self, group: str) -> tuple[str, ...]:
        """The group and all around it."""
        known = self._above.get(group)
        if known is None:
            self._depth(group, ())  # which finds circles
            above = {group, ALL}
            for parent in self._parents.get(group, ()):
                above.update(self._counted(self._whole(parent)))
            known = self._above[group] = tuple(above)
        return known

    def _depth(self, group: str, path: tuple[str, ...]) -> int:
        known = self._depths.get(group)
        if known is not None:
            return known
        if group in path or len(path) >= DEPTH_MAX:
            way = " > ".join(reversed((*path[-3:], group)))
            fault = (
                "groups lie in each other in a circle"
                if group in path
                else "groups lie too deep in each other"
            )
            raise self._root.child(group).wrong(f"{fault}: {shown(way)}", f"at most {DEPTH_MAX} levels")
        parents = self._parents.get(group, ())
        found = (
            0 if group == ALL else 1 + max((self._depth(one, (*path, group)) for one in parents), default=0)
        )
        if found > DEPTH_MAX:
            raise self._root.child(group).wrong(
                "groups lie too deep in each other", f"at most {DEPTH_MAX} levels"
            )
        self._depths[group] = found
        return found

    def variable(self, name: str, own: Mapping[str, Any], groups: Sequence[str]) -> Any:
        """Its value for a host; None where nobody has it."""
        if name in own:
            return own[name]
        return next(
            (self._vars[one][name] for one in reversed(groups) if name in self._vars.get(one, ())), None
        )


def hosts_of(
    document: Mapping[str, Any], section: InventorySource, root: At
) -> Iterator[tuple[str, dict[str, Any], At]]:
    """Name, table and place of each host. Faults are noted, and whoever has one is not among them."""
    try:
        own, groups = _hostvars(document, root), _Groups(document, root)
    except Unreadable:
        return
    meta = root.child(META).child("hostvars")
    for host in groups.of_host:
        at = meta.child(host)
        try:
            variables = own.get(host, {})
            if not isinstance(variables, dict):
                raise at.wrong("must be an object")
            table = _Host(groups, variables, groups.around(host), section, at).table(host)
        except Unreadable:
            if len(root.problems.errors) > FAULTS_MAX:
                return
            continue
        if table is not None:
            yield host, table, at


def _hostvars(document: Mapping[str, Any], root: At) -> Mapping[str, Any]:
    meta = document.get(META)
    found = meta.get("hostvars") if isinstance(meta, dict) else None
    if not isinstance(found, dict):
        raise (
            root.child(META)
            .child("hostvars")
            .wrong(
                "is not there",
                "what `ansible-inventory --list` prints, or a script that answers --list with _meta",
            )
        )
    return found


def _names(value: Any, at: At) -> list[str]:
    if not isinstance(value, list):
        raise at.wrong("must be a list of names")
    for index, name in enumerate(value):
        if not isinstance(name, str) or not name:
            raise at.child(index).wrong(f"{shown(name)} is not a name")
    return value


class _Host:
    """One host's table."""

    def __init__(
        self, groups: _Groups, own: Mapping[str, Any], around: Sequence[str], section: InventorySource, at: At
    ) -> None:
        self._groups, self._own, self._around, self._section, self._at = groups, own, around, section, at

    def _var(self, name: str) -> Any:
        return self._groups.variable(name, self._own, self._around)

    def table(self, host: str) -> dict[str, Any] | None:
        """As a target's; None of one that is not reached by SSH. Raises Unreadable."""
        if self._var("ansible_connection") not in (None, *SSH):
            return None
        section = self._section
        table: dict[str, Any] = {"host": self._host(host), "port": self._port(), "labels": self._labels()}
        login = None if section.login_var is None else self._var(section.login_var)
        if login is not None:
            table["logins"] = [LOGIN.read(login, self._at.child(str(section.login_var)))]
        keys = None if section.host_key_var is None else self._var(section.host_key_var)
        if keys is not None:
            table["host_keys"] = keys if isinstance(keys, list) else [keys]
        return table

    def _host(self, name: str) -> str:
        found = self._var("ansible_host")
        at = self._at if found is None else self._at.child("ansible_host")
        if isinstance(found, str) and "{{" in found:
            raise at.wrong(
                f"{shown(found)} is a template, which only Ansible can render", "a host name or address"
            )
        return HOST.read(name if found is None else found, at)

    def _port(self) -> int:
        found, at = self._var("ansible_port"), self._at.child("ansible_port")
        if isinstance(found, str) and found.isascii() and found.isdigit() and len(found) <= 5:
            found = int(found)
        return SSH_PORT if found is None else _PORT.read(found, at)

    def _labels(self) -> dict[str, str]:
        section, made = self._section, {}
        for group in self._around:
            if group != ALL and section.groups and matches_any(section.groups, group):
                key = f"group.{group.lower()}"
                if not LABEL_KEY.match(key):
                    raise self._at.wrong(f"is in group {shown(group)}, which cannot be a label", "groups")
                made[key] = "yes"
        for label, name in section.vars.items():
            value = self._var(name)
            if isinstance(value, bool):
                value = "true" if value else "false"
            elif isinstance(value, int):
                value = str(value)
            if value is not None:
                made[label] = _VALUE.read(value, self._at.child(name))
        return made
