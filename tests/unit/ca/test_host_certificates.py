"""The face of inner connections: certificates for the inventory's names, made once and renewed in time."""

from __future__ import annotations

from bastion.ca.front_host import BACKDATED, FrontHostCA
from bastion.ca.front_keys import FrontKeys
from bastion.ca.host_certificates import InnerHostKeys, names_of
from bastion.ca.slots import Staged
from bastion.clock import FixedClock
from bastion.policy.targets import Target
from bastion.transport.settings import TransportSettings
from bastion.wire.certificates import Certificate, CertificateKind
from bastion.wire.kexinit import FRONT
from bastion.wire.keys import PrivateKey

CA, HOST = PrivateKey.generate_ed25519(), PrivateKey.generate_ed25519()
WEB1 = Target("web1", host="10.0.0.5", aliases=("www",))
WEB2 = Target("web2", host="web2", port=2201)
DAY = 86400


def inner_host_keys(clock: FixedClock, ca: FrontHostCA | None) -> InnerHostKeys:
    base = TransportSettings(FRONT, signature_algorithms=())
    return InnerHostKeys(FrontKeys(base, [Staged(HOST)], clock), FRONT, ca, clock)


def shown(settings: TransportSettings) -> Certificate:
    host_key = settings.host_key_of["ssh-ed25519-cert-v01@openssh.com"]
    return Certificate.parse(host_key.blob)


def test_a_certificate_has_the_names_of_the_inventory() -> None:
    clock = FixedClock()
    certificate = shown(inner_host_keys(clock, FrontHostCA(Staged(CA), DAY)).settings_for(WEB1))
    assert certificate.kind is CertificateKind.HOST
    assert certificate.principals == ("web1", "www", "10.0.0.5") == names_of(WEB1)
    assert certificate.signature_key == CA.public
    assert certificate.key.blob == HOST.public.blob
    now = int(clock.time())
    assert (certificate.valid_after, certificate.valid_before) == (max(0, now - BACKDATED), now + DAY)
    assert certificate.critical_options == {}
    assert names_of(WEB2) == ("web2",)


def test_the_same_key_is_offered_plain_behind_its_certificate() -> None:
    settings = inner_host_keys(FixedClock(), FrontHostCA(Staged(CA), DAY)).settings_for(WEB1)
    assert settings.algorithms.host_keys == ("ssh-ed25519-cert-v01@openssh.com", "ssh-ed25519")
    assert settings.host_key_of["ssh-ed25519"].blob == HOST.public.blob


def test_without_an_authority_there_is_the_plain_key() -> None:
    made = inner_host_keys(FixedClock(), None)
    assert made.settings_for(WEB1).algorithms.host_keys == ("ssh-ed25519",)
    assert made.front.publics == (HOST.public,)


def test_certificates_are_kept_and_renewed_before_they_end() -> None:
    clock = FixedClock()
    made = inner_host_keys(clock, FrontHostCA(Staged(CA), DAY))
    first = made.settings_for(WEB1)
    assert made.settings_for(WEB1) is first
    assert made.settings_for(WEB2) is not first
    clock.advance(DAY / 2 - 1)
    assert made.settings_for(WEB1) is first
    clock.advance(2)
    second = made.settings_for(WEB1)
    assert shown(second).valid_before > shown(first).valid_before
    assert shown(second).serial != shown(first).serial
