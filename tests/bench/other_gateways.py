"""Gateways of other kinds that the bench can set up by itself, in the shape of what people use instead of ours.

`go-relay` has sshpiper's: one program in Go on golang.org/x/crypto/ssh that passes whole messages on and writes
asciicast. `forced-command` has The Bastion's: an sshd whose forced command is a recorder and the next ssh. Both are
as lean as their kind can be: no policy, no audit, no plugin processes, so they cost less than what they stand for.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILT = HERE.parents[1] / "build" / "go_relay"
GO = shutil.which("go", path=os.environ.get("PATH", "") + ":/usr/local/go/bin")
BUILD_TIMEOUT = 900.0

OTHERS = ("go-relay", "forced-command")

FORCED = """#!/bin/bash
file=$(mktemp {recordings}/XXXXXXXX) || exit 1
if [ -n "$SSH_TTY" ]; then
    exec script -qfec "{ssh} -tt target $(printf %q "$SSH_ORIGINAL_COMMAND")" "$file"
fi
{ssh} target "$SSH_ORIGINAL_COMMAND" | tee "$file"
exit "${{PIPESTATUS[0]}}"
"""
"""What the sshd of `forced-command` runs: with a pty script(1), which flushes each write as ttyrec does, else tee."""

ONWARD = """
Host target
  HostName 127.0.0.1
  Port {port}
  User root
  IdentityFile {key}
  IdentitiesOnly yes
  BatchMode yes
  HostKeyAlias target
  UserKnownHostsFile {folder}/onward_known_hosts
  LogLevel ERROR
"""


def missing(name: str) -> str:
    """Why one of OTHERS cannot be measured here, or ""."""
    if name == "go-relay" and GO is None and not BUILT.exists():
        return "there is no go to build it with"
    if name == "forced-command" and shutil.which("script") is None:
        return "there is no script(1) to record with"
    return ""


def build_go_relay() -> Path:
    """The program, built when it is older than its source. Its one module comes through the ordinary go client.

    x/crypto/ssh shows channels only; `inside/` is put into the vendored copy of it, as sshpiper keeps a fork.
    """
    source = HERE / "go_relay"
    files = [path for path in source.rglob("*") if path.is_file()]
    program = BUILT / "go_relay"
    if program.exists() and program.stat().st_mtime > max(path.stat().st_mtime for path in files):
        return program
    if GO is None:
        raise RuntimeError("go-relay: there is no go to build it with")
    shutil.rmtree(BUILT, ignore_errors=True)
    shutil.copytree(source, BUILT / "source")
    inside = BUILT / "source" / "inside"
    for command in (["mod", "vendor"], ["build", "-mod=vendor", "-o", str(program), "."]):
        subprocess.run([GO, *command], cwd=BUILT / "source", check=True, timeout=BUILD_TIMEOUT)
        if inside.exists():
            shutil.copytree(inside, BUILT / "source/vendor/golang.org/x/crypto/ssh", dirs_exist_ok=True)
            shutil.rmtree(inside)
    return program


def go_relay_command(folder: Path, key: Path, host_key: Path, target: int, target_public: str) -> list[str]:
    """The command line; the program prints its port. `key` lets clients in, and logs in to the target."""
    recordings = folder / "go-relay"
    recordings.mkdir(exist_ok=True)
    public = folder / "go-relay-target.pub"
    public.write_text(target_public + "\n")
    return [
        str(build_go_relay()),
        *("-target", f"127.0.0.1:{target}", "-target-key", str(public), "-user", "root"),
        *("-host-key", str(host_key), "-authorized", str(key.with_suffix(".pub")), "-key", str(key)),
        *("-recordings", str(recordings)),
    ]


def forced_command(folder: Path, key: Path, target: int, target_public: str) -> str:
    """The line of sshd_config; `folder` gets the script, its ssh_config and the recordings."""
    recordings = folder / "recordings"
    recordings.mkdir()
    (folder / "onward_known_hosts").write_text(f"target {target_public}\n")
    config = folder / "onward.config"
    config.write_text(ONWARD.format(port=target, key=key, folder=folder))
    script = folder / "forced"
    script.write_text(FORCED.format(recordings=recordings, ssh=f"ssh -F {shlex.quote(str(config))}"))
    script.chmod(0o755)
    return f"ForceCommand {script}"
