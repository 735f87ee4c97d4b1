"""Who decides, and with what that is proved: a code, or a passkey's signature over one decision."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from fido2.cose import ES256
from sqlalchemy import update
from twisted.internet.defer import Deferred, execute, fail, succeed

from bastion.auth.webauthn import Party, text_of, user_handle
from bastion.control.approvals import answer_words
from bastion.control.asking import By
from bastion.control.deletion import answering_words, asking_words
from bastion.control.proofs import Proof, proved
from bastion.control.proving import AHEAD, LIFE, challenge_of, is_timely
from bastion.errors import ApprovalReason, AuthReason, PolicyReason, Refused
from bastion.policy.locks import Lock, LockKind, LockSet
from bastion.session.gateway import Gateway
from bastion.state.database import Database, Place
from bastion.state.passkeys import Passkey, fingerprint, keep
from bastion.state.schema import PASSKEYS
from bastion.state.schema_version import check_schema
from tests.hostile.memory_gateway import MemoryGateway
from tests.support.passkeys import Authenticator, data

ORIGIN = "http://localhost:9743"
CONSOLE = By(990, "console", "alice")
ABOUT = answer_words("k3v2m5q7p2", True)
UID = "u-1"


class Store:
    """Rows in a file, at once."""

    def __init__(self, database: Database) -> None:
        self.database, self.down = database, False

    def decide(self, decision, asker=None):
        return fail(OSError("away")) if self.down else execute(decision, self.database)


@pytest.fixture
def gateway(tmp_path, monkeypatch):
    made = MemoryGateway(tmp_path, monkeypatch)
    gateway = made.program.gateway
    database = Database(Place(tmp_path / "store"))
    check_schema(database)
    monkeypatch.setattr(gateway, "state", Store(database))
    terms = replace(gateway.services.approvals, origin=ORIGIN)
    gateway.services = replace(gateway.services, approvals=terms)

    def check(uid, answer, asker):
        return succeed(False) if answer == "123456" else fail(Refused(AuthReason.BAD_CODE, "no"))

    monkeypatch.setattr(Gateway, "codes", property(lambda self: check))
    yield gateway
    database.close()
    monkeypatch.undo()
    made.close()


@pytest.fixture
def key(gateway):
    """A passkey of alice's, and what makes its answers."""
    made = Authenticator(ORIGIN, "localhost", 1)
    made.handle = user_handle(UID)
    public = ES256.from_cryptography_key(made.key.public_key())
    cose = {str(name): value if isinstance(value, int) else text_of(value) for name, value in public.items()}
    passkey = Passkey(
        _print(made.credential), text_of(made.credential), json.dumps(cose), UID, "alice", "a key", 1, 0, 1.0
    )
    assert keep(gateway.state.database, passkey)
    return made


def _print(credential: bytes) -> str:
    return fingerprint(credential)


def signed(gateway, key, about=ABOUT, uid=UID, ago=0, told=0, **changes):
    """A passkey's answer, asked so many seconds ago; `told`: the moment that is told is another by so many."""
    moment = int(gateway.clock.time()) - ago
    options = Party(ORIGIN).request(challenge_of(uid, moment, *about))
    return Proof(ABOUT, "", key.get(options, **changes), moment + told)


def came(gateway, proof, by=CONSOLE):
    """Who it is, or what was refused."""
    got = []
    Deferred.fromCoroutine(proved(gateway, by, proof)).addBoth(got.append)
    return got[0]


def reason(gateway, proof, by=CONSOLE):
    failure = came(gateway, proof, by)
    assert isinstance(failure.value, Refused), failure
    return failure.value.reason, failure.value.text


def test_a_code_proves_somebody_and_a_passkey_does(gateway, key):
    by = came(gateway, Proof(ABOUT, "123456"))
    assert (by.name, by.uid, by.factor) == ("alice", UID, "totp")
    by = came(gateway, signed(gateway, key))
    assert (by.name, by.uid, by.factor) == ("alice", UID, "passkey")


@pytest.mark.parametrize(
    "about",
    [
        answer_words("k3v2m5q7p2", False),
        answer_words("k3v2m5q7p3", True),
        asking_words("k3v2m5q7p2"),
        answering_words("k3v2m5q7p2", True),
        ("requestk3v2m5q7p2", "approve"),
        (),
    ],
)
def test_what_was_signed_is_good_for_that_alone(gateway, key, about):
    assert reason(gateway, signed(gateway, key, about)) == (
        ApprovalReason.NO_FACTOR,
        "the passkey was not accepted: factor_invalid",
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"uid": "u-bob"}, "factor_invalid"),
        ({"ago": LIFE + 1}, "factor_invalid"),
        ({"ago": -AHEAD - 1}, "factor_invalid"),
        ({"ago": LIFE + 1, "told": LIFE}, "factor_invalid"),
        ({"told": 1}, "factor_invalid"),
        ({"flags": 1}, "sk_not_verified"),
        ({"rp_id": "example.com"}, "bad_signature"),
        ({"origin": "http://localhost:1"}, "bad_signature"),
        ({"crossOrigin": True}, "factor_invalid"),
        ({"handle": b"another"}, "factor_invalid"),
    ],
)
def test_with_one_thing_wrong_nobody_is_proved(gateway, key, changes, why):
    assert reason(gateway, signed(gateway, key, **changes))[1] == f"the passkey was not accepted: {why}"
    assert came(gateway, signed(gateway, key)).name == "alice"


@pytest.mark.parametrize("text", ["x", "{}", "[]", '{"rawId": "AAAA", "response": {}}', "x" * 5000])
def test_what_is_no_answer_is_none(gateway, key, text):
    assert reason(gateway, Proof(ABOUT, "", text, int(gateway.clock.time())))[0] is ApprovalReason.NO_FACTOR


def test_a_copy_and_a_second_time_are_told(gateway, key):
    once = signed(gateway, key)
    assert came(gateway, once).name == "alice"
    assert "bad_signature" in reason(gateway, once)[1]


def test_a_passkey_of_another_account_is_none(gateway, key):
    with gateway.state.database.write() as connection:
        connection.execute(update(PASSKEYS).values(uid="u-2"))
    assert "factor_invalid" in reason(gateway, signed(gateway, key))[1]


def test_it_is_taken_where_the_configuration_says_so_alone(gateway, key):
    terms = replace(gateway.services.approvals, origin="")
    gateway.services = replace(gateway.services, approvals=terms)
    assert "takes no passkeys" in reason(gateway, signed(gateway, key))[1]


@pytest.mark.parametrize(
    ("lock", "why"),
    [
        (Lock(LockKind.USER, "alice", "x", "sec", 1.0), "locked by"),
        (None, "the passkey was not accepted: locked"),
    ],
)
def test_whoever_is_locked_and_what_is_locked_proves_nothing(gateway, key, lock, why):
    locked = lock or Lock(LockKind.CERTIFICATE, _print(key.credential), "lost", "sec", 1.0)
    gateway.locks = LockSet((locked,))
    found, text = reason(gateway, signed(gateway, key))
    assert why in text and found in (PolicyReason.LOCKED, ApprovalReason.NO_FACTOR)


def test_guesses_are_charged(gateway, key):
    wrong = [reason(gateway, signed(gateway, key, ()))[1] for _ in range(12)]
    assert "throttled" in wrong[-1] and "throttled" in reason(gateway, signed(gateway, key))[1]


def test_while_the_store_is_away_nothing_is_proved(gateway, key):
    proof = signed(gateway, key)
    gateway.state.down = True
    assert "factor_unavailable" in reason(gateway, proof)[1]
    gateway.state.down = False
    assert came(gateway, proof).name == "alice", "nobody's guess"


@pytest.mark.parametrize("name", ["nobody", "root"])
def test_who_is_nobody_in_the_directory_decides_nothing(gateway, name):
    assert reason(gateway, Proof(ABOUT, "123456"), By(0, name))[0] is ApprovalReason.NOT_APPROVER


def test_a_challenge_is_of_its_words_and_their_order():
    made = {
        challenge_of("u", 1, "a", "b"),
        challenge_of("u", 1, "ab"),
        challenge_of("u", 1, "b", "a"),
        challenge_of("u", 2, "a", "b"),
        challenge_of("v", 1, "a", "b"),
        challenge_of("u", 1, 'a", "b'),
    }
    assert len(made) == 6 and all(len(one) == 32 for one in made) and data(text_of(b"x")) == b"x"
    assert is_timely(100, 100 + LIFE) and not is_timely(100, 101 + LIFE) and not is_timely(200, 100)
