"""The device flow: what is shown, how often is asked, who has signed in, and that it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock

from bastion.auth import oidc
from bastion.auth.identity import Identity
from bastion.auth.oidc import Binding, OidcFactor
from bastion.auth.oidc_provider import Client, DeviceCode, ProviderFault
from bastion.auth.oidc_token import BadToken, UnknownKey
from bastion.auth.outside import MOST_OF_ONE
from bastion.clock import FixedClock
from bastion.errors import AuthReason, LimitReason, Refused
from bastion.observe.meters import FACTORS_WAITING, Meters

ALICE = Identity("alice", "u-1", frozenset(), "test", ("publickey",), None, "192.0.2.1")
DEVICE = DeviceCode("secret", "WDJB-MJHT", "https://id.example.com/device", "", 600.0, 5.0)
PENDING, SLOW, TOKEN = {"error": "authorization_pending"}, {"error": "slow_down"}, {"id_token": "a.b.c"}
AWAY = ProviderFault("unreachable", "no")


class Site:
    """A provider that says what `says` holds, and somebody at a terminal."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, wait: float = 120.0, binding: Binding | None = None
    ) -> None:
        self.clock, self.meters = Clock(), Meters()
        self.says: list[Any] = []
        self.polls: list[float] = []
        self.shown: list[str] = []
        self.faults: list[str] = []
        self.device: Any = DEVICE
        self.claims: Any = {"preferred_username": "alice"}
        self.key_looks: list[bool] = []
        self.answer: Callable[[], Deferred[tuple[bytes, ...]]] = lambda: succeed(())
        self.closed = False
        provider: Any = SimpleNamespace(
            client=Client("https://id.example.com", "bastion", "", "openid"),
            begin=self._begin, poll=self._poll, keys=self._keys, close=self._close,
            failed=lambda fault, text: self.faults.append(fault),
        )  # fmt: skip
        self.factor = OidcFactor(
            provider, binding or Binding("preferred_username"), wait, self.clock, FixedClock(), self.meters
        )
        monkeypatch.setattr(oidc, "verified", self._verified)
        self.ended: list[Any] = []

    async def _begin(self) -> DeviceCode:
        if isinstance(self.device, Exception):
            raise self.device
        return self.device

    async def _poll(self, device_code: str) -> Any:
        assert device_code == "secret"
        self.polls.append(self.clock.seconds())
        said = self.says.pop(0) if self.says else PENDING
        if isinstance(said, Exception):
            raise said
        return said

    async def _keys(self, again: bool = False) -> tuple[Any, ...]:
        self.key_looks.append(again)
        return ()

    def _close(self) -> None:
        self.closed = True

    def _verified(self, token: str, keys: Any, expected: Any, now: float) -> Any:
        assert token == "a.b.c" and (expected.issuer, expected.audience) == (
            "https://id.example.com",
            "bastion",
        )
        claims = self.claims.pop(0) if isinstance(self.claims, list) else self.claims
        if isinstance(claims, Exception):
            raise claims
        return claims

    def ask(self, prompts: Any, text: str, seconds: float) -> Deferred[tuple[bytes, ...]]:
        assert prompts == () and seconds > 0
        self.shown.append(text)
        return self.answer()

    def begin(self, who: Identity = ALICE) -> Deferred[None]:
        running = Deferred.fromCoroutine(self.factor.prove(who, "192.0.2.1", "", self.ask))
        running.addBoth(self.ended.append)
        return running

    def later(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)

    @property
    def reason(self) -> Any:
        (failure,) = self.ended
        assert isinstance(failure.value, Refused)
        return failure.value.reason


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(monkeypatch)


def test_who_signs_in_is_there(site: Site) -> None:
    site.says = [PENDING, PENDING, TOKEN]
    site.begin()
    (text,) = site.shown
    assert "https://id.example.com/device" in text and "WDJB-MJHT" in text and "secret" not in text
    assert "alice" in text and "192.0.2.1" in text and "2m" in text
    assert site.meters.value(FACTORS_WAITING, "oidc") == 1
    site.later(15)
    assert site.ended == [None] and site.polls == [5, 10, 15]
    assert site.meters.value(FACTORS_WAITING, "oidc") == 0 and site.clock.getDelayedCalls() == []


def test_slow_down_adds_five_seconds_for_good(site: Site) -> None:
    site.says = [SLOW, PENDING, SLOW, PENDING, TOKEN]
    site.begin()
    site.later(60)
    assert site.polls == [5, 15, 25, 40, 55] and site.ended == [None]


def test_while_the_provider_is_away_it_is_asked_less_and_less(site: Site) -> None:
    site.says = [AWAY, AWAY, PENDING, TOKEN]
    site.begin()
    site.later(80)
    assert site.polls == [5, 15, 35, 55] and site.ended == [None]


def test_the_wait_has_an_end(site: Site) -> None:
    site.begin()
    site.later(119)
    assert site.ended == []
    site.later(1)
    assert site.reason is AuthReason.FACTOR_TIMEOUT and site.clock.getDelayedCalls() == []


def test_and_never_lasts_longer_than_the_code(site: Site) -> None:
    site.device = replace(DEVICE, expires_in=12.0)
    site.begin()
    site.later(12)
    assert site.reason is AuthReason.FACTOR_TIMEOUT and site.polls == [5, 10]


@pytest.mark.parametrize(
    ("said", "reason", "faults"),
    [
        ({"error": "access_denied"}, AuthReason.FACTOR_DENIED, []),
        ({"error": "expired_token"}, AuthReason.FACTOR_TIMEOUT, []),
        ({"error": "invalid_client"}, AuthReason.FACTOR_UNAVAILABLE, ["malformed"]),
        ({"error": 7}, AuthReason.FACTOR_UNAVAILABLE, ["malformed"]),
        ({"error": "access_denied", **TOKEN}, AuthReason.FACTOR_DENIED, []),
        ({"access_token": "x"}, AuthReason.FACTOR_UNAVAILABLE, ["malformed"]),
        ({"id_token": ["a.b.c"]}, AuthReason.FACTOR_UNAVAILABLE, ["malformed"]),
        ({}, AuthReason.FACTOR_UNAVAILABLE, ["malformed"]),
    ],
)
def test_what_ends_it(site: Site, said: Any, reason: AuthReason, faults: list[str]) -> None:
    site.says = [said]
    site.begin()
    site.later(5)
    assert site.reason is reason and site.faults == faults and site.key_looks == []


def test_without_a_code_nobody_is_asked(site: Site) -> None:
    site.device = AWAY
    site.begin()
    assert site.reason is AuthReason.FACTOR_UNAVAILABLE and site.shown == []


def test_a_code_that_cannot_be_shown_is_not_waited_for(site: Site) -> None:
    site.answer = lambda: fail(Refused(LimitReason.LOGIN_GRACE, "late"))
    site.begin()
    assert site.reason is AuthReason.FACTOR_TIMEOUT and site.clock.getDelayedCalls() == []


@pytest.mark.parametrize("seconds", [0, 3])
def test_who_leaves_is_waited_for_no_longer(site: Site, seconds: int) -> None:
    running = site.begin()
    site.later(seconds)
    running.cancel()
    assert site.ended[0].check(CancelledError) and site.clock.getDelayedCalls() == []
    assert site.meters.value(FACTORS_WAITING, "oidc") == 0


def test_a_token_that_proves_nothing(site: Site) -> None:
    site.says, site.claims = [TOKEN], BadToken("no")
    site.begin()
    site.later(5)
    assert (
        site.reason is AuthReason.FACTOR_INVALID
        and site.faults == ["unverified"]
        and site.key_looks == [False]
    )


def test_keys_are_looked_up_again_for_one_that_is_not_known(site: Site) -> None:
    site.says, site.claims = [TOKEN], [UnknownKey("no"), {"preferred_username": "alice"}]
    site.begin()
    site.later(5)
    assert site.ended == [None] and site.key_looks == [False, True]


def test_one_person_is_not_asked_by_everybody(site: Site) -> None:
    for _ in range(MOST_OF_ONE + 1):
        site.begin()
    (failure,) = site.ended
    assert failure.value.reason is AuthReason.FACTOR_BUSY and len(site.shown) == MOST_OF_ONE
    site.begin(replace(ALICE, name="bob", uid="u-2"))
    assert len(site.shown) == MOST_OF_ONE + 1


def test_it_is_closed_with_its_provider(site: Site) -> None:
    site.factor.close()
    assert site.closed


NAME, MAIL, ID = Binding("preferred_username"), Binding("email", "@Example.com"), Binding("sub", by_id=True)


@pytest.mark.parametrize(
    ("binding", "claims"),
    [
        (NAME, {"preferred_username": "alice"}),
        (NAME, {"preferred_username": "Alice"}),
        (MAIL, {"email": "alice@example.com", "email_verified": True}),
        (ID, {"sub": "u-1"}),
    ],
)
def test_the_claim_says_who_it_is(binding: Binding, claims: dict[str, Any]) -> None:
    binding.check(claims, ALICE)


@pytest.mark.parametrize(
    ("binding", "claims"),
    [
        (NAME, {}),
        (NAME, {"preferred_username": "mallory"}),
        (NAME, {"preferred_username": ["alice"]}),
        (NAME, {"preferred_username": "alice "}),
        (NAME, {"preferred_username": "\u212aalice"}),
        (NAME, {"sub": "alice"}),
        (MAIL, {"email": "alice@example.com"}),
        (MAIL, {"email": "alice@example.com", "email_verified": "true"}),
        (MAIL, {"email": "alice", "email_verified": True}),
        (MAIL, {"email": "alice@example.org", "email_verified": True}),
        (ID, {"sub": "U-1"}),
        (ID, {"sub": "alice"}),
        (ID, {}),
    ],
)
def test_nobody_else_will_do(binding: Binding, claims: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        binding.check(claims, ALICE)
    assert refused.value.reason is AuthReason.FACTOR_MISMATCH


def test_somebody_else_who_signs_in_is_refused(site: Site) -> None:
    site.says, site.claims = [TOKEN], {"preferred_username": "mallory"}
    site.begin()
    site.later(5)
    assert site.reason is AuthReason.FACTOR_MISMATCH
