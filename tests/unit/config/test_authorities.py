"""Keys beside each other and beside the ledger: what is an error, and what can wait."""

from bastion.ca.ledger import Entry, KeyName, Ledger, write_ledger
from bastion.config.authorities import title
from bastion.config.check import inspect
from bastion.wire.keys import PrivateKey
from tests.unit.config.site import rotating

LONG_AGO = 1_000_000_000.0


def found(site):
    report = inspect(site.config)
    return [str(error) for error in report.errors], [str(error) for error in report.warnings]


def in_ledger(site, *entries):
    write_ledger(site.folder / "keys.toml", Ledger(entries))


def test_a_retired_key_in_use_is_an_error(site):
    key = site.keys["upstream_ca"].public
    in_ledger(site, Entry(KeyName.UPSTREAM_CA, key, 1.0, "root", 1.0, retired=LONG_AGO))
    (error,), _ = found(site)
    assert "upstream_ca (upstream CA) is SHA256:" in error
    assert "which was retired as upstream CA on 2001-09-09 01:46Z" in error


def test_a_retired_key_of_another_authority_is_one_too(site):
    key = site.keys["host_ca"].public
    in_ledger(site, Entry(KeyName.LOGIN_CA, key, 1.0, "root", 1.0, retired=LONG_AGO))
    (error,), _ = found(site)
    assert "known_hosts:1 (target host CA) is" in error and "retired as login CA" in error


def test_a_key_that_the_ledger_knows_as_something_else(site):
    in_ledger(site, Entry(KeyName.LOGIN_CA, site.keys["front_host_ca"].public, 1.0, "root", 1.0))
    (error,), _ = found(site)
    assert "which the ledger knows as login CA" in error


def test_an_overlap_that_has_ended_is_a_warning(site):
    rotating(site, "upstream_ca", LONG_AGO, "keys.toml")
    errors, (warning,) = found(site)
    assert errors == []
    assert "the overlap of upstream_ca ended on 2001-09-09 01:46Z" in warning
    assert "bastion keys retire upstream_ca" in warning


def test_a_key_to_come_is_an_authority_already(site):
    new = rotating(site, "upstream_ca", ledger="keys.toml")
    assert found(site) == ([], [])
    staged = inspect(site.config).material.upstream_ca
    assert staged.publics == (site.keys["upstream_ca"].public, new.public)
    site.write("login_ca.pub", new.public.line() + "\n")
    errors, _ = found(site)
    assert any("are the same key" in error and "upstream_ca.next" in error for error in errors)


def test_a_key_beside_that_no_rotation_knows_of(site):
    site.write("upstream_ca.next", "anything", 0o600)
    errors, (warning,) = found(site)
    assert errors == [] and "is in no rotation that the ledger knows of" in warning


def test_the_ledger_decides_so_it_is_closed_to_others(site):
    rotating(site, "upstream_ca", ledger="keys.toml")
    (site.folder / "keys.toml").chmod(0o666)
    (error,), _ = found(site)
    assert "keys.toml can be written by others" in error


def test_a_ledger_that_cannot_be_read_stops_everything(site):
    site.write("keys.toml", "[[key]]\nname = 1\n")
    errors, _ = found(site)
    assert any("keys.toml:2: key[1].name" in error for error in errors)


def test_a_ledger_that_is_configured_and_missing_is_an_error(site):
    site.edit("[directory]", '[keys]\nledger = "gone.toml"\n[directory]')
    (error,), _ = found(site)
    assert "gone.toml does not exist: which keys were retired is not known" in error


def test_what_keys_are_called():
    assert [title(KeyName.HOST_KEYS, kind) for kind in ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256")] == [
        "host_ed25519",
        "host_rsa",
        "host_ecdsa",
    ]
    assert title(KeyName.LOGIN_CA, PrivateKey.generate_ed25519().public.type) == "login_ca"
