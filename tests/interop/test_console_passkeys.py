"""A passkey in a real Chromium with a virtual authenticator (WebAuthn section 11): added after a sign-in with
password and code, signed in with, removed; and a way to an identity provider and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.test_console_browser import MISSING, Chromium
from tests.support.identity_provider import IdentityProvider
from tests.support.world import poll
from tests.unit.console.made import PASSWORD
from tests.unit.console.made_passkeys import PasskeySite
from tests.unit.console.test_elsewhere import ElsewhereSite

pytestmark = [pytest.mark.soak, pytest.mark.skipif(bool(MISSING), reason=MISSING)]


class Owner(Chromium):
    """With an authenticator that says yes, or does not."""

    authenticator = ""

    def plug_in(self, verified: bool = True) -> None:
        wanted = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserConsenting": True,
            "isUserVerified": verified,
        }
        self.authenticator = self._ask("POST", "/webauthn/authenticator", wanted)

    def verifies(self, yes: bool) -> None:
        self._ask("POST", f"/webauthn/authenticator/{self.authenticator}/uv", {"isUserVerified": yes})

    def credentials(self) -> list[dict[str, Any]]:
        return list(self._ask("GET", f"/webauthn/authenticator/{self.authenticator}/credentials"))

    def sign_in(self, code: str) -> None:
        self.write("input[name=name]", "adm")
        self.write("input[name=password]", PASSWORD)
        self.write("input[name=code]", code)
        self.click("#with-password")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PasskeySite]:
    made = PasskeySite(tmp_path_factory.mktemp("console"))
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def owner(site: PasskeySite) -> Iterator[Owner]:
    made = Owner()
    try:
        yield made
    finally:
        made.close()


def test_a_passkey_is_added_signs_in_and_is_removed(site: PasskeySite, owner: Owner) -> None:
    owner.plug_in()
    owner.go(f"{site.origin}/account")
    owner.sign_in(site.code("adm"))
    poll(lambda: owner.url.endswith("/account"))
    owner.write("input[name=label]", "a laptop")
    owner.look("passkeys")
    owner.click("#add-passkey")
    poll(lambda: "a laptop" in owner.text("main table"), text="it was not added")
    (kept,) = owner.credentials()
    assert kept["rpId"] == "localhost" and kept["isResidentCredential"]
    (added,) = site.audit("console_passkey_added")
    assert added["user"] == "adm" and added["key"].startswith("SHA256:")

    owner.click("form.out button")
    poll(lambda: owner.url.endswith("/sign-in"))
    owner.look("sign-in-passkey")
    owner.click("#with-passkey")
    poll(lambda: owner.url.endswith("/sessions"), text="nobody was signed in")
    assert "adm (admin)" in owner.text("header")
    proved = [line for line in site.audit("auth") if line["method"] == "passkey"]
    assert [(line["user"], line["result"], line["key"]) for line in proved] == [("adm", "ok", added["key"])]
    faults = [one["message"] for one in owner.log() if one["level"] != "INFO"]
    assert faults == [], "nothing was blocked by the policy, nothing failed"

    owner.go(f"{site.origin}/account")
    owner.click("form[action='/account/passkeys/remove'] button")
    poll(lambda: "/sign-in" in owner.url, text="whoever signed in with it is signed out")
    owner.click("#with-passkey")
    poll(lambda: "not known here" in owner.text("main"))
    assert site.audit("auth")[-1]["reason"] == "factor_invalid"
    assert len(site.audit("console_passkey_removed")) == 1


def test_without_a_pin_or_a_finger_nobody_is_signed_in(site: PasskeySite, owner: Owner) -> None:
    owner.go(f"{site.origin}/sign-in?next=/account")
    owner.sign_in(site.code("adm"))
    poll(lambda: owner.url.endswith("/account"))
    owner.write("input[name=label]", "a laptop")
    owner.verifies(False)
    owner.click("#add-passkey")
    poll(lambda: "No passkey was given" in owner.text("#passkey-said"))
    owner.verifies(True)
    owner.click("#add-passkey")
    poll(lambda: "a laptop" in owner.text("main table"))
    owner.go(f"{site.origin}/sign-in")
    owner.verifies(False)
    owner.click("#with-passkey")
    poll(lambda: "No passkey was given" in owner.text("#passkey-said"))
    owner.verifies(True)
    owner.click("#with-passkey")
    poll(lambda: owner.url.endswith("/sessions"))


def test_somebody_goes_to_an_identity_provider_and_comes_back(tmp_path: Path) -> None:
    """With cookies as a real browser sends them across sites."""
    with IdentityProvider(tmp_path / "provider") as provider:
        provider.claims["preferred_username"] = "ada"
        (tmp_path / "console").mkdir()
        site = ElsewhereSite(tmp_path / "console", provider)
        browser = Chromium()
        try:
            site.start()
            browser.go(f"{site.origin}/sessions")
            browser.click("#elsewhere")
            poll(lambda: browser.url == f"{site.origin}/sessions", text="nobody was led on")
            assert "ada (auditor)" in browser.text("header") and len(provider.led) == 1
            assert [one["message"] for one in browser.log() if one["level"] != "INFO"] == []
        finally:
            browser.close()
            site.close()
