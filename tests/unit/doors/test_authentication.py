"""Authentication of one connection: what is written down, what is told, what must be written or nothing happens."""

import base64
import json
import os
from types import SimpleNamespace

import pytest
from twisted.internet.defer import fail, succeed
from twisted.internet.task import Clock

from bastion.auth.budget import Budget
from bastion.auth.context import AuthContext, AuthServices
from bastion.auth.factors import chains_of
from bastion.auth.identity import Account, AccountState
from bastion.auth.throttle import Penalties
from bastion.clock import FixedClock
from bastion.doors.authentication import Authentication
from bastion.errors import AuthReason, Refused
from bastion.observe.audit import AuditLog
from bastion.observe.meters import AUTH_ATTEMPTS, Meters
from bastion.observe.rationed import RationedLog
from bastion.userauth.server import UserauthService
from bastion.wire.certificates import Certificate, CertificateKind, issue
from bastion.wire.data import string
from bastion.wire.keys import PrivateKey
from bastion.wire.userauth import (
    KeyboardInteractiveBody,
    PasswordBody,
    PublicKeyBody,
    UserauthBanner,
    UserauthRequest,
)
from tests.support.conns import MemoryConn
from tests.unit.wire.keygen import keygen, make_key

CA = PrivateKey.generate_ed25519()
KEY = PrivateKey.generate_ed25519()
OFFERED = ("publickey", "password", "keyboard-interactive")
CONNECTION = "k3v2m5q7p2r4t6wa"


class Wire(MemoryConn):
    """The transport below."""

    @property
    def banners(self):
        return [UserauthBanner.parse(p).text.decode() for p in self.sent if p[0] == 53]


class Door:
    """One connection with a directory whose answer is `answer`: an Account or a Refused."""

    def __init__(self, folder, required=False):
        self.answer = Account("alice", "u-1", frozenset(), (), "test", AccountState.ACTIVE)
        self.meters, self.clock, self.reactor = Meters(), FixedClock(), Clock()
        self.audit = AuditLog(str(folder / "audit"), self.clock, self.meters, required)
        self.wire, self.let_in = Wire(), []
        directory = SimpleNamespace(check_password=self._answer, check_key=self._judged)
        services = AuthServices(directory, (CA.public,), Penalties(self.clock), OFFERED, chains_of(OFFERED))
        self.budget = Budget(self.clock)
        self.rationed = RationedLog(self.audit, self.reactor, self.meters)
        self.context = AuthContext(
            services, "192.0.2.1", self.budget.source("192.0.2.1"), "192.0.2.1", self.clock, self.meters, self.audit,
            self.rationed, CONNECTION,
        )  # fmt: skip
        self.penalties = services.penalties
        self.authentication = Authentication(self.context, lambda identity, *_: self.let_in.append(identity))
        self.service = UserauthService(self.wire, self.authentication, self.reactor)
        self.authentication.on_notice = self.service.banner
        self.service.receive(b"\x05" + string(b"ssh-userauth"))

    def _answer(self, *_):
        return fail(self.answer) if isinstance(self.answer, Refused) else succeed(self.answer)

    def _judged(self, name, judge, asker):
        return self._answer().addCallback(judge)

    def ask(self, method, body, user="alice+root+web1"):
        self.service.receive(UserauthRequest(user, "ssh-connection", method, body).encode())
        self.reactor.advance(1)

    def password(self):
        self.ask("password", PasswordBody(b"secret").encode())

    def query(self, credential, algorithm):
        self.ask("publickey", PublicKeyBody(algorithm, credential.blob, None).encode())

    def settled(self, method, reason):
        """Another connection of the same source is as good: the penalties are shared."""
        self.authentication.open("alice", method).settle(reason)

    def break_log(self):
        os.close(self.audit._fd)
        self.audit._fd = os.open("/dev/full", os.O_WRONLY)

    @property
    def lines(self):
        with open(self.audit.path, encoding="utf-8") as file:
            return [json.loads(line) for line in file]


@pytest.fixture
def door(tmp_path):
    made = Door(tmp_path)
    yield made
    made.audit.close()


@pytest.fixture
def strict_door(tmp_path):
    made = Door(tmp_path, required=True)
    yield made
    made.audit.close()


def certificate(**changes) -> Certificate:
    facts = {
        "kind": CertificateKind.USER, "key_id": "laptop", "principals": ("alice",), "serial": 7,
        "valid_after": 0, "valid_before": 1, **changes,
    }  # fmt: skip
    return issue(CA, KEY.public, **facts)


@pytest.mark.parametrize(
    "reason, words",
    [
        (AuthReason.DIRECTORY_UNAVAILABLE, "not available"),
        (AuthReason.DIRECTORY_TIMEOUT, "did not answer in time"),
    ],
)
def test_an_ill_directory_is_told_once_with_a_reference(door, reason, words):
    door.answer = Refused(reason, "x")
    door.password()
    door.password()
    assert len(door.wire.banners) == 1
    assert words in door.wire.banners[0] and door.wire.banners[0].endswith(" (ref k3v2m5)\r\n")
    assert [line["reason"] for line in door.lines] == [reason, reason]


def test_a_wrong_password_is_told_nothing(door):
    door.answer = Refused(AuthReason.BAD_PASSWORD, "x")
    door.password()
    assert door.wire.banners == []


def test_who_must_wait_is_told(door):
    door.answer = Refused(AuthReason.BAD_PASSWORD, "x")
    for _ in range(5):
        door.password()
    for _ in range(3):
        door.settled("password", AuthReason.BAD_PASSWORD)
    assert door.penalties.wait("192.0.2.1", "alice") > 0
    door.settled("password", AuthReason.THROTTLED)
    assert len(door.wire.banners) == 1 and "try again later" in door.wire.banners[0]


def test_a_refused_certificate_query_is_counted_and_described_as_one(door):
    door.query(certificate(), "ssh-ed25519-cert-v01@openssh.com")
    line = door.lines[0]
    assert line["method"] == "certificate" and line["reason"] == AuthReason.CERT_EXPIRED
    assert line["key"] == KEY.public.fingerprint() and line["certificate_serial"] == 7
    assert line["certificate_id"] == "laptop" and line["ca"] == CA.public.fingerprint()
    assert door.meters.value(AUTH_ATTEMPTS, "certificate", AuthReason.CERT_EXPIRED) == 1


def test_a_query_that_was_answered_well_leaves_nothing_behind(door):
    door.query(certificate(valid_before=2**63), "ssh-ed25519-cert-v01@openssh.com")
    door.settled("publickey", AuthReason.BAD_SIGNATURE)
    assert "certificate_id" not in door.lines[0] and door.lines[0]["method"] == "publickey"


def test_a_ca_signature_that_is_not_accepted_has_its_own_reason(door, tmp_path):
    ca, key = make_key(tmp_path, "ca", "-t", "rsa", "-b", "2048"), make_key(tmp_path, "key", "-t", "ed25519")
    keygen("-q", "-s", ca, "-t", "ssh-rsa", "-I", "old", "-n", "alice", f"{key}.pub")
    blob = base64.b64decode((tmp_path / "key-cert.pub").read_text().split()[1])
    door.query(SimpleNamespace(blob=blob), "ssh-ed25519-cert-v01@openssh.com")
    assert [line["reason"] for line in door.lines] == [AuthReason.CERT_CA_ALGORITHM]
    door.query(SimpleNamespace(blob=blob[:-3]), "ssh-ed25519-cert-v01@openssh.com")
    assert door.lines[-1]["reason"] == AuthReason.CERT_MALFORMED


def test_a_login_that_cannot_be_written_down_is_refused(strict_door):
    strict_door.break_log()
    strict_door.password()
    assert strict_door.let_in == []
    assert len(strict_door.wire.goodbyes) == 1
    assert "the audit log cannot be written (ref k3v2m5)" in strict_door.wire.goodbyes[0]
    assert strict_door.wire.banners == [strict_door.wire.goodbyes[0] + "\r\n"]
    assert strict_door.meters.value(AUTH_ATTEMPTS, "password", AuthReason.OK) == 0


def test_a_refusal_that_cannot_be_written_down_ends_the_connection(strict_door):
    strict_door.answer = Refused(AuthReason.BAD_PASSWORD, "x")
    strict_door.break_log()
    strict_door.password()
    assert len(strict_door.wire.goodbyes) == 1
    strict_door.password()
    assert len(strict_door.wire.goodbyes) == 1


def test_without_that_rule_a_lost_line_is_counted_and_the_login_goes_on(door):
    door.break_log()
    door.password()
    assert len(door.let_in) == 1 and door.audit.failing


@pytest.mark.parametrize("user", ["alice+root+web1+more", "alice+ro ot+web1", "al/ice", "x" * 33, ""])
@pytest.mark.parametrize(
    "method, body",
    [("password", PasswordBody(b"secret")), ("keyboard-interactive", KeyboardInteractiveBody())],
)
def test_a_name_that_nobody_can_have_is_refused_with_its_grammar(door, user, method, body):
    door.ask(method, body.encode(), user)
    assert [line["reason"] for line in door.lines] == [AuthReason.BAD_USER_NAME]
    assert door.wire.goodbyes == [] and "identity+login+target" in door.wire.banners[0]
