"""Deletions as far as they need no gateway: tests/interop/test_console_deleting.py has one."""

from __future__ import annotations

import pytest

from bastion.state.deletions import Person, answer, ask, deletions
from tests.unit.cli.made import FIRST, SECOND
from tests.unit.console.made import Browser, ConsoleSite

pytestmark = pytest.mark.slow

ADM, BOS = Person("u-adm", "adm", "totp"), Person("u-bos", "bos", "passkey")


@pytest.fixture(scope="module")
def adm(console: ConsoleSite) -> Browser:
    return console.browser("adm", "127.9.1.1")


@pytest.fixture(scope="module")
def asked(console: ConsoleSite) -> tuple[str, str]:
    """One that waits, and one that was agreed to."""
    first = ask(console.database, FIRST, ADM, "a <b>password</b>", 2e9, 0.0, lambda _: None)
    second = ask(console.database, SECOND, ADM, "two", 2e9, 0.0, lambda _: None)
    answer(console.database, second.id, BOS, True, 2e9, 0.0, lambda _: None)
    return first.id, second.id


def test_they_are_listed_and_answered_by_admins(
    console: ConsoleSite, adm: Browser, asked: tuple[str, str]
) -> None:
    waits, agreed = asked
    for browser, ways in ((adm, True), (console.browser("ada", "127.9.1.2"), False)):
        text = browser.get("/deletions").text
        assert "a &lt;b&gt;password&lt;/b&gt;" in text and "agreed to by bos" in text
        assert (f'href="/deletions/{waits}"' in text, f'href="/deletions/{agreed}"' in text) == (ways, ways)
    found = {one["id"]: one["state"] for one in adm.get("/api/v1/deletions").json["deletions"]}
    assert (found[waits], found[agreed]) == ("open", "agreed")
    assert console.audit("recordings_read")[-1]["command"] == "console deletions"
    bos = console.browser("bos", "127.9.1.3")
    text = bos.get(f"/deletions/{waits}").text
    assert "a &lt;b&gt;password" in text and "here you can give neither" in text, "nobody has codes here"
    assert bos.get(f"/deletions/{'z' * 16}").status == 404


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"reason": " ", "code": "1"}, 400),
        ({"reason": "x" * 801, "code": "1"}, 400),
        ({"reason": "x", "code": "1" * 65}, 400),
        ({"reason": "x", "passkey": "x" * 4097, "moment": "1"}, 400),
        ({"reason": "x", "passkey": "{}", "moment": "-1"}, 400),
        ({"reason": "x", "passkey": "{}", "moment": "²"}, 400),
        ({"reason": "x", "passkey": "{}"}, 400),
        ({"reason": "a reason", "code": "1"}, 503),
    ],
)
def test_an_order_is_read_written_down_and_passed_on(
    console: ConsoleSite, adm: Browser, form: dict[str, str], status: int
) -> None:
    before = [len(console.audit("console_ordered")), len(deletions(console.database))]
    got = adm.post(f"/sessions/{FIRST}/delete", form, "/deletions")
    assert got.status == status
    written = len(console.audit("console_ordered")) - before[0]
    assert written == (status == 503) and len(deletions(console.database)) == before[1], (
        "the gateway writes the row"
    )
    if status == 503:
        line = console.audit("console_ordered")[-1]
        assert (line["command"], line["whom"], line["why"]) == ("deletion ask", FIRST, "a reason")


def test_an_answer_is_one_of_two(console: ConsoleSite, adm: Browser, asked: tuple[str, str]) -> None:
    assert adm.post(f"/deletions/{asked[0]}", {"do": "drop", "code": "1"}, "/deletions").status == 400
    assert adm.post(f"/deletions/{asked[0]}", {"do": "keep", "code": "1"}, "/deletions").status == 503
    assert {one.state for one in deletions(console.database)} == {"open", "agreed"}
