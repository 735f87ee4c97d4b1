"""The certificate towards a target never outlives what the engineer logged in with."""

import queue
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet.defer import succeed
from twisted.internet.task import Clock

from bastion.auth.certificates import CertificateFacts
from bastion.auth.restrictions import Restrictions
from bastion.ca.slots import Staged
from bastion.ca.upstream import UpstreamCA
from bastion.clock import FixedClock
from bastion.errors import AuthReason, Refused, UpstreamReason
from bastion.policy.grant import authorise
from bastion.upstream.credentials import TargetCredentials
from bastion.wire.certificates import Certificate
from bastion.wire.data import Reader
from bastion.wire.keys import PrivateKey
from tests.unit.policy.world import NOW, grant_of, inventory_of, person, policy_of

CA = UpstreamCA(Staged(PrivateKey.generate_ed25519()), lifetime=300)
SESSION = "k3v2m5q7p2r4t6wa"


def certificate_for(identity) -> Certificate:
    made = TargetCredentials(CA, {}, FixedClock(NOW)).login_for(grant_of(), identity, SESSION)
    assert isinstance(made.credential, Certificate)
    return made.credential


def test_each_that_is_made_is_told_of():
    credentials, told = TargetCredentials(CA, {}, FixedClock(NOW)), []
    credentials.on_certificate = lambda: told.append(1)
    credentials.login_for(grant_of(), person("alice", "staff"), SESSION)
    credentials.login_for(grant_of(), person("alice", "staff"), SESSION)
    assert told == [1, 1]


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


# -- keys and passwords of targets that know no certificates -------------------------------------------------


def grant_with(more, target="web1"):
    inventory = inventory_of(f'[targets.{target}]\nhost = "h.example.com"\n{more}')
    return authorise(
        policy_of(), inventory, person("alice", "staff"), target, "deploy", "192.0.2.1", NOW, "sess"
    )


def made_for(more, ask=None, reactor=None, keys=None):
    credentials = TargetCredentials(CA, keys or {}, FixedClock(NOW), reactor)
    return credentials.login_for(grant_with(more), person("alice", "staff"), SESSION, ask)


@pytest.fixture(scope="module")
def rsa():
    return PrivateKey.from_bytes(
        generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )


def test_an_rsa_key_signs_with_sha1_only_where_the_target_lists_it(rsa):
    sha2 = ("rsa-sha2-512", "rsa-sha2-256")
    assert made_for("", keys={"web1": rsa}).algorithms == sha2
    assert made_for('legacy = ["3des-cbc"]', keys={"web1": rsa}).algorithms == sha2
    assert made_for('legacy = ["ssh-rsa"]', keys={"web1": rsa}).algorithms == (*sha2, "ssh-rsa")
    ed25519 = PrivateKey.generate_ed25519()
    assert made_for('legacy = ["ssh-rsa"]', keys={"web1": ed25519}).algorithms == ("ssh-ed25519",)


def test_a_password_is_asked_of_the_engineer_with_login_and_target():
    asked = []

    def ask(prompt, instruction):
        asked.append((prompt, instruction))
        return succeed(b"typed")

    made = made_for("password = { ask = true }", ask)
    assert made.by_person and made.tries == 3 and made.source == "asked" and asked == []
    assert made.fetch(0).result == b"typed"
    made.fetch(1)
    prompt = "Password of deploy on web1: "
    assert asked == [(prompt, ""), (prompt, "web1 did not accept it.")]


def test_where_nobody_can_be_asked_there_is_no_login():
    with pytest.raises(Refused) as refused:
        made_for("password = { ask = true }")
    assert refused.value.reason is UpstreamReason.CREDENTIAL_FAILED


class Threads(Clock):
    """A reactor whose thread is whoever calls `wait`."""

    def __init__(self):
        super().__init__()
        self.answers = queue.Queue()

    def callFromThread(self, function, *arguments):
        self.answers.put((function, arguments))

    def wait(self):
        function, arguments = self.answers.get(timeout=10)
        function(*arguments)


def fetched(more):
    reactor, outcome = Threads(), []
    made_for(more, reactor=reactor).fetch(0).addBoth(outcome.append)
    assert outcome == []
    reactor.wait()
    assert not reactor.getDelayedCalls()
    return outcome[0]


def test_a_password_comes_from_a_file_at_the_moment_it_is_needed(tmp_path):
    file = tmp_path / "secret"
    more = f'password = {{ file = "{file}" }}'
    missing = fetched(more).value
    assert missing.reason is UpstreamReason.CREDENTIAL_FAILED and str(file) not in missing.text
    file.write_text("first\n")
    file.chmod(0o600)
    assert fetched(more) == b"first"
    file.write_text("second\n")
    assert fetched(more) == b"second"
    file.chmod(0o644)
    assert fetched(more).value.text == "the password's file lets others in (mode 0644)"


def test_a_command_gets_target_and_login_and_nothing_of_a_shell():
    command = '["/usr/bin/printf", "%s", "{target}/{login}; id {1}"]'
    assert fetched(f"password = {{ command = {command} }}") == b"web1/deploy; id {1}"
    failed = fetched('password = { command = ["/bin/false"] }').value
    assert failed.text == "the password's command ended with status 1"


def test_a_login_that_is_given_up_kills_the_command():
    reactor = Threads()
    made = made_for('password = { command = ["/bin/sleep", "60"], timeout = "60s" }', reactor=reactor)
    fetching = made.fetch(0)
    failures = []
    fetching.addErrback(failures.append)
    fetching.cancel()
    reactor.wait()  # the thread is back, so the command has ended
    assert len(failures) == 1


# -- hops ----------------------------------------------------------------------------------------------------

HOPS = """
[targets.edge1]
host = "192.0.2.1"
hop_login = "jump"
hop_egress = ["10.20.0.1", "10.20.0.2"]
[targets.core2]
host = "10.20.0.9"
hop_login = "pass"
via = "edge1"
[targets.web1]
host = "10.30.0.7"
via = "core2"
"""


def hop_grant(**restrictions):
    who = person("alice", "staff", restrictions=Restrictions(**restrictions))
    return authorise(policy_of(), inventory_of(HOPS), who, "web1", "deploy", "192.0.2.1", NOW, SESSION), who


def test_a_hop_s_certificate_permits_to_go_on_and_names_whose_session_it_is():
    grant, _ = hop_grant(valid_before=int(NOW + 60))
    credentials = TargetCredentials(
        UpstreamCA(Staged(PrivateKey.generate_ed25519()), ["198.51.100.1"]), {}, FixedClock(NOW)
    )
    edge, core = (grant.inventory.find(name) for name in ("edge1", "core2"))
    first, second = (credentials.hop_login(grant, hop).credential for hop in (edge, core))
    assert (first.principals, second.principals) == (("jump",), ("pass",))
    assert first.key_id == second.key_id == f"alice {SESSION}"
    assert list(first.extensions) == ["permit-port-forwarding"]
    assert first.valid_before == NOW + 60


def test_where_a_certificate_may_come_from_is_where_the_machine_sees_it_come_from():
    grant, who = hop_grant()
    credentials = TargetCredentials(
        UpstreamCA(Staged(PrivateKey.generate_ed25519()), ["198.51.100.1"]), {}, FixedClock(NOW)
    )
    edge, core = (grant.inventory.find(name) for name in ("edge1", "core2"))
    sources = [
        dict(made.credential.critical_options).get("source-address")
        for made in (
            credentials.hop_login(grant, edge),
            credentials.hop_login(grant, core),
            credentials.login_for(grant, who, SESSION),  # core2 does not say
            credentials.probe(grant),
        )
    ]
    shown = [None if one is None else Reader(one).text() for one in sources]
    assert shown == ["198.51.100.1", "10.20.0.1/32,10.20.0.2/32", None, None]


def test_a_hop_s_own_key_is_taken_before_the_ca():
    grant, _ = hop_grant()
    own = PrivateKey.generate_ed25519()
    made = TargetCredentials(CA, {"edge1": own}, FixedClock(NOW)).hop_login(
        grant, grant.inventory.find("edge1")
    )
    assert made.key is own
