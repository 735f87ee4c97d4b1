"""Signing in and out: the same directory and attempts as ssh, and nothing learnt by whoever has proved nothing."""

from __future__ import annotations

import pytest

from bastion.state.rows import Lock, lock_added, lock_removed
from tests.unit.console.made import ConsoleSite

pytestmark = pytest.mark.slow


def test_somebody_signs_in_looks_and_signs_out(console: ConsoleSite) -> None:
    browser = console.browser(source="127.1.0.1")
    asked = browser.get("/sessions?user=alice")
    assert asked.place == "/sign-in?next=%2Fsessions%3Fuser%3Dalice"
    form = browser.get(asked.place)
    assert (
        form.status == 200 and 'value="/sessions?user=alice"' in form.text and 'name="code"' not in form.text
    )
    got = browser.sign_in("ada", back="/sessions?user=alice")
    assert (got.status, got.place) == (303, "/sessions?user=alice")
    assert "ada (auditor)" in browser.get(got.place).text
    signed_in = console.audit("console_signed_in")[-1]
    assert (signed_in["user"], signed_in["roles"], signed_in["source"]) == ("ada", ["auditor"], "127.1.0.1")
    (auth,) = [line for line in console.audit("auth") if line.get("connection") == signed_in["connection"]]
    assert (auth["method"], auth["result"]) == ("password", "ok")
    assert browser.get("/").place == "/sessions"


@pytest.mark.parametrize("back", ["https://evil.example.com/", "//evil.example.com", "/sign-out", "/nothing"])
def test_nobody_is_led_elsewhere(console: ConsoleSite, back: str) -> None:
    browser = console.browser(source="127.1.0.2")
    assert "evil" not in browser.get(f"/sign-in?next={back}").text
    assert browser.sign_in("ada", back=back).place == "/"


@pytest.mark.parametrize(
    ("name", "password"),
    [("ada", "wrong"), ("nobody", "wrong"), ("ada", ""), ("", ""), ("ada+root+web1", "correct horse"),
     ("ada@example.com", "x"), ("ada", "x" * 1025), ("\u00e4da", "x"), ("root", "correct horse")],
)  # fmt: skip
def test_whatever_is_wrong_reads_the_same(console: ConsoleSite, name: str, password: str) -> None:
    browser = console.browser(source=f"127.1.1.{abs(hash((name, password))) % 200 + 2}")
    got = browser.sign_in(name, password)
    assert got.status == 401 and "name, password or code is not right" in got.text
    assert not browser.cookies and (
        len(password) < 3 or password not in (console.folder / "audit.jsonl").read_text()
    )


def test_guessing_is_slowed_down_as_for_ssh(console: ConsoleSite) -> None:
    browser = console.browser(source="127.1.2.1")
    said = [browser.sign_in("rex", f"guess{number}").text for number in range(8)]
    assert "too many failed sign-ins" in said[-1] and "too many" not in said[0]
    assert "too many failed sign-ins" in browser.sign_in("rex").text, "with the right password, too"
    assert console.browser(source="127.1.2.2").sign_in("rex").status == 303


def test_who_has_no_role_is_not_signed_in(console: ConsoleSite) -> None:
    browser = console.browser(source="127.1.3.1")
    got = browser.sign_in("nil")
    assert got.status == 403 and not browser.cookies and "no role" in got.text
    assert console.audit("console_refused")[-1]["reason"] == "no_role"


def test_who_is_locked_is_not_signed_in_and_reads_why(console: ConsoleSite) -> None:
    console.add(lock_added(Lock("user", "abe", "stolen laptop", "root", 1.0, None, "u-abe")))
    try:
        browser = console.browser(source="127.1.4.1")
        got = browser.sign_in("abe")
        assert got.status == 401 and "locked by the security team: stolen laptop" in got.text
        assert "stolen" not in browser.sign_in("abe", "wrong").text
    finally:
        console.add(lock_removed("user", "abe", 2.0))
    assert browser.sign_in("abe").status == 303


def test_a_sign_in_begins_a_new_visit_and_ends_the_one_before(console: ConsoleSite) -> None:
    browser = console.browser("ada", "127.1.5.1")
    before = dict(browser.cookies)
    browser.cookies["bastion"] = "x" * 43
    browser.sign_in("ada")
    assert browser.cookies["bastion"] not in ("x" * 43, before["bastion"])
    browser.cookies = dict(before)
    browser.sign_in("ada")
    again = console.browser(source="127.1.5.1")
    again.cookies = before
    assert again.get("/sessions").status == 303


def test_the_sign_in_of_another_site_is_refused(console: ConsoleSite) -> None:
    browser = console.browser(source="127.1.6.1")
    form = {"name": "ada", "password": "correct horse"}
    assert browser.ask("POST", "/sign-in", form, origin="https://evil.example.com").status == 403
    assert browser.ask("POST", "/sign-in", form, origin=None).status == 403
    assert not browser.cookies
