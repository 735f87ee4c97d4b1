"""Who can reach what, in a browser: the same as `bastion access`."""

from __future__ import annotations

import pytest

from bastion.console import access as module
from tests.unit.console.made import Browser, ConsoleSite

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ada(console: ConsoleSite) -> Browser:
    return console.browser("ada", "127.8.0.1")


def test_a_target_and_a_user_are_asked_for(console: ConsoleSite, ada: Browser) -> None:
    assert "What can they reach?" in ada.get("/access").text
    rows = ada.get("/api/v1/access?target=web1").json["access"]
    assert [(row["who"], row["login"], row["verbs"]) for row in rows] == [
        ("group staff", "deploy", ["shell", "pty"])
    ]
    assert rows[0]["rule"] == "staff" and rows[0]["origin"].startswith("policy.toml:")
    text = ada.get("/access?target=web1").text
    assert "group staff" in text and str(console.folder) not in text
    assert "No rule lets anybody reach db1" in ada.get("/access?target=db1").text
    assert "No rule gives ada anything" in ada.get("/access?user=ada").text
    read = console.audit("recordings_read")[-1]
    assert (read["command"], read["asked"]) == ("console access", "user=ada")


def test_a_policy_that_was_changed_counts_at_once(console: ConsoleSite, ada: Browser) -> None:
    policy = console.folder / "policy.toml"
    before = policy.read_text()
    try:
        policy.write_text(before.replace('groups = ["staff"]', 'groups = ["auditors"]'))
        rows = ada.get("/api/v1/access?user=ada").json["access"]
        assert [(row["who"], row["target"], row["login"]) for row in rows] == [("ada", "web1", "deploy")]
        named = ada.get("/api/v1/access?target=web1").json["access"]
        assert [row["who"] for row in named] == ["ada", "group auditors"]
        policy.write_text("[[rule]]\nname = ")
        got = ada.get("/access?user=ada")
        assert got.status == 503 and "bastion check" in got.text and str(console.folder) not in got.text
    finally:
        policy.write_text(before)


@pytest.mark.parametrize(
    "query", ["target=nowhere", "user=nobody-here", "user=No%20Name", "user=ada&target=web1"]
)
def test_what_is_none_is_told(ada: Browser, query: str) -> None:
    got = ada.get(f"/access?{query}")
    assert got.status == 400 and 'role="alert"' in got.text
    assert ada.get(f"/api/v1/access?{query}").status == 400


def test_rows_are_bounded() -> None:
    assert module.Listed("ada", rows=tuple(range(module.MOST_ROWS + 1))).more  # type: ignore[arg-type]
    assert not module.Listed("ada", rows=tuple(range(module.MOST_ROWS))).more  # type: ignore[arg-type]
