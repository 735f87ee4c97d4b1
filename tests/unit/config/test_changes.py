"""Which options differ: by dotted path, each scope for itself, optional sections included."""

from __future__ import annotations

from bastion.config.changes import changed, each_option, value_at, values_of
from bastion.config.load import load
from bastion.options import Scope
from tests.unit.config.site import Site


def test_every_option_is_told_once_and_those_of_optional_sections_too() -> None:
    paths = [path for path, _ in each_option()]
    assert len(paths) == len(set(paths))
    assert {"limits.idle", "directory.ldap.timeout"} <= set(paths) and "directory.ldap" not in paths


def test_a_section_that_is_not_there_has_nothing_in_it(site: Site) -> None:
    config = load(site.config)
    assert value_at(config, "directory.ldap.timeout") is None
    assert value_at(config, "limits.idle") is config.limits.idle


def test_what_differs_is_named_in_its_scope_alone(site: Site) -> None:
    old = load(site.config)
    site.edit("[audit]", '[limits]\nidle = "5m"\n[audit]')
    new = load(site.config)
    found = {scope: changed(values_of(old, scope), values_of(new, scope)) for scope in Scope}
    assert [paths for paths in found.values() if paths] == [("limits.idle",)]
    assert all(changed(values_of(new, scope), values_of(new, scope)) == () for scope in Scope)
