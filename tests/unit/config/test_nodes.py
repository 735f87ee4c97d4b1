"""The section about other gateways: what it needs, and certificates that could not work."""

from __future__ import annotations

from typing import Any

import pytest

from bastion.config.check import inspect
from bastion.config.nodes import MOST_PEERS
from tests.support.node_certificates import BOTH, NodesCA

STATE = '[state]\nnode = "gw1"\nurl = "postgresql://bastion@127.0.0.1:1/bastion"\n'
GOOD = (
    'listen = "127.0.0.1:2323"',
    'certificate = "gw1.crt"',
    'key = "gw1.key"',
    'authority = "nodes_ca.crt"',
    'peers = { gw2 = "192.0.2.2:2323" }',
)
MANY = ", ".join(f'n{number} = "192.0.2.2:1"' for number in range(MOST_PEERS + 1))


def found(site: Any, lines: tuple[str, ...], state: str = STATE) -> tuple[list[str], list[str]]:
    """(errors, warnings) of the site with these lines in [nodes]."""
    site.edit("[audit]", f"{state}[nodes]\n" + "\n".join(lines) + "\n[audit]")
    report = inspect(site.config)
    return [str(one) for one in report.errors], [str(one) for one in report.warnings if "nodes" in str(one)]


def without(name: str) -> tuple[str, ...]:
    return tuple(line for line in GOOD if not line.startswith(name))


def test_two_gateways(site: Any) -> None:
    NodesCA(site.folder).node("gw1")
    assert found(site, (*GOOD, 'roles = ["auditor"]')) == ([], [])


def test_one_gateway_has_no_such_section(site: Any) -> None:
    assert found(site, (), "") == ([], [])


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (without("listen"), ("nodes.listen", "is missing")),
        (without("authority"), ("nodes.authority", "is missing")),
        (without("peers"), ("has no effect without peers",)),
        ((*without("key"), 'key = "none"'), ("cannot be used together", "No such file")),
        ((*without("authority"), 'authority = "host_key"'), ("host_key: cannot be used",)),
        ((*without("peers"), 'peers = { gw1 = "192.0.2.2:1" }'), ("gw1", "this gateway itself")),
        ((*without("peers"), 'peers = { "a b" = "192.0.2.2:1" }'), ("peers",)),
        ((*without("peers"), 'peers = { gw2 = "192.0.2.2" }'), ("peers",)),
        ((*GOOD, 'roles = ["root"]'), ("nodes.roles",)),
        ((*without("peers"), f"peers = {{ {MANY} }}"), ("at most 32",)),
    ],
)  # fmt: skip
def test_what_is_wrong(site: Any, lines: tuple[str, ...], words: tuple[str, ...]) -> None:
    NodesCA(site.folder).node("gw1")
    errors, _ = found(site, lines)
    assert errors and all(any(word in error for error in errors) for word in words), errors
    assert all("bastion.toml" in error for error in errors)


def test_gateways_share_a_store(site: Any) -> None:
    NodesCA(site.folder).node("gw1")
    errors, _ = found(site, GOOD, '[state]\nnode = "gw1"\n')
    assert len(errors) == 1 and "state.url is not set" in errors[0]


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"names": ["other"]}, "has the names: other"),
        ({"names": []}, "has the names: none"),
        ({"names": ["gw1", "gw2"]}, "has a peer's name too: gw2"),
        ({"days": -0.5}, "has ended"),
        ({"usages": BOTH[:1]}, "is not for both ends"),
    ],
)
def test_a_certificate_that_could_not_work(site: Any, made: dict[str, Any], words: str) -> None:
    NodesCA(site.folder).node("gw1", **made)
    errors, _ = found(site, GOOD)
    assert len(errors) == 1 and words in errors[0], errors


def test_one_that_ends_soon_or_has_no_usages_will_do(site: Any) -> None:
    NodesCA(site.folder).node("gw1", days=10.5, usages=())
    errors, warnings = found(site, GOOD)
    assert errors == [] and len(warnings) == 1 and "ends in 10 days" in warnings[0]


def test_its_port_is_its_own(site: Any) -> None:
    NodesCA(site.folder).node("gw1")
    errors, _ = found(site, (*without("listen"), 'listen = "127.0.0.1:2222"'))
    assert any("is taken by" in error for error in errors), errors
