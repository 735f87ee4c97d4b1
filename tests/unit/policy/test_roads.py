"""Roads through hops: in order, finite, and every fault once, in the table that has it."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.options import At, Problems, Source
from bastion.policy.roads import MAX_HOPS, BadRoad, check_roads, road_of
from bastion.policy.targets import Inventory, parse_targets

EDGE = '[targets.edge1]\nhost = "edge1"\nhop_login = "jump"\naliases = ["edge"]\n'


def inventory_of(text: str) -> Inventory:
    return parse_targets(tomllib.loads(text), Source("t"))


def table(name: str, via: str = "", hop: bool = True) -> str:
    lines = [f"[targets.{name}]", f'host = "{name}"']
    lines += ['hop_login = "jump"'] if hop else []
    lines += [f"via = {via}"] if via else []
    return "\n".join(lines) + "\n"


def road(text: str, name: str = "db7") -> list[str]:
    inventory = inventory_of(text)
    target = inventory.find(name)
    assert target is not None
    return [hop.name for hop in road_of(inventory, target)]


def faults(text: str) -> list[str]:
    inventory, problems = inventory_of(text), Problems()
    check_roads(inventory, lambda target: At(Source("t"), problems, ("targets", target.name)))
    return [f"{error.key}: {error.problem}" for error in problems.errors]


def test_what_is_dialled_at_once_has_no_road() -> None:
    assert road(table("db7")) == []


def test_one_hop_by_name_or_alias() -> None:
    assert road(EDGE + table("db7", '"edge1"')) == ["edge1"]
    assert road(EDGE + table("db7", '["edge"]')) == ["edge1"]


def test_a_list_goes_from_the_gateway_on() -> None:
    assert road(table("a") + table("b") + table("db7", '["a", "b"]')) == ["a", "b"]


def test_a_hop_is_reached_as_its_own_table_says_and_of_a_list_only_the_first() -> None:
    text = table("a") + table("b", '"a"') + table("c", '"b"')
    assert road(text + table("db7", '"c"')) == ["a", "b", "c"]
    assert road(text + table("d") + table("db7", '["b", "d", "c"]')) == ["a", "b", "d", "c"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (EDGE + table("db7", '"edgd1"'), ['targets.db7.via: "edgd1" is no target, did you mean "edge1"?']),
        (EDGE + table("db7", '["edge1", "x"]'), ['targets.db7.via[2]: "x" is no target']),
        (
            table("a", hop=False) + table("db7", '"a"'),
            ['targets.db7.via: "a" leads nowhere: its table does not say as whom the gateway goes on from there'],
        ),
        (table("db7", '"db7"'), ["targets.db7.via: leads in a circle: db7 -> db7"]),
        (EDGE + table("db7", '["edge1", "edge1"]'), ["targets.db7.via[1]: leads in a circle: edge1 -> edge1 -> db7"]),
        # what only leads into a circle, or to a fault, has none
        (
            table("a", '"b"') + table("b", '"a"') + table("db7", '"a"'),
            [
                "targets.a.via: leads in a circle: a -> b -> a",
                "targets.b.via: leads in a circle: b -> a -> b",
            ],
        ),
        (table("a", '"gone"') + table("db7", '"a"'), ['targets.a.via: "gone" is no target']),
        (
            "".join(table(f"h{n}", f'"h{n - 1}"' if n else "") for n in range(5)) + table("db7", '"h4"'),
            [f"targets.db7.via: is a road of more than {MAX_HOPS} hops: h0 -> h1 -> h2 -> h3 -> h4 -> db7"],
        ),
    ],
)  # fmt: skip
def test_every_fault_is_told_once_where_it_is(text: str, said: list[str]) -> None:
    assert faults(text) == said
    inventory = inventory_of(text)
    target = inventory.find("db7")
    assert target is not None
    with pytest.raises(BadRoad):
        road_of(inventory, target)


NAMES = [f"t{number}" for number in range(7)]


@given(st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from([*NAMES, "gone"]), max_size=5)))
def test_every_road_ends_and_has_no_target_twice(vias: dict[str, list[str]]) -> None:
    """Whatever stands in the tables; and where check_roads says nothing, every road can be gone."""
    text = "".join(table(name, str(vias[name]).replace("'", '"') if vias.get(name) else "") for name in NAMES)
    inventory, broken = inventory_of(text), 0
    for target in inventory:
        try:
            found = road_of(inventory, target)
        except BadRoad:
            broken += 1
            continue
        names = [hop.name for hop in (*found, target)]
        assert len(found) <= MAX_HOPS and len(set(names)) == len(names)
        assert [hop.name for hop in found][len(found) - len(target.via) :] == list(target.via)
    assert bool(faults(text)) == bool(broken)
