"""What the page of retention says is what the rules remove, now and later."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from bastion.clock import SystemClock
from bastion.console.keeping import DAY
from bastion.state.pruning import Hold, hold
from tests.unit.cli.made import FIRST, SECOND, THIRD, record
from tests.unit.console.conftest import header
from tests.unit.console.made import SECTION, Browser, ConsoleSite

pytestmark = pytest.mark.slow

RETENTION = '[retention]\nmax_age = "30d"\nusers = { bob = "off" }\nmax_size = "1KiB"\nat_least = "10d"\n'
OLD, HELD = "eeeeeeeeffffffff", "ffffffffeeeeeeee"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleSite]:
    """Of alice: 40 days old, 25 days old, of today, and one that is held; of bob one that is old."""
    made, now = ConsoleSite(tmp_path_factory.mktemp("console"), SECTION + RETENTION), SystemClock().time()
    for name, user, days in (
        (FIRST, "alice", 40), (SECOND, "alice", 25), (THIRD, "alice", 0), (OLD, "bob", 90), (HELD, "alice", 80),
    ):  # fmt: skip
        about = replace(header(name, user, "web1"), started_at=now - days * DAY)
        record(made.store, about)
        made.index(about)
    hold(made.database, Hold(HELD, "case 7", "adm", now), lambda: None)
    yield made.start()
    made.close()


@pytest.fixture(scope="module")
def ada(site: ConsoleSite) -> Browser:
    return site.browser("ada", "127.8.1.1")


def test_what_goes_now_and_later(site: ConsoleSite, ada: Browser) -> None:
    found = ada.get("/api/v1/retention").json
    assert found["rules"] == [{"rule": "age", "seconds": 30 * DAY}, {"rule": "user bob", "seconds": None}]
    assert (found["max_size"], found["at_least"], found["held"], found["cut"]) == (1024, 10 * DAY, 1, False)
    counts = {(one["days"], one["why"]): one["count"] for one in found["goes"]}
    assert counts == {
        (0, "age"): 1, (0, "size"): 2, (7, "age"): 2, (7, "size"): 1, (30, "age"): 3, (30, "size"): 1
    }  # fmt: skip
    assert [one["session"] for one in found["next"]] == [OLD, FIRST, SECOND, THIRD]
    text = ada.get("/retention").text
    assert "user bob" in text and "for ever" in text and "1.0 KiB" in text and HELD not in text
    assert f'href="/sessions/{FIRST}"' in text
    assert site.audit("recordings_read")[-1]["command"] == "console retention"


def test_the_files_of_now_count_and_what_cannot_be_read_is_told(site: ConsoleSite, ada: Browser) -> None:
    before = site.config.read_text()
    try:
        site.config.write_text(before.replace(RETENTION, ""))
        assert ada.get("/api/v1/retention").json["goes"] == []
        assert "Nothing goes within 30 days" in ada.get("/retention").text
        site.config.write_text(before.replace('max_age = "30d"', 'max_age = "soon"'))
        got = ada.get("/retention")
        assert got.status == 503 and "bastion check" in got.text and str(site.folder) not in got.text
    finally:
        site.config.write_text(before)
