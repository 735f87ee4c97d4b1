"""Rules, dashboards and the page say the same: nothing is asked for that is not there, and every alert can come.

An alert on a metric that was renamed is silent for ever, and so is one whose condition nothing fulfils. So each name
and each value of a label that a query asks for must be declared, and promtool shows each alert firing for its case and
silent without it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bastion.observe.exporter import build_registry, render
from bastion.observe.meters import Meters
from tests.support.alert_cases import CASES
from tests.support.metrics_document import PREFIX, declared, of_the_console, series
from tests.support.queries import selectors

ROOT = Path(__file__).resolve().parents[2]
ETC = ROOT / "etc"
RULES = [ETC / "prometheus" / name for name in ("bastion-slo.yml", "bastion-alerts.yml")]
RUNBOOKS = "docs/runbooks.md"
SEVERITIES = {"page", "ticket", "security"}
BUDGETS = {
    "BastionLoginsFailing": "login",
    "BastionSessionsSlow": "first_output",
    "BastionRecordingCoverage": "recording",
}

promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
amtool = pytest.mark.skipif(shutil.which("amtool") is None, reason="amtool is not installed")


def rules(kind: str) -> list[dict[str, Any]]:
    """All of one kind: `alert` or `record`."""
    groups = [group for file in RULES for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


ALERTS, RECORDS = rules("alert"), rules("record")
DASHBOARDS = sorted((ETC / "grafana").glob("*.json"))


def panels() -> Iterator[tuple[str, str]]:
    """(dashboard and panel, query)"""
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{file.stem}: {panel['title']}", target["expr"]


def expressions() -> Iterator[tuple[str, str]]:
    """(where it stands, query), of every file that has some."""
    yield from ((rule["alert"], rule["expr"]) for rule in ALERTS)
    yield from ((rule["record"], rule["expr"]) for rule in RECORDS)
    yield from panels()


EXPRESSIONS = list(expressions())


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS, ids=[where for where, _ in EXPRESSIONS])
def test_what_a_query_asks_for_is_on_the_page(where: str, expression: str) -> None:
    families = {PREFIX + family.name: family for family in (*declared(), *of_the_console())}
    recorded = {rule["record"] for rule in RECORDS}
    found = list(selectors(expression))
    assert found, where
    for name, labels in found:
        if name in recorded or name == "up":
            continue
        assert name in series(), f"{where}: {name}"
        base = name if name in families else re.sub(r"_(bucket|sum|count)$", "", name)
        sets = {label.name: label.values for label in families[base].labels}
        if name.endswith("_bucket"):
            sets["le"] = (*map(str, families[base].buckets), "+Inf")
        for label in labels:
            assert label.name in sets, f"{where}: {name} has no label {label.name}"
            assert any(map(label.fits, sets[label.name])), f"{where}: {name} has no such {label}"
            if label.op == "=~":  # each of the words that are listed is one
                for word in (re.fullmatch(r"[a-z_|.*]+", label.value) and label.value.split("|")) or []:
                    assert any(re.fullmatch(word, value) for value in sets[label.name]), f"{where}: {word}"


def test_every_alert_says_who_is_to_hear_and_what_to_do() -> None:
    headings = re.findall(r"^### (\w+)$", (ROOT / RUNBOOKS).read_text(), re.MULTILINE)
    names = {rule["alert"] for rule in ALERTS}
    assert sorted(headings) == sorted(names), "one entry for each alert"
    for rule in ALERTS:
        assert rule["labels"]["severity"] in SEVERITIES
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook_url"] == f"{RUNBOOKS}#{rule['alert'].lower()}"


def test_every_alert_has_a_case() -> None:
    assert {rule["alert"] for rule in ALERTS} == set(CASES) | set(BUDGETS)


# -- promtool ---------------------------------------------------------------------------------------------------
#
# One run for each step: every case is a gateway, or a job, of its own.


def expects(alert: str, at: str, fires: bool, labels: str) -> dict[str, Any]:
    """Does it fire, with these labels, at that time?"""
    return {
        "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing",{labels}}})',
        "eval_time": at,
        "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
    }


def scraped(series_of: dict[str, str], job: str, instance: str) -> Iterator[dict[str, str]]:
    """With the names and labels that a scrape gives them."""
    for short, values in series_of.items():
        name, _, labels = short.removesuffix("}").partition("{")
        whole = ",".join([f'job="{job}"', f'instance="{instance}"', *([labels] if labels else [])])
        ours = name != "up" and not name.startswith("process_start_")
        yield {"series": f"{PREFIX * ours}{name}{{{whole}}}", "values": values}


def run_promtool(folder: Path, files: list[Path], every: str, group: dict[str, Any]) -> None:
    for file in files:
        shutil.copy(file, folder)
    tests = {"rule_files": [file.name for file in files], "evaluation_interval": every, "tests": [group]}
    (folder / "tests.yml").write_text(yaml.safe_dump(tests))
    done = subprocess.run(
        ["promtool", "test", "rules", "tests.yml"], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]


@promtool
@pytest.mark.parametrize("step", sorted({case.step for case in CASES.values()}))
def test_every_alert_fires_for_its_case_and_not_without(tmp_path: Path, step: str) -> None:
    series_of, checks = [], []
    for name, case in CASES.items():
        if case.step == step:
            for instance, values, fires in (
                (f"{name}-yes", case.fires, True),
                (f"{name}-no", case.quiet, False),
            ):
                series_of += scraped(values, case.job, instance)
                checks.append(expects(name, case.at, fires, f'instance="{instance}"'))
    group = {"interval": step, "input_series": series_of, "promql_expr_test": checks}
    run_promtool(tmp_path, [RULES[1]], step, group)


# -- what never happened, or before anybody looked ---------------------------------------------------------------------

AT_ONCE = [rule["alert"] for rule in ALERTS if "instance:bastion_begun" in rule["expr"]]


def test_a_count_that_is_security_s_is_news_when_it_has_just_begun() -> None:
    """`increase()` of a series whose first sample is 1 already is 0."""
    counts = {
        rule["alert"]
        for rule in ALERTS
        if rule["labels"]["severity"] == "security" and re.search(r"increase\(.*\]\)+ > 0", rule["expr"])
    }
    assert counts - {"BastionDetectionPostsFailing"} == set(AT_ONCE)  # which asks whether they still wait


@promtool
def test_what_was_counted_before_the_first_scrape_is_told(tmp_path: Path) -> None:
    """By a gateway that is new or was started again, for an hour; and not once more by one that was upgraded."""
    lives = {
        "new": ("0x200", "5x200"),
        "restarted": ("-90000x69 4200x130", "9000x69 5x130"),
        "upgraded": ("-90000x69 4200x130", "9000+1x200"),
        "old": ("-90000x200", "9000+1x200"),
    }
    told = {"new": {"10m"}, "restarted": {"80m"}, "upgraded": set(), "old": set()}
    series_of, checks = [], []
    for name in AT_ONCE:
        for life, (began, used) in lives.items():
            instance = f"{name}-{life}"
            found = dict.fromkeys(CASES[name].fires, "1x200")
            found |= {"process_start_time_seconds": began, 'process_cpu_seconds_total{role="gateway"}': used}
            series_of += scraped(found, "bastion", instance)
            for at in ("10m", "65m", "80m", "140m"):
                checks.append(expects(name, at, at in told[life], f'instance="{instance}"'))
    group = {"interval": "1m", "input_series": series_of, "promql_expr_test": checks}
    run_promtool(tmp_path, [RULES[1]], "1m", group)


def fires(names: set[str], at: str) -> dict[str, Any]:
    """These alerts, and no others."""
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(names)]
    return {
        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
        "eval_time": at,
        "exp_samples": samples,
    }


@promtool
def test_a_gateway_of_which_nothing_ever_happened(tmp_path: Path) -> None:
    """All series of its page as they are at the start, for ever: what should have happened by then is told."""
    text = render(build_registry(Meters(), process=False))[0].decode()
    page = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    assert len(page) > 2000
    series_of = [{"series": 'up{job="bastion",instance="gw1"}', "values": "1x50"}]
    for name, _, value in page:
        base, _, labels = name.removesuffix("}").partition("{")
        whole = ",".join(['job="bastion",instance="gw1"', *([labels] if labels else [])])
        series_of.append({"series": f"{base}{{{whole}}}", "values": f"{value}x50"})
    checks = [fires(set(), "24h"), fires(set(), "188h"), fires({"BastionVerifyNotRun"}, "200h")]
    group = {"interval": "4h", "input_series": series_of, "promql_expr_test": checks}
    run_promtool(tmp_path, RULES, "4h", group)


@promtool
def test_gateways_that_nobody_scrapes_are_down(tmp_path: Path) -> None:
    other = [{"series": 'up{job="others",instance="web1"}', "values": "1x20"}]
    checks = [fires({"BastionDown"}, "5m")]
    run_promtool(
        tmp_path, [RULES[1]], "1m", {"interval": "1m", "input_series": other, "promql_expr_test": checks}
    )


def of_budget(name: str, good: str, bad: str) -> dict[str, str]:
    """Series in which so much goes right and wrong."""
    if name == "first_output":
        return {"first_output_seconds_count": good, 'first_output_seconds_bucket{le="2.5"}': bad}
    if name == "recording":
        return {'recordings_sealed_total{by="session"}': good, 'recordings_unsealed_total{by="session"}': bad}
    return {
        'auth_attempts_total{reason="ok"}': good,
        'auth_attempts_total{reason="directory_timeout"}': bad,
        'recorder_admission_refusals_total{reason="disk_full"}': "0x150",
        'state_refusals_total{reason="state_owed"}': "0x150",
    }


WHOLE = "0+100x150"
BURNS = {"first_output": "0+50x60 3100+100x90", "": "0+100x60 6000x90"}
SLIGHTLY = {"first_output": "0+99.95x150", "": "0+0.005x150"}
NOTHING = {"first_output": WHOLE, "": "0x150"}


@promtool
def test_a_budget_that_burns_is_told_while_it_does(tmp_path: Path) -> None:
    """Half goes wrong for an hour, and nothing after that: the page comes within minutes and goes within some."""
    series_of, checks = [], []
    for alert, name in BUDGETS.items():
        for job, wrong in (("burns", BURNS), ("slightly", SLIGHTLY), ("whole", NOTHING)):
            bad = wrong.get(name, wrong[""])
            series_of += scraped(of_budget(name, WHOLE, bad), job, "gw1")
        for at, fires, labels in (
            ("15m", True, 'severity="page",window="1h"'),
            ("55m", True, 'severity="page",window="1h"'),
            ("70m", False, 'severity="page",window="1h"'),
            ("70m", True, 'severity="page",window="6h"'),
            ("2h10m", False, 'severity="page",window="6h"'),
            ("2h", True, 'severity="ticket",window="1d"'),
        ):
            checks.append(expects(alert, at, fires, f'job="burns",{labels}'))
        for at in ("15m", "1h", "2h10m"):
            checks.append(expects(alert, at, False, 'job=~"slightly|whole"'))
    group = {"interval": "1m", "input_series": series_of, "promql_expr_test": checks}
    run_promtool(tmp_path, RULES, "5m", group)


@promtool
def test_promtool_has_no_complaint() -> None:
    for command in (
        ["check", "rules", *map(str, RULES)],
        ["check", "config", str(ETC / "prometheus/prometheus.yml")],
    ):
        done = subprocess.run(["promtool", *command], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and "duplicate" not in done.stdout, done.stdout + done.stderr


# -- Alertmanager -----------------------------------------------------------------------------------------------

ALERTMANAGER = ETC / "alertmanager" / "alertmanager.yml"


@amtool
def test_amtool_has_no_complaint() -> None:
    done = subprocess.run(
        ["amtool", "check-config", str(ALERTMANAGER)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and "1 templates" in done.stdout, done.stdout + done.stderr


@amtool
@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (("severity=page", "alertname=BastionDown"), "oncall"),
        (("severity=ticket", "alertname=BastionDegraded"), "tickets"),
        (("severity=security", "alertname=BastionBreakGlassUsed"), "security"),
        (("alertname=SomethingElse",), "tickets"),
    ],
)
def test_each_severity_has_its_receiver(labels: tuple[str, ...], receiver: str) -> None:
    command = ["amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}", *labels]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == receiver, done.stdout + done.stderr


def test_what_is_inhibited_is_the_name_of_an_alert() -> None:
    names = {rule["alert"] for rule in ALERTS}
    assert set(re.findall(r'alertname!?="(\w+)"', ALERTMANAGER.read_text())) <= names


# -- dashboards -------------------------------------------------------------------------------------------------


def test_dashboards_are_whole() -> None:
    assert {file.stem for file in DASHBOARDS} == {
        f"bastion-{name}" for name in ("overview", "auth", "tunnels", "recordings", "node")
    }
    uids = set()
    for file in DASHBOARDS:
        board = json.loads(file.read_text())
        uids.add(board["uid"])
        assert {one["name"] for one in board["templating"]["list"]} == {"datasource", "instance"}
        ids = [panel["id"] for panel in board["panels"]]
        places = [tuple(panel["gridPos"].values()) for panel in board["panels"]]
        assert len(set(ids)) == len(ids) and len(set(places)) == len(places)
        assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in board["panels"])
    assert len(uids) == len(DASHBOARDS)


def test_the_questions_of_the_document_can_be_asked() -> None:
    text = (ROOT / "docs/metrics.md").read_text()
    table = text[text.index("## Questions") : text.index("## For code")]
    asked = [part.replace("\\|", "|") for part in re.findall(r"`([^`]+)`", table) if "bastion_" in part]
    assert len(asked) > 20
    for expression in asked:
        for name, _ in selectors(expression):
            assert name in series(), f"{expression}: {name}"
