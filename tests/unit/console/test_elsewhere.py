"""Signing in at an identity provider: a console, a provider behind TLS, and a browser that goes to and fro."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from bastion.auth.oidc import Binding
from bastion.auth.oidc_provider import Client
from bastion.clock import FixedClock
from bastion.console.challenges import Challenges
from bastion.console.elsewhere import WRONG_AT_ONCE, Elsewhere, Told
from bastion.errors import AuthReason, Refused
from bastion.state.rows import Lock, lock_added, lock_removed
from tests.support.identity_provider import CLIENT, SECRET, IdentityProvider
from tests.support.net import free_ports
from tests.unit.console.made import SECTION, Browser, ConsoleSite, Got

pytestmark = pytest.mark.slow


class ElsewhereSite(ConsoleSite):
    """Where a provider says who somebody is; the directory says what he may."""

    def __init__(self, folder: Any, provider: IdentityProvider, more: str = "") -> None:
        (port,) = free_ports(1)
        lines = SECTION.replace('[["password"]]', '[["oidc"], ["password"]]').replace(
            'listen = "127.0.0.1:0"', f'listen = "127.0.0.1:{port}"\nurl = "http://localhost:{port}"'
        )
        oidc = (
            f'[oidc]\nissuer = "{provider.issuer}"\nclient_id = "{CLIENT}"\nca_file = "{provider.ca_file}"\n'
        )
        super().__init__(folder, f'{lines}{oidc}client_secret_file = "oidc.secret"\n{more}')
        self.write("oidc.secret", SECRET + "\n", 0o600)


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityProvider]:
    with IdentityProvider(tmp_path_factory.mktemp("provider")) as made:
        yield made


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, provider: IdentityProvider) -> Iterator[ElsewhereSite]:
    made = ElsewhereSite(tmp_path_factory.mktemp("console"), provider)
    made.start()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def fresh(provider: IdentityProvider) -> None:
    provider.reset()
    provider.claims["preferred_username"] = "ada"


def led_back(browser: Browser, provider: IdentityProvider, **changes: str | None) -> str:
    """Where the provider sends a browser that was led to it, after `changes` of what it brings."""
    where = browser.get("/sign-in/elsewhere?next=/search").place
    assert where.startswith(f"{provider.issuer}/authorize?")
    status, answer = provider.get(where)
    assert status == 303
    place = urlsplit(answer["location"])
    query = {name: values[0] for name, values in parse_qs(place.query).items()} | changes
    return f"{place.path}?{urlencode({name: value for name, value in query.items() if value is not None})}"


def reason(site: ConsoleSite, source: str) -> str:
    return str([one for one in site.audit("auth") if one["source"] == source][-1]["reason"])


def test_somebody_is_signed_in_with_the_directorys_roles(
    site: ElsewhereSite, provider: IdentityProvider
) -> None:
    browser = Browser(site.origin, "127.6.0.1")
    assert "Sign in at localhost" in browser.get("/sign-in").text
    got = browser.get(led_back(browser, provider))
    assert got.status == 200 and 'content="0; url=/search"' in got.text
    assert "ada (auditor)" in browser.get("/sessions").text
    (line,) = [one for one in site.audit("auth") if one["source"] == "127.6.0.1"]
    assert (line["user"], line["method"], line["result"]) == ("ada", "oidc", "ok")
    (asked,) = provider.led
    assert (
        asked["response_type"] == "code" and asked["redirect_uri"] == f"{site.origin}/sign-in/elsewhere/back"
    )
    assert asked["scope"].split()[0] == "openid" and len(asked["nonce"]) == len(asked["code_challenge"]) == 43
    (form,) = provider.forms
    assert len(form["code_verifier"]) == 43 and form["code_verifier"] not in str(provider.led)
    written = (site.folder / "audit.jsonl").read_text() + site.log.read_text()
    assert form["code"] not in written and SECRET not in written


def test_the_cookie_of_the_way_there_is_lax_and_gone_afterwards(
    site: ElsewhereSite, provider: IdentityProvider
) -> None:
    browser = Browser(site.origin, "127.6.1.1")
    marks = browser.get("/sign-in/elsewhere").headers["set-cookie"].split("; ")
    assert marks[0].startswith("bastion-elsewhere=") and {"SameSite=Lax", "HttpOnly", "Path=/"} <= set(marks)
    assert "next" not in browser.get("/sign-in/elsewhere?next=https://evil.example.com/").place
    back = browser.get(led_back(browser, provider))
    assert back.status == 200 and browser.get("/sessions").status == 200


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"preferred_username": "nobody"}, "unknown_user"),
        ({"preferred_username": "ada@evil.example.com"}, "unknown_user"),
        ({"preferred_username": "\u00e4da"}, "factor_mismatch"),
        ({"preferred_username": ["ada"]}, "factor_mismatch"),
        ({"preferred_username": ""}, "factor_mismatch"),
        ({"nonce": "x"}, "factor_invalid"),
        ({"nonce": None}, "factor_invalid"),
        ({"aud": "another"}, "factor_invalid"),
        ({"aud": [CLIENT, "another"]}, "factor_invalid"),
        ({"iss": "https://id.example.com"}, "factor_invalid"),
        ({"exp": 1}, "factor_invalid"),
        ({"iat": 1}, "factor_invalid"),
    ],
    ids=str,
)
def test_what_the_token_does_not_prove(
    site: ElsewhereSite, provider: IdentityProvider, claims: dict[str, Any], expected: str
) -> None:
    source = f"127.6.2.{abs(hash(str(claims))) % 200 + 2}"
    browser = Browser(site.origin, source)
    provider.claims.update(claims)
    got = browser.get(led_back(browser, provider))
    assert got.status == 401 and "bastion" not in browser.cookies and reason(site, source) == expected


def answered(site: ElsewhereSite, source: str, got: Got, browser: Browser) -> str:
    assert got.status == 401 and "bastion" not in browser.cookies
    return reason(site, source)


def test_what_comes_back_is_of_this_browser_and_once(site: ElsewhereSite, provider: IdentityProvider) -> None:
    mine, other = Browser(site.origin, "127.6.3.1"), Browser(site.origin, "127.6.3.2")
    place = led_back(mine, provider)
    other.get("/sign-in/elsewhere")
    assert answered(site, "127.6.3.2", other.get(place), other) == "factor_invalid"
    assert not provider.forms, "the code of another browser is not redeemed"
    kept = dict(mine.cookies)
    assert mine.get(place).status == 200
    mine.cookies = kept
    assert answered(site, "127.6.3.1", mine.get(place), mine) == "factor_invalid" and len(provider.forms) == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"state": None}, "factor_invalid"),
        ({"state": "x" * 75}, "factor_invalid"),
        ({"code": None}, "factor_invalid"),
        ({"code": "guessed"}, "factor_invalid"),
        ({"iss": "https://id.example.com"}, "factor_invalid"),
        ({"error": "access_denied"}, "factor_denied"),
    ],
    ids=str,
)
def test_a_way_back_that_was_changed_leads_nowhere(
    site: ElsewhereSite, provider: IdentityProvider, changes: dict[str, str | None], expected: str
) -> None:
    source = f"127.6.4.{abs(hash(str(changes))) % 200 + 2}"
    browser = Browser(site.origin, source)
    got = browser.get(led_back(browser, provider, **changes))
    assert answered(site, source, got, browser) == expected


def test_who_is_locked_or_has_no_role_is_not_signed_in(
    site: ElsewhereSite, provider: IdentityProvider
) -> None:
    browser = Browser(site.origin, "127.6.5.1")
    provider.claims["preferred_username"] = "nil"
    got = browser.get(led_back(browser, provider))
    assert got.status == 403 and "no role" in got.text and "bastion" not in browser.cookies
    provider.claims["preferred_username"] = "REX"
    site.add(lock_added(Lock("user", "rex", "stolen laptop", "root", 1.0, None, "u-rex")))
    try:
        got = browser.get(led_back(browser, provider))
        assert got.status == 401 and "stolen laptop" in got.text
    finally:
        site.add(lock_removed("user", "rex", 2.0))
    assert browser.get(led_back(browser, provider)).status == 200


def test_guessing_is_slowed_down(site: ElsewhereSite, provider: IdentityProvider) -> None:
    browser = Browser(site.origin, "127.6.6.1")
    said = [browser.get("/sign-in/elsewhere/back?code=x&state=y").text for _ in range(8)]
    assert "proves nothing here" in said[0] and "too many failed sign-ins" in said[-1]


class StubProvider:
    """Says of each code that it is none."""

    client = Client("https://id.example.com", CLIENT, SECRET, "openid")

    def __init__(self) -> None:
        self.redeemed = 0

    async def browsers(self) -> str:
        return "https://id.example.com/authorize"

    async def redeem(self, code: str, redirect: str, verifier: str) -> dict[str, Any]:
        self.redeemed += 1
        return {"error": "invalid_grant"}

    def failed(self, fault: str, text: str) -> None:
        return None


def at_once(work: Coroutine[Any, Any, str | Told]) -> Any:
    """What `work` gives, which waits for nothing. Raises what it raises."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


def test_what_proves_nothing_uses_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strangers who come back with nothing leave room for those who sign in."""
    monkeypatch.setattr("bastion.console.challenges.MOST_SPENT", 3)
    clock, asked = FixedClock(), StubProvider()
    challenges = Challenges(clock)
    there = Elsewhere(asked, Binding("preferred_username"), challenges, "https://c.example.com", clock)  # type: ignore[arg-type]
    for change in (
        {"error": "access_denied"},
        {},
        {"iss": "https://evil.example.com"},
        {"code": "guessed"},
    ) * 2:
        place = at_once(there.lead(b"stranger"))
        (state,) = parse_qs(urlsplit(place).query)["state"]
        with pytest.raises(Refused):
            at_once(there.told({"state": state} | change, b"stranger", "192.0.2.1"))
    challenge = challenges.make("sign-in", b"somebody")
    assert challenges.fits(challenge, "sign-in", b"somebody") and challenges.spend(challenge)


def test_codes_that_are_none_are_asked_about_for_so_long_of_one_address() -> None:
    """The provider's answer to one costs a thread of ours: others keep theirs."""
    clock, asked = FixedClock(), StubProvider()
    there = Elsewhere(asked, Binding("preferred_username"), Challenges(clock), "https://c.example.com", clock)  # type: ignore[arg-type]
    (state,) = parse_qs(urlsplit(at_once(there.lead(b"stranger"))).query)["state"]
    said = []
    for payer in ["192.0.2.1"] * (WRONG_AT_ONCE + 5) + ["192.0.2.2"]:
        with pytest.raises(Refused) as caught:
            at_once(there.told({"state": state, "code": "guessed"}, b"stranger", payer))
        said.append(caught.value.reason)
    wrong, many = AuthReason.FACTOR_INVALID, AuthReason.OVER_BUDGET
    assert said == [wrong] * WRONG_AT_ONCE + [many] * 5 + [wrong] and asked.redeemed == WRONG_AT_ONCE + 1


@pytest.mark.parametrize("place", ["A", "AAAAA", "AAAA", "_____"])
def test_a_cookie_that_says_nothing_readable_leads_nowhere(site: ElsewhereSite, place: str) -> None:
    browser = Browser(site.origin, f"127.6.9.{len(place)}")
    browser.cookies["bastion-elsewhere"] = f"{'x' * 43}.{place}"
    assert browser.get("/sign-in/elsewhere/back?code=x&state=y").status == 401


def test_a_provider_that_is_away_is_told_as_such(tmp_path: Any) -> None:
    with IdentityProvider(tmp_path / "provider") as gone:
        (tmp_path / "console").mkdir()
        made = ElsewhereSite(tmp_path / "console", gone)
    try:
        made.start()
        browser = Browser(made.origin, "127.6.7.1")
        got = browser.get("/sign-in/elsewhere")
        assert got.status == 503 and "not available" in got.text
        assert browser.sign_in("ada").status == 303, "there is another chain"
    finally:
        made.close()


def test_where_no_chain_has_it_there_is_no_such_page(console: ConsoleSite) -> None:
    browser = console.browser(source="127.6.8.1")
    assert browser.get("/sign-in/elsewhere").status == browser.get("/sign-in/elsewhere/back").status == 404
