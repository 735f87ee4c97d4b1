"""What policy refuses, and what the engineer reads: one line with a reference that explains itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.sshd import sshd_missing
from tests.support.world import PASSWORD, World, refusal, running

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

POLICY = """
[[rule]]
name = "operators"
groups = ["ops"]
targets = ["web1"]
logins = ["root", "deploy"]
verbs = ["shell", "exec"]
"""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with running(policy=POLICY, targets='[targets.db1]\nhost = "192.0.2.1"\n') as made:
        yield made


def authorisation(reason: str) -> str:
    return f'bastion_authorisations_total{{reason="{reason}"}}'


def check_told(world: World, text: str, reference: str, reason: str) -> None:
    """The audit log has the refusal under the reference, and `explain` tells it with advice."""
    lines = [line for line in world.audit("refused") if line["ref"] == reference]
    assert [(line["what"], line["reason"], line["text"]) for line in lines] == [("session", reason, text)]
    assert world.audit("authorise")[-1]["reason"] == reason
    story = world.explain(reference)
    assert text in story and "logged in by" in story and "bastion why" in story
    assert not [line for line in world.audit("session_started") if line["ref"] == reference]


def test_who_has_no_rule_reaches_nothing(world: World) -> None:
    with world.moves(authorisation("no_rule")):
        text, reference = refusal(world.ask("carol+root+web1", PASSWORD))
    assert text == 'no target "web1" for you; you may reach no target at all'
    check_told(world, text, reference, "no_rule")


def test_a_login_that_is_not_allowed_lists_the_allowed_ones(world: World) -> None:
    with world.moves(authorisation("login_not_allowed")):
        text, reference = refusal(world.ssh("true", user="alice+postgres+web1"))
    assert "postgres" in text and "root" in text and "deploy" in text
    check_told(world, text, reference, "login_not_allowed")


def test_an_unknown_target_lists_the_known_ones(world: World) -> None:
    with world.moves(authorisation("unknown_target")):
        text, _ = refusal(world.ssh("true", user="alice+root+wbe1"))
    assert "wbe1" in text and "web1" in text
    assert "db1" not in text, "a target that alice may not reach is not named to her"


def test_a_target_without_a_rule_looks_like_one_that_does_not_exist(world: World) -> None:
    exists, _ = refusal(world.ssh("true", user="alice+root+db1"))
    unknown, _ = refusal(world.ssh("true", user="alice+root+db2"))
    assert exists.replace("db1", "db2") == unknown


def test_without_a_login_policy_names_it(world: World) -> None:
    done = world.ssh("id -un", user="alice+web1")
    assert (done.returncode, done.stdout) == (0, b"root\n")


def test_nothing_is_dialled_for_a_refused_session(world: World) -> None:
    before = world.metrics()
    refusal(world.ssh("true", user="alice+postgres+web1"))
    after = world.metrics()
    dials = [name for name in after if name.startswith("bastion_upstream_dials_total")]
    assert dials and all(after[name] == before[name] for name in dials)


def test_a_verb_that_no_rule_gives_is_refused_and_the_rest_goes_on(world: World) -> None:
    done = world.ssh("echo with a terminal", options=("-tt",))
    assert b"PTY allocation request failed" in done.stderr
    refused = world.audit("refused")[-1]
    assert (refused["name"], refused["reason"]) == ("pty-req", "verb_not_allowed")
    assert refused["text"] in world.explain(refused["ref"])
    assert world.ssh("echo without").stdout == b"without\n"
