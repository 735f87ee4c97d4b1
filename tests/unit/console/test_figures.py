"""What the console counts: closed sets, from the start, and on a page of its own process."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred

from bastion.clock import FixedClock
from bastion.console import figures
from bastion.console.figures import Figures, console_meters
from bastion.console.readers import QUESTIONS, Readers
from bastion.console.routes import ROUTES
from bastion.console.visits import Visits
from bastion.errors import ConsoleReason
from bastion.observe.family import Kind
from bastion.observe.meters import FAMILIES, Meters
from tests.support.world import poll
from tests.unit.cli.made import FIRST, START, record
from tests.unit.console.conftest import header
from tests.unit.console.made import SECTION, Browser, ConsoleSite
from tests.unit.console.test_readers import QUESTION, Pool


def counted(meters: Meters, family: Any, *values: str) -> int:
    return meters.value(family, *values)


def test_names_follow_the_conventions_and_are_in_no_gateways_list() -> None:
    names = [one.name for one in figures.FAMILIES]
    assert not set(names) & {one.name for one in FAMILIES} and len(set(names)) == len(names)
    for family in figures.FAMILIES:
        assert family.name.startswith("console_") and family.help.endswith(".")
        assert family.name.endswith("_total") == (family.kind is Kind.COUNTER)
        assert (family.kind is Kind.HISTOGRAM) == bool(family.buckets)
    shown = {one.name for one in console_meters().families}
    assert shown == {*names, *figures.AS_A_GATEWAY}


def test_every_route_and_every_reason_has_its_own() -> None:
    assert {route.name for route in ROUTES} < set(figures.REQUEST_SECONDS.labels[0].values)
    assert set(figures.REFUSALS.labels[0].values) == set(ConsoleReason)


def test_totals_are_taken_over_and_what_is_not_known_is_other() -> None:
    clock, pool, meters = FixedClock(), Pool(), console_meters()
    visits = Visits(clock, 1e9, 1e9, lambda visit, why: None)
    made = Figures(meters, clock, visits, cast(Readers, pool.readers))
    visits.begin("ada", "u", frozenset(), "192.0.2.1")
    visits.end(visits.begin("ada", "u", frozenset(), "192.0.2.1")[1], ConsoleReason.SIGNED_OUT)
    pool.readers.opened.update({"play": 2, "a form of tomorrow": 3})
    made.refresh()
    assert counted(meters, figures.SIGN_INS) == 2 and counted(meters, figures.SIGNED_IN) == 1
    assert counted(meters, figures.OPENED, "play") == 2 and counted(meters, figures.OPENED, "other") == 3


def ended(pool: Pool) -> dict[str, int]:
    return dict(pool.readers.endings)


def test_how_a_process_ended_is_counted_once() -> None:
    pool = Pool(most=4)
    asked: list[Deferred[Any]] = []
    for _ in range(3):
        asked.append(pool.readers.ask(QUESTION).addErrback(lambda _: None))
        pool.clock.advance(0)
    whole, failed, late = pool.made[:3]
    whole.process.outReceived(b'{"ok":true}\nx')
    whole.end()
    failed.end(1)
    pool.clock.advance(60.1)
    assert late.said == ["KILL"]
    late.end(9)
    assert ended(pool) == {"whole": 1, "failed": 1, "late": 1}
    assert pool.readers.opened == {"text": 3} and pool.readers.busy == 0
    pool.made[3].end()
    assert ended(pool) == {"whole": 1, "failed": 1, "late": 1}, "one that was asked nothing"


def test_who_leaves_is_no_fault() -> None:
    pool = Pool()
    asked = pool.readers.ask(QUESTION)
    asked.addErrback(lambda _: None)
    asked.cancel()
    pool.made[0].end(9)
    assert ended(pool) == {"left": 1}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ConsoleSite]:
    made = ConsoleSite(tmp_path, SECTION + 'metrics = "127.0.0.1:0"\n')
    about = header(FIRST, "alice", "web1", START)
    record(made.store, about)
    made.index(about)
    made.start()
    yield made
    made.close()


@pytest.mark.slow
def test_its_page_says_what_was_asked(site: ConsoleSite) -> None:
    browser = Browser(site.origin)
    assert browser.sign_in("ada").status == 303
    assert browser.get(f"/sessions/{FIRST}/text").status == 200
    assert browser.get("/nowhere").status == 404 and browser.get("/live/lock").status == 403

    def page() -> str:
        with urllib.request.urlopen(f"http://{site.ready['metrics']}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    poll(lambda: 'bastion_console_readings_total{ending="whole"} 1.0' in page(), text=page())
    text = page()
    for line in (
        "bastion_console_sign_ins_total 1.0",
        "bastion_console_signed_in 1.0",
        'bastion_console_recordings_opened_total{what="text"} 1.0',
        'bastion_console_refusals_total{reason="not_found"} 1.0',
        'bastion_console_refusals_total{reason="no_role"} 1.0',
        'bastion_console_request_seconds_count{route="text"} 1.0',
        'bastion_console_request_seconds_count{route="nowhere"} 1.0',
        'bastion_auth_attempts_total{method="password",reason="ok"} 1.0',
        'bastion_console_readers{state="busy"} 0.0',
    ):
        assert f"{line}\n" in text, line
    assert "sessions_live" not in text and "alice" not in text and re.search(r"process_open_fds \d", text)
    with urllib.request.urlopen(f"http://{site.ready['metrics']}/readyz", timeout=10) as answer:
        assert answer.read() == b"ok\n"


def test_whatever_a_process_is_asked_for_has_a_count_of_its_own() -> None:
    """By the words of the pages that ask: one that is renamed in one place alone would be counted as other."""
    source = Path(figures.__file__).parent
    asked = {
        what
        for file in source.glob("*.py")
        for what in re.findall(r'(?:call\.open\(|_opened\(call, )\s*"(\w+)"', file.read_text("utf-8"))
    }
    assert {"about", "play", "part", "files", "verify", "text"} <= asked <= set(QUESTIONS)
    assert figures.OPENED.labels[0].values == (*QUESTIONS, "other")
