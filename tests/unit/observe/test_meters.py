"""The meters: closed sets, pre-created cells, snapshots that add up."""

import ast
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.ca.ledger import KeyName
from bastion.control.node import added
from bastion.observe import meters as m
from bastion.observe.families.keys import KEY_MADE, KEY_USES
from bastion.observe.family import Kind, Merge
from bastion.observe.meters import PREFIX, Meters, merge
from tests.support.metric_causes import CAUSES
from tests.support.metrics_document import lines_of


def test_every_combination_exists_at_zero():
    snapshot = Meters().snapshot()
    for family in m.FAMILIES:
        cells = snapshot[family.name]
        assert list(cells) == [",".join(values) for values in family.combinations()]
        assert all(cell == [0] * family.width for cell in cells.values())


def test_names_follow_the_conventions():
    for family in Meters().families:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", family.name)
        assert family.name.endswith("_total") == (family.kind is Kind.COUNTER)
        assert family.help.endswith(".")
        assert (family.kind is Kind.HISTOGRAM) == bool(family.buckets)
        if family.kind is Kind.HISTOGRAM:
            assert family.name.endswith("_seconds")
            assert list(family.buckets) == sorted(set(family.buckets))
        for label in family.labels:
            assert label.name not in {"le", "quantile", "user", "target", "address", "port"}
            assert len(set(label.values)) == len(label.values) > 0


def test_names_are_unique():
    names = [family.name for family in Meters().families]
    assert len(names) == len(set(names))


def test_a_page_stays_small():
    # Cardinality is decided here, not by traffic: this is every line that a scrape will ever have.
    assert sum(map(lines_of, m.FAMILIES)) < 2400


ROOT = Path(__file__).resolve().parents[3]
DECLARATION = re.compile(r'^([A-Z_]+): Final = (?:counter|gauge|histogram)\(\s*"([a-z_]+)"', re.MULTILINE)


def declarations():
    """Name in the code -> name of the family."""
    files = [ROOT / "bastion/observe/meters.py", *(ROOT / "bastion/observe/families").glob("*.py")]
    return dict(pair for file in files for pair in DECLARATION.findall(file.read_text()))


def test_every_family_is_counted_somewhere_and_some_test_shows_that_it_moves():
    """One that nobody counts is 0 for ever, and an alert on it is silent for ever. A test that only looks whether it is
    on the page does not count."""
    names = declarations()
    assert set(names.values()) == {family.name for family in m.FAMILIES}
    looks = {"test_meters.py", "test_exporter.py", "test_docs.py"}
    product = [path.read_text() for path in (ROOT / "bastion").rglob("*.py") if "observe" not in path.parts]
    product += [(ROOT / "bastion/observe" / f"{name}.py").read_text() for name in WRITERS]
    tests = [path.read_text() for path in (ROOT / "tests").rglob("*.py") if path.name not in looks]
    counted = {word for text in product for word in re.findall(r"\b[A-Z][A-Z_]+\b", text)}
    shown = {word for text in tests for word in re.findall(r"\b[A-Z][A-Z_]+\b|bastion_[a-z_]+", text)}
    for constant, name in names.items():
        assert constant in counted, f"nobody counts {name}"
        assert shown & {
            constant,
            PREFIX + name,
            *(f"{PREFIX}{name}_{part}" for part in ("count", "sum", "bucket")),
        }, f"no test shows that {name} moves"


def definitions(tree):
    """Name at the top of a module -> its definition."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign):
            found |= {target.id: node for target in node.targets if isinstance(target, ast.Name)}
    return found


def words_of(name, known):
    """Every name and text in a definition, in those of its module that it uses, and so on."""
    words, ahead = set(), [name]
    seen = set(ahead)
    while ahead:
        for node in ast.walk(known[ahead.pop()]):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words |= set(re.findall(r"[a-z_]+", node.value))
            used = getattr(node, "id", getattr(node, "attr", None))
            if isinstance(used, str):
                words.add(used)
                if used in known and used not in seen:
                    seen.add(used)
                    ahead.append(used)
    return words


def test_every_counter_has_a_test_in_which_its_cause_happens():
    """Named with its cause. The test is there, `make test` runs it, and it looks at that very counter."""
    constants = {name: constant for constant, name in declarations().items()}
    counters = {family.name for family in m.FAMILIES if family.kind is Kind.COUNTER}
    assert counters == set(CAUSES)
    modules = {}
    for name, cause in CAUSES.items():
        file, _, function = cause.test.partition("::")
        if file not in modules:
            modules[file] = definitions(ast.parse((ROOT / "tests" / file).read_text()))
        known = modules[file]
        assert function.startswith("test_") and function in known, f"{name}: there is no {cause.test}"
        mark = known.get("pytestmark")
        assert mark is None or "mark.soak" not in ast.unparse(mark), f"{name}: {file} is soak"
        whole = [one for one in known[function].decorator_list if "parametrize" not in ast.unparse(one)]
        assert not any("mark.soak" in ast.unparse(one) for one in whole), f"{name}: {function} is soak"
        assert words_of(function, known) & {constants[name], PREFIX + name}, (
            f"{cause.test} does not look at {name}"
        )


WRITERS = ("audit", "clock_steps", "lag", "process_figures", "rationed")
"""Modules of `observe` that count."""


def test_keys_are_named_as_their_ledger_names_them():
    assert set(KEY_USES) == set(KeyName)


def test_earliest_is_the_smallest_that_is_not_0():
    parts = []
    for moment in (0, 500, 300):
        part = Meters()
        part.set(KEY_MADE, moment, "issue")
        parts.append(part.snapshot())
    merged = merge(m.FAMILIES, parts)["key_made_seconds"]
    assert (merged["issue"], merged["recording"]) == ([300], [0])
    assert added(parts)["key_made_seconds"] == merged


def test_a_verdict_that_is_never_of_a_request_is_counted_all_the_same():
    meters = Meters()
    meters.add(m.REQUESTS, "shell", "killed")
    assert meters.value(m.REQUESTS, "shell", "other") == 1


def test_a_cell_is_live():
    meters = Meters()
    cell = meters.cell(m.BYTES, "session", "to_client")
    cell[0] += 32768
    assert meters.value(m.BYTES, "session", "to_client") == 32768
    assert meters.snapshot()["channel_bytes_total"]["session,to_client"] == [32768]


def test_a_value_outside_the_set_is_other_where_there_is_other():
    meters = Meters()
    meters.add(m.REQUESTS, "evil\n{}", "unknown_request")
    assert meters.value(m.REQUESTS, "other", "unknown_request") == 1
    assert "evil" not in json.dumps(meters.snapshot())


def test_a_value_outside_a_set_without_other_is_an_error_that_does_not_repeat_it():
    with pytest.raises(KeyError) as caught:
        Meters().add(m.AUTHORISATIONS, "peer-text")
    assert "peer-text" not in str(caught.value)
    with pytest.raises(KeyError):
        Meters().add(m.BYTES, "session")


def test_observations_fall_into_their_buckets():
    meters = Meters()
    for seconds in (0.0, 0.001, 0.0011, 30.0, -5.0):
        meters.observe(m.HANDSHAKE_SECONDS, seconds)
    cell = meters.snapshot()["handshake_seconds"][""]
    assert cell[0] == 3  # 0, exactly the bound, and the clock that stepped back
    assert cell[1] == 1
    assert cell[-2] == 1  # above the last bound
    assert cell[-1] == round(30.0021 * 1_000_000)
    assert meters.value(m.HANDSHAKE_SECONDS) == 5


def test_a_snapshot_shares_nothing_and_is_json():
    meters = Meters({"version": "0.1.0"})
    snapshot = meters.snapshot()
    meters.add(m.CONNECTIONS_ACCEPTED)
    assert snapshot["connections_accepted_total"][""] == [0]
    assert json.loads(json.dumps(snapshot)) == snapshot
    assert snapshot["build_info"]["0.1.0,unknown,unknown,unknown"] == [1]


counts = st.integers(min_value=0, max_value=2**40)


@given(st.lists(counts, min_size=1, max_size=4), st.lists(counts, min_size=1, max_size=4))
def test_merging_adds_or_takes_the_largest(accepted, lags):
    parts = []
    for value in accepted:
        part = Meters()
        part.add(m.CONNECTIONS_ACCEPTED, by=value)
        parts.append(part.snapshot())
    for value in lags:
        part = Meters()
        part.set(m.LAG_MAX_SECONDS, value)
        parts.append(part.snapshot())
    merged = merge(m.FAMILIES, parts)
    assert merged["connections_accepted_total"][""] == [sum(accepted)]
    assert merged["event_loop_lag_max_seconds"][""] == [max(lags)]


def test_merging_tolerates_another_version():
    older = {"connections_live": {"": [3]}, "gone_total": {"": [1]}, "handshake_seconds": {"": [1, 2]}}
    merged = merge(m.FAMILIES, [older, Meters().snapshot()])
    assert merged["connections_live"][""] == [3]
    assert "gone_total" not in merged
    assert merged["handshake_seconds"][""] == [0] * m.HANDSHAKE_SECONDS.width
    assert m.LAG_MAX_SECONDS.merge is Merge.MAX
