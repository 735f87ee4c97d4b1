"""The certificate towards a target never outlives what the engineer logged in with."""

from dataclasses import replace

import pytest

from bastion.auth.certificates import CertificateFacts
from bastion.auth.restrictions import Restrictions
from bastion.ca.upstream import UpstreamCA
from bastion.clock import FixedClock
from bastion.errors import AuthReason, Refused, UpstreamReason
from bastion.session.upstream import TargetCredentials
from bastion.wire.certificates import Certificate
from bastion.wire.keys import PrivateKey
from tests.unit.policy.world import NOW, grant_of, person

CA = UpstreamCA(PrivateKey.generate_ed25519(), lifetime=300)
SESSION = "k3v2m5q7p2r4t6wa"


def certificate_for(identity) -> Certificate:
    made = TargetCredentials(CA, {}, FixedClock(NOW)).login_for(grant_of(), identity, SESSION)
    assert isinstance(made.credential, Certificate)
    return made.credential


def facts(valid_before):
    return CertificateFacts("laptop", 1, "SHA256:ca", "SHA256:key", valid_before, None, None, frozenset())


@pytest.mark.parametrize("end, expected", [(None, NOW + 300), (NOW + 60, NOW + 60), (NOW + 900, NOW + 300)])
def test_it_ends_with_the_restrictions(end, expected):
    identity = person("alice", "staff", restrictions=Restrictions(valid_before=end and int(end)))
    assert certificate_for(identity).valid_before == int(expected)


def test_the_intersection_counts_not_the_certificate_alone():
    identity = person("alice", "staff", restrictions=Restrictions(valid_before=int(NOW + 30)))
    assert certificate_for(replace(identity, certificate=facts(int(NOW + 200)))).valid_before == NOW + 30


def test_a_login_that_has_ended_gets_none():
    identity = person("alice", "staff", restrictions=Restrictions(valid_before=int(NOW)))
    with pytest.raises(Refused) as refused:
        certificate_for(identity)
    assert refused.value.reason is AuthReason.CERT_EXPIRED


def test_without_a_ca_and_without_a_key_there_is_no_login():
    with pytest.raises(Refused) as refused:
        TargetCredentials(None, {}, FixedClock(NOW)).login_for(grant_of(), person("alice", "staff"), SESSION)
    assert refused.value.reason is UpstreamReason.LOGIN_REFUSED and "web1" in refused.value.text


def test_a_configured_key_is_taken_before_the_ca():
    own = PrivateKey.generate_ed25519()
    made = TargetCredentials(CA, {"web1": own}, FixedClock(NOW)).login_for(
        grant_of(), person("alice", "staff"), SESSION
    )
    assert made.key is own and made.credential == own.public
