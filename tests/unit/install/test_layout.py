"""Where everything is, and whose."""

import os
import pwd
from pathlib import Path

import pytest

from bastion.install.layout import Belongs, Layout, Owners

SECRET = {"login_ca", "upstream_ca", "front_host_ca", "ssh_host_ed25519_key", "ssh_host_rsa_key"}


@pytest.mark.parametrize("layout", [Layout.beside(Path("/g")), Layout.system(Path("/etc/bastion"))])
def test_no_secret_is_open_and_the_service_owns_nothing_that_decides(layout):
    files = {place.path.name: place for place in layout.files()}
    for name in SECRET:
        assert files[name].mode == 0o600
    assert files["users.toml"].mode == 0o640
    for place in (*layout.files(), *layout.folders()):
        assert not place.mode & 0o022
        decides = place.path.suffix in (".toml", ".pub") or place.path.name == "known_hosts"
        assert not (decides and place.belongs is Belongs.SERVICE)
    assert files["login_ca"].belongs is Belongs.PRIVATE, "the gateway needs its public half alone"


def test_a_console_of_its_own_reads_what_it_shows_and_nothing_else():
    layout = Layout.system(Path("/etc/bastion"), console=True)
    shown = {
        str(place.path): (place.mode, place.belongs)
        for place in (*layout.files(), *layout.folders())
        if place.belongs in (Belongs.SHARED, Belongs.SHOWN, Belongs.CONSOLE)
    }
    assert shown == {
        "/etc/bastion/users.toml": (0o640, Belongs.SHOWN),
        "/var/lib/bastion/recordings": (0o2750, Belongs.SHARED),
        "/var/lib/bastion/recordings/index": (0o700, Belongs.CONSOLE),
        "/var/lib/bastion/state": (0o2750, Belongs.SHARED),
    }
    without = Layout.system(Path("/etc/bastion"))
    keys = [place.mode for one in (layout, without) for place in one.folders() if place.path == one.keys]
    assert keys == [0o751, 0o750], "public halves prove recordings"
    assert {
        place.mode for place in without.folders() if place.path in (without.recordings, without.state)
    } == {0o700}


def test_paths_in_the_folder_are_written_relative():
    layout = Layout.beside(Path("/g"))
    assert layout.written(layout.recordings) == "recordings"
    system = Layout.system(Path("/etc/bastion"))
    assert system.written(system.log) == "/var/log/bastion"
    assert Layout.system(Path("/i/etc/bastion"), Path("/i")).run == Path("/i/run/bastion")


def test_owners(tmp_path):
    own = pwd.getpwuid(os.geteuid())
    with pytest.raises(KeyError):
        Owners.of("no-such-user")
    path = tmp_path / "file"
    path.touch()
    Owners.of(own.pw_name).give(path, Belongs.SERVICE)
    assert path.stat().st_uid == own.pw_uid
    if own.pw_uid != 0:
        with pytest.raises(PermissionError):
            Owners.of("root")
        return
    nobody = pwd.getpwnam("nobody")
    owners = Owners.of("nobody")
    owners.give(path, Belongs.SERVICE)
    assert (path.stat().st_uid, path.stat().st_gid) == (nobody.pw_uid, nobody.pw_gid)
    owners.give(path, Belongs.CONFIGURES)
    assert (path.stat().st_uid, path.stat().st_gid) == (0, nobody.pw_gid)
    games = pwd.getpwnam("games")
    owners = Owners.of("nobody", "games")
    for belongs, whose in (
        (Belongs.SHARED, (nobody.pw_uid, games.pw_gid)),
        (Belongs.SHOWN, (0, games.pw_gid)),
        (Belongs.CONSOLE, (games.pw_uid, games.pw_gid)),
        (Belongs.SERVICE, (nobody.pw_uid, nobody.pw_gid)),
    ):
        owners.give(path, belongs)
        assert (path.stat().st_uid, path.stat().st_gid) == whose
