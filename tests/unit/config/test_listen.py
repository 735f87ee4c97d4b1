"""Where engineers connect to, and whose word on their address is taken there."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from bastion.config.check import inspect
from bastion.config.load import load
from bastion.options import ConfigErrors

BALANCERS = '[listen]\naddresses = ["0.0.0.0:2222", "[::1]:2223"]\nproxy_protocol = {table}\n[audit]'


def configured(site: Any, table: str) -> Any:
    site.edit("[audit]", BALANCERS.format(table=table))
    return site


def test_each_listener_has_its_own_balancers(site: Any) -> None:
    table = '{ "0.0.0.0:2222" = ["192.0.2.20", "2001:db8::/64"], "[0:0::1]:2223" = ["192.0.2.0/24"] }'
    assert load(configured(site, table).config).listen.balancers == {
        ("0.0.0.0", 2222): (ipaddress.ip_network("192.0.2.20"), ipaddress.ip_network("2001:db8::/64")),
        ("::1", 2223): (ipaddress.ip_network("192.0.2.0/24"),),
    }


def test_nobody_is_believed_unless_told(site: Any) -> None:
    assert load(site.config).listen.balancers == {}


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ('{ "0.0.0.0:22" = ["192.0.2.20"] }', "none of listen.addresses"),
        ('{ "2222" = ["192.0.2.20"] }', "none of listen.addresses"),
        ('{ "0.0.0.0:2222" = [] }', "must not be empty"),
        ('{ "0.0.0.0:2222" = ["192.0.2.20/24"] }', "host bits"),
        ('{ "0.0.0.0:2222" = "192.0.2.20" }', "must be a list"),
        ('["192.0.2.20"]', "must be a table"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_its_line(site: Any, table: str, problem: str) -> None:
    with pytest.raises(ConfigErrors, match=problem) as found:
        load(configured(site, table).config)
    assert "listen.proxy_protocol" in str(found.value)


@pytest.mark.parametrize("everybody", ["0.0.0.0/0", "::/0"])
def test_a_check_warns_of_everybody(site: Any, everybody: str) -> None:
    configured(site, f'{{ "0.0.0.0:2222" = ["192.0.2.20", "{everybody}"] }}')
    report = inspect(site.config)
    (warning,) = [one for one in report.warnings if "proxy_protocol" in one.key]
    assert f"{everybody} is everybody" in str(warning) and warning.line > 0
