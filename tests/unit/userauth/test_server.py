"""The server's half of ssh-userauth, one message at a time, with somebody who decides as the test says."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from bastion.auth.identity import MAX_USER_NAME
from bastion.errors import AuthReason, LimitReason, ProtocolError, Refused
from bastion.userauth.server import (
    ANSWER_FLOOR,
    MAX_FAILURES,
    MAX_PASSWORD,
    MAX_REQUESTS,
    MAX_WAITING,
    SEE_ABOVE,
    SHOWN_DISCONNECT,
    UserauthService,
)
from bastion.wire.data import string
from bastion.wire.keys import PrivateKey
from bastion.wire.numbers import Disconnect
from bastion.wire.userauth import (
    HOSTBOUND,
    InfoRequest,
    InfoResponse,
    KeyboardInteractiveBody,
    PasswordBody,
    PkOk,
    Prompt,
    PublicKeyBody,
    UserauthBanner,
    UserauthFailure,
    UserauthRequest,
)
from tests.support.conns import MemoryConn

KEY = PrivateKey.generate_ed25519().public
METHODS = ("publickey", "password", "keyboard-interactive")
NO = Refused(AuthReason.BAD_PASSWORD, "no")


class Attempt:
    """One attempt; every proof is judged by `answer`: an outcome, or a Deferred that fires later."""

    owed = ()

    def __init__(self, judge: Judge, user: str, method: str) -> None:
        self.judge, self.user, self.method = judge, user, method
        self.settled: list[AuthReason] = []
        self.whole = not judge.more

    def keep(self) -> None:
        self.judge.kept.append((self.user, self.method))

    def _judged(self, *_: object) -> Deferred[None]:
        answer = self.judge.answer
        if isinstance(answer, Deferred):
            return answer
        return succeed(None) if answer is None else fail(answer)

    none = key_known = key_proved = password = answer = _judged

    def read_key(self, algorithm: str, blob: bytes) -> Any:
        if isinstance(self.judge.unread, Refused):
            raise self.judge.unread
        return KEY

    def verify(self, credential: object, algorithm: str, signature: bytes, data: bytes) -> None:
        if signature != b"good":
            raise Refused(AuthReason.BAD_SIGNATURE, "no")

    def settle(self, reason: AuthReason) -> None:
        self.settled.append(reason)
        if self.judge.full:
            raise Refused(AuthReason.INTERNAL_ERROR, "nobody can log in now")

    def succeed(self) -> None:
        self.judge.let_in.append((self.user, self.method))


class Judge:
    """An authenticator whose answer the test sets."""

    def __init__(self) -> None:
        self.answer: Refused | Deferred[None] | None = None
        self.unread: Refused | None = None
        self.full = False  # no outcome can be written down
        self.opened: list[Attempt] = []
        self.let_in: list[tuple[str, str]] = []
        self.stopped = 0
        self.more = False  # what is proved is not enough
        self.kept: list[tuple[str, str]] = []

    def methods(self) -> tuple[str, ...]:
        return METHODS

    def open(self, user: str, method: str) -> Attempt:
        self.opened.append(Attempt(self, user, method))
        return self.opened[-1]

    def prompt(self, user: str) -> str:
        if not user:
            raise Refused(AuthReason.BAD_USER_NAME, "no such name")
        return f"Password of {user}: "

    def stop(self) -> None:
        self.stopped += 1

    @property
    def outcomes(self) -> list[tuple[str, AuthReason]]:
        return [(attempt.method, reason) for attempt in self.opened for reason in attempt.settled]


class Peer(MemoryConn):
    """A client whose messages the test sends; the service has been asked for."""

    def __init__(self, version: bytes = b"SSH-2.0-x") -> None:
        super().__init__(peer_version=version)
        self.clock, self.judge = Clock(), Judge()
        self.service = UserauthService(self, self.judge, self.clock)
        self.ask_for(b"ssh-userauth")
        self.sent.clear()

    def ask_for(self, service: bytes) -> None:
        self.service.receive(b"\x05" + string(service))

    def request(
        self, method: str, body: bytes = b"", user: str = "alice", service: str = "ssh-connection"
    ) -> None:
        self.service.receive(UserauthRequest(user, service, method, body).encode())

    def password(self, secret: bytes = b"secret", new: bytes | None = None) -> None:
        self.request("password", PasswordBody(secret, new).encode())
        self.clock.advance(ANSWER_FLOOR)

    def key(self, signature: bytes | None, host_key: bytes | None = None) -> None:
        body = PublicKeyBody("ssh-ed25519", KEY.blob, signature, host_key).encode()
        self.request("publickey" if host_key is None else HOSTBOUND, body)

    def question(self, user: str = "alice") -> None:
        self.request("keyboard-interactive", KeyboardInteractiveBody().encode(), user)

    def answer(self, *responses: bytes) -> None:
        self.service.receive(InfoResponse(responses).encode())
        self.clock.advance(ANSWER_FLOOR)

    def said(self) -> list[Any]:
        """Everything that was said since the last call, read."""
        kinds = {51: UserauthFailure, 53: UserauthBanner}
        said = [kinds[one[0]].parse(one) if one[0] in kinds else one for one in self.sent]
        self.sent.clear()
        return said


FAILURE = UserauthFailure(METHODS, False)


@pytest.fixture
def peer() -> Peer:
    return Peer()


# -- the service -----------------------------------------------------------------------------------------------------


def test_nothing_is_taken_before_the_service_was_asked_for() -> None:
    conn, judge = MemoryConn(), Judge()
    service = UserauthService(conn, judge, Clock())
    with pytest.raises(ProtocolError, match="before its service"):
        service.receive(UserauthRequest("alice", "ssh-connection", "none").encode())
    with pytest.raises(ProtocolError, match="only ssh-userauth") as caught:
        service.receive(b"\x05" + string(b"ssh-connection"))
    assert caught.value.code == Disconnect.SERVICE_NOT_AVAILABLE
    assert conn.sent == [] and judge.opened == []


def test_asking_again_for_the_service_is_answered_and_counts(peer: Peer) -> None:
    for _ in range(MAX_REQUESTS):
        peer.ask_for(b"ssh-userauth")
    assert peer.said() == [b"\x06" + string(b"ssh-userauth")] * MAX_REQUESTS
    peer.ask_for(b"ssh-userauth")
    assert peer.goodbyes == ["too many authentication requests"]


@pytest.mark.parametrize("number", [51, 52, 53, 60, 79])
def test_a_server_s_messages_are_none_of_a_client_s(peer: Peer, number: int) -> None:
    with pytest.raises(ProtocolError, match="not for a server"):
        peer.service.receive(bytes([number]))


def test_only_the_connection_protocol_can_follow(peer: Peer) -> None:
    with pytest.raises(ProtocolError, match="only ssh-connection"):
        peer.request("none", service="ssh-userauth")


# -- outcomes --------------------------------------------------------------------------------------------------------


def test_a_right_password_is_told_to_whoever_waits_and_not_to_the_client(peer: Peer) -> None:
    peer.password()
    assert peer.judge.let_in == [("alice", "password")] and peer.said() == []
    assert peer.judge.outcomes == [("password", AuthReason.OK)]
    peer.password()
    assert len(peer.judge.opened) == 1, "requests after the proof are ignored"


def test_the_success_is_sent_when_the_way_is_free_and_nothing_is_kept(peer: Peer) -> None:
    peer.password()
    peer.service.show_life()
    assert peer.said() == [b"\x02" + string(b"")]
    peer.service.succeed()
    assert peer.said() == [b"\x34"] and peer.trusted and peer.judge.stopped == 1
    peer.service.succeed()
    peer.service.banner("late")
    peer.service.show_life()
    assert peer.said() == []


def test_a_password_is_answered_no_sooner_than_the_floor_right_or_wrong(peer: Peer) -> None:
    peer.judge.answer = NO
    peer.request("password", PasswordBody(b"x").encode())
    assert peer.judge.outcomes == [("password", AuthReason.BAD_PASSWORD)], "it is booked at once"
    peer.clock.advance(ANSWER_FLOOR - 0.01)
    assert peer.said() == []
    peer.clock.advance(0.01)
    assert peer.said() == [FAILURE]


@pytest.mark.parametrize(("took", "answered"), [(0.3001, 0.6), (0.59, 0.6), (0.61, 0.9)])
def test_a_wrong_password_that_took_longer_is_answered_in_steps(
    peer: Peer, took: float, answered: float
) -> None:
    asked: Deferred[None] = Deferred()
    peer.judge.answer = asked
    peer.request("password", PasswordBody(b"x").encode())
    peer.clock.advance(took)
    asked.errback(NO)
    peer.clock.advance(answered - took - 0.001)
    assert peer.said() == []
    peer.clock.advance(0.002)
    assert peer.said() == [FAILURE]


def test_a_right_password_that_took_longer_waits_for_nothing(peer: Peer) -> None:
    asked: Deferred[None] = Deferred()
    peer.judge.answer = asked
    peer.request("password", PasswordBody(b"x").encode())
    peer.clock.advance(ANSWER_FLOOR + 0.01)
    asked.callback(None)
    assert peer.judge.let_in == [("alice", "password")]


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        (b"", AuthReason.EMPTY_PASSWORD),
        (b"x" * (MAX_PASSWORD + 1), AuthReason.PASSWORD_TOO_LONG),
        (b"\xff", AuthReason.BAD_PASSWORD),
    ],
)
def test_what_can_be_no_password_asks_nobody(peer: Peer, secret: bytes, reason: AuthReason) -> None:
    peer.password(secret)
    assert peer.judge.outcomes == [("password", reason)] and peer.said() == [FAILURE]


def test_no_password_is_changed_here(peer: Peer) -> None:
    peer.password(b"old", b"new")
    assert peer.judge.outcomes == [("password", AuthReason.METHOD_NOT_OFFERED)]


def test_failures_have_a_limit(peer: Peer) -> None:
    peer.judge.answer = NO
    for _ in range(MAX_FAILURES):
        peer.password()
    assert peer.said() == [FAILURE] * (MAX_FAILURES - 1)
    assert peer.disconnected == (
        Disconnect.NO_MORE_AUTH_METHODS_AVAILABLE,
        "too many authentication failures",
    )
    assert peer.judge.stopped == 1


def test_none_is_no_failure_and_requests_have_a_limit_all_the_same(peer: Peer) -> None:
    peer.judge.answer = Refused(AuthReason.METHOD_NOT_OFFERED, "proof is needed")
    for _ in range(MAX_REQUESTS):
        peer.request("none")
    assert peer.said() == [FAILURE] * MAX_REQUESTS
    peer.request("none")
    assert peer.goodbyes == ["too many authentication requests"]
    assert peer.judge.outcomes[-1] == ("other", AuthReason.TOO_MANY_ATTEMPTS)


@pytest.mark.parametrize("method", ["hostbased", "gssapi-with-mic", "publickey-hostbound@example.com"])
def test_a_method_that_is_not_offered(peer: Peer, method: str) -> None:
    peer.request(method, string(b"x"))
    assert peer.judge.outcomes == [("other", AuthReason.METHOD_NOT_OFFERED)] and peer.said() == [FAILURE]


def test_a_name_that_is_too_long_is_looked_at_by_nobody(peer: Peer) -> None:
    peer.request("none", user="a" * (MAX_USER_NAME + 1))
    assert peer.judge.outcomes == [("other", AuthReason.BAD_USER_NAME)]


def test_an_outcome_that_cannot_be_written_down_ends_the_connection(peer: Peer) -> None:
    peer.judge.full = True
    peer.password()
    assert peer.goodbyes == ["bastion: nobody can log in now"] and peer.judge.let_in == []
    assert peer.judge.stopped == 1


# -- one at a time ---------------------------------------------------------------------------------------------------


def test_a_second_request_waits_for_the_answer_to_the_first(peer: Peer) -> None:
    first: Deferred[None] = Deferred()
    peer.judge.answer = first
    peer.request("none", user="alice")
    peer.request("none", user="bob")
    assert [attempt.user for attempt in peer.judge.opened] == ["alice"]
    peer.judge.answer = NO
    first.errback(NO)
    assert [attempt.user for attempt in peer.judge.opened] == ["alice", "bob"]
    assert peer.said() == [FAILURE, FAILURE]


def test_who_sends_ahead_without_end_is_stopped(peer: Peer) -> None:
    peer.judge.answer = Deferred()
    for _ in range(MAX_WAITING + 1):
        peer.request("none")
    with pytest.raises(ProtocolError, match="too many authentication requests waiting"):
        peer.request("none")


def test_garbage_that_waited_ends_the_connection_in_its_turn(peer: Peer) -> None:
    first: Deferred[None] = Deferred()
    peer.judge.answer = first
    peer.request("none")
    peer.service.receive(b"\x32garbage")
    first.errback(NO)
    assert len(peer.goodbyes) == 1 and peer.judge.stopped == 1


@pytest.mark.parametrize("way", ["judged", "answered"])
def test_who_leaves_is_booked_and_what_is_judged_is_given_up(peer: Peer, way: str) -> None:
    given_up: list[object] = []
    peer.judge.answer = Deferred(given_up.append) if way == "judged" else NO
    peer.request("password", PasswordBody(b"x").encode())
    peer.service.stop()
    peer.service.stop()
    assert len(given_up) == (1 if way == "judged" else 0)
    reason = AuthReason.ABANDONED if way == "judged" else AuthReason.BAD_PASSWORD
    assert peer.judge.outcomes == [("password", reason)]
    assert peer.clock.getDelayedCalls() == [] and peer.said() == [] and peer.judge.stopped == 1
    peer.request("none")
    assert len(peer.judge.opened) == 1


# -- keyboard-interactive ---------------------------------------------------------------------------------------------


def test_one_question_one_answer(peer: Peer) -> None:
    peer.question()
    assert peer.said() == [InfoRequest(prompts=(Prompt("Password of alice: "),)).encode()]
    peer.answer(b"secret")
    assert peer.judge.let_in == [("alice", "keyboard-interactive")]


@pytest.mark.parametrize(
    ("responses", "reason"), [((), AuthReason.EMPTY_PASSWORD), ((b"a", b"b"), AuthReason.BAD_PASSWORD)]
)
def test_another_number_of_answers_is_a_failure(
    peer: Peer, responses: tuple[bytes, ...], reason: AuthReason
) -> None:
    peer.question()
    peer.said()
    peer.answer(*responses)
    assert peer.judge.outcomes == [("keyboard-interactive", reason)] and peer.said() == [FAILURE]


def test_an_answer_to_no_question_ends_the_connection(peer: Peer) -> None:
    with pytest.raises(ProtocolError, match="not asked"):
        peer.answer(b"secret")
    peer.question()
    peer.judge.answer = NO
    peer.request("none", user="bob")  # withdraws it: nothing of one name is carried over to another
    with pytest.raises(ProtocolError, match="not asked"):
        peer.answer(b"secret")


def test_a_name_that_nobody_can_have_is_asked_nothing(peer: Peer) -> None:
    peer.question(user="")
    assert peer.judge.outcomes == [("keyboard-interactive", AuthReason.BAD_USER_NAME)]
    assert peer.said() == [FAILURE]


def test_nothing_can_be_asked_of_who_has_proved_nothing(peer: Peer) -> None:
    with pytest.raises(ValueError, match="nobody has proved"):
        peer.service.ask((Prompt("?"),), "", 60.0)


# -- public keys -----------------------------------------------------------------------------------------------------


def test_a_query_is_answered_and_leaves_nothing(peer: Peer) -> None:
    peer.key(None)
    assert peer.said() == [PkOk("ssh-ed25519", KEY.blob).encode()]
    assert peer.judge.let_in == [] and peer.judge.outcomes == []


def test_a_signature_is_a_proof_at_once(peer: Peer) -> None:
    peer.key(b"good")
    assert peer.judge.let_in == [("alice", "publickey")]


def test_a_bad_signature_and_a_key_that_may_not_enter_count(peer: Peer) -> None:
    for _ in range(MAX_FAILURES - 1):
        peer.key(b"bad")
    assert peer.goodbyes == []
    peer.judge.answer = Refused(AuthReason.KEY_NOT_AUTHORISED, "no")
    peer.key(b"good")
    assert peer.goodbyes == ["too many authentication failures"]


@pytest.mark.parametrize(
    ("reason", "counts"), [(AuthReason.KEY_NOT_AUTHORISED, False), (AuthReason.KEY_MALFORMED, True)]
)
def test_a_query_counts_only_when_nobody_of_good_faith_sends_it(
    peer: Peer, reason: AuthReason, counts: bool
) -> None:
    peer.judge.unread = Refused(reason, "no")
    for _ in range(MAX_FAILURES):
        peer.key(None)
    assert bool(peer.goodbyes) is counts


def test_a_request_is_bound_to_the_host_key_that_was_shown(peer: Peer) -> None:
    peer.key(b"good", host_key=b"another")
    assert peer.judge.outcomes == [("publickey", AuthReason.BAD_SIGNATURE)]
    peer.key(b"good", host_key=b"host key")
    assert peer.judge.let_in == [("alice", "publickey")]


def test_a_fault_of_ours_is_a_refusal(peer: Peer) -> None:
    peer.judge.answer = Refused(LimitReason.BUDGET_DIRECTORY, "no")
    peer.key(b"good")
    assert peer.judge.outcomes == [("publickey", AuthReason.INTERNAL_ERROR)]


# -- last words ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "size", "banner", "goodbye"),
    [
        (b"SSH-2.0-OpenSSH_9.2", SHOWN_DISCONNECT, False, True),
        (b"SSH-2.0-OpenSSH_9.2", SHOWN_DISCONNECT + 1, True, False),
        (b"SSH-2.0-dropbear", SHOWN_DISCONNECT + 1, True, True),
        (b"SSH-2.0-dropbear", 10, True, True),
    ],
)
def test_a_refusal_is_read_once(version: bytes, size: int, banner: bool, goodbye: bool) -> None:
    peer, line = Peer(version), "x" * size
    peer.service.turn_away(line)
    assert peer.said() == ([UserauthBanner(f"{line}\r\n".encode())] if banner else [])
    assert peer.disconnected == (Disconnect.BY_APPLICATION, line if goodbye else SEE_ABOVE)


def test_nobody_is_turned_away_twice(peer: Peer) -> None:
    peer.service.stop()
    peer.service.turn_away("no")
    assert peer.goodbyes == [] and peer.said() == []
