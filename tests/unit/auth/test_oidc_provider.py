"""An identity provider over TLS: what it may say of itself, and what is done with what it says."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import RSAKey
from twisted.internet.defer import Deferred

from bastion.auth.https import MAX_BODY, trusting
from bastion.auth.oidc_provider import KEPT, KEYS_AGAIN, Client, Provider, ProviderFault
from bastion.clock import FixedClock
from bastion.observe.meters import FACTOR_FAULTS, Meters
from tests.support.identity_provider import CLIENT, SECRET, USER_CODE, IdentityProvider, basic
from tests.support.reactor import run, start

pytestmark = pytest.mark.slow


class Site:
    """The gateway's side of one provider."""

    def __init__(
        self, there: IdentityProvider, context: ssl.SSLContext, secret: str = SECRET, issuer: str = ""
    ) -> None:
        self.clock, self.meters = FixedClock(), Meters()
        client = Client(issuer or there.issuer, CLIENT, secret, "openid profile")
        self.provider = Provider(client, context, start(), self.clock, self.meters)

    def ask(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return run(lambda: Deferred.fromCoroutine(work()))

    def fault(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[str, str]:
        with pytest.raises(ProviderFault) as caught:
            self.ask(work)
        assert self.meters.value(FACTOR_FAULTS, "oidc", caught.value.fault) == 1
        return caught.value.fault, caught.value.text


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityProvider]:
    with IdentityProvider(tmp_path_factory.mktemp("provider")) as made:
        yield made


@pytest.fixture
def site(there: IdentityProvider) -> Iterator[Site]:
    there.reset()
    made = Site(there, trusting(there.ca_file))
    yield made
    run(made.provider.close)


def test_a_device_code_and_what_polls_are_told(there: IdentityProvider, site: Site) -> None:
    device = site.ask(site.provider.begin)
    assert (device.code, device.user_code, device.expires_in, device.interval) == (
        "the-device-code",
        USER_CODE,
        600,
        1,
    )
    assert device.uri == f"{there.issuer}/enter" and USER_CODE in device.whole_uri
    assert site.ask(lambda: site.provider.poll(device.code)) == {"error": "authorization_pending"}
    form = there.forms[0]
    assert form["device_code"] == "the-device-code" and form["grant_type"].endswith(":device_code")
    assert form["client_id"] == CLIENT and "client_secret" not in form
    assert basic(there.authorisations[-1]) == (CLIENT, "a+secret%3A+with+%2F+odd%2Bcharacters")
    there.approve()
    assert "id_token" in site.ask(lambda: site.provider.poll(device.code))
    assert there.asked == ["openid-configuration", "device", "token", "token"], "described once"


def test_a_secret_goes_into_the_form_where_the_provider_takes_it_only_there(
    there: IdentityProvider, site: Site
) -> None:
    there.description["token_endpoint_auth_methods_supported"] = ["client_secret_post", "private_key_jwt"]
    site.ask(lambda: site.provider.poll("x"))
    assert there.forms[0]["client_secret"] == SECRET and there.authorisations[-1] == ""


def test_a_public_client_has_none(there: IdentityProvider) -> None:
    there.reset()
    site = Site(there, trusting(there.ca_file), secret="")
    site.ask(lambda: site.provider.poll("x"))
    assert "client_secret" not in there.forms[0] and there.authorisations[-1] == ""
    run(site.provider.close)


def test_keys_are_kept_and_looked_up_again_when_one_is_missing(there: IdentityProvider, site: Site) -> None:
    def kids(again: bool = False) -> list[str]:
        return [one.kid for one in site.ask(lambda: site.provider.keys(again))]

    assert kids() == ["one"]
    there.published.append(RSAKey.generate_key(2048, {"kid": "two"}))
    assert kids() == ["one"] == kids(again=True), "a moment ago"
    site.clock.advance(KEYS_AGAIN)
    assert kids() == ["one"] and kids(again=True) == ["one", "two"]
    there.published.pop()
    site.clock.advance(KEPT)
    assert kids() == ["one"]


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"issuer": "https://localhost/other"}, "it is another one"),
        ({"issuer": None}, "it is another one"),
        ({"token_endpoint": "http://localhost/token"}, "no token_endpoint by https"),
        ({"device_authorization_endpoint": None}, "no device_authorization_endpoint"),
        ({"jwks_uri": ["x"]}, "no jwks_uri"),
        ({"jwks_uri": "https://[::1"}, "no jwks_uri"),
        ({"token_endpoint": "https://localhost:99999/"}, "no token_endpoint"),
        ({"token_endpoint": "https:///token"}, "no token_endpoint"),
        ({"token_endpoint": "https://localhost/\u00e4"}, "no token_endpoint"),
        ({"token_endpoint": "https://localhost/\r\nx: y"}, "no token_endpoint"),
        ({"token_endpoint": "https://localhost/a b"}, "no token_endpoint"),
    ],
)
def test_what_it_says_of_itself_is_looked_at(
    there: IdentityProvider, site: Site, said: dict[str, Any], fault: str
) -> None:
    there.description.update(said)
    kind, text = site.fault(site.provider.begin)
    assert kind == "malformed" and fault in text and there.asked == ["openid-configuration"]


@pytest.mark.parametrize(
    "said",
    [
        {"device_code": None},
        {"user_code": ""},
        {"verification_uri": 7},
        {"expires_in": "600"},
        {"expires_in": -1},
        {"interval": None},
        {"device_code": "x" * 3000},
        {"device_code": "x\ud800"},
    ],
)
def test_a_device_code_that_is_none(there: IdentityProvider, site: Site, said: dict[str, Any]) -> None:
    there.device.update(said)
    assert site.fault(site.provider.begin) == ("malformed", "it gave no device code")


def test_what_people_are_shown_is_printable_and_the_interval_bounded(
    there: IdentityProvider, site: Site
) -> None:
    there.device.update(user_code="A\x1b[2JB", verification_uri_complete="x" * 600, interval=0)
    device = site.ask(site.provider.begin)
    assert device.user_code == "A\\x1b[2JB" and device.whole_uri == "" and device.interval == 1
    there.device.update(interval=9999)
    assert site.ask(site.provider.begin).interval == 60


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((500, {}), "unreachable"),
        ((200, b"[1]"), "malformed"),
        ((200, b"\xff"), "malformed"),
        ((200, b"[" * 100_000), "malformed"),
        ((200, b" " * (MAX_BODY + 1)), "unreachable"),
        ((302, b""), "malformed"),
    ],
    ids=["500", "list", "no-text", "deep", "long", "redirect"],
)
def test_what_is_no_answer(there: IdentityProvider, site: Site, answer: tuple[int, Any], kind: str) -> None:
    there.answers.append(answer)
    assert site.fault(lambda: site.provider.poll("x"))[0] == kind
    assert there.asked[-1] == "token", "no redirect was followed"


def test_another_authority_and_another_name_are_not_trusted(there: IdentityProvider, tmp_path: Path) -> None:
    with IdentityProvider(tmp_path / "other") as other:
        site = Site(there, trusting(other.ca_file))
        kind, text = site.fault(site.provider.begin)
        assert kind == "unreachable" and text.startswith("TLS:")
        run(site.provider.close)
    site = Site(there, trusting(there.ca_file), issuer=there.issuer.replace("localhost", "ip6-localhost"))
    assert site.fault(site.provider.begin)[0] == "unreachable"
    run(site.provider.close)


def test_nobody_there(site: Site, there: IdentityProvider) -> None:
    away = Site(there, trusting(there.ca_file), issuer="https://localhost:1/realms/staff")
    assert away.fault(away.provider.begin)[0] == "unreachable"
    run(away.provider.close)
