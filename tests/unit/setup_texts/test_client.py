"""The texts for clients: limited to the inventory, free of secrets, and of the form that each client reads."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from bastion.setup_texts.client import FORMS, ansible_lines, known_hosts, ssh_config, text_for
from bastion.setup_texts.facts import ClientFacts, ClientTarget
from bastion.wire.keys import PrivateKey

WEB1 = ClientTarget("web1", ("www",), ("web1", "www", "10.0.0.5"), 22, "deploy")
DB = ClientTarget("db", (), ("db", "2001:db8::7"), 2201, "")
EDGE = ClientTarget("edge", (), ("edge", "edge.example.com"), 22, "", recorded=False)


def facts(authority: bool = True, **changes: object) -> ClientFacts:
    values: dict[str, object] = {
        "gateway": "bastion.example.com",
        "port": 2222,
        "identity": "alice",
        "targets": (WEB1, DB, EDGE),
        "host_keys": (PrivateKey.generate_ed25519().public,),
        "authorities": (PrivateKey.generate_ed25519().public,) if authority else (),
    }
    return ClientFacts(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("authority", [True, False])
def test_every_form_names_the_targets_and_holds_no_wildcard(form: str, authority: bool) -> None:
    text = text_for(facts(authority), form)
    assert "web1" in text
    assert "PRIVATE" not in text
    words = text.replace(",", " ").replace('"', " ").split()
    assert "*" not in words
    assert text.endswith("\n")


def test_dropbear_gets_one_name_a_line_without_a_port_or_a_comment() -> None:
    made = facts()
    key = " ".join(made.host_keys[0].line().split()[:2])
    head, *lines = text_for(made, "dropbear").splitlines()
    names = ("bastion.example.com", "web1", "www", "10.0.0.5", "db", "2001:db8::7")
    assert head.startswith("#") and lines == [f"{name} {key}" for name in names]


@pytest.mark.parametrize("form", list(FORMS))
def test_every_form_stands_an_empty_inventory(form: str) -> None:
    assert text_for(facts(targets=(), identity=""), form)


def test_an_unknown_form_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        text_for(facts(), "telnet")


def test_the_authority_is_trusted_for_names_and_addresses_of_recorded_targets_only() -> None:
    made = facts()
    lines = known_hosts(made)
    assert lines[0] == f"[bastion.example.com]:2222 {made.host_keys[0].line()}"
    assert [line.rsplit(" ", 3)[0] for line in lines[1:]] == [
        "@cert-authority web1,www,10.0.0.5",
        "@cert-authority [db]:2201,[2001:db8::7]:2201",
    ]
    assert all(made.authorities[0].line() in line for line in lines[1:])


def test_without_an_authority_each_target_has_the_gateways_keys() -> None:
    made = facts(authority=False)
    assert known_hosts(made)[1:] == [
        f"web1,www,10.0.0.5 {made.host_keys[0].line()}",
        f"[db]:2201,[2001:db8::7]:2201 {made.host_keys[0].line()}",
    ]


def test_ssh_config_is_what_openssh_makes_of_it(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("\n".join(ssh_config(facts())))
    for name, wanted in {
        "web1": ["port 22", "user deploy", "proxyjump bastion"],
        "www": ["port 22", "user deploy", "proxyjump bastion"],
        "db": ["port 2201", "proxyjump bastion"],
        "bastion": ["port 2222", "user alice", "hostname bastion.example.com"],
    }.items():
        shown = subprocess.run(
            ["ssh", "-G", "-F", str(file), name], capture_output=True, text=True, check=True
        )
        for line in wanted:
            assert line in shown.stdout.splitlines(), (name, line)


def test_the_script_can_be_pasted_twice(tmp_path: Path) -> None:
    script = text_for(facts(), "openssh").replace("~/.ssh", shlex.quote(str(tmp_path / "ssh")))
    (tmp_path / "ssh").mkdir()
    (tmp_path / "ssh" / "config").write_text("Host mine\n    Port 1\n")
    for _ in range(2):
        done = subprocess.run(["sh", "-eu"], input=script, text=True, capture_output=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "ssh" / "config").read_text() == "Include bastion_config\n\nHost mine\n    Port 1\n"
    assert (tmp_path / "ssh" / "bastion_known_hosts").read_text().count("\n") == 3


def test_ansible_goes_through_the_gateway_by_name_and_port() -> None:
    lines = ansible_lines(facts())
    assert "web1 ansible_port=22 ansible_user=deploy" in lines
    assert "db ansible_port=2201" in lines
    assert "ProxyJump=alice@bastion.example.com:2222" in lines[-1]
