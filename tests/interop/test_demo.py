"""`make run`: the world comes up, what it prints works when pasted, and nothing is left of it."""

import os
import re
import select
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.net import is_listening
from tests.support.processes import is_alive, pids
from tests.unit.console.made import Browser

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("ssh") is None, reason="OpenSSH's client is not installed"),
]

START_TIMEOUT = 60.0
COMMAND_TIMEOUT = 60.0
LAST_COMMAND = "why --config"  # what the welcome ends with


class Demo:
    """A running `bastion demo`, read until it has printed its commands."""

    def __init__(self, folder, *options):
        self.folder = folder
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "bastion",
                "demo",
                "--dir",
                str(folder),
                "--port",
                "0",
                "--metrics-port",
                "0",
                "--console-port",
                "0",
                *options,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.said = self._read_until(LAST_COMMAND, START_TIMEOUT)

    def _read_until(self, text, timeout):
        said, deadline = "", time.monotonic() + timeout
        stdout = self.process.stdout.fileno()
        while text not in said:
            ready, _, _ = select.select([stdout], [], [], max(0.0, deadline - time.monotonic()))
            block = os.read(stdout, 65536).decode() if ready else ""
            assert block, f"the demo did not say {text!r}, but:\n{said}"
            said += block
        return said

    @property
    def commands(self):
        """What is printed to be pasted, by the comment above it."""
        found, title = {}, ""
        for line in self.said.replace("\\\n", " ").splitlines():
            if line.startswith("# "):
                title = line[2:]
            elif title and line and not line.startswith(" "):
                found.setdefault(title, []).append(line)
        return found

    @property
    def ports(self):
        return [int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", self.said)[:2]]

    def paste(self, title, stdin="", environment=None, replace=("", "")):
        """Run what stands under the comment that begins with `title`, as a terminal would."""
        lines = next(lines for comment, lines in self.commands.items() if comment.startswith(title))
        script = "\n".join(lines).replace(*replace) if replace[0] else "\n".join(lines)
        return subprocess.run(
            ["sh", "-c", script],
            input=stdin,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT,
        )

    def processes(self):
        """Everything that belongs to this demo, by the folder on its command line or the mark in its sessions."""
        found = []
        for entry in pids():
            try:
                command = Path(f"/proc/{entry}/cmdline").read_bytes()
                environment = Path(f"/proc/{entry}/environ").read_bytes()
            except OSError:
                continue
            folder = str(self.folder).encode()
            if folder in command or (b"BASTION_DEMO=" in environment and folder in environment):
                found.append(entry)
        return found

    def stop(self, number=signal.SIGINT):
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(30)
        self.process.stdout.close()
        return code


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    running = Demo(tmp_path_factory.mktemp("demo") / "world")
    yield running
    assert running.stop(signal.SIGHUP) == 0  # the terminal was closed
    assert not running.folder.exists() and running.processes() == []


def test_who_is_here_is_seen_watched_and_ended(demo):
    command = demo.commands["log in with alice's certificate, as through any jump host"][0]
    with subprocess.Popen(
        ["sh", "-c", f"exec {command} sleep 600"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as client:
        give_up_at = time.monotonic() + 20
        while "session" not in (listed := demo.paste("who is here now").stdout):
            assert time.monotonic() < give_up_at, listed
        assert "alice" in listed and "web1" in listed
        assert "running" in demo.paste("how the gateway is").stdout
        lines = demo.commands["watch the newest of them as it happens (q ends it)"]
        with subprocess.Popen(
            ["sh", "-c", "\n".join(lines)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        ) as watcher:
            while "1 watcher\n" not in demo.paste("how the gateway is").stdout:
                assert time.monotonic() < give_up_at + 20
            assert "ended: 1 session" in demo.paste("end whatever alice has open").stdout
            assert watcher.wait(20) == 0
        assert client.wait(20) == 255 and b"trying it out" in client.stderr.read()


def test_the_lines_of_the_lobby_work_as_they_are(demo):
    lines = demo.commands[
        "what alice may reach; with this in your shell the lines that the gateway prints work as they are"
    ]
    shown = demo.paste("what alice may reach").stdout
    told = [line.strip() for line in shown.splitlines() if line.strip().startswith("ssh ")]
    assert len(told) >= 2, shown
    for line in told[:1] + [line for line in told if "+" in line][:1]:
        script = f"{lines[0]}\n{line} 'echo it works'"
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=COMMAND_TIMEOUT)
        assert done.stdout == "it works\n", (line, done.stderr)


def test_the_gateways_pid_is_printed(demo):
    pid = int(re.search(r"gateway .*pid (\d+)", demo.said)[1])
    assert b"serve" in Path(f"/proc/{pid}/cmdline").read_bytes()


def password(demo, name):
    return re.search(rf"{name}:.*password (\S+)", demo.said)[1]


def test_the_console_is_signed_in_to_as_printed(demo):
    found = re.search(r"console +(http://127\.0\.0\.1:\d+): sign in as (\w+), password (\S+)", demo.said)
    assert found is not None
    browser = Browser(found[1])
    assert browser.sign_in(found[2], found[3]).status == 303
    assert "dana (responder)" in browser.get("/sessions").text and browser.get("/live").status == 200


def test_a_session_is_listed_played_and_found_in_the_console(demo):
    """Made as printed, read into the index as printed, and looked at by whom the demo prints."""
    command = demo.commands["log in with alice's certificate, as through any jump host"][0]
    shown = "echo seen-in-the-browser"
    subprocess.run(["sh", "-c", f"{command} {shown}"], check=True, timeout=COMMAND_TIMEOUT)
    indexed = demo.paste("read them into the index")
    assert indexed.returncode == 0 and "recordings read" in indexed.stdout, indexed.stderr
    found = re.search(r"console +(http://\S+): sign in as (\w+), password (\S+)", demo.said)
    browser = Browser(found[1])
    assert browser.sign_in(found[2], found[3]).status == 303
    page = browser.get("/search?q=seen-in-the-browser").text
    (session,) = set(re.findall(r"/sessions/([a-z2-7]{16})", page))
    assert session in browser.get("/sessions").text
    played = browser.get(f"/sessions/{session}/play")
    assert played.status == 200 and "seen-in-the-browser" in played.text


def test_the_certificate_login_works_as_printed(demo):
    done = demo.paste("log in with alice's certificate", stdin="echo on $USER; exit 5\n")
    assert done.returncode == 5, done.stderr
    assert "on demo" in done.stdout


def test_the_password_login_works_as_printed(demo, tmp_path):
    ask = tmp_path / "ask"
    ask.write_text(f"#!/bin/sh\necho {password(demo, 'bob')}\n")
    ask.chmod(ask.stat().st_mode | stat.S_IXUSR)
    environment = {"SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
    done = demo.paste("log in with bob's password", stdin="echo as bob\n", environment=environment)
    assert done.returncode == 0, done.stderr
    assert "as bob" in done.stdout


def test_a_wrong_password_does_not(demo, tmp_path):
    ask = tmp_path / "ask"
    ask.write_text("#!/bin/sh\necho wrong\n")
    ask.chmod(ask.stat().st_mode | stat.S_IXUSR)
    environment = {"SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
    replace = ("-o PubkeyAuthentication=no", "-o PubkeyAuthentication=no -o NumberOfPasswordPrompts=1")
    done = demo.paste("log in with bob's password", environment=environment, replace=replace)
    assert done.returncode == 255
    assert "Permission denied" in done.stderr


def test_the_copy_works_as_printed(demo):
    done = demo.paste("copy a file there")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "A file to copy.\n"
    assert (demo.folder / "target-home" / "hello.txt").read_text() == "A file to copy.\n"


def test_a_file_comes_back_unchanged_with_its_times(demo, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3_000_000))
    os.utime(source, (1_700_000_000, 1_700_000_000))
    config = str(demo.folder / "ssh_config")
    for pair in ((str(source), "web1:there"), ("web1:there", str(tmp_path / "back"))):
        subprocess.run(["scp", "-qpF", config, *pair], check=True, timeout=COMMAND_TIMEOUT)
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    assert (tmp_path / "back").stat().st_mtime == 1_700_000_000


def test_the_session_is_listed_replayed_and_counted_as_printed(demo):
    assert demo.paste("log in with alice's certificate", stdin="echo seen\n").returncode == 0
    listed = demo.paste("see the sessions")
    assert "demo@web1" in listed.stdout, listed.stderr
    replayed = demo.paste("replay the newest one")
    assert "seen" in replayed.stdout, replayed.stderr
    if shutil.which("curl"):
        counted = demo.paste("see the metrics move").stdout
        assert float(re.search(r'sessions_started_total\{door="direct"\} (\S+)', counted)[1]) >= 1


def test_a_failure_is_explained_as_printed(demo):
    ssh = demo.paste("a target that is down").stderr
    reference = re.search(r"connection refused \(ref ([a-z2-7]{6})\)", ssh)[1]
    told = demo.paste("a target that is down", replace=("THE_REFERENCE", reference))
    assert "the session was refused: db1: connection refused" in told.stdout
    assert "`bastion target test db1 demo`" in told.stdout


def test_policy_is_explained_as_printed(demo):
    done = demo.paste("why may alice go where")
    assert done.returncode == 0, done.stderr
    assert "by rule engineers" in done.stdout


def test_the_configuration_is_valid(demo):
    config = str(demo.folder / "bastion.toml")
    done = subprocess.run(
        [sys.executable, "-m", "bastion", "check", "--config", config],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_second_demo_in_the_same_folder_is_refused(demo):
    done = subprocess.run(
        [sys.executable, "-m", "bastion", "demo", "--dir", str(demo.folder)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "already" in done.stderr
    assert demo.process.poll() is None


def test_somebody_elses_folder_is_never_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    done = subprocess.run(
        [sys.executable, "-m", "bastion", "demo", "--dir", str(tmp_path)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


# The quick ones: the world above ends by SIGHUP, the one below by SIGTERM.
@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, *(pytest.param(one, marks=pytest.mark.soak) for one in (signal.SIGTERM, signal.SIGHUP))],
)
def test_ctrl_c_leaves_nothing_behind(tmp_path, number):
    demo = Demo(tmp_path / "world")
    config = str(tmp_path / "world" / "ssh_config")
    left = "setsid sleep 500 >/dev/null 2>&1 </dev/null & echo $!"
    started = subprocess.run(
        ["ssh", "-F", config, "web1", left], capture_output=True, text=True, timeout=COMMAND_TIMEOUT
    )
    stray = int(started.stdout)
    live = subprocess.Popen(
        ["ssh", "-tt", "-F", config, "web1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        os.read(live.stdout.fileno(), 10)  # the shell is there
        assert demo.processes()
        assert demo.stop(number) == 0
        live.wait(10)
    finally:
        live.kill()
        live.communicate()
    assert not demo.folder.exists()
    assert demo.processes() == []
    assert not is_alive(stray)
    assert not any(is_listening(port) for port in demo.ports)


def test_a_killed_demo_takes_its_processes_with_it_and_the_next_one_cleans_up(tmp_path):
    demo = Demo(tmp_path / "world")
    assert demo.stop(signal.SIGKILL) == -signal.SIGKILL
    deadline = time.monotonic() + 20
    while demo.processes() and time.monotonic() < deadline:
        select.select([], [], [], 0.05)
    assert demo.processes() == []
    assert demo.folder.exists()
    again = Demo(tmp_path / "world", "--keep")
    assert again.stop(signal.SIGTERM) == 0 and again.processes() == []
    assert (tmp_path / "world" / "bastion.toml").exists()
