"""Targets that an operator has named have figures of their own, and no others."""

from __future__ import annotations

from bastion.observe.exporter import build_registry, render
from bastion.observe.meters import Meters, merge
from bastion.observe.per_target import PerTarget


def test_without_names_the_page_is_as_it_was() -> None:
    meters = Meters()
    counted = PerTarget(meters)
    counted.dialled("web1", ok=True)
    counted.started("web1")
    counted.ended("web1")
    assert meters.families == Meters().families[:-1] + meters.families[-1:]
    assert not any(name.startswith("target_") for name in meters.snapshot())


def test_each_name_is_there_from_the_start_and_others_never_are() -> None:
    meters = Meters()
    counted = PerTarget(meters, ["web1", "db1", "web1"])
    for name in ("web1", "elsewhere"):
        counted.dialled(name, ok=True)
        counted.dialled(name, ok=False)
        counted.started(name)
        counted.started(name)
        counted.ended(name)
    snapshot = meters.snapshot()
    assert snapshot["target_dials_total"] == {
        "web1,ok": [1],
        "web1,failed": [1],
        "db1,ok": [0],
        "db1,failed": [0],
    }
    assert snapshot["target_sessions_started_total"] == {"web1": [2], "db1": [0]}
    assert snapshot["target_sessions_live"] == {"web1": [1], "db1": [0]}
    page = render(build_registry(meters, process=False))[0]
    assert b'bastion_target_sessions_live{target="web1"} 1.0' in page and b"elsewhere" not in page


def test_those_of_several_workers_are_added_up() -> None:
    whole = Meters()
    PerTarget(whole, ["web1"])
    parts = []
    for _ in range(2):
        part = Meters()
        PerTarget(part, ["web1"]).started("web1")
        parts.append(part.snapshot())
    assert merge(whole.families, parts)["target_sessions_live"] == {"web1": [2]}
