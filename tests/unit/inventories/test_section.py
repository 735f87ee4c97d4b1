"""The options of an inventory beside each other."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from bastion.inventories.section import INVENTORIES, SOURCES_MAX, digest_of
from bastion.options import At, Problems, Source, Unreadable


def read(text: str) -> Any:
    problems = Problems()
    document = tomllib.loads(text)["inventories"]
    try:
        return INVENTORIES.read(document, At(Source("bastion.toml"), problems, ("inventories",)))
    except Unreadable:
        return [str(error) for error in problems.errors]


URL = 'url = "https://cmdb.example.com/targets.json?x=1"\n'


def test_an_inventory_is_a_page_or_a_program() -> None:
    found = read(f'[inventories.cmdb]\n{URL}[inventories.two]\ncommand = ["/bin/true", "--list"]')
    assert list(found) == ["cmdb", "two"] and found["two"].command == ("/bin/true", "--list")
    assert (found["cmdb"].every, found["cmdb"].max_age) == (300.0, 7 * 86400.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "needs either a program or a URL"),
        (f'{URL}command = ["/bin/true"]', "needs either a program or a URL"),
        ('command = ["true"]', "is not an absolute path"),
        ('command = ["/bin/true"]\nca_file = "ca.pem"', "has no effect without url"),
        ('command = ["/bin/true"]\ntoken_file = "token"', "has no effect without url"),
        ('url = "http://cmdb.example.com/"', "is no URL of an inventory"),
        ('url = "https://u:p@cmdb.example.com/"', "is no URL of an inventory"),
        ('url = "https://cmdb.example.com/#x"', "is no URL of an inventory"),
        ('url = "https://"', "is no URL of an inventory"),
        ('url = "file:///etc/passwd"', "is no URL of an inventory"),
        (f'{URL}max_bytes = "33 MiB"', "max_bytes: is out of range"),
        (f"{URL}max_bytes = 0", "max_bytes: is out of range"),
        (f'{URL}groups = ["web"]', "groups: has no effect without this format"),
        (f'{URL}vars = {{ env = "e" }}', "vars: has no effect without this format"),
        (f'{URL}every = "1h"\nmax_age = "90m"', "max_age: is over before it was asked twice"),
        (f'{URL}every = "0s"', "every: "),
        (f'{URL}prefix = "A-"', "prefix: "),
    ],
)
def test_what_makes_no_sense_together_is_a_fault(text: str, says: str) -> None:
    (fault,) = read(f"[inventories.cmdb]\n{text}")
    assert says in fault and fault.startswith("bastion.toml: inventories.cmdb")


@pytest.mark.parametrize("name", ["Cmdb", "1x", "..", "a/b", "x" * 33, ""])
def test_a_name_is_one_of_a_file_too(name: str) -> None:
    (fault,) = read(f'[inventories."{name}"]\n{URL}')
    assert "is not a valid name" in fault


def test_there_are_no_more_than_have_a_thread_each() -> None:
    text = "".join(f"[inventories.i{number}]\n{URL}" for number in range(SOURCES_MAX + 1))
    (fault,) = read(text)
    assert f"{SOURCES_MAX} at most" in fault


def test_the_digest_is_of_all_that_they_are_asked_by() -> None:
    one, same = read(f"[inventories.a]\n{URL}"), read(f"[inventories.a]\n{URL}")
    other = read(f'[inventories.a]\n{URL}only = ["x"]')
    assert digest_of({}) == "" and digest_of(one) == digest_of(same) != digest_of(other)
