"""Whose AD bit is believed."""

from bastion.config.check import inspect
from bastion.config.resolvers import resolvers_of
from bastion.options.kinds import Address


def test_those_that_are_listed_or_those_on_loopback(tmp_path):
    conf = tmp_path / "resolv.conf"
    conf.write_text(
        "# local\nnameserver 192.0.2.53\nnameserver 127.0.0.53 \nnameserver ::1\nnameserver x\noptions ad\n"
    )
    assert resolvers_of((), conf) == (Address("127.0.0.53", 53), Address("::1", 53))
    assert resolvers_of((Address("192.0.2.1", 53),), conf) == (Address("192.0.2.1", 53),)
    assert resolvers_of((), tmp_path / "none") == ()


def test_a_target_by_sshfp_needs_a_name_and_a_resolver(site, monkeypatch):
    def errors():
        return [str(error) for error in inspect(site.config).errors]

    site.edit('known_hosts = "known_hosts"\n', 'sshfp_resolvers = ["127.0.0.1:53"]\n')
    site.write("targets.toml", '[targets.web1]\nhost = "web1.example.com"\nhost_keys = "sshfp"\n')
    assert errors() == []
    site.write("targets.toml", '[targets.web1]\nhost = "10.0.0.5"\nhost_keys = "sshfp"\n')
    (error,) = errors()
    assert "targets.toml:3: targets.web1.host_keys: an address has no SSHFP records" in error
    site.write("targets.toml", '[targets.web1]\nhost = "web1.example.com"\nhost_keys = "sshfp"\n')
    site.edit('sshfp_resolvers = ["127.0.0.1:53"]\n', "")
    monkeypatch.setattr("bastion.config.check.resolvers_of", lambda listed: ())
    (error,) = errors()
    assert "whose word on DNSSEC could be taken" in error
