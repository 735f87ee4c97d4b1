"""Passkeys over HTTP, with an authenticator in software: added, signed in with, removed; and by nobody else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bastion.state.rows import Lock, lock_added, lock_removed
from tests.unit.console.made import Browser
from tests.unit.console.made_passkeys import PasskeySite, add, options_in, sign_in

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PasskeySite]:
    made = PasskeySite(tmp_path_factory.mktemp("console"))
    made.start()
    yield made
    made.close()


def test_a_passkey_is_added_and_signs_in_as_whose_it_is(site: PasskeySite) -> None:
    key = site.authenticator()
    first = site.signed_in("ada", "127.5.0.1")
    assert add(first, key).status == 303 and "blue key" in first.get("/account").text
    browser = Browser(site.origin, "127.5.0.2")
    got = sign_in(browser, key)
    assert got.status == 303 and "ada (auditor)" in browser.get("/sessions").text
    (line,) = [one for one in site.audit("auth") if one["source"] == "127.5.0.2"]
    (added,) = site.audit("console_passkey_added")
    assert (line["user"], line["method"], line["result"]) == ("ada", "passkey", "ok")
    assert line["key"] == added["key"] and line["user_verified"] == 1 and added["user"] == "ada"
    marks = got.headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict"} <= set(marks)


def test_an_answer_is_good_once_and_in_its_own_browser(site: PasskeySite) -> None:
    key = site.authenticator(counter=0)
    add(site.signed_in("ada", "127.5.1.1"), key)
    browser, other = Browser(site.origin, "127.5.1.2"), Browser(site.origin, "127.5.1.3")
    answer = key.get(options_in(browser.get("/sign-in")))
    other.get("/sign-in")
    for whose, status in ((other, 401), (browser, 303), (browser, 401)):
        assert whose.ask("POST", "/sign-in", {"passkey": answer}).status == status
    reasons = [one["reason"] for one in site.audit("auth") if one["source"] in ("127.5.1.2", "127.5.1.3")]
    assert reasons == ["factor_invalid", "ok", "factor_invalid"]


def test_a_copy_of_an_authenticator_is_noticed(site: PasskeySite) -> None:
    key = site.authenticator(counter=10)
    add(site.signed_in("ada", "127.5.2.1"), key)
    browser = Browser(site.origin, "127.5.2.2")
    assert sign_in(browser, key).status == 303
    key.counter -= 1
    assert sign_in(browser, key).status == 401
    (fallen,) = site.audit("security_key_counter")
    assert fallen["user"] == "ada" and fallen["counter"] <= fallen["last"]
    assert sign_in(browser, key).status == 303


def test_who_is_locked_signs_in_with_no_passkey_and_reads_why(site: PasskeySite) -> None:
    key = site.authenticator()
    add(site.signed_in("rex", "127.5.3.1"), key)
    made = site.audit("console_passkey_added")[-1]["key"]
    for number, (kind, value, uid) in enumerate((("user", "rex", "u-rex"), ("certificate", made, ""))):
        site.add(lock_added(Lock(kind, value, "stolen laptop", "root", 1.0, None, uid)))
        try:
            got = sign_in(Browser(site.origin, f"127.5.3.{number + 2}"), key)
            assert got.status == 401 and "stolen laptop" in got.text
        finally:
            site.add(lock_removed(kind, value, 2.0))
    assert sign_in(Browser(site.origin, "127.5.3.9"), key).status == 303


def test_the_account_is_asked_for_at_each_sign_in(site: PasskeySite) -> None:
    """By the immutable id: whoever has the name now is not who had it."""
    key = site.authenticator()
    add(site.signed_in("rex", "127.5.4.1"), key)
    with site.database.write() as connection:
        connection.exec_driver_sql("UPDATE passkeys SET uid = 'u-gone' WHERE name = 'rex'")
    try:
        browser = Browser(site.origin, "127.5.4.2")
        got = sign_in(browser, key, handle=b"")
        assert got.status == 401 and "not known here" in got.text
        assert site.audit("auth")[-1]["reason"] == "factor_invalid"
    finally:
        with site.database.write() as connection:
            connection.exec_driver_sql("UPDATE passkeys SET uid = 'u-rex' WHERE name = 'rex'")


def test_guessing_is_slowed_down_and_reads_the_same(site: PasskeySite) -> None:
    browser, stranger = Browser(site.origin, "127.5.5.1"), site.authenticator()
    browser.get("/sign-in")
    said = [
        browser.ask("POST", "/sign-in", {"passkey": text}).text
        for text in ("", "{}", '{"rawId": "eHg", "response": {}}')
    ]
    said += [sign_in(browser, stranger).text for _ in range(6)]
    assert "not known here" in said[0] and "not known here" in said[2]
    assert "too many failed sign-ins" in said[-1]
    lines = [one for one in site.audit("auth") if one["source"] == "127.5.5.1"]
    assert {one["method"] for one in lines} == {"passkey"} and not browser.cookies.get("bastion")


def test_nothing_is_added_without_a_fresh_and_strong_sign_in(site: PasskeySite) -> None:
    browser, key = site.signed_in("adm", "127.5.6.1"), site.authenticator()
    page = browser.get("/account")
    answer = key.create(options_in(page))
    other = site.signed_in("rex", "127.5.6.2")
    form = {"token": other.get("/account").token, "label": "x", "passkey": answer}
    assert other.ask("POST", "/account/passkeys", form).status == 400, "another visit's challenge"
    form = {"token": page.token, "label": "x", "passkey": answer}
    assert browser.ask("POST", "/account/passkeys", form | {"label": ""}).status == 400
    assert browser.ask("POST", "/account/passkeys", form).status == 303
    assert browser.ask("POST", "/account/passkeys", form).status == 400, "twice"


def test_a_passkey_is_removed_by_its_owner_or_an_admin_and_signs_out(site: PasskeySite) -> None:
    owner, key = site.signed_in("ada", "127.5.7.1"), site.authenticator()
    add(owner, key, "to be lost")
    made = site.audit("console_passkey_added")[-1]["key"]
    visiting = Browser(site.origin, "127.5.7.2")
    assert sign_in(visiting, key).status == 303 and visiting.get("/sessions").status == 200
    rex, admin = site.signed_in("rex", "127.5.7.3"), site.signed_in("adm", "127.5.7.4")
    assert made in admin.get("/accounts").text and made not in rex.get("/account").text
    for browser, path, status in (
        (rex, "/account/passkeys/remove", 404),
        (rex, "/accounts/passkeys/remove", 403),
        (admin, "/accounts/passkeys/remove", 303),
    ):
        form = {"token": browser.get("/account").token, "id": made}
        assert browser.ask("POST", path, form).status == status
    assert visiting.get("/sessions").status == 303, "signed out"
    assert sign_in(Browser(site.origin, "127.5.7.5"), key).status == 401
    assert site.audit("console_passkey_removed")[-1]["owner"] == "ada"


def test_where_a_password_is_enough_nobody_adds_one_with_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    made = PasskeySite(tmp_path_factory.mktemp("weak"), '[["passkey"], ["password"]]')
    try:
        made.start()
        browser = made.browser("ada", "127.5.8.1")
        page = browser.get("/account")
        assert "data-passkey" not in page.text and "sign in again" in page.text
        form = {"token": page.token, "label": "x", "passkey": "{}"}
        got = browser.ask("POST", "/account/passkeys", form)
        assert got.status == 403 and made.audit("console_refused")[-1]["reason"] == "stale_sign_in"
    finally:
        made.close()
