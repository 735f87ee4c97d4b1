"""A console that takes passkeys beside passwords with codes, and people with second factors."""

from __future__ import annotations

import html
import re
from pathlib import Path

from bastion.auth.totp import TotpKey, new_recovery_codes, new_secret
from bastion.state.codes import Enrolled, enrol
from tests.support.net import free_ports
from tests.support.passkeys import Authenticator
from tests.unit.console.made import SECTION, Browser, ConsoleSite, Got

PEOPLE = ("ada", "rex", "adm")


class PasskeySite(ConsoleSite):
    """At http://localhost, for which browsers make passkeys without TLS."""

    def __init__(self, folder: Path, require: str = '[["passkey"], ["password", "totp"]]') -> None:
        (port,) = free_ports(1)
        lines = SECTION.replace('[["password"]]', require).replace(
            'listen = "127.0.0.1:0"', f'listen = "127.0.0.1:{port}"\nurl = "http://localhost:{port}"'
        )
        super().__init__(folder, lines + '[totp]\nkey_file = "totp.key"\n')
        self.write("totp.key", "k" * 44 + "\n", 0o600)
        self._codes: dict[str, list[str]] = {}
        for name in PEOPLE:
            self._codes[name] = list(new_recovery_codes())
            who = Enrolled(name, f"u-{name}", 1.0, "root")
            assert enrol(self.database, TotpKey(b"k" * 44), who, new_secret(), self._codes[name])

    def code(self, name: str) -> str:
        """A recovery code: no test waits for the next half minute."""
        return self._codes[name].pop()

    def signed_in(self, name: str, source: str) -> Browser:
        """With password and code."""
        browser = Browser(self.origin, source)
        got = browser.sign_in(name, code=self.code(name))
        assert got.status == 303, got.text
        return browser

    def authenticator(self, counter: int = 1) -> Authenticator:
        return Authenticator(self.origin, "localhost", counter)


def options_in(got: Got) -> str:
    """What a page asks an authenticator for."""
    found = re.search(r'data-passkey="([^"]*)"', got.text)
    assert found is not None, got.text
    return html.unescape(found[1])


def add(browser: Browser, key: Authenticator, label: str = "blue key", **changes: int) -> Got:
    """As the page does."""
    page = browser.get("/account")
    form = {"token": page.token, "label": label, "passkey": key.create(options_in(page), **changes)}
    return browser.ask("POST", "/account/passkeys", form)


def sign_in(browser: Browser, key: Authenticator, **changes: bytes | int) -> Got:
    """As the page does."""
    answer = key.get(options_in(browser.get("/sign-in")), **changes)  # type: ignore[arg-type]
    return browser.ask("POST", "/sign-in", {"passkey": answer, "next": ""})
