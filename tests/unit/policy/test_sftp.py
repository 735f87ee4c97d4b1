"""Path rules for sftp: patterns, normal forms, and what a rename may not open."""

import os.path
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.policy.decide import GrantDecider
from bastion.policy.grant import authorise
from bastion.policy.review import review
from bastion.policy.sftp import (
    NOWHERE,
    SftpRights,
    is_path,
    normal_form,
    normal_parts,
    parse_pattern,
    place_of,
)

from .world import NOW, inventory_of, person, policy_of

HOME = b"/home/alice"


def rights(**tables: list[str]) -> SftpRights:
    made = SftpRights.of(
        [("files", {verb: tuple(map(parse_pattern, texts)) for verb, texts in tables.items()})]
    )
    assert made is not None
    return made


def may(pattern: str, path: bytes, home: bytes | None = HOME) -> bool:
    return rights(download=[pattern]).allows("download", place_of(path, home))


@pytest.mark.parametrize(
    ("pattern", "path", "wanted"),
    [
        ("/var/log/**", b"/var/log", True),
        ("/var/log/**", b"/var/log/a/b", True),
        ("/var/log/**", b"/var/logs", False),
        ("/var/log/**", b"/var/log/../../etc/passwd", False),
        ("/var/log/**", b"//var/./log//a/../b", True),
        ("/var/log/*", b"/var/log/a", True),
        ("/var/log/*", b"/var/log/a/b", False),
        ("/var/log/*", b"/var/log", False),
        ("/a/**/z", b"/a/z", True),
        ("/a/**/z", b"/a/b/c/z", True),
        ("/a/**/z", b"/a/b/c/y", False),
        ("/a/*.csv", b"/a/x.csv", True),
        ("/a/*.csv", b"/a/.csv", True),
        ("/a/*.csv", b"/a/x.csv.sh", False),
        ("/a/*.csv", b"/a/x\n.csv", True),
        ("/a/?", "/a/é".encode(), True),
        ("/a/??", "/a/é".encode(), False),
        ("/a/[b]", b"/a/b", False),
        ("/a/[b]", b"/a/[b]", True),
        ("/A", b"/a", False),
        ("/**", b"/", True),
        ("**", b"/anything", True),
        ("**", b"", True),
        ("~/in/**", b"in/x", True),
        ("~/in/**", b"/home/alice/in/x", True),
        ("~/in/**", b"../alice/in/x", True),
        ("~/in/**", b"../bob/in/x", False),
        ("~", b".", True),
        ("/home/alice/in/**", b"in/x", True),
        ("/home/bob/**", b"../bob/x", True),
        ("/home/bob/**", b"../../../home/bob", True),
    ],
)
def test_patterns(pattern, path, wanted):
    assert may(pattern, path) is wanted


@pytest.mark.parametrize(
    ("pattern", "path", "wanted"),
    [
        ("~/in/**", b"in/x", True),
        ("~/in/**", b"/home/alice/in/x", False),
        ("/home/alice/**", b"in/x", False),
        ("~/**", b"../x", False),
        ("**", b"../x", True),
    ],
)
def test_while_the_home_is_not_known(pattern, path, wanted):
    assert may(pattern, path, None) is wanted


@pytest.mark.parametrize("path", [b"/a\0/b", b"/a/" + b"x" * 4096, b"/a/x\\..\\..\\b"])
def test_paths_that_mean_two_things_are_nowhere(path):
    assert not is_path(path)
    assert place_of(path, HOME) is NOWHERE
    assert not may("/**", path)


@pytest.mark.parametrize("text", ["var/log", "", "*", "/a/../b", "/a/.", "/a/x**", "/a\0", "/" + "a/" * 65])
def test_patterns_that_are_none(text):
    with pytest.raises(ValueError, match=r"\w"):
        parse_pattern(text)


PATHS = st.lists(st.sampled_from([b"a", b"b", b"..", b".", b""]), max_size=8).map(b"/".join)


@given(st.booleans(), PATHS)
def test_the_normal_form_is_posix_normalisation(rooted, path):
    path = b"/" + path if rooted else path
    up, parts = normal_parts(path)
    normal = os.path.normpath(path.decode())
    # normpath keeps two leading slashes, which POSIX leaves to the system; Linux reads them as one.
    wanted = [part for part in re.sub("^//+", "/", normal).split("/") if part not in ("", ".")]
    assert [".."] * up + [part.decode() for part in parts] == wanted
    form = normal_form(path)
    assert len(form) <= max(len(path), 1)
    assert normal_parts(form) == (up, parts)
    assert b".." not in form.split(b"/")[up:]


@given(PATHS, st.sampled_from(["/a/**", "/a/*", "/**/b", "/a/b", "/*/b/**"]))
def test_a_pattern_is_a_regular_expression_over_components(path, pattern):
    parts = normal_parts(b"/" + path)[1]
    expression = "".join(
        "(?:/[^/]+)*" if word == "**" else "/" + word.replace("*", "[^/]*") for word in pattern.split("/")[1:]
    )
    wanted = re.fullmatch(expression, "".join("/" + part.decode() for part in parts)) is not None
    assert may(pattern, b"/" + path) is wanted


def test_rules_add_up_and_one_without_a_table_gives_everything():
    table = {"download": (parse_pattern("/a"),)}
    other = {"download": (parse_pattern("/b"),), "list": (parse_pattern("/b"),)}
    both = SftpRights.of([("one", table), ("two", other)])
    assert both is not None and both.rule == "one"
    assert all(both.allows("download", place_of(path, None)) for path in (b"/a", b"/b"))
    assert not both.allows("upload", place_of(b"/a", None))
    assert SftpRights.of([("one", table), ("two", {})]) is None
    assert SftpRights.of([]) is None


def test_one_may_look_where_something_is_allowed_and_on_the_way_there():
    logs = rights(download=["/var/log/*.log"], upload=["~/in/**"])
    for path in (b"/", b"/var", b"/var/log", b"/var/log/x.log", b".", b"in", b"/home/alice", b"/var/log/.."):
        assert logs.looks(place_of(path, HOME)), path
    for path in (b"/etc", b"/var/log/x", b"/var/lib", b"/home/bob", b"out"):
        assert not logs.looks(place_of(path, HOME)), path


@pytest.mark.parametrize(
    ("tables", "old", "new", "wanted"),
    [
        ({"modify": ["/in/**"]}, b"/in/a", b"/in/b", True),
        ({"modify": ["/in/**"]}, b"/in/a", b"/out/b", False),
        ({"modify": ["/in/**"]}, b"/etc/a", b"/in/b", False),
        ({"modify": ["/in/*"], "upload": ["/in/*"]}, b"/in/a.part", b"/in/a", True),
        ({"modify": ["/**"], "download": ["/pub/**"]}, b"/etc/shadow", b"/pub/x", False),
        ({"modify": ["/**"], "download": ["/pub/**"]}, b"/pub/x", b"/etc/x", True),
        ({"modify": ["/**"], "download": ["/pub/**"]}, b"/pub/x", b"/pub/y", True),
        ({"modify": ["/**"], "download": ["/pub/*/x"]}, b"/etc", b"/pub/a", False),
        ({"modify": ["/**"], "download": ["/pub/*"]}, b"/etc", b"/pub/a", False),
        ({"modify": ["**"], "download": ["~/pub/**"]}, b"secret", b"pub/x", False),
    ],
)
def test_a_rename_opens_nothing(tables, old, new, wanted):
    assert rights(**tables).renames(place_of(old, HOME), place_of(new, HOME), True) is wanted


@pytest.mark.parametrize("new", [b"/pub/x\0", b"/pub/" + b"a/../" * 1000 + b"x"])
def test_a_rename_to_a_path_that_cannot_be_judged_opens_nothing(new):
    """OpenSSH takes a NUL at the end of a string as its end; the long path goes on in its short normal form."""
    mixed = rights(modify=["**"], download=["/pub/**"])
    assert place_of(new, HOME) is NOWHERE
    assert not mixed.renames(place_of(b"/srv/secret", HOME), NOWHERE, True)
    assert rights(modify=["**"]).renames(place_of(b"/srv/a", HOME), NOWHERE, True)


def test_a_rename_before_the_home_is_known_cannot_use_two_names_of_one_place():
    mixed = rights(modify=["~/**", "/home/alice/**"], download=["/home/alice/pub/**"])
    assert not mixed.renames(place_of(b"secret", None), place_of(b"pub/x", None), False)
    plain = rights(modify=["/in/**"])
    assert plain.renames(place_of(b"/in/a", None), place_of(b"/in/b", None), False)


def test_a_refusal_names_the_rule_and_tells_verb_from_path():
    files = rights(download=["/a"])
    assert files.refusal("upload").text == "upload is not allowed here"
    assert files.refusal("download").text == "download is not allowed at this path"
    assert {files.refusal(verb).rule for verb in ("upload", "download")} == {"files"}
    assert {str(files.refusal(verb).reason) for verb in ("upload", "download")} == {
        "verb_not_allowed", "path_not_allowed",
    }  # fmt: skip


FILES = """
[[rule]]
name = "files"
groups = ["staff"]
targets = ["web1"]
logins = ["deploy"]
verbs = [{verbs}]
sftp = {{ download = ["/var/log/**"] }}
"""
OTHER = """
[[rule]]
name = "other"
groups = ["{group}"]
targets = ["{target}"]
logins = ["{login}"]
verbs = ["{verb}"]
"""


def warned(text: str) -> list[str]:
    return [found.text for found in review(policy_of(text), inventory_of()) if found.key == "sftp"]


def test_check_warns_where_a_table_is_void():
    alone = FILES.format(verbs='"sftp"')
    assert warned(alone) == []
    (text,) = warned(FILES.format(verbs='"sftp", "exec", "shell"'))
    assert text == "is void: shell and exec can read and write every file that the account can"
    (text,) = warned(alone + OTHER.format(group="staff", target="web*", login="deploy", verb="shell"))
    assert 'rule "other"' in text and "shell" in text
    (text,) = warned(alone + OTHER.format(group="*", target="web1", login="deploy", verb="sftp"))
    assert "sftp without paths" in text
    for apart in (
        {"group": "dev", "target": "web1", "login": "deploy"},
        {"group": "staff", "target": "db1", "login": "deploy"},
        {"group": "staff", "target": "web1", "login": "root"},
    ):
        assert warned(alone + OTHER.format(verb="shell", **apart)) == []


def test_a_rule_with_a_table_adds_to_one_that_has_another():
    alone = FILES.format(verbs='"sftp"')
    wider = alone.replace('"files"', '"wide"').replace('sftp = { download = ["/var/log/**"] }', "")
    adds = [f.rule.name for f in review(policy_of(alone + wider), inventory_of()) if "adds nothing" in f.text]
    assert adds == ["files"]
    other = alone.replace('"files"', '"more"').replace("/var/log", "/srv")
    assert not [f for f in review(policy_of(alone + other), inventory_of()) if "adds nothing" in f.text]


def test_a_grant_knows_what_its_rules_give():
    alone = policy_of(FILES.format(verbs='"sftp"'))
    grant = authorise(alone, inventory_of(), person("alice", "staff"), "web1", None, "192.0.2.1", NOW)
    assert grant.sftp is not None and grant.sftp.rule == "files" and not grant.sftp_content
    assert GrantDecider(grant).sftp == grant.sftp
    everything = policy_of(
        FILES.format(verbs='"sftp"')
        + OTHER.format(group="staff", target="*", login="deploy", verb="sftp")
        + "sftp_content = true"
    )
    grant = authorise(everything, inventory_of(), person("alice", "staff"), "web1", None, "192.0.2.1", NOW)
    assert grant.sftp is None and grant.sftp_content


@given(st.text(max_size=30), st.binary(max_size=60))
def test_nothing_raises(text, path):
    try:
        pattern = parse_pattern(text)
    except ValueError:
        return
    place = place_of(path, HOME)
    assert SftpRights("r", {"list": (pattern,)}).allows("list", place) in (True, False)
