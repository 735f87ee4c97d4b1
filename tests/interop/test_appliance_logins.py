"""Appliances: passwords from a file, a command and the engineer, against sshd, dropbear and asyncssh."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.support.appliances import Asyncssh, Dropbear, account, dropbear_missing
from tests.support.net import LOOPBACK
from tests.support.sshd import Sshd, make_key, sshd_missing
from tests.support.world import PASSWORD, World, refusal

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

SECRET = "Tr0ub4dor & three"
POLICY = """
[[rule]]
name = "operators"
groups = ["ops"]
targets = ["*"]
logins = ["root", "admin", "LOGIN"]
verbs = ["shell", "pty", "exec"]
"""


class Box(asyncssh.SSHServer):
    """An appliance of one account whose password is SECRET; the subclasses differ in how they ask."""

    asked = 0

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return False

    def public_key_auth_supported(self) -> bool:
        return False

    def kbdint_auth_supported(self) -> bool:
        return True

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        return "", "", "", [("Password: ", False)]

    def validate_kbdint_response(self, username: str, responses: Any) -> Any:
        return list(responses) == [SECRET]


class TwoPrompts(Box):
    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        return "", "", "", [("Password: ", False), ("Token: ", False)]


class SecondQuestion(Box):
    def validate_kbdint_response(self, username: str, responses: Any) -> Any:
        return "", "", "", [("Verification code: ", False)]


class Coded(Box):
    """First the password, then a code, in one exchange."""

    def begin_auth(self, username: str) -> bool:
        self.known = False
        return True

    def validate_kbdint_response(self, username: str, responses: Any) -> Any:
        if self.known:
            return list(responses) == ["123456"]
        self.known = list(responses) == [SECRET]
        return ("", "", "", [("Verification code: ", False)]) if self.known else False


class Echoed(Box):
    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        return "", "", "", [("Login: ", True)]


class ThousandPrompts(Box):
    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        return "", "", "", [("Password: ", False)] * 1000


class MegabytePrompt(Box):
    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        return "", "", "", [("x" * 200_000, False)]


class Expired(Box):
    def kbdint_auth_supported(self) -> bool:
        return False

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        raise asyncssh.PasswordChangeRequired("choose a new one")


class Open(Box):
    def begin_auth(self, username: str) -> bool:
        return False


BOXES = {
    "one": Box,
    "two": TwoPrompts,
    "second": SecondQuestion,
    "echoed": Echoed,
    "thousand": ThousandPrompts,
    "megabyte": MegabytePrompt,
    "expired": Expired,
    "open": Open,
}


@pytest.fixture(scope="module")
def login() -> Iterator[str]:
    # Not below pytest's own folder: every pytest of this user closes that to others when it starts.
    home = Path(tempfile.mkdtemp(prefix="bastion-home-"))
    home.chmod(0o755)
    try:
        with account(SECRET, home) as name:
            (home / ".ssh").mkdir(mode=0o700)
            yield name
    finally:
        shutil.rmtree(home)


@pytest.fixture(scope="module")
def world(login: str) -> Iterator[World]:
    made = World(policy=POLICY.replace("LOGIN", login))
    folder = made.folder
    secret, wrong = folder / "secret", folder / "wrong"
    for file, text in ((secret, SECRET), (wrong, "not it")):
        file.write_text(text + "\n")
        file.chmod(0o600)
    printer = folder / "printer"
    printer.write_text(f'#!/bin/sh\necho "$@" >> {folder}/calls\ncat {secret}\necho "notes: internal"\n')
    printer.chmod(0o755)
    only_password = ["PubkeyAuthentication no", "PasswordAuthentication yes"]
    sshd = Sshd(folder / "switch", options=only_password).start()
    boxes = Asyncssh(folder / "boxes")
    known = sshd.host_public
    by_file = f'password = {{ file = "{secret}" }}'
    add = made.add_target
    add("file", LOOPBACK, sshd.port, known, by_file)
    command = f'["{printer}", "{{target}}", "{{login}}", "a b"]'
    add("command", LOOPBACK, sshd.port, "", f"password = {{ command = {command} }}")
    add("ask", LOOPBACK, sshd.port, "", "password = { ask = true }")
    add("wrong", LOOPBACK, sshd.port, "", f'password = {{ file = "{wrong}" }}')
    lost = made.folder / "lost"
    lost.write_text("gone\n")
    lost.chmod(0o600)
    add("missing", LOOPBACK, sshd.port, "", f'password = {{ file = "{lost}" }}')
    add("slow", LOOPBACK, sshd.port, "", 'password = { command = ["/bin/sleep", "60"], timeout = "300ms" }')
    add("keysonly", LOOPBACK, made.sshd.port, "", by_file)
    for name, box in BOXES.items():
        add(f"box-{name}", LOOPBACK, boxes.listen(box), boxes.host_public, by_file)
    add("box-code", LOOPBACK, boxes.listen(Coded), boxes.host_public, f"{by_file}\nask = true")
    both = ["PubkeyAuthentication no", "PasswordAuthentication yes", "UsePAM yes"]
    both += ["KbdInteractiveAuthentication yes", "AuthenticationMethods password,keyboard-interactive"]
    made.add_sshd("twice", options=both)
    with made.targets_file.open("a") as targets:
        targets.write(f"{by_file}\nask = true\n")
    add("box-ask", LOOPBACK, boxes.listen(Box), boxes.host_public, "password = { ask = true }")
    made.start()
    lost.unlink()  # a file that is missing at the start is a fault of the configuration
    yield made
    made.close()
    sshd.stop()
    boxes.stop()


@pytest.fixture(autouse=True)
def nothing_is_kept(world: World) -> Iterator[None]:
    """Whatever a test does, the target's password stands in no log and in no recording."""
    yield
    for file in (world.log, world.folder / "audit.jsonl", *world.recordings.rglob("*")):
        if file.is_file():
            assert SECRET.encode() not in file.read_bytes(), file


def as_engineer(
    world: World, user: str, answers: dict[str, str], key: str | None = "alice", options: tuple[str, ...] = ()
) -> tuple[subprocess.CompletedProcess[bytes], list[str]]:
    """Run `id -un` there, answering prompts by what they contain; the prompts that were shown, in order."""
    shown = world.folder / "prompts"
    shown.write_text("")
    cases = "".join(f"*{words!r}*) echo {answer!r};;\n" for words, answer in answers.items())
    ask = world.folder / "answering"
    ask.write_text(f'#!/bin/sh\necho "$1" >> {shown}\ncase "$1" in\n{cases}esac\n')
    ask.chmod(0o755)
    command = world.ssh_command("id -un", user=user, key=key, options=options)
    command = [word.replace("BatchMode=yes", "BatchMode=no") for word in command]
    environment = world.environment("") | {"SSH_ASKPASS": str(ask)}
    done = subprocess.run(command, capture_output=True, env=environment, timeout=60, stdin=subprocess.DEVNULL)
    return done, [line.rpartition(") ")[2] for line in shown.read_text().splitlines()]


# -- sshd ------------------------------------------------------------------------------------------------------


def test_a_password_from_a_file(world: World, login: str) -> None:
    done = world.ssh("id -un", user=f"alice+{login}+file")
    assert (done.returncode, done.stdout.decode().strip(), done.stderr) == (0, login, b"")
    started = world.audit("session_started")[-1]
    assert (started["login_method"], started["credential"]) == ("password", "file")


def test_a_password_from_a_command_that_gets_target_and_login(world: World, login: str) -> None:
    done = world.ssh("id -un", user=f"alice+{login}+command")
    assert (done.returncode, done.stdout.decode().strip()) == (0, login)
    assert (world.folder / "calls").read_text() == f"command {login} a b\n"
    assert world.audit("session_started")[-1]["credential"] == "command"


@pytest.mark.parametrize("key", ["alice", None], ids=["after a key", "after a password"])
def test_a_password_asked_of_the_engineer(world: World, login: str, key: str | None) -> None:
    answers = {"Directory password": PASSWORD, f"Password of {login} on ask": SECRET}
    options = () if key else ("-o", "PreferredAuthentications=keyboard-interactive")
    done, prompts = as_engineer(world, f"alice+{login}+ask", answers, key, options)
    assert (done.returncode, done.stdout.decode().strip()) == (0, login), done.stderr
    first = [] if key else ["Directory password of alice: "]
    assert prompts == [*first, f"Password of {login} on ask: "]
    assert world.audit("session_started")[-1]["credential"] == "asked"


def test_a_wrong_answer_is_asked_again_and_then_refused(world: World, login: str) -> None:
    done, prompts = as_engineer(world, f"alice+{login}+ask", {"Password of": "wrong"})
    text, _ = refusal(done)
    assert prompts == [f"Password of {login} on ask: "] * 3
    assert text == f"ask: login {login} was refused with the password"


def test_a_client_that_cannot_be_asked_is_turned_away(world: World, login: str) -> None:
    options = ("-o", "PreferredAuthentications=publickey")
    done, prompts = as_engineer(world, f"alice+{login}+ask", {}, options=options)
    assert (
        done.returncode == 255
        and b"Permission denied (keyboard-interactive)" in done.stderr
        and prompts == []
    )


def test_an_answer_that_does_not_come_ends_the_question() -> None:
    with account(SECRET) as name:
        made = World(policy=POLICY.replace("LOGIN", name), limits='login_grace = "2s"\ndial_timeout = "1s"')
        sshd = Sshd(
            made.folder / "switch", options=["PubkeyAuthentication no", "PasswordAuthentication yes"]
        ).start()
        made.add_target("ask", LOOPBACK, sshd.port, sshd.host_public, "password = { ask = true }")
        try:
            with made:
                command = made.ssh_command("true", user=f"alice+{name}+ask")
                command = [word.replace("BatchMode=yes", "BatchMode=no") for word in command]
                ask = made.folder / "silent"
                ask.write_text("#!/bin/sh\nexec sleep 30\n")
                ask.chmod(0o755)
                environment = made.environment("") | {"SSH_ASKPASS": str(ask)}
                process = subprocess.Popen(
                    command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
                # The dial's second passes while a person is asked, the grace of two ends the question.
                line = made.new_audit("refused")[-1]
                assert (line["reason"], line["text"]) == (
                    "login_grace",
                    "ask: the question was not answered in time",
                )
                os.killpg(process.pid, 9)
                process.communicate()
        finally:
            sshd.stop()


@pytest.mark.parametrize(
    "target, text",
    [
        ("wrong", "wrong: login LOGIN was refused with the password"),
        ("missing", "missing: the password's file cannot be read: No such file or directory"),
        ("slow", "slow: the password's command did not end within 0.3 s"),
        ("keysonly", "keysonly: it takes no password; it offers publickey"),
    ],
)
def test_what_goes_wrong_is_told(world: World, login: str, target: str, text: str) -> None:
    told, _ = refusal(world.ssh("true", user=f"alice+{login}+{target}"))
    assert told == text.replace("LOGIN", login)


def test_target_test_goes_the_whole_way(world: World, login: str) -> None:
    done = world.bastion("target", "test", "command", login, "--config", str(world.config))
    assert done.returncode == 0 and b"login by password (command)" in done.stdout, done.stdout + done.stderr


# -- keyboard-interactive, in all its forms ----------------------------------------------------------------------


def test_one_hidden_question_is_answered(world: World) -> None:
    done = world.ssh("hello", user="alice+admin+box-one")
    assert (done.returncode, done.stdout) == (0, b"hello\n"), done.stderr
    assert world.audit("session_started")[-1]["login_method"] == "keyboard-interactive"


def test_the_engineer_answers_the_gateways_question_not_the_targets(world: World) -> None:
    done, prompts = as_engineer(world, "alice+admin+box-ask", {"Password of admin on box-ask": SECRET})
    assert (done.returncode, done.stdout) == (0, b"hello\n"), done.stderr
    assert prompts == ["Password of admin on box-ask: "]


def test_after_the_password_the_engineer_is_asked_what_the_target_asks(world: World) -> None:
    code = {"box-code asks: Verification code": "123456"}
    done, prompts = as_engineer(world, "alice+admin+box-code", code)
    assert done.returncode == 0, done.stderr
    assert prompts == ["box-code asks: Verification code: "]
    wrong, _ = as_engineer(world, "alice+admin+box-code", {"Verification code": "1"})
    assert refusal(wrong)[0] == "box-code: login admin was refused with the answers to its questions"


def test_sshd_takes_a_password_and_then_asks_the_engineer(world: World, login: str) -> None:
    done, prompts = as_engineer(world, f"alice+{login}+twice", {"twice asks: Password": SECRET})
    assert (done.returncode, done.stdout.decode().strip()) == (0, login), done.stderr
    assert prompts == ["twice asks: Password: "]
    started = world.audit("session_started")[-1]
    assert (started["login_method"], started["credential"]) == ("keyboard-interactive", "file")


def test_an_appliance_without_any_login_is_reached(world: World) -> None:
    assert world.ssh("hello", user="alice+admin+box-open").stdout == b"hello\n"
    assert world.audit("session_started")[-1]["login_method"] == "none"


@pytest.mark.parametrize(
    "box, text",
    [
        ("two", 'it asks 2 questions at once ("Password:", ...), not for a password only'),
        ("second", 'after the password of admin it asks another question: "Verification code:"'),
        ("echoed", 'it asks a question whose answer would be shown, so not for a password: "Login:"'),
        ("thousand", "it broke the login: too many prompts"),
        ("megabyte", "it broke the login: string is longer than allowed"),
        ("expired", "the password of admin has expired: it asks for a new one"),
    ],
)
def test_other_questions_are_refused_clearly(world: World, box: str, text: str) -> None:
    told, _ = refusal(world.ssh("true", user=f"alice+admin+box-{box}"))
    assert told == f"box-{box}: {text}"


# -- configured keys ---------------------------------------------------------------------------------------------

KINDS = [("rsa", 3072), ("rsa", 2048), ("ecdsa", 256), ("ecdsa", 384), ("ecdsa", 521), ("ed25519", None)]


@pytest.mark.parametrize("accepted", ["", "rsa-sha2-256"], ids=["sshd's own", "rsa-sha2-256 only"])
def test_configured_keys_of_every_kind(accepted: str) -> None:
    made = World()
    lines = ""
    kinds = [kind for kind in KINDS if not accepted or kind[0] == "rsa"]
    for number, (kind, bits) in enumerate(kinds):
        lines += make_key(made.keys / f"own{number}", kind, bits=bits).with_suffix(".pub").read_text()
    options = [f"PubkeyAcceptedAlgorithms {accepted}"] if accepted else []
    sshd = Sshd(made.folder / "own", authorized_keys=lines, options=options).start()
    try:
        for number in range(len(kinds)):
            more = f'key_file = "keys/own{number}"'
            made.add_target(f"own{number}", LOOPBACK, sshd.port, sshd.host_public, more)
        with made:
            for number in range(len(kinds)):
                done = made.ssh("exit 7", user=f"alice+root+own{number}")
                assert done.returncode == 7, (kinds[number], done.stderr)
                started = made.audit("session_started")[-1]
                assert (started["credential"], started["login_method"]) == ("key_file", "publickey")
                assert "legacy" not in started
            used = sshd.log_text()
            assert f"Accepted key {'RSA' if accepted else 'ED25519'}" in used
    finally:
        sshd.stop()


# -- dropbear ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(bool(dropbear_missing()), reason=dropbear_missing() or "available")
def test_dropbear_by_password_and_by_key(login: str) -> None:
    made = World(policy=POLICY.replace("LOGIN", login))
    secret = made.folder / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    peer = Dropbear(made.folder / "dropbear", "ed25519").start()
    try:
        made.add_target("box", LOOPBACK, peer.port, peer.host_public, f'password = {{ file = "{secret}" }}')
        home = Path(os.path.expanduser(f"~{login}"))
        names = []
        for kind in ("rsa", "ecdsa", "ed25519"):
            key = make_key(made.keys / f"drop_{kind}", kind)
            names.append(f"box-{kind}")
            made.add_target(names[-1], LOOPBACK, peer.port, "", f'key_file = "{key}"')
        authorized = home / ".ssh" / "authorized_keys"
        authorized.write_text(
            "".join((made.keys / f"drop_{kind}.pub").read_text() for kind in ("rsa", "ecdsa", "ed25519"))
        )
        for path in (home, home / ".ssh", authorized):
            subprocess.run(["chown", login, str(path)], check=True)
        with made:
            for name in ("box", *names):
                done = made.ssh("id -un; head -c 100000 /dev/zero", user=f"alice+{login}+{name}")
                assert done.returncode == 0, (name, done.stderr, (peer.folder / "log").read_text())
                assert done.stdout == login.encode() + b"\n" + bytes(100000)
            shown = made.bastion("target", "test", "box", login, "--json", "--config", str(made.config))
            facts = json.loads(shown.stdout)["connected"]
            assert facts["peer_version"].startswith("SSH-2.0-dropbear") and facts["legacy"] == []
    finally:
        peer.stop()
