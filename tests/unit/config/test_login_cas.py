"""Login CAs with scopes: by the file that they stand in, and for every key in it."""

from __future__ import annotations

from bastion.auth.ca_scope import CaScope
from bastion.config.check import inspect
from tests.unit.config.site import Site


def test_a_scope_holds_for_every_ca_of_its_file(site: Site) -> None:
    site.make_key("second")
    both = [site.keys[name].public for name in ("login_ca", "second")]
    site.write("login_ca.pub", "".join(key.line() + "\n" for key in both))
    site.edit(
        '["login_ca.pub"]',
        '["login_ca.pub"]\nusers = { "./login_ca.pub" = ["ext-*"] }\n'
        'groups = { "login_ca.pub" = ["Staff "] }\nprincipals = { "login_ca.pub" = ["ext-*", "x"] }',
    )
    _, material = inspect(site.config).accepted()
    scope = CaScope(("ext-*",), frozenset({"staff"}), ("ext-*", "x"))
    assert material.ca_scopes.of == {key.blob: (scope,) for key in both} and len(material.login_cas) == 2


def test_a_ca_of_two_files_is_held_to_both_scopes(site: Site) -> None:
    site.write("again.pub", site.keys["login_ca"].public.line() + "\n")
    site.edit(
        '["login_ca.pub"]',
        '["login_ca.pub", "again.pub"]\nusers = { "again.pub" = ["a*"], "login_ca.pub" = ["b*"] }',
    )
    _, material = inspect(site.config).accepted()
    (scopes,) = material.ca_scopes.of.values()
    assert {scope.users for scope in scopes} == {("a*",), ("b*",)}


def test_a_scope_of_no_file_restricts_nobody_and_is_a_fault(site: Site) -> None:
    site.edit('["login_ca.pub"]', '["login_ca.pub"]\nusers = { "login-ca.pub" = ["ext-*"] }')
    (error,) = inspect(site.config).errors
    assert "restricts nobody" in error.problem and error.key.startswith("login_ca.users")


def test_without_scopes_there_are_none(site: Site) -> None:
    assert inspect(site.config).accepted()[1].ca_scopes.of == {}
