"""Sessions that somebody else has to approve, on a gateway of two workers: what opens, once, and what never does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest

from tests.support.authenticator import TOUCHED, build_provider, compiler_missing, make_security_key, saying
from tests.support.sshd import sshd_missing
from tests.support.unbroken import unbroken
from tests.support.world import World, poll, refusal

MISSING = sshd_missing() or compiler_missing()
pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(MISSING), reason=MISSING or "available")]

POLICY = """
[[rule]]
name = "ops"
groups = ["ops"]
targets = ["web1"]
logins = ["root", "nobody"]
verbs = ["shell", "pty", "exec"]
approval = "group:leads"

[[rule]]
name = "patient"
users = ["walter"]
targets = ["web2"]
logins = ["root"]
verbs = ["exec"]
approval = ["group:leads", "user:alice"]
wait = "2m"
"""
CONFIG = '[totp]\nkey_file = "totp.key"\n[approvals]\nwebhook = "http://127.0.0.1:9/nobody-is-there"\n'
ID = re.compile(r"request ([a-z2-7]{10})")
DIALS = 'bastion_upstream_dials_total{reason="ok"}'
Done = subprocess.CompletedProcess[bytes]


class Asking(World):
    """alice and walter ask; lena, leo and root lead. lena and leo have security keys."""

    def __init__(self) -> None:
        super().__init__(policy=POLICY, config=CONFIG, workers=2, limits="penalties = { free = 50 }")
        (self.folder / "totp.key").write_text("k" * 44 + "\n")
        (self.folder / "totp.key").chmod(0o600)
        self.provider = build_provider(self.folder)
        self.add_target("web2", "127.0.0.1", self.sshd.port)
        plain = (self.keys / "alice.pub").read_text().strip()
        users = ""
        for name, groups in (
            ("alice", ["ops"]),
            ("walter", []),
            ("lena", ["leads"]),
            ("leo", ["leads", "ops"]),
        ):
            keys = [plain]
            if name in ("lena", "leo"):
                make_security_key(self.provider, self.keys / name, "ed25519-sk")
                keys.append((self.keys / f"{name}.pub").read_text().strip())
            users += (
                f'[users.{name}]\nid = "u-{name}"\nkeys = {json.dumps(keys)}\ngroups = {json.dumps(groups)}\n'
            )
        self.users.write_text(users + '[users.root]\nid = "u-root"\ngroups = ["leads"]\n')

    def lobby(self, command: str, user: str = "alice", key: str = "alice", given: str = "") -> Done:
        """One command of the lobby, and what is typed into it; with a key of their own leads give a second factor."""
        options = ("-o", f"SecurityKeyProvider={self.provider}")
        typed = self.ssh_command(command, user=user, key=key, options=options)
        return subprocess.run(
            typed,
            capture_output=True,
            timeout=60,
            env=saying(TOUCHED) | {"SSH_AUTH_SOCK": ""},
            input=given.encode(),
        )

    def request(self, user: str = "alice", what: str = "web1 root") -> str:
        done = self.lobby(f"request {what} for INC-42", user)
        assert done.returncode == 0, done
        return str(ID.findall(done.stdout.decode())[0])

    def answer(self, request: str, by: str = "lena", answer: str = "approve") -> Done:
        return self.lobby(f"{answer} {request} for it is agreed", by, by)

    def refused(self, reason: str) -> dict[str, Any]:
        """The last refusal in the audit log, which has that reason."""
        return poll(
            lambda: next((line for line in self.audit("refused")[-3:] if line["reason"] == reason), {}),
            text=f"no refusal {reason}: {self.audit('refused')[-3:]}",
        )


@pytest.fixture(scope="module")
def world() -> Iterator[Asking]:
    made = Asking()
    with unbroken(made):
        yield made


def test_it_is_refused_with_the_command_that_asks_and_opens_once_when_approved(world: Asking) -> None:
    dials = world.metrics()[DIALS]
    text, _ = refusal(world.ssh("echo in"))
    assert "needs an approval by group leads" in text and world.metrics()[DIALS] == dials
    command = text.partition("ask with ")[2].partition(" (")[0]
    assert re.fullmatch(r"ssh -p \d+ alice@\S+ request web1 root for REASON", command), text
    request = world.request()
    assert request == ID.findall(text)[0], "the request is the one that the refusal named"
    assert "waits for an approval" in refusal(world.ssh("echo in"))[0]
    assert request in world.lobby("requests", "lena").stdout.decode()
    assert request not in world.lobby("requests", "walter").stdout.decode()
    done = world.answer(request)
    assert done.returncode == 0 and b"approved: alice on web1 as root" in done.stdout, done
    opened = world.ssh("echo in")
    assert (opened.returncode, opened.stdout) == (0, b"in\n"), opened.stderr
    assert "needs an approval" in refusal(world.ssh("echo in"))[0], "one approval opens one session"
    started = world.audit("session_started")[-1]
    assert (started["request"], started["approved_by"]) == (request, "lena")
    (row,) = [one for one in world.sessions() if one["session_id"] == started["session"]]
    assert (row["request_id"], row["request_why"]) == (request, "INC-42")
    assert (row["approved_by"], row["approved_by_uid"], row["approved_why"]) == (
        "lena",
        "u-lena",
        "it is agreed",
    )
    assert row["approved_factor"] == "sk-publickey" and 0 < row["started_at"] - row["approved_at"] < 60
    answered = world.audit("approval_answered")[-1]
    assert (answered["by"], answered["user"], answered["result"]) == ("lena", "alice", "approved")
    assert world.metric('bastion_approvals_total{result="approved"}') == 1
    failed = 'bastion_approval_announcements_total{result="failed",way="webhook"}'
    poll(lambda: world.metric(failed) > 0, text="nobody was to be told")


def test_who_may_not_answer(world: Asking) -> None:
    request = world.request("leo")
    tries = (
        lambda: world.answer(request, "leo"),
        lambda: world.lobby(f"approve {request}", "alice"),
        lambda: world.lobby(f"approve {request}", "lena"),
        lambda: world.answer("aaaaaaaaaa"),
    )
    for answer, reason in zip(tries, ("own", "not_approver", "no_factor", "not_found"), strict=True):
        assert answer().returncode == 1
        assert world.refused(reason)["what"] == "approval"
    told = [done.stderr.partition(b" (ref")[0] for done in (tries[1](), tries[3]())]
    assert told == [b"there is no such request for you to answer"] * 2
    assert world.answer(request, answer="deny").returncode == 0
    assert "needs an approval" in refusal(world.ssh("true", user="leo+root+web1"))[0]


def test_who_has_given_no_second_factor_is_asked_for_one(world: Asking) -> None:
    made = world.bastion("totp", "enroll", "lena", "--config", str(world.config), "--json")
    code = pyotp.TOTP(parse_qs(urlsplit(json.loads(made.stdout)["uri"]).query)["secret"][0])
    request = world.request()
    wrong = world.lobby(f"approve {request}", "lena", given="000000\n")
    assert wrong.returncode == 1 and b"that code was not right" in wrong.stdout and world.refused("no_factor")
    nobody = world.lobby(f"approve {request}", "alice", given="000000\n")
    assert b"One-time code" not in nobody.stdout and world.refused("own"), "who may not answer is not asked"
    done = world.lobby(f"approve {request} for agreed", "lena", given=f"{code.now()}\n")
    assert done.returncode == 0 and b"an answer needs a one-time code" in done.stdout, done
    assert b"approved: alice on web1 as root" in done.stdout
    line = world.audit("approval_answered")[-1]
    assert (line["by"], line["factor"]) == ("lena", "totp")
    assert world.ssh("true").returncode == 0, "it is used"
    request = world.request("leo")
    again = world.lobby(f"deny {request}", "lena", given=f"{code.now()}\n")
    assert again.returncode == 1 and b"was used already" in again.stdout
    assert world.answer(request, answer="deny").returncode == 0


def test_the_first_answer_wins_on_two_workers(world: Asking) -> None:
    for _ in range(4):
        request = world.request()
        with ThreadPoolExecutor(2) as pool:
            done = list(pool.map(world.answer, [request] * 2, ("lena", "leo"), ("approve", "deny")))
        assert sorted(one.returncode for one in done) == [0, 1], done
        lines = [line for line in world.audit("approval_answered") if line["request"] == request]
        assert len(lines) == 1
        approved = lines[0]["result"] == "approved"
        assert (world.ssh("true").returncode == 0) is approved


def test_an_approval_is_good_for_what_was_asked_and_nothing_else(world: Asking) -> None:
    assert world.answer(world.request()).returncode == 0
    elsewhere = world.ssh("true", options=("-b", "127.0.0.2"))
    assert "needs an approval" in refusal(elsewhere)[0]
    assert "needs an approval" in refusal(world.ssh("true", user="alice+nobody+web1"))[0]
    assert "needs an approval" in refusal(world.ssh("true", user="leo+root+web1"))[0]
    assert world.ssh("true").returncode == 0, "what was asked for is still good"


def test_who_is_locked_between_the_approval_and_the_dial_opens_nothing(world: Asking) -> None:
    assert world.answer(world.request()).returncode == 0
    assert world.bastion("lock", "alice", "--reason", "x", "-c", str(world.config)).returncode == 0
    assert b"locked by the security team" in world.ssh("true").stderr
    assert world.bastion("unlock", "alice", "-c", str(world.config)).returncode == 0
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: world.ssh("true"), range(3)))
    assert sorted(one.returncode for one in done) == [0, 255, 255], "three at once, one approval"


def waiting(world: Asking) -> tuple[Any, str]:
    """walter's ssh, which waits at the door, and the request that it named."""
    client = world.client("echo in", user="walter+root+web2", options=("-o", "ServerAliveInterval=1"))
    poll(lambda: b"can approve request" in client.err, text="nothing was said")
    return client, ID.findall(client.err.decode())[0]


def test_whoever_waits_is_let_in_by_the_answer(world: Asking) -> None:
    client, request = waiting(world)
    assert b"group leads or alice can approve" in client.err and b"within 2 min" in client.err
    live = json.loads(world.bastion("live", "--json", "-c", str(world.config)).stdout)
    assert [row["user"] for row in live["live"] if row["kind"] == "opening"] == ["walter"]
    assert world.answer(request, "leo").returncode == 0
    assert client.wait() == 0 and client.out == b"in\n"
    client.close()
    client, request = waiting(world)
    assert world.answer(request, "leo", "deny").returncode == 0
    assert client.wait() == 255 and b"was denied by leo: it is agreed" in client.err
    client.close()


def test_whoever_has_left_is_not_let_in_later(world: Asking) -> None:
    started = len(world.audit("session_started"))
    client, request = waiting(world)
    client.close()
    poll(lambda: world.metrics()['bastion_approvals_total{result="withdrawn"}'] >= 1, text="not withdrawn")
    done = world.answer(request)
    assert done.returncode == 1 and world.refused("answered")
    assert len(world.audit("session_started")) == started


def test_whoever_waits_can_be_ended(world: Asking) -> None:
    client, _ = waiting(world)
    assert (
        world.bastion("kill", "--user", "walter", "--reason", "no", "-c", str(world.config)).returncode == 0
    )
    assert client.wait() == 255 and b"ended by the security team: no" in client.err
    client.close()


def test_the_command_answers_as_the_identity_of_that_name_with_a_code(world: Asking) -> None:
    made = world.bastion("totp", "enroll", "root", "--config", str(world.config), "--json")
    (secret,) = parse_qs(urlsplit(json.loads(made.stdout)["uri"]).query)["secret"]
    request = world.request()
    listed = json.loads(world.bastion("requests", "--json", "-c", str(world.config)).stdout)["requests"]
    assert [(one["id"], one["user"], one["why"]) for one in listed] == [(request, "alice", "INC-42")]
    command = [
        sys.executable,
        "-m",
        "bastion",
        "approve",
        request,
        "--reason",
        "agreed",
        "-c",
        str(world.config),
    ]
    for code, status in (
        ("000000", 1),
        ("", 1),
        (pyotp.TOTP(secret).now(), 0),
        (pyotp.TOTP(secret).now(), 1),
    ):
        done = subprocess.run(command, input=f"{code}\n".encode(), capture_output=True, timeout=60)
        assert done.returncode == status, (code, done)
    assert world.audit("approval_answered")[-1]["by_uid"] == "u-root"
    assert world.ssh("true").returncode == 0
