"""What is said of single targets and of inventories that are asked, beside their tables; the rest in test_check.py."""

from pathlib import Path

import pytest

from bastion.config.check import inspect
from bastion.wire.keys import PrivateKey

from .site import TARGETS, Site

PROGRAM = 'command = ["{folder}/program", "--list"]'
HOP = '[targets.edge1]\nhost = "edge1.example.com"\nhop_login = "jump"\n'
EGRESS = 'hop_egress = ["10.20.0.1"]\n'


def found(site: Site, targets: str) -> tuple[list[str], list[str]]:
    """Errors and warnings; the targets begin at line 1 of targets.toml."""
    site.write("targets.toml", targets + '[targets.web1]\nhost = "web1.example.com"\n')
    report = inspect(site.config)
    return tuple(
        [str(one).replace(f"{site.folder}/", "") for one in some] for some in (report.errors, report.warnings)
    )  # type: ignore[return-value]


def test_a_road_is_taken(site: Site) -> None:
    text = HOP + EGRESS + '[targets.db7]\nhost = "10.20.0.7"\nvia = "edge1"\nhost_keys = []\n'
    assert found(site, text) == ([], [])


def test_certificates_for_what_is_behind_a_hop_should_say_where_they_come_from(site: Site) -> None:
    errors, (warning,) = found(site, HOP)
    assert errors == []
    assert warning == (
        "targets.toml:3: targets.edge1.hop_login: certificates for what is behind it would work from any address until"
        " they expire (allowed: hop_egress: the addresses that it connects from)"
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            HOP + EGRESS + '[targets.db7]\nhost = "db7"\nvia = "edge9"\n',
            'targets.toml:7: targets.db7.via: "edge9" is no target, did you mean "edge1"?',
        ),
        (
            HOP + EGRESS + '[targets.db7]\nhost = "db7"\nvia = ["edge1", "db7"]\n',
            'targets.toml:7: targets.db7.via[2]: "db7" leads nowhere',
        ),
        ('[targets.a]\nhost = "a"\nhop_login = "x"\nhop_egress = ["192.0.2.1"]\nvia = "a"\n',
         "targets.toml:5: targets.a.via: leads in a circle: a -> a"),
        ('[targets.a]\nhost = "a"\nhop_egress = ["192.0.2.1"]\n',
         "targets.toml:3: targets.a.hop_egress: has no hop_login beside it"),
        (HOP + "ask = true\n", "targets.toml:3: targets.edge1.hop_login: nobody can be asked on the way"),
        (HOP + "password = { ask = true }\n", "targets.toml:3: targets.edge1.hop_login: nobody can be asked"),
        (HOP + 'kind = "gateway"\n', "targets.toml:3: targets.edge1.hop_login: has no meaning for a gateway"),
        (HOP + '[targets.g]\nhost = "g"\nkind = "gateway"\nvia = "edge1"\n',
         "targets.toml:7: targets.g.via: has no meaning for a gateway"),
        (HOP + '[targets.b]\nhost = "b"\nvia = "edge1"\nallow_addresses = ["127.0.0.0/8"]\n',
         "targets.toml:7: targets.b.allow_addresses: has no meaning here"),
        ('[targets.b]\nhost = "b"\nvia = []\n', "targets.toml:3: targets.b.via: must not be empty"),
        ('[targets.b]\nhost = "b"\nvia = "A+b"\n', "targets.toml:3: targets.b.via: 'A+b' is not a valid name"),
    ],
)  # fmt: skip
def test_a_road_that_leads_nowhere_is_an_error_with_its_line(site: Site, text: str, line: str) -> None:
    errors, _ = found(site, text)
    assert len(errors) == 1 and errors[0].startswith(line), errors


def test_a_hop_whose_table_cannot_be_read_is_one_fault_and_not_two(site: Site) -> None:
    errors, _ = found(site, HOP + 'port = 0\n[targets.db7]\nhost = "db7"\nvia = "edge1"\n')
    assert len(errors) == 1 and "targets.edge1.port" in errors[0]


def test_the_same_address_behind_different_hops_is_another_machine(site: Site) -> None:
    text = HOP + EGRESS + '[targets.b]\nhost = "192.0.2.7"\n[targets.c]\nhost = "192.0.2.7"\nvia = "edge1"\n'
    assert found(site, text) == ([], [])
    _, warnings = found(site, text + '[targets.d]\nhost = "192.0.2.7"\nvia = "edge1"\n')
    assert len(warnings) == 1 and "is where target c is already" in warnings[0]


def test_a_pin_of_a_target_behind_a_hop_is_for_its_name(site: Site) -> None:
    """`host` may be another machine elsewhere."""
    key = site.keys["host_key"].public
    pinned = f'host_keys = ["{key.line()}"]\n'
    text = HOP + EGRESS + f'[targets.db7]\nhost = "192.0.2.7"\nvia = "edge1"\n{pinned}'
    assert found(site, text) == ([], [])
    _, material = inspect(site.config).accepted()
    assert material.known_hosts.pinned(["db7"], 22) == (key,)
    assert material.known_hosts.pinned(["192.0.2.7"], 22) == ()


@pytest.fixture
def program(site: Site) -> Path:
    return site.write("program", "#!/bin/sh\n", 0o755)


def errors_of_asked(site: Site, options: str) -> list[tuple[str, str]]:
    site.edit("[policy]", f"[inventories.cmdb]\n{options.format(folder=site.folder)}\n[policy]")
    return [(error.key, error.problem) for error in inspect(site.config).errors]


def test_an_inventorys_program_that_can_be_run_is_no_fault(site: Site, program: Path) -> None:
    assert errors_of_asked(site, PROGRAM) == []


@pytest.mark.parametrize(
    ("mode", "says"), [(0o777, "can be replaced by others"), (0o644, "is not a program")]
)
def test_a_program_that_others_can_replace_is_one(site: Site, program: Path, mode: int, says: str) -> None:
    program.chmod(mode)
    ((key, problem),) = errors_of_asked(site, PROGRAM)
    assert key == "inventories.cmdb.command" and says in problem and "password" not in problem


@pytest.mark.parametrize(
    ("option", "says"), [("token_file", "lets others in"), ("ca_file", "cannot be read: No such file")]
)
def test_files_that_cannot_be_used_are_told(site: Site, option: str, says: str) -> None:
    site.write("token_file", "secret\n", 0o644)
    name = option if option == "token_file" else "missing.pem"
    ((key, problem),) = errors_of_asked(site, f'url = "https://h/"\n{option} = "{name}"')
    assert key == f"inventories.cmdb.{option}" and says in problem and "secret" not in problem


def test_nobody_is_asked(site: Site, program: Path) -> None:
    program.write_text(f"#!/bin/sh\ntouch {site.folder}/asked\n")
    assert errors_of_asked(site, PROGRAM) == []
    assert not (site.folder / "asked").exists()


def of_inventory(site, options):
    """The faults of the inventory cmdb giving a target with those options, beside what people wrote down."""
    site.edit("[policy]", '[inventories.cmdb]\nurl = "https://cmdb.example.com/"\n[policy]')
    answer = f"[targets.new1]\n{options}\n"
    return [(error.key, error.problem) for error in inspect(site.config, {"cmdb": answer}).errors]


PINNED = f"host_keys = ['{PrivateKey.generate_ed25519().public.line()}']"


@pytest.mark.parametrize(
    "place",
    [
        'host = "web1"',  # the name of a target whose host is another one
        'host = "www"',
        'host = "web1.example.com"\nport = 22',  # the server on another port falls back to the bare name
        'host = "web1"\nport = 2222',
    ],
)
def test_no_inventory_says_which_keys_are_believed_of_what_people_wrote_down(site, place):
    """Its pin is of a name, and a target is known by its host and all its names."""
    site.write(
        "targets.toml", TARGETS.replace("[targets.db1]", 'port = 2222\naliases = ["www"]\n[targets.db1]')
    )
    ((key, problem),) = of_inventory(site, f"{place}\n{PINNED}")
    assert key == "targets.new1.host_keys" and "would be believed of target web1 too" in problem


@pytest.mark.parametrize(
    "options",
    [
        f'host = "new1"\n{PINNED}',
        f'host = "web1.example.com"\nport = 2222\n{PINNED}',  # web1 has another port, and is not known by that
        'host = "web1"',
    ],
)
def test_keys_that_nobody_else_is_known_by_are_its_own(site, options):
    assert of_inventory(site, options) == []


@pytest.mark.parametrize("name", ["web1.example.com", "10.0.0.9"])
def test_no_inventory_calls_a_target_as_another_is_reached(site, name):
    """Who writes `ssh -J bastion 10.0.0.9` means what people wrote down, and a target that is called so came first."""
    site.write("targets.toml", TARGETS + '[targets.far]\nhost = "10.0.0.9"\n')
    ((key, problem),) = of_inventory(site, f'host = "elsewhere"\naliases = ["{name}"]')
    assert key == "targets.new1" and f'"{name}" is where target' in problem and "led here" in problem
