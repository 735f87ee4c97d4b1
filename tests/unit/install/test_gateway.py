"""A built gateway: what is in it, and whose it is."""

import os
import pwd
import stat
from dataclasses import replace

import pytest

from bastion.ca.ledger import read_ledger
from bastion.config.check import inspect
from bastion.install.gateway import build, names
from bastion.install.layout import Layout, Owners
from tests.unit.install.test_texts import ANSWERS, BY

pytestmark = pytest.mark.slow


def test_check_accepts_it_without_a_warning(tmp_path):
    layout = Layout.beside(tmp_path)
    made = build(tmp_path, ANSWERS, layout, Owners(), BY)
    report = inspect(layout.config)
    faults = [fault for fault in (*report.errors, *report.warnings) if fault.key != "recording.recipients"]
    assert [str(fault) for fault in faults] == []  # but that one recipient alone should not be
    assert len({key.blob for key in made.keys.values()}) == 6, "no two authorities are equal"
    assert sorted(os.listdir(tmp_path)) == names(layout)


def test_the_ledger_has_every_key_from_the_first_moment(tmp_path):
    layout = Layout.beside(tmp_path)
    made = build(tmp_path, ANSWERS, layout, Owners(), BY)
    entries = read_ledger(layout.keys / "keys.toml").entries
    assert {entry.public.blob for entry in entries} == {key.blob for key in made.keys.values()}
    assert {(entry.made, entry.active_from, entry.by) for entry in entries} == {
        (1_800_000_000.0,) * 2 + ("root",)
    }


def test_modes_and_owners_are_those_of_the_layout(tmp_path):
    layout = Layout.beside(tmp_path)
    owners = Owners.of("nobody") if os.geteuid() == 0 else Owners()
    build(tmp_path, ANSWERS, layout, owners, BY)
    for place in (*layout.folders()[1:], *layout.files()):
        status = place.path.stat()
        assert stat.S_IMODE(status.st_mode) == place.mode, place.path
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody").pw_uid
        owner = {path.name: path.stat().st_uid for path in (tmp_path, *tmp_path.rglob("*"))}
        assert owner["upstream_ca"] == owner["ssh_host_rsa_key"] == owner["recordings"] == nobody
        assert owner["login_ca"] == owner["policy.toml"] == owner["keys"] == owner["login_ca.pub"] == 0


def test_a_login_ca_of_the_company_is_taken(tmp_path):
    layout = Layout.beside(tmp_path)
    line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBEbpk9DXPdCILBrRzUAyG2wS9g1xdxhCqBW7GZ1nMi9 corp\n"
    build(tmp_path, replace(ANSWERS, login_ca=line), layout, Owners(), BY)
    assert (layout.keys / "login_ca.pub").read_text() == line
    assert not (layout.keys / "login_ca").exists()
    assert inspect(layout.config).errors == ()
