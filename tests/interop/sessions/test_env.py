"""Environment variables: the allow-list of the rule decides, not the target's AcceptEnv (here: everything)."""

from __future__ import annotations

import pytest

from tests.support.doors import Door

pytestmark = pytest.mark.interop

ALLOWED = {"LANG": "de_DE.UTF-8", "LC_TEST": "a b=c", "COLORTERM": "truecolor", "GIT_PROTOCOL": "version=2"}
REFUSED = {"FOO": "bar", "LD_PRELOAD": "/tmp/evil.so", "BASH_ENV": "/tmp/evil", "PATH": "/tmp/evil"}


def test_allowed_variables_arrive_and_others_do_not(door: Door) -> None:
    asked = {**ALLOWED, **REFUSED}
    seen = len(door.world.audit("refused"))
    watch = door.watch()
    done = door.run(
        door.command("ssh", *(f"-oSendEnv={name}" for name in asked), door.host, "env -0"),
        environment={name: value for name, value in asked.items() if name not in ("LD_PRELOAD", "PATH")},
    )
    there = dict(line.split("=", 1) for line in done.stdout.decode().split("\0") if line)
    assert {name: there.get(name) for name in ALLOWED} == ALLOWED
    assert "FOO" not in there and "BASH_ENV" not in there
    recorded = watch.session()
    assert recorded.exported() == done.stdout
    sent = {
        event["detail"]["name"] for event in recorded.events("request_forwarded") if event["name"] == "env"
    }
    assert sent == ALLOWED.keys()
    refused = [event for event in recorded.events("request_refused") if event["name"] == "env"]
    assert refused and {event["reason"] for event in refused} == {"env_not_allowed"}
    lines = [line for line in door.world.audit("refused")[seen:] if line.get("name") == "env"]
    assert len(lines) == len(refused) and {line["reason"] for line in lines} == {"env_not_allowed"}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_linker_or_a_shell_obeys_never_arrives(door: Door, name: str) -> None:
    watch = door.watch()
    done = door.ssh(f"echo ${name}", options=["-o", f"SetEnv={name}=/tmp/evil"])
    assert done.returncode == 0 and b"/tmp/evil" not in done.stdout
    assert [event["name"] for event in watch.session().events("request_refused")] == ["env"]
