"""Answers in the gateway's own form: what is taken of them, what is refused, and what is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bastion.config.document import parse_document
from bastion.errors import ConfigError
from bastion.inventories.answers import GIVEN, read_answer, text_of
from bastion.inventories.section import InventorySource
from bastion.options import ConfigErrors, Problems, declarations
from bastion.policy.targets import Target, parse_targets
from bastion.wire.keys import PrivateKey

KEY = PrivateKey.generate_ed25519().public.line()
NAME = "the answer of inventory cmdb"


def section(**options: Any) -> InventorySource:
    return InventorySource(**{"url": "https://cmdb.example.com/", **options})


def read(document: Any, **options: Any) -> Any:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return read_answer("cmdb", section(**options), data)


def targets(document: Any, **options: Any) -> dict[str, Target]:
    return {target.name: target for target in read({"targets": document}, **options).targets}


def faults(document: Any, **options: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(document, **options)
    errors = caught.value.errors if isinstance(caught.value, ConfigErrors) else [caught.value]
    return [str(error) for error in errors]


WHOLE = {
    "web1": {
        "host": "10.0.0.5",
        "port": 2222,
        "aliases": ["www"],
        "labels": {"env": "prod"},
        "logins": ["deploy"],
        "host_keys": [KEY],
    },
    "db1": {"host": "db1.example.com", "host_keys": "sshfp"},
}


def test_a_target_is_what_it_would_be_in_a_file() -> None:
    found = targets(WHOLE)
    one = found["web1"]
    assert (one.host, one.port, one.aliases, one.logins) == ("10.0.0.5", 2222, ("www",), ("deploy",))
    assert dict(one.labels) == {"env": "prod"} and one.pins == (KEY,) and found["db1"].by_sshfp
    assert set(WHOLE["web1"]) == set(GIVEN)


def test_what_is_kept_reads_back_as_the_same_and_the_same_is_the_same_text() -> None:
    found = read({"targets": WHOLE}, allow_addresses=(), labels={"inventory": "cmdb"})
    text = text_of("cmdb", found.targets)
    problems = Problems()
    opened = parse_document(Path("cmdb.toml"), text, problems)
    assert opened is not None and problems.errors == []
    again = {target.name: target for target in parse_targets(*opened)}
    assert again == {target.name: target for target in found.targets}
    assert text_of("cmdb", tuple(reversed(found.targets))) == text


def test_an_inventory_may_be_empty() -> None:
    assert read({"targets": {}}).targets == ()


@pytest.mark.parametrize("option", sorted({one.name for one in declarations(Target)} - set(GIVEN)))
def test_how_a_target_is_logged_in_to_is_the_operators(option: str) -> None:
    """Also what a later version adds: this list is the declarations, less the six."""
    (fault,) = faults({"targets": {"web1": {"host": "h", option: "x"}}})
    assert fault.startswith(f"{NAME}: targets.web1.{option}: is the operator's to say")


@pytest.mark.parametrize("option", [{"via": "edge1"}, {"proxy_command": "tunnel"}, {"hop_login": "jump"}])
def test_by_which_road_a_target_is_reached_is_the_operators(option: dict[str, str]) -> None:
    """Values that a file may have: an answer must never make the gateway run a program, nor lead through a hop."""
    (key,) = option
    (fault,) = faults({"targets": {"web1": {"host": "10.0.0.5", **option}, "web2": {"host": "10.0.0.6"}}})
    assert fault.startswith(f"{NAME}: targets.web1.{key}: is the operator's to say, in targets.toml")


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (b"[]", "is not a JSON object"),
        (b"{", "is not JSON"),
        (b"", "is not JSON"),
        (b"\xff{}", "is not UTF-8 at byte 0"),
        (b'{"targets": {"a": {"host": "h"}, "a": {"host": "i"}}}', "stands twice in one object"),
        (b'{"targets": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deep"),
        (b'{"targets": {"a": {"host": "h", "port": ' + b"9" * 5000 + b"}}}", "is not taken"),
        ({}, "targets: must be an object"),
        ({"targets": []}, "targets: must be an object"),
        ({"targets": {}, "more": 1}, "more: is not known"),
        ({"targets": {"web1": "10.0.0.5"}}, "targets.web1: must be an object"),
        ({"targets": {"web1": {}}}, "targets.web1.host: is required"),
        ({"targets": {"web1": {"host": "h", "port": "ssh"}}}, "targets.web1.port: 'ssh' is not a whole number"),
        ({"targets": {"web1": {"host": "h", "port": 22.5}}}, "targets.web1.port"),
        ({"targets": {"web1": {"host": "h", "hots": 1}}}, "targets.web1.hots: is not known"),
        ({"targets": {"a+b": {"host": "h"}}}, "targets.a+b: 'a+b' is not a valid name"),
        ({"targets": {"web1": {"host": "h", "aliases": "x"}}}, "targets.web1.aliases: must be a list"),
        ({"targets": {"web1": {"host": "h", "aliases": [1]}}}, "targets.web1.aliases[1]"),
        ({"targets": {"web1": {"host": "h", "labels": ["x"]}}}, "targets.web1.labels: must be an object"),
        ({"targets": {"web1": {"host": "h", "labels": {"env": "a b"}}}}, "targets.web1.labels.env"),
        ({"targets": {"web1": {"host": "h", "logins": ["-o"]}}}, "targets.web1.logins[1]"),
        ({"targets": {"a": {"host": "h", "aliases": ["b"]}, "b": {"host": "i"}}}, 'already a name of target "a"'),
        ({"targets": {"A": {"host": "h"}, "a": {"host": "i"}}}, 'already a name of target "a"'),
    ],
)  # fmt: skip
def test_a_fault_names_the_inventory_and_the_place(document: Any, says: str) -> None:
    (fault,) = faults(document)
    assert fault.startswith(NAME) and says in fault


def test_all_faults_are_told_at_once() -> None:
    assert len(faults({"targets": {"a": {"host": ""}, "b": {"hots": 1}, "c": {"host": "h"}}, "d": 1})) == 3


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "::1",
        "::ffff:127.0.0.1",
        "169.254.169.254",
        "fe80::1",
        "0.0.0.0",
        "100.100.100.200",
    ],
)
def test_it_leads_nobody_to_the_gateway_itself(host: str) -> None:
    (fault,) = faults({"targets": {"web1": {"host": host}}})
    assert "targets.web1.host" in fault and "allow_addresses" in fault


def test_an_operator_may_allow_that() -> None:
    import ipaddress

    found = targets({"web1": {"host": "127.0.0.1"}}, allow_addresses=(ipaddress.ip_network("127.0.0.0/8"),))
    assert [str(one) for one in found["web1"].allow_addresses] == ["127.0.0.0/8"]


def test_names_have_the_prefix_and_what_fits_no_pattern_is_left_out() -> None:
    document = {
        "web1": {"host": "a", "aliases": ["www", "db9"]},
        "db1": {"host": "b"},
        "bad name": {"host": "c"},
    }
    found = read({"targets": document}, prefix="aws-", only=("aws-w*",))
    (one,) = found.targets
    assert one.names == ("aws-web1", "aws-www") and found.left_out == 3


def test_labels_of_the_section_win() -> None:
    found = targets(
        {"web1": {"host": "a", "labels": {"inventory": "mine", "env": "prod"}}}, labels={"inventory": "cmdb"}
    )
    assert dict(found["web1"].labels) == {"inventory": "cmdb", "env": "prod"}


def test_there_are_no_more_targets_than_it_may_have() -> None:
    document = {f"web{number}": {"host": "h"} for number in range(4)}
    assert len(targets(document, max_targets=4)) == 4
    (fault,) = faults({"targets": document}, max_targets=3)
    assert "targets.web3" in fault and "max_targets = 3" in fault
