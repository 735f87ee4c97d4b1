"""What a reload has changed, as lines: options with both values, targets and rules by name, other files."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bastion.config.contents import contents
from bastion.config.differences import MOST, differences
from bastion.config.load import load
from tests.unit.config.site import POLICY, TARGETS, USERS, Site


def compared(site: Site, change: Callable[[], object]) -> tuple[str, ...]:
    old = load(site.config)
    before = contents(old)
    change()
    new = load(site.config)
    return differences(old, new, before, contents(new))


def test_nothing_has_changed(site: Site) -> None:
    assert compared(site, lambda: None) == ()


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("[limits]\nsessions = 7", "limits.sessions: 10000 -> 7"),
        ('[limits]\nidle = "5m"', 'limits.idle: "off" -> "5m"'),
        ("[process]\nworkers = 2", "process.workers: 1 -> 2"),
    ],
)
def test_options_are_told_with_both_values(site: Site, section: str, line: str) -> None:
    assert compared(site, lambda: site.edit("[audit]", f"{section}\n[audit]")) == (line,)


def test_targets_and_rules_are_told_by_name(site: Site) -> None:
    def change() -> None:
        site.write("targets.toml", TARGETS.replace("web1.example", "web2.example").replace("db1", "db2"))
        site.write("policy.toml", POLICY + POLICY.replace('"staff"\n', '"more"\n', 1))

    assert compared(site, change) == (
        "target db1: removed",
        "target db2: added",
        "target web1: changed",
        "rule more: added",
    )


def test_other_files_are_told_without_their_content(site: Site) -> None:
    assert compared(site, lambda: site.write("users.toml", USERS + "[users.carol]\n", 0o600)) == (
        "directory.embedded: another content",
    )


def test_many_changes_are_counted(site: Site) -> None:
    more = "".join(f'[targets.t{number}]\nhost = "h{number}"\n' for number in range(2 * MOST))
    lines = compared(site, lambda: site.write("targets.toml", TARGETS + more))
    assert len(lines) == MOST + 1 and lines[-1] == f"and {MOST} more"
