"""Units are fitted to where things are; those of a package are left alone. Users: tests/interop/typed makes them."""

import os
from pathlib import Path

import pytest

from bastion.install import units
from bastion.install.layout import Layout
from bastion.install.units import missing_units

USUAL = (Layout.system(Path("/etc/bastion")), "bastion", "/usr/bin/bastion")


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """The system's folders, elsewhere."""
    places = {
        suffix: (f"{tmp_path}{ours}", f"{tmp_path}{packaged}")
        for suffix, (ours, packaged) in units._PLACES.items()
    }
    monkeypatch.setattr(units, "_PLACES", places)
    return tmp_path


def made(folder="/etc/bastion", user="bastion", program="/usr/bin/bastion"):
    return {unit.path.name: unit for unit in missing_units(Layout.system(Path(folder)), user, program)}


def test_each_file_has_its_place(folders):
    places = {str(unit.path.relative_to(folders)) for unit in missing_units(*USUAL)}
    assert places >= {
        "etc/systemd/system/bastion.service",
        "etc/systemd/system/bastion.socket",
        "etc/sysusers.d/bastion.conf",
        "etc/tmpfiles.d/bastion.conf",
        "etc/logrotate.d/bastion",
    }


def test_program_folder_and_user_are_what_was_chosen(folders):
    text = made("/srv/gate", "gate", "/opt/b/bin/bastion")["bastion.service"].text
    assert "ExecStart=/opt/b/bin/bastion serve --config /srv/gate/bastion.toml" in text
    assert "User=gate\n" in text and "/etc/bastion" not in text and "/usr/bin/bastion" not in text
    assert "User=bastion\n" in made()["bastion.service"].text


def test_what_is_there_or_came_with_a_package_is_left(folders):
    ours = folders / "etc/systemd/system/bastion.service"
    packaged = folders / "usr/lib/systemd/system/bastion.socket"
    for path in (ours, packaged):
        path.parent.mkdir(parents=True)
        path.write_text("mine")
    found = made()
    assert "bastion.service" not in found and "bastion.socket" not in found
    assert found and not any(os.path.exists(unit.path) for unit in found.values())


def test_a_member_line_of_sysusers_joins_once(monkeypatch):
    ran = []
    monkeypatch.setattr(units, "_run", ran.append)
    assert units._make(["m", "nobody", "games"], "bastion") == "nobody a member of games"
    assert units._make(["m", "bastion", "games"], "games") == "", "it is its own group"
    assert ran == [["usermod", "--append", "--groups", "games", "nobody"]]
    with pytest.raises(units.CannotMake, match="no-such-group"):
        units._make(["m", "nobody", "no-such-group"], "bastion")
