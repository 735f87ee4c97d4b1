"""Certificates of the front host CA: host certificates for the names it was given, from an hour ago."""

from __future__ import annotations

import pytest

from bastion.ca.front_host import BACKDATED, FrontHostCA
from bastion.ca.slots import Staged
from bastion.errors import ConfigError
from bastion.wire.certificates import Certificate, CertificateKind
from bastion.wire.keys import PrivateKey

CA, HOST = PrivateKey.generate_ed25519(), PrivateKey.generate_ed25519()
DAY = 86400


@pytest.mark.parametrize("now", [1_800_000_000.9, 10.0])
def test_a_certificate_names_what_it_was_given_once_and_lasts_as_long_as_was_said(now: float) -> None:
    made = FrontHostCA(Staged(CA), DAY).certify(HOST.public, ["web1", "www", "web1"], now)
    read = Certificate.parse(made.blob)
    assert (read.kind, read.principals, read.key_id) == (
        CertificateKind.HOST,
        ("web1", "www"),
        "bastion for web1",
    )
    assert (read.valid_after, read.valid_before) == (max(0, int(now) - BACKDATED), int(now) + DAY)
    assert (read.signature_key, read.key) == (CA.public, HOST.public)
    assert read.critical_options == {}


@pytest.mark.parametrize("lifetime", [0, 60, 31 * DAY])
def test_lifetimes_out_of_range_are_refused(lifetime: int) -> None:
    with pytest.raises(ConfigError, match="lifetime"):
        FrontHostCA(Staged(CA), lifetime)
