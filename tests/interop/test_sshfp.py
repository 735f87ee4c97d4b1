"""A real sshd whose host key nothing but DNS vouches for, and a gateway process that asks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import dns.message
import pytest

from bastion.wire.keys import decode_base64
from tests.support.dns import Resolver, records
from tests.support.net import LOOPBACK
from tests.support.world import World, refusal

pytestmark = pytest.mark.interop

HOST = "localhost"


class Zone:
    """What the resolver says; `lines` and `ad` can be changed while it runs."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.ad = True
        self.resolver = Resolver(self._answer)

    def _answer(self, query: dns.message.Message) -> bytes:
        return records(query, *self.lines, ad=self.ad).to_wire()

    def vouch(self, host_public: str) -> None:
        blob = decode_base64(host_public.split()[1])
        self.lines = [f"{HOST}. 60 IN SSHFP 4 2 {hashlib.sha256(blob).hexdigest()}"]


@pytest.fixture
def zone() -> Iterator[Zone]:
    made = Zone()
    yield made
    made.resolver.stop()


@pytest.fixture
def world(zone: Zone) -> Iterator[World]:
    made = World()
    try:
        listed = f'known_hosts = "known_hosts"\nsshfp_resolvers = ["{LOOPBACK}:{zone.resolver.port}"]'
        text = made.config.read_text().replace('known_hosts = "known_hosts"', listed)
        made.config.write_text(text)
        more = 'host_keys = "sshfp"\nallow_addresses = ["127.0.0.0/8", "::1/128"]'
        made.targets_file.write_text(f'[targets.web1]\nhost = "{HOST}"\nport = {made.sshd.port}\n{more}\n')
        made.known_hosts.write_text("")
        made.start()
        yield made
    finally:
        made.close()


def test_a_host_key_is_believed_as_long_as_dnssec_vouches_for_it(world: World, zone: Zone) -> None:
    zone.vouch(world.sshd.host_public)
    assert world.ssh("echo in").stdout == b"in\n"
    assert zone.resolver.asked == [(f"{HOST}.", "SSHFP")]
    assert world.metric('bastion_host_key_checks_total{outcome="sshfp_ok"}') == 1
    done = world.bastion("target", "test", "web1", "root", "--config", str(world.config))
    assert done.returncode == 0, done.stderr
    zone.ad = False
    text, reference = refusal(world.ssh("true"))
    assert "is not known: its SSHFP records are not proved by DNSSEC (no AD bit)" in text
    assert "host_key_unknown" in world.explain(reference)
    zone.ad = True
    zone.lines = [f"{HOST}. 60 IN SSHFP 4 2 {'00' * 32}"]
    text, reference = refusal(world.ssh("true"))
    assert f"is not one that the SSHFP records of {HOST} vouch for" in text
    assert "host_key_changed" in world.explain(reference)


def test_what_known_hosts_says_goes_first(world: World, zone: Zone) -> None:
    zone.vouch(world.sshd.host_public)
    place = f"[{HOST}]:{world.sshd.port}"
    other = (world.keys / "alice.pub").read_text()
    world.known_hosts.write_text(f"{place} {other}")
    world.reload()
    text, _ = refusal(world.ssh("true"))
    assert "the host key has changed" in text
    world.known_hosts.write_text(f"@revoked {place} {world.sshd.host_public}\n")
    world.reload()
    text, _ = refusal(world.ssh("true"))
    assert "is revoked" in text
    assert zone.resolver.asked == []
