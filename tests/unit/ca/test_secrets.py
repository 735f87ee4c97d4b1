"""Passwords for targets from files and programs: what is taken, what is refused, and what is never said."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

import pytest

from bastion.ca.secrets import MAX_OUTPUT, MAX_SECRET, SecretCommand, check_program, read_secret_file
from bastion.errors import ConfigError

SECRET = "s3cret phrase"


def file_with(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    path = tmp_path / "secret"
    path.write_text(text)
    path.chmod(mode)
    return path


def run(*arguments: str, timeout: float = 10.0) -> bytes:
    return SecretCommand(arguments, timeout).run()


def shell(script: str, timeout: float = 10.0) -> bytes:
    return run("/bin/sh", "-c", script, timeout=timeout)


@pytest.mark.parametrize("text", [SECRET, SECRET + "\n", SECRET + "\r\n", SECRET + "\nuser: admin\n"])
@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
def test_the_first_line_of_a_closed_file_is_the_password(tmp_path: Path, text: str, mode: int) -> None:
    assert read_secret_file(file_with(tmp_path, text, mode)) == SECRET.encode()


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o620])
def test_a_file_open_to_others_is_refused_with_the_command_that_closes_it(tmp_path: Path, mode: int) -> None:
    path = file_with(tmp_path, SECRET, mode)
    with pytest.raises(ConfigError) as refused:
        read_secret_file(path)
    assert f"(mode {mode:04o})" in refused.value.problem and refused.value.allowed == f"chmod 600 {path}"
    assert str(path) not in refused.value.problem and SECRET not in str(refused.value)


def test_what_is_no_file_with_a_password_is_refused(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    for path, words in (
        (fifo, "not a regular file"),
        (tmp_path, "not a regular file"),
        (tmp_path / "missing", "No such file"),
        (tmp_path / "a\0b", "cannot be read"),
        (file_with(tmp_path, "\n" + SECRET), "no password"),
    ):
        with pytest.raises(ConfigError, match=words):
            read_secret_file(path)
    with pytest.raises(ConfigError, match="longer than"):
        read_secret_file(file_with(tmp_path, "x" * (MAX_SECRET + 1)))


def test_a_program_gives_its_first_line() -> None:
    assert shell(f"echo '{SECRET}'; echo more") == SECRET.encode()


def test_arguments_are_arguments_and_no_shell_sees_them() -> None:
    assert run("/usr/bin/printf", "%s", "$(id); `id` | cat") == b"$(id); `id` | cat"


@pytest.mark.parametrize(
    "script, words",
    [
        (f"echo '{SECRET}'; exit 3", "ended with status 3"),
        (f"echo '{SECRET}'; kill -9 $$", "ended with status 9"),
        ("true", "holds no password"),
        (f"yes '{SECRET}'", "printed too much"),
        (f"head -c {MAX_SECRET + 1} /dev/zero | tr '\\0' x", "longer than"),
    ],
)
def test_a_program_that_fails_is_told_of_without_its_words(script: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        shell(script)
    assert SECRET not in str(refused.value)


def test_a_missing_program_is_told_of() -> None:
    with pytest.raises(ConfigError, match="cannot be started"):
        run("/nowhere/pass")


def test_output_is_bounded_by_reading_not_by_trust() -> None:
    assert MAX_OUTPUT < 1 << 20
    with pytest.raises(ConfigError, match="printed too much"):
        shell("cat /dev/zero")


@pytest.mark.slow
@pytest.mark.parametrize(
    "script",
    ["exec sleep 60", "sleep 60 & wait", "exec >&-; exec sleep 60", "setsid sleep 60 & echo out"],
    ids=["silent", "child", "closed output", "child of its own"],
)
def test_a_program_that_does_not_end_is_killed_in_time(script: str) -> None:
    mark = f"SECRET_TEST_{os.getpid()}_{time.monotonic_ns()}"
    began = time.monotonic()
    with pytest.raises(ConfigError, match=r"did not end within 0\.3 s"):
        run("/usr/bin/env", f"MARK={mark}", "/bin/sh", "-c", script, timeout=0.3)
    assert time.monotonic() - began < 30
    # SIGKILL is delivered, not waited for: the kernel takes a moment to let go of a child's child.
    pause, give_up_at = threading.Event(), time.monotonic() + 20
    while "setsid" not in script and marked(mark) and time.monotonic() < give_up_at:
        pause.wait(0.02)
    left = marked(mark)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
    assert left == [] or "setsid" in script


def marked(mark: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def test_a_run_that_is_given_up_ends_at_once_and_starts_nothing_afterwards() -> None:
    command = SecretCommand(["/bin/sleep", "60"], 60.0)
    raised: list[ConfigError] = []

    def job() -> None:
        try:
            command.run()
        except ConfigError as error:
            raised.append(error)

    thread = threading.Thread(target=job)
    thread.start()
    while command._process is None:
        thread.join(0.01)
    command.kill()
    thread.join(5)
    assert not thread.is_alive() and "ended with status 9" in raised[0].problem
    with pytest.raises(ConfigError, match="given up"):
        command.run()


def test_a_program_that_others_can_replace_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "pass"
    program.write_text("#!/bin/sh\n")
    for mode, words in ((0o600, "not a program"), (0o777, "replaced by others")):
        program.chmod(mode)
        with pytest.raises(ConfigError, match=words):
            check_program(str(program))
    program.chmod(0o755)
    check_program(str(program))
    with pytest.raises(ConfigError, match="does not exist"):
        check_program("/nowhere/pass")
