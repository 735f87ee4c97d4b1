"""The simulation of docs/scaling.md: nobody is lost in it, a cost that changes moves its answer, and it says what was
measured where something was."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from bastion.auth.startups import StartupLimiter
from tests.scale import bench, day, inputs, measure, storm
from tests.scale.__main__ import changed, main
from tests.scale.inputs import ASSUMED, Inputs, described
from tests.scale.machine import Loop, Process, Processors, Threads
from tests.support.sshd import sshd_missing
from tests.support.world import running

DOCS = Path(__file__).resolve().parents[2] / "docs"
SMALL = Inputs(site=replace(Inputs().site, processors=1), habits=replace(Inputs().habits, minute=20.0))
"""One processor, and everybody within 20 s: 1,000 engineers are more than it can let in by then."""
PARTS = [getattr(Inputs(), part.name) for part in fields(Inputs)]
NUMBERS = [one for part in PARTS for one in described(part)]


def with_(given: Inputs, **values: float) -> Inputs:
    for name, value in values.items():
        given = changed(given, f"{name}={value}")
    return given


# -- what goes in --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "value", "source"), NUMBERS, ids=[name for name, _, _ in NUMBERS])
def test_every_number_has_its_source(name: str, value: float, source: inputs.Source) -> None:
    if source.page == ASSUMED:
        return
    page = (DOCS / source.page).read_text(encoding="utf-8")
    assert source.quote in page, f"{source.page} does not say so any more: {source.quote}"


def test_the_tables_of_what_goes_in_and_of_the_bench_stand_in_the_page() -> None:
    page = (DOCS / "scaling.md").read_text(encoding="utf-8")
    assert "\n".join(inputs.table(Inputs())) in page, "write them anew: make simulate"
    assert "\n".join(bench.table()) in page


def test_the_table_of_the_smallest_size_stands_in_the_page() -> None:
    """The other columns take seconds: `make simulate` has them."""
    rows = list(day.table(Inputs(), (1_000,)))
    page = (DOCS / "scaling.md").read_text(encoding="utf-8")
    begins = page.index("| engineers | 1,000 |")
    there = page[begins : page.index("\n\n", begins)].splitlines()
    assert [line.split(" | ")[:2] for line in there][2:] == [
        line.removesuffix(" |").split(" | ")[:2] for line in rows
    ][2:]


def test_limits_are_those_of_the_gateway() -> None:
    """The simulation's inputs, beside the declarations that they repeat."""
    site, limiter = Inputs().site, StartupLimiter(lambda: 0.0)
    assert (limiter._begin, limiter._rate, limiter._full, limiter._per_source) == (
        site.begin, site.rate, site.places, site.per_source,
    )  # fmt: skip


# -- machine -------------------------------------------------------------------------------------------------------


def test_a_process_does_one_thing_at_a_time_and_two_share_two_processors() -> None:
    loop = Loop()
    machine = Processors(loop, 2)
    one, other = Process(machine), Process(machine)
    done: list[tuple[str, float]] = []
    for name, process in (("a", one), ("b", one), ("c", other)):
        process.work(1.0, lambda name=name: done.append((name, loop.now)))  # type: ignore[misc]
    loop.run()
    assert done == [("a", 1.0), ("c", 1.0), ("b", 2.0)]
    assert machine.busy == 3.0


def test_what_is_urgent_comes_first_and_processes_take_turns() -> None:
    loop = Loop()
    machine = Processors(loop, 1)
    one, other = Process(machine), Process(machine)
    done: list[str] = []
    one.work(1.0, lambda: done.append("first"))
    one.work(1.0, lambda: done.append("late"))
    one.work(1.0, lambda: done.append("urgent"), urgent=True)
    other.work(1.0, lambda: done.append("other"))
    loop.run()
    assert done == ["first", "other", "urgent", "late"]
    assert loop.now == 4.0


def test_threads_answer_in_order_and_no_more_at_once_than_there_are() -> None:
    loop = Loop()
    threads, times = Threads(loop, 2), []
    for _ in range(5):
        threads.call(1.0, lambda: times.append(loop.now))
    loop.run()
    assert times == [1.0, 1.0, 2.0, 2.0, 3.0] and threads.most == 3


# -- storm: nobody is lost, nothing is made ------------------------------------------------------------------------


@pytest.mark.parametrize("engineers", [1, 300, 1_500])
def test_everybody_is_let_in_once_and_every_try_has_one_end(engineers: int) -> None:
    told = storm.storm(SMALL, engineers)
    assert len(told.waits) == told.sessions == 2 * engineers
    assert told.begun == len(told.waits) + sum(told.refused.values())
    assert told.places_left == 0
    assert min(told.waits) > 0


def test_the_processors_have_worked_for_what_was_asked_and_no_longer_than_there_was_time() -> None:
    told = storm.storm(SMALL, 1_200)
    costs = SMALL.costs
    least = len(told.waits) * costs.login / 1000
    most = least + sum(told.refused.values()) * costs.login / 1000
    assert least - 1e-6 <= told.busy <= most
    assert told.busy <= told.last * SMALL.site.processors + 1e-6


def test_a_storm_is_the_same_each_time_and_another_with_another_seed() -> None:
    assert storm.storm(SMALL, 500) == storm.storm(SMALL, 500) != storm.storm(SMALL, 500, seed=2)


def test_a_small_storm_waits_for_nobody() -> None:
    told = storm.storm(SMALL, 100)
    assert not told.refused
    site, costs = SMALL.site, SMALL.costs
    alone = (2 * site.round_trip + site.target + site.ldap + costs.login) / 1000
    assert min(told.waits) == pytest.approx(alone) and told.share(0.5) < 1.1 * alone


def test_a_large_one_meets_the_gateways_own_limits() -> None:
    told = storm.storm(SMALL, 1_500)
    assert told.refused["startups"] > 10 and told.dropped > 100
    assert 100 < told.most_unfinished <= 1000


def test_one_office_meets_the_limit_of_one_source() -> None:
    told = storm.storm(with_(SMALL, behind=1_500), 1_500)
    assert told.refused["source_startups"] > 10 and told.most_unfinished <= 100


@pytest.mark.parametrize(
    ("name", "value", "sooner"),
    [("login", 27, False), ("processors", 2, True), ("ldap", 400, False), ("minute", 60, True), ("target", 900, False)],
)  # fmt: skip
def test_an_input_that_changes_moves_the_storm(name: str, value: float, sooner: bool) -> None:
    before, after = storm.storm(SMALL, 1_000), storm.storm(with_(SMALL, **{name: value}), 1_000)
    assert (after.share(0.5) < before.share(0.5)) is sooner


def test_more_people_are_back_later() -> None:
    ends = [storm.storm(SMALL, count).last for count in (500, 1_000, 2_000)]
    assert all(one < other for one, other in pairwise(ends))


# -- day -----------------------------------------------------------------------------------------------------------


def test_demand_grows_with_the_people_and_with_nothing_else() -> None:
    one, ten = day.demand(Inputs(), 1_000), day.demand(Inputs(), 10_000)
    for each in fields(day.Demand):
        assert getattr(ten, each.name) == pytest.approx(10 * getattr(one, each.name)), each.name


@cache
def answers(given: Inputs) -> object:
    told = storm.storm(replace(given, site=SMALL.site, habits=SMALL.habits), 1_000)
    rows = list(day.table(replace(given, site=replace(given.site, goal=300)), (200,)))
    return (
        day.demand(given, 1_000),
        day.gateways_by(given, 1_000),
        told.last,
        sum(told.refused.values()),
        rows,
    )


@pytest.mark.parametrize("cost", [name for name, _, _ in described(Inputs().costs)])
def test_a_cost_that_changes_moves_the_answer(cost: str) -> None:
    """Of the day, of what a gateway takes, or of the storm."""
    factor = 20 if cost == "exchange" else 2  # the budget of strangers has room for honest ones
    assert answers(with_(Inputs(), **{cost: factor * getattr(Inputs().costs, cost)})) != answers(Inputs())


def test_what_is_used_up_first_is_named() -> None:
    assert day.ordinary(Inputs(), 100_000)[1] == "limits.sessions"
    assert day.ordinary(with_(Inputs(), limit=1e6, copied=1_000), 100_000)[1] == "processors"
    assert day.ordinary(with_(Inputs(), limit=1e6, uploads=0.1), 100_000)[1] == "uploads"


def test_a_gateway_more_is_taken_until_everybody_is_back_in_time() -> None:
    slow = with_(SMALL, goal=30)
    count, told = day.for_storm(slow, 1_500, 1)
    assert count > 1 and told.last <= slow.site.goal
    assert storm.storm(slow, 1_500).last > slow.site.goal


# -- what was measured ---------------------------------------------------------------------------------------------


def test_the_bench_that_was_measured_comes_out_within_an_eighth() -> None:
    for workers, login, found in zip(bench.WORKERS, bench.OF_A_LOGIN, bench.MEASURED, strict=True):
        assert bench.logins_per_second(workers, login) == pytest.approx(found, rel=0.125)
    once, twice = (bench.logins_per_second(1, factor * bench.OF_A_LOGIN[0]) for factor in (1, 2))
    assert twice < 0.9 * once, "the gateway's share counts"


def test_the_bench_stands_in_the_pages_as_it_is_here() -> None:
    scaling = (DOCS / "scaling.md").read_text(encoding="utf-8")
    for title, values in (
        ("CPU ms of a login, 12 clients", [1000 * seconds for seconds in bench.OF_A_LOGIN]),
        ("logins per second, 12 clients", bench.MEASURED),
    ):
        row = re.search(rf"^\| {title} \| (.*?) \| [\d.]+ \|$", scaling, re.MULTILINE)
        assert row and [float(cell) for cell in row[1].split(" | ")] == pytest.approx(values)
    performance = (DOCS / "performance.md").read_text(encoding="utf-8")
    alone = re.search(r"^\| logins per second \|(.*)\|$", performance, re.MULTILINE)
    assert alone and f"{1 / bench.ALONE:.1f}" in alone[1]


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "sshd")
def test_what_a_session_leaves_behind_is_what_the_simulation_takes() -> None:
    with running() as world:
        left = measure.measure(world)
    costs = Inputs().costs
    assert left.recording / 1024 == pytest.approx(costs.recording, rel=0.15)
    assert left.line == pytest.approx(costs.recorded_key, rel=0.15)
    assert left.audit / 1024 == pytest.approx(costs.audit, rel=0.15)
    assert (left.begin_rows, left.end_rows) == (costs.begin_rows, costs.end_rows)


# -- the command ---------------------------------------------------------------------------------------------------


def test_an_input_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--set", "nothing=1"])
    assert "nothing=1: no such input" in capsys.readouterr().err
