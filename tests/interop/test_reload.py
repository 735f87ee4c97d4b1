"""SIGHUP: new files count for new sessions; a faulty file changes nothing and the audit log says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.sshd import sshd_missing
from tests.support.world import DEFAULT_POLICY, PASSWORD, World, poll, refusal, running

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

GUESTS = """
[[rule]]
name = "visitors"
groups = ["guests"]
targets = ["web1"]
logins = ["root"]
verbs = ["exec"]
"""


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two workers"])
def shared(request: pytest.FixtureRequest) -> Iterator[World]:
    limits = "penalties = { free = 1000, accounts = 1000 }"
    with running(limits=limits, workers=request.param) as made:
        yield made


@pytest.fixture
def world(shared: World) -> Iterator[World]:
    """Every test begins and ends with the default files."""
    files = (shared.config, shared.policy_file, shared.targets_file, shared.users)
    kept = {file: file.read_text() for file in files}
    yield shared
    for file, text in kept.items():
        file.write_text(text)
    shared.reload()


def reload(world: World) -> dict[str, str]:
    world.reload()
    return world.audit("reload")[-1]


def test_a_new_rule_lets_in_from_now_on(world: World) -> None:
    refusal(world.ask("carol+root+web1", PASSWORD))
    world.policy_file.write_text(DEFAULT_POLICY + GUESTS)
    refusal(world.ask("carol+root+web1", PASSWORD))
    assert reload(world)["result"] == "ok"
    assert world.ask("carol+root+web1", PASSWORD).returncode == 0


def test_a_removed_rule_refuses_new_sessions_and_leaves_the_running_one(world: World) -> None:
    with world.client("cat") as running_client:
        running_client.echo(b"before")
        world.policy_file.write_text("")
        assert reload(world)["result"] == "ok"
        text, _ = refusal(world.ssh("true"))
        assert "no target" in text
        running_client.echo(b"after")
        running_client.end_input()
        assert running_client.wait() == 0


def test_a_new_target_is_known_from_now_on(world: World) -> None:
    refusal(world.ssh("true", user="alice+root+again"))
    world.add_target("again", "127.0.0.1", world.sshd.port)
    assert reload(world)["result"] == "ok"
    assert world.ssh("true", user="alice+root+again").returncode == 0


def test_a_new_user_is_known_from_now_on(world: World) -> None:
    key = (world.keys / "bob.pub").read_text().strip()
    assert world.ssh("true", user="bob+root+web1", key="bob").returncode == 255
    with world.users.open("a") as file:
        file.write(f'[users.bob]\nid = "u-bob"\nkeys = ["{key}"]\ngroups = ["ops"]\n')
    assert reload(world)["result"] == "ok"
    assert world.ssh("true", user="bob+root+web1", key="bob").returncode == 0


@pytest.mark.parametrize(
    "name, text, says",
    [
        ("policy.toml", '[[rule]]\nname = "x"\nverbs = ["fly"]\n', ("policy.toml:", "fly", "shell")),
        ("policy.toml", "[[rule]\n", ("policy.toml:1",)),
        ("targets.toml", '[targets.web1]\nhost = "x"\nport = 99999\n', ("targets.toml:3", "port")),
        ("users.toml", '[users.alice]\npasword = "x"\n', ("users.toml", "pasword")),
        ("bastion.toml", "[listen]\nadresses = []\n", ("bastion.toml:", "adresses")),
    ],
)
def test_a_faulty_file_changes_nothing_and_the_log_says_why(
    world: World, name: str, text: str, says: tuple[str, ...]
) -> None:
    file = world.folder / name
    file.write_text(text)
    with world.moves('bastion_config_reloads_total{result="refused"}'):
        line = reload(world)
    assert line["result"] == "refused"
    assert all(word in line["text"] for word in says), line["text"]
    assert world.ssh("echo still").stdout == b"still\n"


def test_a_missing_file_changes_nothing_and_the_log_says_why(world: World) -> None:
    world.policy_file.unlink()
    line = reload(world)
    assert line["result"] == "refused" and "policy.toml" in line["text"]
    assert world.ssh("true").returncode == 0


def test_the_audit_log_is_opened_again_after_a_rotation(world: World) -> None:
    log = world.folder / "audit.jsonl"
    log.rename(world.folder / "audit.jsonl.1")
    world.reload()
    events = [line["event"] for line in world.audit()]
    assert events.count("reload") == 1 and set(events) == {
        "audit_continued",
        "reload",
    }  # each process says it goes on


def test_which_policy_judged_when_is_known_afterwards(world: World) -> None:
    """Before and after a changed rule: the store has one row for each load, however many workers took it."""
    options = ("--config", str(world.config))

    def loads() -> list[dict[str, Any]]:
        poll(lambda: world.metric("bastion_state_owed_rows") == 0, text="rows are owed for ever")
        listed = world.bastion("policy", "versions", "--json", *options)
        return list(json.loads(listed.stdout)["versions"])

    def allowed(at: float) -> tuple[bool, str]:
        moment = datetime.fromtimestamp(at, UTC).isoformat()
        words = ("alice", "web1", "root", "--groups", "ops", "--at", moment, "--json", *options)
        told = json.loads(world.bastion("why", *words).stdout)
        return told["allowed"], told["policy"]["digest"]

    poll(loads, text="the start was not kept")
    known = len(loads())
    assert reload(world)["result"] == "ok"
    assert world.ssh("true").returncode == 0
    world.policy_file.write_text(DEFAULT_POLICY.replace('"root", ', ""))
    assert reload(world)["result"] == "ok"
    refusal(world.ssh("true"))
    poll(lambda: len(loads()) >= known + 2, text="the loads were not kept")
    second, first, *rest = loads()
    assert len(rest) == known
    assert (first["loaded_by"], second["loaded_by"]) == ("SIGHUP", "SIGHUP")
    middle = (first["loaded_at"] + second["loaded_at"]) / 2
    assert allowed(middle) == (True, first["digest"])
    assert allowed(second["loaded_at"] + 1) == (False, second["digest"])
    session = world.last_session()
    header = next(one for one in world.sessions() if one["session_id"] == session)
    assert header["policy_digest"] == first["digest"]
    assert world.new_audit("session_started")[-1]["policy_digest"] == first["digest"]
    shown = world.bastion("policy", "show", first["digest"][:12], *options)
    assert '"root", "deploy"' in shown.stdout.decode()


def test_whoever_orders_a_reload_hears_what_came_of_it_and_is_written_down(world: World) -> None:
    options = ("--config", str(world.config))
    world.add_target("again", "127.0.0.1", 9)
    done = world.bastion("reload", *options)
    assert done.returncode == 0 and done.stdout.splitlines() == [b"target again: added", b"reloaded"], done
    assert world.audit("reload")[-1]["by"] == "root (uid 0)"
    assert b"nothing is different" in world.bastion("reload", *options).stdout
    world.policy_file.write_text("[[rule]\n")
    refused = world.bastion("reload", *options)
    assert refused.returncode == 1 and b"policy.toml:1" in refused.stderr
    line = world.audit("reload")[-1]
    assert (line["result"], line["by"]) == ("refused", "root (uid 0)")
    world.policy_file.write_text(DEFAULT_POLICY)
    assert reload(world)["by"] == "SIGHUP"
