"""Which files a backup of keys has."""

from bastion.ca.ledger import Ledger
from bastion.config.key_backup import key_files, key_members, own_keys
from bastion.config.load import load


def test_every_key_that_is_there_and_the_ledger(site):
    site.make_key("web1_key")
    site.write("targets.toml", '[targets.web1]\nhost = "web1"\nkey_file = "web1_key"\n')
    config = load(site.config)
    members = key_members(config, Ledger())
    both = [name + end for name in ("host_key", "upstream_ca", "front_host_ca") for end in ("", ".pub")]
    assert sorted(members) == sorted(["keys.toml", *both, "login_ca.pub", "web1_key"])
    assert members["web1_key"].fingerprint == site.keys["web1_key"].public.fingerprint()
    assert sorted(own_keys(config, members)) == ["front_host_ca", "host_key", "upstream_ca"]


def test_a_file_elsewhere_has_its_whole_path(site, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "ca"
    site.edit('key = "upstream_ca"', f'key = "{elsewhere}"')
    assert key_files(load(site.config))[str(elsewhere)] == elsewhere
