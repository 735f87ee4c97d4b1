"""`bastion keys` on a real configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyrage
import pytest
from click.testing import CliRunner, Result

from bastion.ca.ledger import read_ledger, write_ledger
from bastion.cli.key_list import whoever_runs_this
from bastion.cli.keys import keys
from tests.unit.config.site import Site, rotating


class Keys(Site):
    def run(self, *words: str | Path) -> Result:
        name, *more = (str(word) for word in words)
        return CliRunner().invoke(keys, [name, "--config", str(self.config), *more])


@pytest.fixture
def site(tmp_path: Path) -> Keys:
    made = Keys(tmp_path)
    identity = pyrage.x25519.Identity.generate()
    made.write("age.key", f"{identity}\n", 0o600)
    made.write("age.pub", f"{identity.to_public()}\n")
    return made


def test_the_list_has_every_key_and_how_it_stands(site: Keys) -> None:
    new = rotating(site, "upstream_ca", ledger="keys.toml")
    rows = json.loads(site.run("list", "--json").output)
    assert [(row["key"], row["state"]) for row in rows] == [
        ("host_ed25519", "active, not in the ledger"),
        ("upstream_ca", "outgoing"),
        ("upstream_ca", "incoming"),
        ("front_host_ca", "active, not in the ledger"),
        ("login_ca", "active, not in the ledger"),
    ]
    assert rows[2]["fingerprint"] == new.public.fingerprint()
    text = site.run("list").output
    assert "2096-10-02 07:06Z" in text and "upstream_ca.next" in text


def test_a_backup_restores_every_key_on_another_machine(site: Keys, tmp_path: Path) -> None:
    done = site.run("export-backup", "-R", tmp_path / "age.pub", tmp_path / "keys.age")
    assert (done.exit_code, done.output.partition(": ")[2]) == (
        0,
        "3 private keys and the ledger, sealed for 1 recipient\n",
    )
    sealed = tmp_path / "keys.age"
    assert sealed.stat().st_mode & 0o777 == 0o600
    names = ("host_key", "upstream_ca", "front_host_ca", "login_ca.pub", "host_key.pub")
    before = {name: (tmp_path / name).read_bytes() for name in names}
    for name in names:
        (tmp_path / name).unlink()
    tried = site.run("import-backup", "-i", tmp_path / "age.key", "--dry-run", sealed)
    assert tried.exit_code == 0 and "not written" in tried.output and not (tmp_path / "host_key").exists()
    assert site.run("import-backup", "-i", tmp_path / "age.key", sealed).exit_code == 0
    assert {name: (tmp_path / name).read_bytes() for name in names} == before
    assert (tmp_path / "host_key").stat().st_mode & 0o777 == 0o600
    assert len(read_ledger(tmp_path / "keys.toml").entries) == 4
    again = site.run("import-backup", "-i", tmp_path / "age.key", sealed)
    assert again.exit_code == 0 and "  there already: " in again.output and "  written: " not in again.output


def test_nothing_is_overwritten_and_nothing_retired_comes_back(site: Keys, tmp_path: Path) -> None:
    sealed = tmp_path / "keys.age"
    assert site.run("export-backup", "-R", tmp_path / "age.pub", sealed).exit_code == 0
    again = site.run("export-backup", "-R", tmp_path / "age.pub", sealed)
    assert again.exit_code == 2 and "is there already: nothing was written" in again.output
    site.make_key("upstream_ca")
    refused = site.run("import-backup", "-i", tmp_path / "age.key", sealed)
    assert refused.exit_code == 2 and "upstream_ca: is there already, and is another file" in refused.output
    assert not (tmp_path / "keys.toml").exists()
    (tmp_path / "upstream_ca").unlink()
    (tmp_path / "upstream_ca.pub").unlink()
    assert site.run("import-backup", "-i", tmp_path / "age.key", sealed).exit_code == 0
    ledger = read_ledger(tmp_path / "keys.toml")
    write_ledger(tmp_path / "keys.toml", ledger.changed(ledger.entries[1].public, retired=2e9))
    refused = site.run("import-backup", "-i", tmp_path / "age.key", sealed)
    assert refused.exit_code == 2 and "upstream_ca was retired: it must not come back" in refused.output


def test_a_backup_of_another_configuration_is_refused(site: Keys, tmp_path: Path) -> None:
    sealed = tmp_path / "keys.age"
    assert site.run("export-backup", "-R", tmp_path / "age.pub", sealed).exit_code == 0
    site.edit('key = "upstream_ca"', 'key = "another"')
    refused = site.run("import-backup", "-i", tmp_path / "age.key", sealed)
    assert refused.exit_code == 2
    assert "holds upstream_ca, which this configuration names nowhere" in refused.output


def test_without_a_recipient_nothing_is_written(site: Keys, tmp_path: Path) -> None:
    refused = site.run("export-backup", tmp_path / "keys.age")
    assert refused.exit_code == 2 and "never written unsealed" in refused.output
    assert not (tmp_path / "keys.age").exists()


# -- rotate and retire --------------------------------------------------------------------------------------------


def test_a_rotation_says_what_to_do_and_prints_what_to_paste(site: Keys) -> None:
    said = site.run("rotate", "upstream_ca", "--overlap", "7d").output
    assert "signs from" in said and "1. reload the gateway" in said
    assert "every target needs both lines" in said and said.count("ssh-ed25519 ") == 2
    assert "then `bastion keys retire upstream_ca`" in said
    early = site.run("retire", "upstream_ca")
    assert early.exit_code == 2 and "does not sign yet" in early.output
    assert "signs from" in site.run("rotate", "upstream_ca", "--switch").output
    done = site.run("retire", "upstream_ca").output
    assert "retired" in done and "take the old line out of every target" in done
    assert done.count("ssh-ed25519 ") == 1


def test_for_clients_there_are_known_hosts_lines_and_dns_records(site: Keys) -> None:
    said = site.run("rotate", "front_host_ca").output
    assert "set [listen] public to what engineers type" in said
    site.edit("[host_keys]", '[listen]\npublic = "gw.example.com:22"\n[host_keys]')
    again = json.loads(site.run("rotate", "front_host_ca", "--json").output)
    assert again["paste"].count("@cert-authority web1") == 2
    host = json.loads(site.run("rotate", "host_ed25519", "--json").output)
    assert host["paste"].count("gw.example.com ssh-ed25519 ") == 2
    assert host["paste"].count("gw.example.com. IN SSHFP 4 2 ") == 2


def test_a_login_ca_is_given_and_named(site: Keys, tmp_path: Path) -> None:
    site.make_key("new")
    missing = site.run("rotate", "login_ca")
    assert missing.exit_code == 2 and "--public NEW_CA.pub" in missing.output
    assert "trusted" in site.run("rotate", "login_ca", "--public", tmp_path / "new.pub").output
    assert len((tmp_path / "login_ca.pub").read_text().splitlines()) == 2
    assert "certificates by the old key are refused" in site.run("retire", "login_ca").output
    assert (tmp_path / "login_ca.pub").read_text().split()[1] == site.keys["new"].public.line().split()[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rotate", "other_ca"], "no key is called other_ca (allowed: host_ed25519, upstream_ca"),
        (["rotate", "upstream_ca", "--overlap", "soon"], "--overlap is a time"),
        (["rotate", "upstream_ca", "--switch", "--withdraw"], "exclude each other"),
        (["rotate", "upstream_ca", "--switch"], "is not being rotated"),
        (["rotate", "upstream_ca", "--public", "/dev/null"], "the new key of this one is made here"),
        (["retire", "upstream_ca"], "no other key takes its place"),
    ],
)
def test_what_makes_no_sense_is_refused(site: Keys, words: list[str], said: str) -> None:
    refused = site.run(*words)
    assert refused.exit_code == 2 and said in refused.output, refused.output


# -- what stands in the audit log ---------------------------------------------------------------------------------


def lines(site: Keys) -> list[dict[str, Any]]:
    path = site.config.parent / "audit.jsonl"
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in found if line["event"].startswith("key")]


def test_every_change_of_a_key_stands_in_the_audit_log(site: Keys, tmp_path: Path) -> None:
    old = site.keys["upstream_ca"].public.fingerprint()
    begun = json.loads(site.run("rotate", "upstream_ca", "--overlap", "7d", "--json").output)
    site.run("rotate", "upstream_ca", "--switch")
    site.run("retire", "upstream_ca")
    assert site.run("retire", "upstream_ca").exit_code == 2
    found = lines(site)
    assert [line["step"] for line in found] == ["begun", "switched", "retired"]
    for line in found:
        assert (line["event"], line["key"], line["by"]) == ("key_changed", "upstream_ca", whoever_runs_this())
        assert (line["old"], line["new"]) == (old, begun["fingerprint"])
    assert found[0]["overlap_until"] == begun["active_from"]


def test_keys_that_come_back_stand_in_the_audit_log(site: Keys, tmp_path: Path) -> None:
    sealed = tmp_path / "keys.age"
    assert site.run("export-backup", "-R", tmp_path / "age.pub", sealed).exit_code == 0
    (tmp_path / "upstream_ca").unlink()
    assert site.run("import-backup", "-i", tmp_path / "age.key", "--dry-run", sealed).exit_code == 0
    assert lines(site) == []
    assert site.run("import-backup", "-i", tmp_path / "age.key", sealed).exit_code == 0
    (line,) = lines(site)
    assert (line["event"], line["by"], line["made_by"]) == ("keys_imported", *[whoever_runs_this()] * 2)
    assert site.keys["upstream_ca"].public.fingerprint() in line["keys"]


def test_without_the_line_no_key_changes(site: Keys, tmp_path: Path) -> None:
    sealed = tmp_path / "keys.age"
    assert site.run("export-backup", "-R", tmp_path / "age.pub", sealed).exit_code == 0
    (tmp_path / "upstream_ca").unlink()
    (site.config.parent / "audit.jsonl").unlink(missing_ok=True)
    (site.config.parent / "audit.jsonl").mkdir()
    for words in (["import-backup", "-i", tmp_path / "age.key", sealed], ["rotate", "host_ed25519"]):
        refused = site.run(*words)
        assert refused.exit_code == 3 and "audit log" in refused.output, refused.output
    assert not (tmp_path / "upstream_ca").exists() and not (tmp_path / "host_key.next").exists()
