"""Which store a console asks: its own role's where it has one, and it makes none."""

from __future__ import annotations

from pathlib import Path

import pytest

from bastion.config.console import Console
from bastion.config.outputs import State
from bastion.console.own_store import check_there, place_for
from bastion.errors import ConfigError
from bastion.state.database import Database, Place, StateDown
from bastion.state.schema_version import check_schema

GATEWAYS, OWN = "postgresql://gateway@db/bastion", "postgresql://console@db/bastion"
HERE = Path("bastion.toml")


def test_its_own_role_is_asked_with_its_own_password(tmp_path: Path) -> None:
    state = State(url=GATEWAYS, password_file=tmp_path / "gateway")
    place = place_for(HERE, tmp_path, state, Console(state_url=OWN, state_password_file=tmp_path / "own"))
    assert (place.url, place.password_file) == (OWN, tmp_path / "own")
    place = place_for(HERE, tmp_path, state, Console())
    assert (place.url, place.password_file) == (GATEWAYS, tmp_path / "gateway")


def test_a_role_beside_a_file_is_a_fault_that_names_its_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"console\.state_url.*`state\.url` is not set"):
        place_for(HERE, tmp_path, State(), Console(state_url=OWN))


def test_a_file_has_to_be_there_and_to_fit(tmp_path: Path) -> None:
    database = Database(Place(tmp_path))
    try:
        with pytest.raises(StateDown, match="a gateway makes it at its start"):
            check_there(database)
        assert not database.place.file.exists()
        check_schema(database)
        check_there(database)
    finally:
        database.close()
