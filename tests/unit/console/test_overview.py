"""The overview: figures of the store, and refused logins of the newest part of the log."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from bastion.clock import SystemClock
from bastion.console import overview as module
from bastion.console.overview import Refused, refused_logins
from tests.unit.console.made import Browser, ConsoleSite
from tests.unit.console.test_reviews import add

BEGIN = 1_796_112_000.0  # 2026-12-01 08:00:00


def line(minute: int, result: str = "refused", reason: str = "bad_password", event: str = "auth") -> bytes:
    made = {"ts": f"2026-12-01T08:{minute:02}:00.000Z", "event": event, "result": result, "reason": reason}
    return orjson.dumps(made) + b"\n"


def test_refused_logins_are_counted_by_reasons_of_the_closed_set(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_bytes(
        line(0, event="gateway_started") + line(1) + line(2, "ok", "ok") + line(3) + line(4, reason="<b>")
        + line(5, event="authorise") + b'{"event":"auth" torn\n[]\n' + line(6, reason="unknown_user")
    )  # fmt: skip
    found = refused_logins(log, BEGIN - 60)
    assert found.reasons[0] == ("bad_password", 2) and dict(found.reasons)["other"] == 1
    assert found.since == "2026-12-01T08:00:00.000Z"
    later = refused_logins(log, BEGIN + 150)
    assert dict(later.reasons)["bad_password"] == 1 and later.since == ""
    assert refused_logins(tmp_path / "none", BEGIN) == Refused()


def test_of_a_long_log_the_newest_part_is_read_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_bytes(b"".join(map(line, range(60))))
    monkeypatch.setattr(module, "LOG_MAX", len(line(1)) * 10 + 5)
    found = refused_logins(log, BEGIN - 60)
    assert found == Refused((("bad_password", 10),), "2026-12-01T08:50:00.000Z")


@pytest.fixture(scope="module")
def ada(console: ConsoleSite) -> Browser:
    now = SystemClock().time()
    add(console, "hhhhhhhhhhhhhhhh", started_at=now - 5, bytes_out=1 << 20, identity="<i>zed")
    add(
        console, "hhhhhhhhhhhhhhhh.1", started_at=now - 5, kind="tunnel", target="db7", port=5432, login="",
        bytes_in=2048,
    )  # fmt: skip
    return console.browser("ada", "127.7.0.1")


@pytest.mark.slow
def test_the_page_draws_it_without_a_script(console: ConsoleSite, ada: Browser) -> None:
    got = ada.get("/overview")
    assert got.status == 200 and "<script" not in got.text and got.text.count("<rect") >= 24
    assert "&lt;i&gt;zed" in got.text and "<i>zed" not in got.text and "db7:5432" in got.text
    assert 'href="/sessions?target=db7%3A5432"' in got.text
    assert "hhhhhhhhhhhhhhhh.1" in ada.get("/sessions?target=db7%3A5432").text
    read = console.audit("recordings_read")
    assert any((one["command"], one.get("asked")) == ("console overview", "span=day") for one in read)


@pytest.mark.slow
@pytest.mark.parametrize(("span", "steps"), [("day", 24), ("week", 28), ("month", 30)])
def test_programs_read_the_same(ada: Browser, span: str, steps: int) -> None:
    found = ada.get(f"/api/v1/overview?span={span}").json
    assert len(found["begun"]) == steps and sum(one["count"] for one in found["begun"]) >= 2
    assert {"name": "db7:5432", "count": 1, "bytes": 2048} in found["destinations"]
    assert found["recordings"] and "bad_password" not in found["alerts"]


@pytest.mark.slow
def test_another_while_is_told(ada: Browser) -> None:
    assert ada.get("/overview?span=year").status == 400
