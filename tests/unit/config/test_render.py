"""The sample files and the pages made from the declarations are the ones in the checkout, and they are true."""

import re
import tomllib
from pathlib import Path

from bastion.config.load import load
from bastion.config.render import render_reference, render_sample, render_values, with_tables
from bastion.config.sections import Sections
from bastion.options import declarations
from bastion.policy.review import review
from bastion.policy.rules import DEFAULT_ENV

ROOT = Path(__file__).resolve().parents[3]
AGAIN = "write it again: python -m bastion.config.render ."


def options(section, path=""):
    for declared in declarations(section):
        name = f"{path}.{declared.name}" if path else declared.name
        if declared.kind.named:
            name += {"inventories": ".cmdb", "sinks": ".siem"}[declared.name]  # as the sample calls them
        if declared.kind.section is not None:
            yield from options(declared.kind.section, name)
        else:
            yield name


def test_the_generated_files_are_up_to_date():
    assert (ROOT / "etc" / "bastion.toml").read_text() == render_sample(), AGAIN
    assert (ROOT / "docs" / "configuration.md").read_text() == render_reference(), AGAIN
    page = (ROOT / "docs" / "policy.md").read_text()
    assert page == with_tables(page), AGAIN


def test_the_sample_loads_and_its_policy_fits_its_inventory():
    config = load(ROOT / "etc" / "bastion.toml")
    assert review(config.rules, config.inventory) == ()


def test_the_sample_role_is_what_the_documentation_promises():
    config = load(ROOT / "etc" / "bastion.toml")
    role = next(rule for rule in config.rules.rules if rule.name == "web-operators")
    assert set(role.verbs) == {"shell", "pty", "exec", "sftp", "env", "forward-local"}
    assert role.env == DEFAULT_ENV


def test_every_option_is_in_the_sample_and_in_the_reference():
    table, seen = "", set()
    for line in render_sample().splitlines():
        if found := re.match(r"(?:# )?\[([a-z_.]+)\]$", line):
            table = found[1]
        elif found := re.match(r"(?:# )?([a-z_]+) = ", line):
            seen.add(f"{table}.{found[1]}")
    assert seen == set(options(Sections))
    reference = render_reference()
    assert all(f"| `{name.rpartition('.')[2]}` |" in reference for name in options(Sections))


def test_every_option_of_the_sample_is_valid_when_switched_on():
    text = re.sub(r"(?m)^# (?=[a-z_]+ = |\[)", "", render_sample())
    text = re.sub(r"(?m)^[a-z_]+ = \.\.\.\n", "", text)
    before, section, sinks = text.partition(
        "[audit.sinks.siem]"
    )  # which is of one kind, and shows those of others
    text = (
        before + section + re.sub(r"(?m)^(url|token_file|tenant|labels|namespace) = .*\n", "", sinks, count=5)
    )
    folder = ROOT / "etc"
    path = folder / "bastion.toml"
    from bastion.options import At, Problems, Source, read
    from bastion.options.positions import key_lines

    problems = Problems()
    source = Source(str(path), str(folder), key_lines(text), "/run/credentials/x")
    read(Sections, tomllib.loads(text), At(source, problems))
    assert problems.errors == []


def test_the_dump_reads_back_as_the_same_configuration(site):
    site.edit("[audit]", '[limits]\nidle = "5m"\nkeepalive_interval = "off"\nstartups = "10:50:20"\n[audit]')
    site.edit(
        "[targets]",
        '[directory.ldap]\nservers = ["ldap://ldap.example.org"]\nuser_base = "dc=example"\nthreads = 3\n[targets]',
    )
    first = load(site.config)
    dump = render_values(first)
    assert load(site.write("dumped.toml", dump)).limits == first.limits
    again = load(site.folder / "dumped.toml")
    assert all(getattr(again, name) == getattr(first, name) for name in Sections.__dataclass_fields__)
    assert render_values(again) == dump
