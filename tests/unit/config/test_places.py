"""What the gateway will write is tried before anybody depends on it, and a trial leaves nothing behind."""

import errno
import os

import pytest

from bastion.config.check import inspect
from bastion.config.load import load
from bastion.config.places import tried_as, try_places, written_places
from tests.support.rights import without_rights

NOW = 1_800_000_000.0
TODAY = "2027-01-15"


@pytest.fixture
def shared(site):
    """A site whose folder can be walked through by everybody, so that only the places themselves refuse."""
    for folder in (site.folder, *site.folder.parents):
        if folder.owner() == "root" and folder != folder.parent and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    return site


def tried(site):
    return [(f.error, f.problem.replace(f"{site.folder}/", "")) for f in try_places(load(site.config), NOW)]


def contents(site):
    return sorted(str(path) for path in site.folder.rglob("*"))


def test_a_sound_site_has_no_findings_and_is_left_as_it_was(site):
    site.write("audit.jsonl", '{"event":"x"}\n')
    (site.folder / "recordings" / TODAY).mkdir()
    before = contents(site)
    assert tried(site) == []
    assert contents(site) == before
    assert (site.folder / "audit.jsonl").read_text() == '{"event":"x"}\n'


def test_all_that_is_written_is_listed(site):
    names = [(".".join(place.key), place.path.name) for place in written_places(load(site.config), NOW)]
    assert names == [("recording.directory", "recordings"), ("audit.file", "audit.jsonl")]
    (site.folder / "recordings" / TODAY).mkdir()
    assert written_places(load(site.config), NOW)[1].path.name == TODAY


def test_folders_of_somebody_else_are_errors_with_the_name_of_who_tried(shared):
    config = load(shared.config)
    shared.folder.chmod(0o555)
    (shared.folder / "recordings").chmod(0o555)
    with without_rights():
        found = try_places(config, NOW)
        me = tried_as()
        refused = inspect(shared.config).errors
    shared.folder.chmod(0o755)
    assert [(f.error, ".".join(f.key)) for f in found] == [
        (True, "recording.directory"),
        (True, "audit.file"),
    ]
    assert all(me in f.problem and "Permission denied" in f.problem for f in found)
    assert len([error for error in refused if "Permission denied" in str(error)]) >= 2


def test_what_is_in_a_folder_that_is_closed_is_told_of_like_the_rest(shared):
    shared.folder.chmod(0o700)
    config = load(shared.config)
    shared.folder.chmod(0o600)
    with without_rights():
        found = try_places(config, NOW)
    shared.folder.chmod(0o755)
    assert [".".join(f.key) for f in found] == ["recording.directory", "audit.file"]
    assert all(f.error and "Permission denied" in f.problem for f in found)


def test_the_days_folder_of_an_earlier_user_is_found(shared):
    day = shared.folder / "recordings" / TODAY
    day.mkdir(mode=0o500)
    config = load(shared.config)
    (shared.folder / "recordings").chmod(0o777)
    shared.folder.chmod(0o777)
    with without_rights():
        (found,) = try_places(config, NOW)
    assert found.error and TODAY in found.problem


def test_a_log_that_can_be_appended_to_but_not_made_again_is_a_warning(shared):
    log = shared.write("audit.jsonl", "", 0o666)
    (shared.folder / "recordings").chmod(0o777)
    config = load(shared.config)
    shared.folder.chmod(0o555)
    with without_rights():
        (found,) = try_places(config, NOW)
    shared.folder.chmod(0o755)
    assert not found.error and "cannot be made after a rotation" in found.problem
    log.chmod(0o444)
    with without_rights():
        assert "cannot be appended to" in try_places(config, NOW)[0].problem


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "dangling"])
def test_what_is_no_file(site, kind):
    path = site.folder / "audit.jsonl"
    if kind == "folder":
        path.mkdir()
        assert tried(site)[0][0]
    elif kind == "pipe":  # nobody reads it: an error at once, not a wait
        os.mkfifo(path)
        assert "cannot be appended to" in tried(site)[0][1]
    elif kind == "device":
        path.symlink_to("/dev/null")
        assert tried(site) == []
    else:
        path.symlink_to(site.folder / "nowhere" / "audit.jsonl")
        assert "cannot be made" in tried(site)[0][1]


def test_missing_folders_are_named(site):
    (site.folder / "recordings").rmdir()
    site.edit('file = "audit.jsonl"', 'file = "logs/audit.jsonl"')
    assert tried(site) == [
        (True, "recordings is no folder"),
        (True, "logs is no folder"),
    ]


def test_a_full_disk_is_no_reason_not_to_begin(site, monkeypatch):
    real = os.open

    def full(path, flags, *rest):
        if flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, flags, *rest)

    monkeypatch.setattr(os, "open", full)
    found = tried(site)
    assert [error for error, _ in found] == [False, False]
    assert all("No space left" in text for _, text in found)
    assert inspect(site.config).errors == ()
