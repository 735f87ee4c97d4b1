import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from bastion.cli.check import check
from bastion.config.load import load
from bastion.config.places import tried_as
from tests.unit.config.site import Site


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def run(site, *options):
    return CliRunner().invoke(check, ["--config", str(site.config), *options])


def test_a_valid_configuration_exits_0_and_says_what_it_has(site):
    result = run(site)
    assert result.exit_code == 0
    assert (
        result.stdout == f"{site.config}: valid for {tried_as()}: 1 rule, 2 targets; 0 errors, 0 warnings\n"
    )
    assert ("--user" in result.stderr) == (os.geteuid() == 0)  # root's rights say little about the gateway's


@pytest.mark.slow
def test_it_can_be_tried_with_the_rights_of_the_gateways_user(site):
    result = run(site, "--user", "no-such-user")
    assert result.exit_code == 2 and "there is no such user here" in result.stderr
    assert run(site, "--user", pwd.getpwuid(os.geteuid()).pw_name).exit_code == 0
    if os.geteuid() != 0:
        return
    reachable = Path(tempfile.mkdtemp())  # pytest's own folder is closed to others
    try:
        reachable.chmod(0o755)
        place = Site(reachable)
        command = [sys.executable, "-m", "bastion", "check", "-c", str(place.config), "--user", "nobody"]
        done = subprocess.run(command, capture_output=True, text=True)
    finally:
        shutil.rmtree(reachable)
    assert done.returncode == 1
    for name in ("recording.directory", "audit.file"):
        (line,) = (line for line in done.stderr.splitlines() if f": {name}: " in line)
        assert "nobody (uid 65534)" in line and "Permission denied" in line


def test_a_fault_exits_1_and_names_file_line_key_and_what_is_allowed(site):
    site.edit('directory = "recordings"', 'directory = "recordings"\nmode = "ful"')
    result = run(site)
    assert result.exit_code == 1
    assert result.stderr == (
        f"error: {site.config}:20: recording.mode: 'ful' is not one of the choices, did you mean \"full\"? "
        '(allowed: "off", "default", "full")\n'
    )
    assert result.stdout == f"{site.config}: not valid: 1 error, 0 warnings\n"


def test_a_file_that_is_not_there_exits_2(site):
    site.config.unlink()
    result = run(site)
    assert result.exit_code == 2
    assert "cannot be read" in result.stderr
    assert run(site, "--json").exit_code == 2


def test_warnings_count_only_when_strict(site):
    site.edit('egress = ["192.0.2.10"]\n', "")
    assert run(site).exit_code == 0
    assert "warning: " in run(site).stderr
    assert run(site, "--strict").exit_code == 1


def test_json_has_every_finding(site):
    os.chmod(site.folder / "host_key", 0o644)
    site.write("policy.toml", "")
    result = run(site, "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["ok"]) == (1, False)
    (error,), (warning,) = told["errors"], told["warnings"]
    assert (error["file"], error["line"], error["key"]) == (str(site.config), 3, "host_keys.files[1]")
    assert "chmod 600" in error["problem"]
    assert warning["key"] == "policy.file"


def test_show_writes_the_values_in_effect(site):
    result = run(site, "--show")
    assert result.exit_code == 0
    assert 'login_grace = "1m"' in result.stdout
    path = site.write("shown.toml", result.stdout)
    assert load(path).limits == load(site.config).limits


def test_no_control_character_of_a_file_reaches_the_terminal(site):
    site.write("policy.toml", '[[rule]]\n"a\\u001b[2J" = 1\n')
    result = run(site)
    assert result.exit_code == 1
    assert "\x1b" not in result.output
