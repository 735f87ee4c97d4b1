"""Ansible's inventories: what the real `ansible-inventory --list` prints, and shapes of older scripts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bastion.inventories.answers import read_answer, text_of
from bastion.inventories.section import FAULTS_MAX, InventorySource
from bastion.options import ConfigErrors
from bastion.policy.targets import Target
from bastion.wire.keys import PrivateKey

KEY = PrivateKey.generate_ed25519().public.line()
SECRET = "hunter2-become"

INVENTORY = f"""
all:
  vars:
    ansible_user: ops
    deploy_env: dev
    ansible_become_password: {SECRET}
  hosts:
    Lonely.example.com:
  children:
    web:
      hosts:
        web1:
          ansible_host: 10.0.0.5
          ansible_port: 2222
          ssh_host_keys: ["{KEY}"]
        web2:
          ansible_host: 10.0.0.6
          ansible_user: deploy
      vars:
        deploy_env: prod
    db:
      children:
        postgres:
          hosts:
            db1:
              ansible_host: db1.example.com
          vars:
            deploy_env: stage
    here:
      hosts:
        localhost:
          ansible_connection: local
"""


def section(**options: Any) -> InventorySource:
    return InventorySource(**{"command": ("/bin/true",), "format": "ansible", **options})


def found(document: Any, **options: Any) -> dict[str, Target]:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return {target.name: target for target in read_answer("fleet", section(**options), data).targets}


def faults(document: Any, **options: Any) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        found(document, **options)
    return [str(error) for error in caught.value.errors]


@pytest.fixture(scope="module", params=[(), ("--export",)], ids=["merged", "export"])
def printed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """By the real program: with --export the variables of groups stand at their groups."""
    program = shutil.which("ansible-inventory", path=str(Path(sys.executable).parent))
    assert program is not None, "ansible-core is one of the things that tests need"
    folder = tmp_path_factory.mktemp("ansible")
    (folder / "fleet.yml").write_text(INVENTORY)
    command = [program, "-i", str(folder / "fleet.yml"), "--list", *request.param]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8"}
    return subprocess.run(
        command, capture_output=True, check=True, cwd=folder, env=environment, timeout=60
    ).stdout


@pytest.mark.slow
def test_what_ansible_prints_is_understood(printed: bytes) -> None:
    targets = found(
        printed, groups=("web", "postgres", "db"), vars={"env": "deploy_env"}, host_key_var="ssh_host_keys"
    )
    assert set(targets) == {"lonely.example.com", "web1", "web2", "db1"}
    web1, web2, db1, lonely = (targets[name] for name in ("web1", "web2", "db1", "lonely.example.com"))
    assert (web1.host, web1.port, web1.logins, web1.pins) == ("10.0.0.5", 2222, ("ops",), (KEY,))
    assert (web2.port, web2.logins) == (22, ("deploy",))
    assert dict(web1.labels) == {"group.web": "yes", "env": "prod"}
    assert dict(db1.labels) == {"group.db": "yes", "group.postgres": "yes", "env": "stage"}
    assert (lonely.host, dict(lonely.labels)) == ("lonely.example.com", {"env": "dev"})


@pytest.mark.slow
def test_nothing_secret_of_it_is_kept(printed: bytes) -> None:
    assert SECRET.encode() in printed
    read = read_answer("fleet", section(vars={"env": "deploy_env"}), printed)
    assert SECRET not in text_of("fleet", read.targets) and len(read.targets) == 4


def test_a_script_of_old_may_print_lists_of_hosts() -> None:
    document = {
        "web": ["web1", "web2"],
        "prod": {"children": ["web"], "vars": {"deploy_env": "prod"}},
        "_meta": {"hostvars": {"web1": {"ansible_host": "10.0.0.5"}, "gone": {"ansible_host": "10.0.0.9"}}},
    }
    targets = found(document, groups=("*",), vars={"env": "deploy_env"})
    assert set(targets) == {"web1", "web2"}, "a host in no group is none"
    assert dict(targets["web2"].labels) == {"group.web": "yes", "group.prod": "yes", "env": "prod"}


def test_inner_groups_win_over_outer_ones_and_the_host_over_all() -> None:
    document = {
        "all": {"children": ["a"], "vars": {"v": "all", "w": "all", "x": "all", "y": "all"}},
        "a": {"children": ["b"], "vars": {"v": "a", "w": "a", "x": "a"}},
        "b": {"hosts": ["h"], "vars": {"v": "b", "w": "b"}},
        "_meta": {"hostvars": {"h": {"v": "host"}}},
    }
    labels = found(document, vars={"v": "v", "w": "w", "x": "x", "y": "y", "z": "z"})["h"].labels
    assert dict(labels) == {"v": "host", "w": "b", "x": "a", "y": "all"}


def of_host(**variables: Any) -> dict[str, Any]:
    return {"web": {"hosts": ["web1"]}, "_meta": {"hostvars": {"web1": variables}}}


def test_values_that_are_no_strings_are_written_out() -> None:
    document = of_host(ansible_port="2200", a=7, b=True, c=None)
    one = found(document, vars={"a": "a", "b": "b", "c": "c"})["web1"]
    assert one.port == 2200 and dict(one.labels) == {"a": "7", "b": "true"}


def test_who_may_log_in_can_be_left_to_the_rules() -> None:
    assert found(of_host(ansible_user="deploy"))["web1"].logins == ("deploy",)
    assert found(of_host(ansible_user="deploy"), login_var=None)["web1"].logins == ()
    assert found(of_host(account="root"), login_var="account")["web1"].logins == ("root",)


def test_how_ansible_would_get_there_is_not_looked_at() -> None:
    """A program of the inventory's would be run by the gateway, and a hop be a road that nobody wrote down."""
    one = found(
        of_host(
            via="edge1",
            proxy_command="tunnel",
            hop_login="jump",
            ansible_ssh_common_args="-o ProxyCommand='nc %h %p'",
            ansible_ssh_executable="/tmp/ssh",
        )
    )["web1"]
    assert (one.via, one.proxy_command, one.hop_login) == ((), None, None)


@pytest.mark.parametrize("how", ["local", "docker", "winrm", "community.docker.docker", 7])
def test_what_is_not_reached_by_ssh_is_no_target(how: Any) -> None:
    assert found(of_host(ansible_connection=how, ansible_host="")) == {}


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({}, "_meta.hostvars: is not there"),
        ({"web": {"hosts": ["a"]}}, "_meta.hostvars: is not there"),
        ({"_meta": {"hostvars": []}}, "_meta.hostvars: is not there"),
        ({"_meta": {"hostvars": {}}, "web": 1}, "web: must be an object"),
        ({"_meta": {"hostvars": {}}, "web": {"host": []}}, "web.host: is not known of a group"),
        ({"_meta": {"hostvars": {}}, "web": {"hosts": {"a": 1}}}, "web.hosts: must be a list"),
        ({"_meta": {"hostvars": {}}, "web": {"hosts": [1]}}, "web.hosts[1]: 1 is not a name"),
        ({"_meta": {"hostvars": {}}, "web": {"vars": []}}, "web.vars: must be an object"),
        ({"_meta": {"hostvars": {"a": []}}, "web": {"hosts": ["a"]}}, "_meta.hostvars.a: must be an object"),
        (
            of_host(ansible_host="{{ inventory_hostname }}.x"),
            "_meta.hostvars.web1.ansible_host: '{{ inventory",
        ),
        (of_host(ansible_host={"__ansible_unsafe": "x"}), "_meta.hostvars.web1.ansible_host"),
        (of_host(ansible_host="a b"), "_meta.hostvars.web1.ansible_host"),
        (of_host(ansible_host="169.254.169.254"), "a cloud metadata service"),
        (of_host(ansible_port="ssh"), "_meta.hostvars.web1.ansible_port"),
        (of_host(ansible_port=True), "_meta.hostvars.web1.ansible_port"),
        (of_host(ansible_user="-oProxyCommand=x"), "_meta.hostvars.web1.ansible_user"),
        (of_host(e="a b"), "_meta.hostvars.web1.e"),
        (of_host(e={"__ansible_vault": "x"}), "_meta.hostvars.web1.e"),
        (of_host(k=7), "_meta.hostvars.web1.host_keys"),
    ],
)
def test_a_fault_names_the_inventory_and_the_place(document: Any, says: str) -> None:
    (fault,) = faults(document, vars={"env": "e"}, host_key_var="k")
    assert fault.startswith("the answer of inventory fleet: ") and says in fault


def test_groups_in_a_circle_are_a_fault() -> None:
    document = {
        "a": {"children": ["b"], "hosts": ["h"]},
        "b": {"children": ["c"]},
        "c": {"children": ["a"]},
        "_meta": {"hostvars": {}},
    }
    (fault,) = faults(document)
    assert "in a circle" in fault
    (fault,) = faults({"x": {"children": ["all"], "hosts": ["h"]}, "_meta": {"hostvars": {}}})
    assert "x.children" in fault and "in a circle" in fault


def test_groups_too_deep_or_too_many_are_a_fault() -> None:
    deep = {f"g{number}": {"children": [f"g{number + 1}"]} for number in range(100)}
    (fault,) = faults({**deep, "g100": ["h"], "_meta": {"hostvars": {}}})
    assert "too deep" in fault
    known = {f"g{number}": {"children": [f"g{number + 1}"], "hosts": ["h"]} for number in range(100)}
    assert "too deep" in faults({**known, "_meta": {"hostvars": {}}})[0], (
        "in whatever order they are looked at"
    )
    many = {f"g{number}": [] for number in range(10_001)}
    (fault,) = faults({**many, "_meta": {"hostvars": {}}})
    assert "has 10001 groups" in fault


def test_too_many_groups_around_too_many_hosts_are_a_fault_in_bounded_time() -> None:
    """A short answer can say that each of many hosts is in each of many groups."""
    many = {f"g{number}": {"children": ["bottom"]} for number in range(3000)}
    hosts = [f"h{number}" for number in range(10_000)]
    told = faults({**many, "bottom": hosts, "_meta": {"hostvars": {}}})
    assert len(told) == FAULTS_MAX + 1 and "too many groups around its hosts" in told[0]


def test_no_more_faults_are_looked_for_than_anybody_reads() -> None:
    hosts = [f"h{number}" for number in range(3000)]
    told = faults({"all": hosts, "_meta": {"hostvars": {}}}, max_targets=10)
    assert len(told) == FAULTS_MAX + 1 and "one target more" in told[-1]


def test_a_group_that_cannot_be_a_label_is_a_fault_where_it_is_wanted() -> None:
    document = {"a b": ["h"], "_meta": {"hostvars": {}}}
    assert set(found(document)) == {"h"}
    assert set(found(document, groups=("*",))) == {"h"}, "a pattern fits names alone"
    assert dict(found({"Web": ["h"], "_meta": {"hostvars": {}}}, groups=("Web",))["h"].labels) == {
        "group.web": "yes"
    }
    long = "g" * 63
    (fault,) = faults({long: ["h"], "_meta": {"hostvars": {}}}, groups=("g*",))
    assert "cannot be a label" in fault


def test_many_hosts_are_read_in_a_moment() -> None:
    hosts = [f"h{number}" for number in range(10_000)]
    document = {"all": {"children": ["web"]}, "web": {"hosts": hosts}, "_meta": {"hostvars": {}}}
    assert len(found(document, groups=("*",))) == 10_000
