"""The key files of a configuration, and what others should trust of them."""

from bastion.ca.ledger import KeyName
from bastion.config.key_slots import ledger_path, load_staged, login_slots, publics_of, signing_slots
from bastion.config.load import load
from tests.unit.config.site import rotating


def test_each_key_file_is_a_slot(site):
    config = load(site.config)
    assert [(slot.name, slot.path.name) for slot in (*signing_slots(config), *login_slots(config))] == [
        (KeyName.HOST_KEYS, "host_key"),
        (KeyName.UPSTREAM_CA, "upstream_ca"),
        (KeyName.FRONT_HOST_CA, "front_host_ca"),
        (KeyName.LOGIN_CA, "login_ca.pub"),
    ]
    assert ledger_path(config) == site.folder / "keys.toml"


def test_others_trust_both_during_an_overlap(site):
    new = rotating(site, "front_host_ca", ledger="other.toml")
    assert publics_of(load_staged(load(site.config), KeyName.FRONT_HOST_CA)) == (
        site.keys["front_host_ca"].public,
    )
    site.edit("[directory]", '[keys]\nledger = "other.toml"\n[directory]')
    found = publics_of(load_staged(load(site.config), KeyName.FRONT_HOST_CA))
    assert found == (site.keys["front_host_ca"].public, new.public)
