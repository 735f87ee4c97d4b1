"""Makes the traces of `test_command_cases.py` again: shells and programs on a pty, typed at like people do, and what
they say themselves was run.

    python -m tests.support.make_command_traces [NAME ...]

Needs bash, dash, busybox, zsh, fish, tmux, screen, vim, less, python3, sqlite3, psql with a server, sudo, sshd,
strace. A trace is what came and went with its times (`o` output, `i` input, `r` a new size), and `truth`: (exit
status or None, text) as the shells' own histories and hooks have it; of dash, which has neither, what strace saw it
read.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect

from tests.support.command_cases import CASES, Case, Paste, Resize, Send
from tests.support.net import LOOPBACK, free_port
from tests.support.postgres import PASSWORD, Postgres

FOLDER = Path(__file__).resolve().parents[1] / "unit" / "recording" / "command_traces"
KEY, QUIET, LONGEST = (
    0.012,
    0.25,
    6.0,
)  # seconds without output after which the next key is pressed, the next line

_SLOW = re.compile(r"(?:python3|ssh|psql|sqlite3|sudo|vim|less|tmux|screen)\b|.*sleep \.")

BASHRC = r"""
HISTFILE=$TRUTH.$$; HISTSIZE=1000; HISTFILESIZE=1000; HISTCONTROL=; HISTTIMEFORMAT='%s '; shopt -s cmdhist lithist
unset PROMPT_COMMAND; : > "$HISTFILE"
__log() { local s=$? n; history -a; n=$(builtin history 1); read -r n _ <<< "$n"; echo "$n $s" >> "$HISTFILE.status"
  return $s; }
PROMPT_COMMAND=__log; trap __log EXIT
"""
ZSHRC = r"""
unsetopt beep; bindkey -e
preexec() { __cmd=$1 }
__log() { local s=$?; [[ -n $__cmd && $ZSH_SUBSHELL == 0 ]] && printf '%s\t%s\0' $s $__cmd >> $TRUTH; __cmd= }
precmd_functions=(__log); zshexit_functions=(__log)
"""
FISHRC = r"""
set -g fish_greeting
function __log --on-event fish_postexec; printf '%s\t%s\0' $status $argv[1] >> $TRUTH; end
"""
PYTHONRC = r"""
import atexit, os, readline
def _log():
    with open(os.environ["TRUTH"], "a") as file:
        for n in range(1, readline.get_current_history_length() + 1):
            file.write("line\t" + readline.get_history_item(n) + "\0")
readline.clear_history()
atexit.register(_log)
del atexit
"""
INPUTRC = "set bell-style none\n"
SCREENRC = "startup_message off\nvbell off\n"


def made(folder: Path, case: Case) -> dict[str, str]:
    """The files that shells read, and the environment."""
    (folder / "bashrc").write_text(BASHRC + case.rc)
    (folder / "other").write_text(BASHRC + "PS1='[root@db1 \\W]# '\n")
    (folder / ".zshrc").write_text(ZSHRC + case.rc)
    (folder / ".config/fish").mkdir(parents=True)
    (folder / ".config/fish/config.fish").write_text(FISHRC + case.rc)
    (folder / "shell").write_text(f"#!/bin/sh\nexec bash --rcfile {folder}/bashrc -i\n")
    (folder / "shell").chmod(0o755)
    (folder / "pythonrc").write_text(PYTHONRC)
    (folder / ".inputrc").write_text(INPUTRC + case.inputrc)
    (folder / "screenrc").write_text(SCREENRC)
    (folder / "text").write_text("".join(f"line {n} of a text\n" for n in range(60)))
    for name in ("alpha.txt", "alpine.txt", "beta.txt", "only-one-file.log"):
        (folder / name).write_text(f"{name}\n")
    (folder / "dir/sub").mkdir(parents=True)
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(folder), "TERM": case.term,
        "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TRUTH": str(folder / "truth"), "ZDOTDIR": str(folder),
        "PYTHONSTARTUP": str(folder / "pythonrc"), "INPUTRC": str(folder / ".inputrc"), "USER": "root",
        "SQLITE_HISTORY": str(folder / "sqlite"), "PSQL_HISTORY": str(folder / "psql"), "PAGER": "less", "LESS": "",
        "SCREENDIR": str(folder / "screens"), "TMUX_TMPDIR": str(folder), "SHELL": str(folder / "shell"),
    }  # fmt: skip
    (folder / "screens").mkdir(mode=0o700)
    return environment


class Typist:
    """A child on a pty; what came and went, with its times."""

    def __init__(
        self, command: str, environment: dict[str, str], size: tuple[int, int], folder: Path
    ) -> None:
        self._child = pexpect.spawn(
            "/bin/sh", ["-c", command], env=environment, dimensions=(size[1], size[0]), cwd=str(folder)
        )
        self._child.delaybeforesend = None
        self._begun = time.monotonic()
        self.steps: list[list[Any]] = []
        self.pasting = False  # the program has bracketed paste on

    def _note(self, kind: str, data: bytes | str) -> None:
        shown = base64.b64encode(data).decode() if isinstance(data, bytes) else data
        self.steps.append([round(time.monotonic() - self._begun, 4), kind, shown])

    def read(self, quiet: float, first: float | None = None) -> None:
        """Take what comes until nothing has come for a while."""
        wait = quiet if first is None else first
        while True:
            ready, _, _ = select.select([self._child.child_fd], [], [], wait)
            if not ready:
                return
            try:
                data = os.read(self._child.child_fd, 1 << 15)
            except OSError:
                return
            if not data:
                return
            self._note("o", data)
            wait = quiet
            for found in re.findall(rb"\x1b\[\?2004([hl])", data):
                self.pasting = found == b"h"

    def send(self, data: bytes) -> None:
        self._note("i", data)
        with contextlib.suppress(OSError):
            os.write(self._child.child_fd, data)

    def act(self, step: str | Send | Paste | Resize) -> None:
        if isinstance(step, str):
            for key in re.findall(r"\x1b(?:\[[0-9;]*[A-Za-z~]|.)|.", step, re.DOTALL):
                self.send(key.encode())
                if key == "\r" and _SLOW.match(step):
                    self.read(5 * QUIET, LONGEST)  # it takes a while to begin
                    continue
                if step[0] in "\x01\x02" and len(step) == 2 and key == step[1]:
                    self.read(2 * QUIET, LONGEST)  # a new shell may begin
                    continue
                self.read(QUIET if key in "\r\t\x03\x04\x12\x0c" or key[0] == "\x1b" else KEY)
            return
        if isinstance(step, Send):
            self.send(step.text.encode())
        elif isinstance(step, Paste):
            text = step.text.replace("\n", "\r").encode()
            self.send(b"\x1b[200~" + text + b"\x1b[201~" if self.pasting else text)
        else:
            self._note("r", f"{step.cols}x{step.rows}")
            self._child.setwinsize(step.rows, step.cols)
        self.read(max(QUIET, getattr(step, "wait", 0.0)))

    def close(self) -> None:
        with contextlib.suppress(
            pexpect.ExceptionPexpect
        ):  # it is gone, and something that it started is not
            self._child.close(force=True)


def truth(folder: Path, case: Case) -> list[list[Any]]:
    """(status, text) as the programs have it; ("line", text) where they keep lines and no commands."""
    found: list[list[Any]] = []
    log = folder / "truth"
    for entry in log.read_text().split("\0")[:-1] if log.exists() else []:
        status, _, text = entry.partition("\t")
        found.append([int(status) if status.isdigit() else status, text.strip()])
    for history in folder.glob("truth.*[0-9]"):
        entries = re.split(r"^#\d+\n", history.read_text(), flags=re.MULTILINE)[1:]
        ended = Path(f"{history}.status")
        pairs = [line.split() for line in ended.read_text().splitlines()] if ended.exists() else []
        statuses = {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}
        found += [[statuses.get(str(number)), text.rstrip("\n")] for number, text in enumerate(entries, 1)]
    for name in ("sqlite", "psql"):
        if (folder / name).exists():
            lines = (folder / name).read_text().splitlines()
            found += [["line", _octal(one).replace("\1", "\n")] for one in lines if one != "_HiStOrY_V2_"]
    if (folder / "strace").exists():
        seen = (folder / "strace").read_text()
        shell = seen.partition(" ")[0]  # not what its children read
        lines = re.findall(rf'^{shell} +read\(0, "((?:[^"\\]|\\.)*)", \d+\) += [1-9]', seen, re.MULTILINE)
        typed = "".join(line.encode().decode("unicode_escape").encode("latin-1").decode() for line in lines)
        found += [["line", line] for line in typed.split("\n") if line]
    return [one for one in found if one[1] not in case.unseen]


def _octal(line: str) -> str:
    """A line of a history as libedit writes it, as it was typed."""
    return re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), line)


@contextlib.contextmanager
def sshd(folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """A real server whose shell is bash with another prompt; `ssh -F ssh_config db1` reaches it."""
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    port = free_port()
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress {LOOPBACK}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        f"PidFile none\nStrictModes no\nUsePAM no\nPrintMotd no\nPrintLastLog no\n"
        f"SetEnv TRUTH={environment['TRUTH']} INPUTRC={environment['INPUTRC']} LANG=C.UTF-8\n"
        f"ForceCommand cd {folder}; exec bash --rcfile {folder}/other -i\n"
    )
    (folder / "ssh_config").write_text(
        f"Host db1\nHostName {LOOPBACK}\nPort {port}\nIdentityFile {folder}/user\nStrictHostKeyChecking no\n"
        f"UserKnownHostsFile /dev/null\nLogLevel ERROR\nUser root\n"
    )
    server = subprocess.Popen(
        ["/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "sshd_config")], stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        server.terminate()
        server.wait()


def run(case: Case) -> dict[str, Any]:
    """One case, typed."""
    with (
        tempfile.TemporaryDirectory(prefix="cmds-", ignore_cleanup_errors=True) as name,
        contextlib.ExitStack() as around,
    ):
        folder = Path(name)
        environment = made(folder, case)
        if "ssh" in case.needs:
            around.enter_context(sshd(folder, environment))
        if "psql" in case.needs:
            environment |= {"DATABASE": around.enter_context(Postgres()).url, "PGPASSWORD": PASSWORD}
        typist = Typist(case.command, environment, case.size, folder)
        typist.read(QUIET, LONGEST)
        for step in case.keys:
            typist.act(step)
        typist.read(QUIET)
        typist.close()
        subprocess.run(["tmux", "kill-server"], env=environment, check=False, capture_output=True)
        return {
            "name": case.name, "group": case.group, "term": case.term, "cols": case.size[0], "rows": case.size[1],
            "steps": typist.steps, "truth": truth(folder, case), "unseen": case.unseen,
        }  # fmt: skip


def main(names: list[str]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, where we run in the background
    FOLDER.mkdir(exist_ok=True)
    for case in CASES:
        if names and case.name not in names and case.group not in names:
            continue
        trace = run(case)
        (FOLDER / f"{case.name}.json.z").write_bytes(zlib.compress(json.dumps(trace).encode(), 9))
        print(case.name, len(trace["steps"]), "steps,", len(trace["truth"]), "commands", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
