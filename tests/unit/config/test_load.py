import dataclasses
from pathlib import Path

import pytest

from bastion.config.contents import contents
from bastion.config.differences import differences
from bastion.config.load import Config, load
from bastion.config.outputs import Audit, Recording, read_section
from bastion.errors import ConfigError
from bastion.options import ConfigErrors
from bastion.options.kinds import Address

from .site import Site


def errors(site):
    with pytest.raises(ConfigError) as caught:
        load(site.config)
    return str(caught.value).replace(f"{site.folder}/", "").splitlines()


def test_a_configuration_is_one_value_with_its_defaults(site):
    config = load(site.config)
    assert isinstance(config, Config)
    assert config.listen.addresses == (Address("0.0.0.0", 2222),)
    assert (config.limits.login_grace, config.limits.max_duration, config.limits.idle) == (
        60.0,
        43200.0,
        None,
    )
    assert str(config.limits.startups) == "100:30:1000"
    assert config.recording.directory == site.folder / "recordings"
    assert config.directory.ldap is None
    assert [target.name for target in config.inventory] == ["web1", "db1"]
    assert [rule.name for rule in config.rules.rules] == ["staff"]
    assert config.rules.rules[0].origin == f"{site.folder}/policy.toml:2"
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.limits = None  # type: ignore[misc]


def test_limits_reach_the_policy(site):
    site.edit("[audit]", '[limits]\nmax_duration = "1h"\nidle = "5m"\nmax_auth_age = "off"\n[audit]')
    defaults = load(site.config).rules.defaults
    assert (defaults.max_duration, defaults.idle, defaults.max_auth_age) == (3600.0, 300.0, None)


def test_a_reload_is_another_value(site):
    before = load(site.config)
    site.write("policy.toml", "")
    assert load(site.config).rules.rules == ()
    assert len(before.rules.rules) == 1


def test_all_faults_of_all_files_are_told_at_once(site):
    site.edit("[audit]", '[limts]\n[limits]\nlogin_grace = "soon"\n[audit]')
    site.write("policy.toml", '[[rule]]\nname = "x"\n')
    found = errors(site)
    assert found[0].startswith('bastion.toml:20: limts: unknown key "limts", did you mean "limits"?')
    assert found[1].startswith("bastion.toml:22: limits.login_grace: 'soon' is not a duration")
    assert '"30s", "15m"' in found[1]


def test_faults_of_targets_and_policy_are_told_together(site):
    site.write("targets.toml", "[targets.web1]\n")
    site.write("policy.toml", "[[rule]]\nname = 1\n")
    found = errors(site)
    assert found[0].startswith("targets.toml:1: targets.web1.host: is required")
    assert found[1].startswith("policy.toml:2: rule[1].name: must be a string")


def test_a_missing_section_and_a_missing_directory_are_faults(site):
    site.edit('[audit]\nfile = "audit.jsonl"\n', "")
    site.edit('embedded = "users.toml"', "")
    found = errors(site)
    assert found[0].startswith("bastion.toml:11: directory: needs embedded or ldap")
    assert found[1].startswith("bastion.toml: audit: is required")


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [("a = \n", 1, "is not TOML"), ("\n\na = 1\na = 2", 4, "is not TOML"), ("[x", 1, "is not TOML")],
)
def test_what_is_not_toml_names_the_line(site, text, line, problem):
    site.write("bastion.toml", text)
    (found,) = errors(site)
    assert found.startswith(f"bastion.toml:{line}: {problem}")


def test_files_that_cannot_be_read_are_named_at_the_key(site):
    (site.folder / "policy.toml").unlink()
    (found,) = errors(site)
    assert found == "bastion.toml:17: policy.file: policy.toml cannot be read: No such file or directory"
    (site.folder / "bastion.toml").write_bytes(b"\xff")
    assert errors(site) == ["bastion.toml: is not UTF-8 at byte 0"]
    (site.folder / "bastion.toml").unlink()
    assert errors(site) == ["bastion.toml: cannot be read: No such file or directory"]


def test_windows_line_ends_do_not_shift_lines(site):
    text = site.config.read_text().replace('"host_key"', "1").replace("\n", "\r\n")
    site.config.write_bytes(text.encode())
    assert errors(site)[0].startswith("bastion.toml:3: host_keys.files[1]")


def test_ldap_is_a_section_of_its_own(site):
    site.edit(
        "[targets]",
        '[directory.ldap]\nservers = ["ldaps://ldap.example.org"]\nuser_base = "ou=people,dc=example"\n[targets]',
    )
    ldap = load(site.config).directory.ldap
    assert ldap is not None and str(ldap.servers[0]) == "ldaps://ldap.example.org:636"


def test_one_section_is_read_though_another_is_wrong(site, tmp_path):
    site.edit('file = "policy.toml"', "file = 7\nnonsense = true")
    assert read_section(site.config, Recording).directory == tmp_path / "recordings"
    assert read_section(site.config, Audit).file == tmp_path / "audit.jsonl"
    site.edit('directory = "recordings"', 'directory = 7\nmode = "ful"')
    with pytest.raises(ConfigErrors) as found:
        read_section(site.config, Recording)
    assert [error.key for error in found.value.errors] == ["recording.directory", "recording.mode"]
    site.write("bastion.toml", "audit = 1\n")
    with pytest.raises(ConfigError, match="audit: is no table"):
        read_section(site.config, Audit)
    with pytest.raises(ConfigError, match="recording: is missing"):
        read_section(site.config, Recording)
    site.config.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        read_section(site.config, Audit)


# -- an inventory of several files -----------------------------------------------------------------------------


def folder_of(tmp_path, **files):
    site = Site(tmp_path)
    site.edit('file = "targets.toml"', 'file = "targets.toml"\nfolder = "targets.d"')
    (tmp_path / "targets.d").mkdir()
    for name, text in files.items():
        site.write(f"targets.d/{name.replace('_', '.')}", text)
    return site


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path):
    tables = {
        name: f'[targets.{name[0]}1]\nhost = "{name[0]}.example.com"\n' for name in ("z_toml", "a_toml")
    }
    site = folder_of(tmp_path, **tables, readme_txt="not TOML =", _hidden_toml="= no")
    config = load(site.config)
    assert [target.name for target in config.inventory] == ["web1", "db1", "a1", "z1"]
    assert [file.name for file in config.inventory_files] == ["targets.toml", "a.toml", "z.toml"]
    before = config.digest, contents(config)
    site.write("targets.d/a.toml", tables["a_toml"] + 'aliases = ["x1"]\n')
    after = load(site.config)
    assert after.digest != before[0] and after.inventory.find("x1") is not None
    assert contents(after)["targets.folder"] != before[1]["targets.folder"]
    assert differences(config, after, before[1], contents(after)) == ("target a1: changed",)


def test_a_name_is_one_targets_in_all_files(tmp_path):
    site = folder_of(tmp_path, a_toml='[targets.new1]\nhost = "h"\naliases = ["web1"]\n')
    with pytest.raises(ConfigErrors) as caught:
        load(site.config)
    (error,) = caught.value.errors
    assert (error.file, error.line) == (str(tmp_path / "targets.d" / "a.toml"), 3)
    assert error.problem == f'"web1" is already a name of target "web1" in {tmp_path / "targets.toml"}'


def test_a_fault_in_one_file_names_it_and_nothing_is_taken(tmp_path):
    site = folder_of(tmp_path, a_toml="[targets.new1]\nhots = 1\n", b_toml="=")
    with pytest.raises(ConfigErrors) as caught:
        load(site.config)
    assert {Path(error.file).name for error in caught.value.errors} == {"a.toml", "b.toml"}


def test_a_folder_that_is_not_there_is_an_error_at_its_key(tmp_path):
    site = folder_of(tmp_path)
    (tmp_path / "targets.d").rmdir()
    with pytest.raises(ConfigErrors) as caught:
        load(site.config)
    assert (
        caught.value.errors[0].key == "targets.folder" and "cannot be read" in caught.value.errors[0].problem
    )


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("bastion.config.load.INVENTORY_FILES", 1)
    site = folder_of(tmp_path, a_toml="", b_toml="")
    with pytest.raises(ConfigErrors, match="has 2 files"):
        load(site.config)
