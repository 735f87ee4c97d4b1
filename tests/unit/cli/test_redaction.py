"""Commands on recordings mask secrets, and who may see them is asked."""

from __future__ import annotations

import grp
import json
import os
import pwd
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from bastion.cli.commands import commands
from bastion.cli.evidence import evidence
from bastion.cli.export import export
from bastion.cli.index import index
from bastion.cli.replay import replay
from bastion.cli.search import search
from bastion.cli.sessions import sessions
from tests.unit.config.site import Site
from tests.unit.indexing.made import IDS, recorded

SECRET = "tops3cret"
VIEWS = [
    (export, (IDS[0], "--format", form, "--channel", "1"))
    for form in ("text", "screens", "asciicast", "asciicast3", "json", "html")
] + [
    (export, (IDS[0], "--format", "text", "--all")),
    (replay, (IDS[0], "--speed", "0")),
    (replay, (IDS[0], "--speed", "0", "--all")),
    (commands, ()),
    (commands, ("--json",)),
    (sessions, ()),
    (sessions, ("--json",)),
    (search, ("connecting",)),
]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    text = f"$ export DB_PASSWORD={SECRET}\nconnecting with token={SECRET}\nTCK-1234"
    recorded(tmp_path / "recordings", 0, text, f"mysql -p{SECRET} db")
    return site


def call(site: Site, command: object, *arguments: str) -> Result:
    return CliRunner().invoke(command, ["--config", str(site.config), *arguments])  # type: ignore[arg-type]


def test_no_view_has_a_secret_and_unredacted_has_them(site: Site) -> None:
    assert call(site, index).exit_code == 0
    for command, arguments in VIEWS:
        done = call(site, command, *arguments)
        assert done.exit_code == 0, (arguments, done.output)
        assert SECRET not in done.output, arguments
        assert "redacted:password" in done.output or command is sessions, arguments
    for command, arguments in ((export, VIEWS[0][1]), (replay, VIEWS[7][1]), (commands, ())):
        assert SECRET in call(site, command, *arguments, "--unredacted").output
    assert SECRET.encode() not in (site.folder / "recordings" / "index" / "reading.db").read_bytes()
    assert '"asked":"' in (log := (site.folder / "audit.jsonl").read_text()) and "unredacted=True" in log


def test_raw_is_refused_or_says_what_it_is(site: Site) -> None:
    raw = (IDS[0], "--format", "raw", "--channel", "1")
    refused = call(site, export, *raw)
    assert refused.exit_code == 2 and "give --unredacted" in refused.output and SECRET not in refused.output
    assert SECRET in call(site, export, *raw, "--unredacted").output
    copies = CliRunner().invoke(export, ["--recordings", str(site.folder / "recordings"), *raw])
    assert copies.exit_code == 0 and "no secret in it is masked" in copies.stderr


def test_only_members_of_the_group_see_all(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    users = {"alice": 1001, "eve": 1002, "root": 0}
    monkeypatch.setattr(
        pwd, "getpwnam", lambda name: SimpleNamespace(pw_name=name, pw_uid=users[name], pw_gid=7)
    )
    monkeypatch.setattr(grp, "getgrnam", lambda name: SimpleNamespace(gr_mem=["alice"], gr_gid=42))
    for name, code in (("eve", 1), ("alice", 0), ("root", 0), ("nobody-known", 1)):
        monkeypatch.setitem(os.environ, "SUDO_USER", name)
        done = call(site, commands, "--unredacted")
        assert done.exit_code == code, name
        assert (SECRET in done.output) is (code == 0)
    assert "bastion-auditor (redact.unredacted_group)" in done.output


def test_patterns_that_change_read_the_recordings_again(site: Site) -> None:
    assert json.loads(call(site, index, "--json").stdout)["read"] == 1
    assert "TCK-1234" in call(site, search, "tck").output
    site.write("bastion.toml", site.config.read_text() + "[redact]\npatterns = { ticket = 'TCK-[0-9]+' }\n")
    found = call(site, search, "tck")  # the index has it; it is masked as it is shown
    assert "TCK-1234" not in found.output and "[redacted:ticket]" in found.output
    done = json.loads(call(site, index, "--json").stdout)
    assert (done["read"], done["forgotten"]) == (1, 1)
    assert call(site, search, "tck").exit_code == 1


def test_a_bad_pattern_shows_nothing(site: Site) -> None:
    site.write("bastion.toml", site.config.read_text() + "[redact]\npatterns = { x = '(' }\n")
    for command, arguments in ((commands, ()), (search, ("x",)), (index, ()), (sessions, ())):
        done = call(site, command, *arguments)
        assert done.exit_code == 2 and "redact.patterns.x" in done.output


def test_evidence_is_the_recording_as_it_is(site: Site) -> None:
    made = call(site, evidence, IDS[0], "-o", str(site.folder / "e.zip"))
    with zipfile.ZipFile(site.folder / "e.zip") as bundle:
        (name,) = [one for one in bundle.namelist() if one.endswith(".rec")]
        assert SECRET.encode() in bundle.read(name), made.output
