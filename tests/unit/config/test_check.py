import os

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from bastion.config.check import inspect
from bastion.wire.keys import PrivateKey


def told(found, site):
    return [str(error).replace(f"{site.folder}/", "") for error in found]


def errors(site):
    return told(inspect(site.config).errors, site)


def warnings(site):
    report = inspect(site.config)
    assert told(report.errors, site) == []
    return told(report.warnings, site)


def only_error(site):
    (found,) = errors(site)
    return found


def test_a_sound_site_has_no_findings(site):
    report = inspect(site.config)
    assert (report.errors, report.warnings) == ((), ())
    assert report.config is not None


def test_what_cannot_be_read_stops_the_check(site):
    site.config.unlink()
    report = inspect(site.config)
    assert (report.config, report.readable) == (None, False)
    assert len(report.errors) == 1
    site.write("bastion.toml", "[listen]\nport = 22\n")
    report = inspect(site.config)
    assert (report.config, report.readable) == (None, True)


PAIRS = [
    ("login CA", "upstream CA", "upstream_ca"),
    ("login CA", "front host CA", "front_host_ca"),
    ("login CA", "target host CA", "host_ca"),
    ("host key of the gateway", "login CA", "host_key"),
]


@pytest.mark.parametrize(("one", "other", "name"), PAIRS)
def test_the_login_ca_is_no_other_authority(site, one, other, name):
    site.write("login_ca.pub", site.keys[name].public.line("not the login CA") + "\n")
    assert f"({one}) and " in only_error(site)
    assert f"({other}) are the same key SHA256:" in only_error(site)


def test_the_other_authorities_differ_too(site):
    site.edit('key = "front_host_ca"', 'key = "upstream_ca"')
    assert "(upstream CA) and upstream_ca (front host CA)" in only_error(site)
    site.edit('key = "upstream_ca"\n[directory]', 'key = "front_host_ca"\n[directory]')
    site.write("known_hosts", f"@cert-authority * {site.keys['upstream_ca'].public.line()}\n")
    assert "(upstream CA) and known_hosts:1 (target host CA)" in only_error(site)
    site.write("known_hosts", f"@cert-authority * {site.keys['front_host_ca'].public.line()}\n")
    assert "(front host CA) and known_hosts:1 (target host CA)" in only_error(site)


def test_a_dsa_line_in_known_hosts_stops_nothing_and_hides_nothing(site):
    dsa = "AAAAB3NzaC1kc3MAAABAAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
    site.write("known_hosts", f"web1 ssh-dss {dsa}\nweb2 nonsense\n@trusted web3 ssh-dss {dsa}\n")
    assert [line.partition("known_hosts: ")[2][:14] for line in errors(site)] == [
        "known_hosts:2:",
        "known_hosts:3:",
    ]
    site.write("known_hosts", f"web1 ssh-dss {dsa}\n")
    assert any("known_hosts:1: is left out" in line for line in warnings(site))


def test_known_hosts_must_be_there_and_be_right(site):
    (site.folder / "known_hosts").unlink()
    assert "known_hosts does not exist; `touch known_hosts`" in only_error(site)
    site.write("known_hosts", "web1 ssh-ed25519 AAAA\n")
    assert "targets.known_hosts: known_hosts:1: " in only_error(site)


def test_a_pinned_host_key_is_no_authority(site):
    site.write("known_hosts", f"web1.example.com {site.keys['upstream_ca'].public.line()}\n")
    assert errors(site) == []


@pytest.mark.parametrize("name", ["host_key", "upstream_ca", "front_host_ca"])
def test_private_keys_open_to_others_are_refused(site, name):
    os.chmod(site.folder / name, 0o640)
    assert "private key is open to others (mode 0640)" in only_error(site)
    (site.folder / name).unlink()
    assert "cannot be read" in only_error(site)


@pytest.mark.parametrize(
    "name", ["bastion.toml", "targets.toml", "policy.toml", "known_hosts", "login_ca.pub"]
)
def test_files_that_decide_must_not_be_writable_by_others(site, name):
    os.chmod(site.folder / name, 0o664)
    assert f"{name} can be written by others (mode 0664)" in only_error(site)


@pytest.mark.parametrize("name", ["targets.d", "targets.d/more.toml"])
def test_nobody_else_may_write_into_the_folder_of_targets(site, name):
    site.edit('file = "targets.toml"', 'file = "targets.toml"\nfolder = "targets.d"')
    (site.folder / "targets.d").mkdir(mode=0o755)
    site.write(
        "targets.d/more.toml", '[targets.web2]\nhost = "web2.example.com"\nport = 22\nlegacy = ["ssh-rsa"]\n'
    )
    (warning,) = warnings(site)
    assert warning.startswith("targets.d/more.toml:4: targets.web2.legacy: weak algorithms")
    os.chmod(site.folder / name, 0o775)
    assert f"{name} can be written by others (mode 0775)" in only_error(site)


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o666])
def test_an_open_users_file_is_one_fault(site, mode):
    os.chmod(site.folder / "users.toml", mode)
    assert f"users.toml: mode {mode:04o} lets others read or change it" in only_error(site)


@pytest.mark.parametrize("name", ["known_hosts", "login_ca.pub"])
def test_a_byte_order_mark_before_keys_is_called_so(site, name):
    file = site.folder / name
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert f"{name}:1: begins with a byte order mark" in only_error(site)


def test_a_private_key_in_the_place_of_an_authority_is_called_so(site):
    site.write("login_ca.pub", site.keys["upstream_ca"].openssh_bytes().decode(), 0o600)
    assert "this is a private key; the public one is usually the file with .pub" in only_error(site)


def test_the_embedded_directory_is_read(site):
    site.write("users.toml", "[users.Alice]\n", 0o600)
    assert "users.Alice" in only_error(site)
    site.write("users.toml", "[users.alice]\n", 0o644)
    assert "users.toml" in only_error(site)


def test_places_to_write_to_must_be_there(site):
    (site.folder / "recordings").rmdir()
    site.edit('file = "audit.jsonl"', 'file = "logs/audit.jsonl"')
    assert errors(site) == [
        "bastion.toml:19: recording.directory: recordings is no folder (allowed: mkdir -m 700 recordings)",
        "bastion.toml:21: audit.file: logs is no folder (allowed: mkdir logs)",
    ]
    (site.folder / "logs").mkdir()
    (site.folder / "recordings").mkdir()
    os.chmod(site.folder / "recordings", 0o777)
    assert "recordings can be written by others (mode 0777)" in only_error(site)
    os.chmod(site.folder / "recordings", 0o755)
    assert "recordings can be read by everybody (mode 0755)" in warnings(site)[0]


def test_one_host_key_of_each_type(site):
    site.make_key("second")
    site.edit('files = ["host_key"]', 'files = ["host_key", "second"]')
    assert "second and host_key are both ssh-ed25519" in only_error(site)


def test_every_target_can_be_logged_in_to_and_verified(site):
    site.edit('key = "upstream_ca"\negress = ["192.0.2.10"]', "")
    site.edit('known_hosts = "known_hosts"\n', "")
    found = errors(site)
    assert [error.partition(" (")[0] for error in found] == [
        "targets.toml:1: targets.web1: there is no way to log in: no key_file, no password and no upstream CA",
        "targets.toml:1: targets.web1: its host key can never be verified: no known_hosts and no host_keys",
        "targets.toml:3: targets.db1: there is no way to log in: no key_file, no password and no upstream CA",
        "targets.toml:3: targets.db1: its host key can never be verified: no known_hosts and no host_keys",
    ]


def test_a_gateway_target_needs_neither(site):
    site.write(
        "targets.toml", '[targets.web1]\nhost = "web1"\n[targets.db1]\nhost = "edge"\nkind = "gateway"\n'
    )
    site.edit('key = "upstream_ca"\negress = ["192.0.2.10"]', "")
    assert only_error(site).startswith("targets.toml:1: targets.web1: there is no way to log in")


def test_keys_of_targets_are_read(site):
    text = '[targets.web1]\nhost = "web1"\nkey_file = "web1_key"\nhost_keys = ["ssh-ed25519 AAAA"]\n'
    site.write("targets.toml", text)
    found = errors(site)
    assert found[0].startswith("targets.toml:3: targets.web1.key_file: web1_key: cannot be read")
    assert found[1].startswith("targets.toml:4: targets.web1.host_keys: ")
    site.make_key("web1_key")
    site.write("targets.toml", text.replace("ssh-ed25519 AAAA", site.keys["host_key"].public.line()))
    assert errors(site) == []


def test_faults_of_policy_beside_inventory_name_rule_and_line(site):
    site.write("policy.toml", (site.folder / "policy.toml").read_text().replace('"web1"', '"wbe1"'))
    assert only_error(site) == (
        'policy.toml:2: rule staff: targets: no target "wbe1", did you mean "web1"? '
        "(allowed: a name in the inventory or a pattern)"
    )


def test_what_is_doubtful_is_a_warning(site):
    site.edit('egress = ["192.0.2.10"]\n', "")
    site.edit('directory = "recordings"', 'directory = "recordings"\nmode = "off"')
    site.write("targets.toml", '[targets.web1]\nhost = "web1"\nrecording = "off"\n')
    site.write("policy.toml", "")
    keys = [line.split(": ")[1] for line in warnings(site)]
    assert keys == [
        "upstream_ca.egress", "targets.web1.recording", "recording.mode", "policy.file",
    ]  # fmt: skip


def test_ldap_in_clear_is_doubtful_and_its_secret_is_read(site):
    site.edit(
        "[targets]",
        '[directory.ldap]\nservers = ["ldap://127.0.0.1"]\nuser_base = "dc=example"\nallow_plaintext = true\n'
        'bind_dn = "cn=x,dc=example"\nbind_password_file = "secret"\n[targets]',
    )
    assert "secret" in only_error(site)
    site.write("secret", "hidden\n", 0o600)
    assert any("in clear" in line for line in warnings(site))
    assert "hidden" not in repr(inspect(site.config))


LDAP = """[directory.ldap]
servers = ["ldaps://ldap1.example.org", "{url}"]
user_base = "dc=example"
bind_dn = "cn=x,dc=example"
bind_password_file = "{secret}"
ca_file = "{ca}"
user_filter = "{filter}"
[targets]"""
SOUND_LDAP = {"url": "ldap://x", "secret": "secret", "ca": "", "filter": "(objectClass=person)"}


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"url": "http://x"}, "servers[2]"),
        ({"filter": "objectClass=person"}, "user_filter"),
        ({"secret": "missing"}, "bind_password_file"),
        ({"ca": "users.toml"}, "ca_file"),
    ],
)
def test_a_fault_of_ldap_is_told_at_the_line_of_its_own_key(site, changes, key):
    site.write("secret", "hidden\n", 0o600)
    text = LDAP.format(**SOUND_LDAP | changes)
    site.edit("[targets]", text.replace('ca_file = ""\n', ""))
    lines = site.config.read_text().splitlines()
    line = next(n for n, written in enumerate(lines, 1) if written.startswith(key.partition("[")[0]))
    if key == "servers[2]":
        line = next(n for n, written in enumerate(lines, 1) if "ldaps://" in written)
    assert only_error(site).startswith(f"bastion.toml:{line}: directory.ldap.{key}: ")


def test_a_group_that_nobody_is_in_is_doubtful_where_all_accounts_are_known(site):
    policy = (site.folder / "policy.toml").read_text()
    site.write("policy.toml", policy.replace('["staff"]', '["STAFF", "stuff", "*"]'))
    (found,) = [line for line in warnings(site) if "nobody" in line]
    assert found.startswith("policy.toml:2: rule staff: groups: nobody in the directory is in group 'stuff'")
    assert "staff" in found.rpartition("stuff")[2]
    site.write("secret", "hidden\n", 0o600)
    site.edit("[targets]", LDAP.format(**SOUND_LDAP).replace('ca_file = ""\n', ""))
    assert not [line for line in warnings(site) if "nobody" in line]


def test_legacy_algorithms_of_a_target_are_doubtful(site):
    site.write("targets.toml", '[targets.web1]\nhost = "web1"\nlegacy = ["3des-cbc", "ssh-rsa"]\n')
    assert [line for line in warnings(site) if "legacy" in line] == [
        "targets.toml:3: targets.web1.legacy: weak algorithms are offered to this target: 3des-cbc, ssh-rsa "
        "(allowed: upgrade it, and take out what it no longer needs)"
    ]


def test_passwords_of_targets_are_looked_at_and_not_told(site):
    site.write("secret", "hunter-two\n")
    text = '[targets.web1]\nhost = "web1"\npassword = { file = "secret" }\n'
    site.write("targets.toml", text)
    (site.folder / "secret").chmod(0o644)
    found = only_error(site)
    assert (
        found.startswith("targets.toml:3: targets.web1.password: ") and "lets others in (mode 0644)" in found
    )
    assert "chmod 600" in found and "hunter-two" not in found
    (site.folder / "secret").chmod(0o600)
    assert errors(site) == []
    site.write("targets.toml", text.replace('file = "secret"', 'command = ["/nowhere/pass"]'))
    assert "the password's command does not exist" in only_error(site)
    site.write("targets.toml", text.replace('file = "secret"', "ask = true"))
    assert errors(site) == []


def test_an_ecdsa_host_key_that_nobody_is_shown_is_told(site):
    key = PrivateKey(ec.generate_private_key(ec.SECP256R1()))
    site.write("ecdsa", key.openssh_bytes().decode(), 0o600)
    site.edit('files = ["host_key"]', 'files = ["host_key", "ecdsa"]')
    assert (
        "ecdsa is never used: ecdsa-sha2-nistp256 is not among the algorithms on offer" in warnings(site)[0]
    )
    site.edit("[host_keys]", '[listen]\nalgorithms = "compat"\n[host_keys]')
    assert warnings(site) == []
    site.edit('algorithms = "compat"\n', "")
    site.edit('files = ["host_key", "ecdsa"]', 'files = ["ecdsa"]')
    assert "host_keys.files: no host key fits the algorithms on offer" in only_error(site)


@pytest.mark.parametrize("section", ["host_key", "upstream_ca", "front_host_ca"])
@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_a_public_key_in_the_place_of_a_private_one_is_called_so(site, section, mode):
    (site.folder / f"{section}.pub").chmod(mode)
    site.edit(f'"{section}"', f'"{section}.pub"')
    assert "this is a public key; the private one is usually the file without .pub" in only_error(site)


@pytest.mark.slow
def test_an_encrypted_key_needs_the_file_of_its_passphrase(site):
    site.write("upstream_ca", site.keys["upstream_ca"].openssh_bytes(b"open sesame").decode(), 0o600)
    assert only_error(site).startswith(
        "bastion.toml:7: upstream_ca.key: upstream_ca: the private key is encrypted"
    )
    site.edit('key = "upstream_ca"', 'key = "upstream_ca"\npassphrase_file = "words"')
    site.write("words", "open sesame\n", 0o640)
    assert errors(site) == []
    assert inspect(site.config).material.upstream_ca.publics[0] == site.keys["upstream_ca"].public
    site.write("words", "close sesame\n", 0o644)
    assert "the passphrase's file lets others in (mode 0644)" in only_error(site)
    site.write("words", "close sesame\n", 0o600)
    assert "or the passphrase is wrong" in only_error(site) and "sesame" not in only_error(site)


@pytest.mark.parametrize("name", ["bastion.toml", "targets.toml", "policy.toml", "users.toml"])
def test_a_byte_order_mark_is_called_by_its_name(site, name):
    path = site.folder / name
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert "begins with a byte order mark" in only_error(site)


@pytest.mark.parametrize("name", ["targets.toml", "policy.toml", "users.toml"])
def test_a_syntax_error_is_not_followed_by_what_it_only_causes(site, name):
    site.write(name, "[[broken\n", 0o600)
    report = inspect(site.config)
    assert f"{name}:1: is not TOML" in str(only_error(site)) and report.warnings == ()


def test_a_faulty_target_makes_no_rule_wrong(site):
    site.write("targets.toml", '[targets.web1]\nhost = "x"\nport = 99999\n')
    report = inspect(site.config)
    assert "targets.web1.port" in only_error(site) and report.warnings == ()


@pytest.mark.parametrize(
    ("one", "other", "taken"),
    [
        ("127.0.0.1:2222", "127.0.0.1:2222", True),
        ("0.0.0.0:2222", "127.0.0.1:2222", True),
        ("[::]:2222", "127.0.0.1:2222", True),
        ("[::]:2222", "0.0.0.0:2222", True),
        ("0.0.0.0:2222", "[::1]:2222", False),
        ("127.0.0.1:2222", "127.0.0.2:2222", False),
        ("127.0.0.1:2222", "127.0.0.1:2223", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
    ],
)
def test_one_port_is_listened_at_once(site, one, other, taken):
    site.edit("[host_keys]", f'[listen]\naddresses = ["{one}"]\n[metrics]\nlisten = "{other}"\n[host_keys]')
    found = errors(site)
    assert [line.partition(" (")[0] for line in found] == (
        [f"bastion.toml:5: metrics.listen: {other} is taken by listen.addresses[1]"] if taken else []
    )
    site.edit(f'"{one}"]\n[metrics]\nlisten = "{other}"', f'"{one}", "{other}"]')
    assert bool(errors(site)) == taken


def test_one_machine_under_two_names_is_doubtful(site):
    site.write(
        "targets.toml",
        '[targets.web1]\nhost = "10.0.0.7"\n[targets.db1]\nhost = "10.0.0.7"\n'
        '[targets.db2]\nhost = "10.0.0.7"\nport = 2222\n',
    )
    assert [line.partition(" (")[0] for line in warnings(site)] == [
        "targets.toml:4: targets.db1.host: 10.0.0.7:22 is where target web1 is already: rules and records see two "
        "machines"
    ]


def test_every_fault_of_the_users_file_is_told(site):
    site.write("users.toml", "[users.alice]\nkey = 1\n[users.bob]\ngroup = 1\n", 0o600)
    assert [line.partition(": unknown")[0] for line in errors(site)] == [
        "users.toml:2: users.alice.key",
        "users.toml:4: users.bob.group",
    ]


def test_a_key_and_a_passphrase_may_be_credentials(site, tmp_path, monkeypatch):
    folder = tmp_path / "credentials"
    folder.mkdir(0o700)
    (site.folder / "upstream_ca").rename(folder / "ca")
    site.edit('key = "upstream_ca"', 'key = "credential:ca"')
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    report = inspect(site.config)
    assert report.errors == () and report.config.upstream_ca.key == folder / "ca"
    site.edit('key = "credential:ca"', 'key = "credential:gone"')
    assert f"{folder}/gone" in str(inspect(site.config).errors[0])


@pytest.mark.parametrize("name", ["", "../ca", "a/b", ".hidden", "a" * 256])
def test_a_credential_is_a_name_and_no_way_out_of_its_folder(site, name):
    site.edit('key = "upstream_ca"', f'key = "credential:{name}"')
    assert "is not the name of a credential" in errors(site)[0]


@pytest.mark.parametrize(
    ("content", "warned"),
    [
        ("", ["revokes nothing: is it whole?"]),  # what a disk that was full leaves
        ("nonsense\n", ["every key and every certificate is refused"]),
        (PrivateKey.generate_ed25519().public.line() + "\n", []),
    ],
    ids=["empty", "no list", "a key"],
)
def test_a_list_of_revoked_keys_that_says_nothing_is_doubtful(site, content, warned):
    site.write("revoked", content)
    site.edit("[targets]", '[login]\nrevoked_keys = "revoked"\n[targets]')
    found = warnings(site)
    assert [text in line for text, line in zip(warned, found, strict=True)] == [True] * len(warned)


@pytest.mark.parametrize(
    "chain", ['["publickey"]', '["totp"]', '["publickey", "publickey"]', '["publickey", "password"]']
)
def test_nobody_breaks_the_glass_by_less_than_a_key_and_a_code(site, chain):
    place = 'embedded = "users.toml"'
    site.edit(place, f"{place}\nbreak_glass_require = [{chain}]")
    assert "directory.break_glass_require[1" in only_error(site)
