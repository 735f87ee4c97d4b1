"""What `client-config` and `ssh bastion setup` print works when it is pasted."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import paramiko
import pytest

from tests.support.jump import JumpWorld
from tests.support.net import LOOPBACK

pytestmark = pytest.mark.interop


def printed(world: JumpWorld, form: str) -> str:
    """The command's output for a gateway that engineers reach at 127.0.0.1."""
    config = world.folder / "public.toml"
    public = f'[listen]\npublic = "{LOOPBACK}:{world.port}"'
    config.write_text(world.config.read_text().replace("[listen]", public))
    done = world.bastion("client-config", "--config", str(config), "--for", form, "--user", "alice")
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def test_openssh(world: JumpWorld, tmp_path: Path) -> None:
    script = printed(world, "openssh").replace("~/.ssh", str(tmp_path))
    subprocess.run(["sh", "-eu"], input=script, text=True, check=True)
    config = tmp_path / "config"
    config.write_text(
        config.read_text().replace("Include bastion_config", f"Include {tmp_path}/bastion_config")
    )
    key = ["-o", f"IdentityFile={world.keys}/alice", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]
    with config.open("a") as file:
        file.write(f"Host bastion\n IdentityFile {world.keys}/alice\n")
    command = ["ssh", "-F", str(config), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", *key]
    done = subprocess.run(
        [*command, "root@www", "echo pasted"], capture_output=True, timeout=60, env=world.environment()
    )
    assert done.stdout == b"pasted\n", done.stderr


def test_the_lobby_prints_the_same_for_what_one_may_reach(world: JumpWorld) -> None:
    done = world.jump("setup", to="bastion", options=())
    text = done.stdout.decode()
    assert "Host web1 www" in text and "User root" in text
    assert "web2" not in text
    authorities = [line for line in text.splitlines() if line.startswith("@cert-authority")]
    assert len(authorities) == 1 and "*" not in authorities[0]
    subprocess.run(["sh", "-n"], input=text, text=True, check=True)


@pytest.mark.skipif(shutil.which("plink") is None, reason="plink is not installed")
def test_putty(world: JumpWorld, tmp_path: Path) -> None:
    """The registry's values in the files that PuTTY keeps them in on other systems."""
    folder = tmp_path / ".putty"
    (folder / "sessions").mkdir(parents=True)
    (folder / "sshhostcas").mkdir()
    for name, body in re.findall(
        r"^\[HKEY\S*\\PuTTY\\(.+)\]\n((?:\".*\n)+)", printed(world, "putty"), re.MULTILINE
    ):
        values = [
            (key, str(int(number, 16)) if number else text)
            for key, text, number in re.findall(r'"([^"]+)"=(?:"(.*)"|dword:([0-9a-f]{8}))\n', body)
        ]
        if name == "SshHostKeys":
            (folder / "sshhostkeys").write_text("".join(f"{key} {value}\n" for key, value in values))
        else:
            kind, _, entry = name.partition("\\")
            lines = "".join(f"{key}={value}\n" for key, value in values)
            (folder / kind.lower() / entry).write_text(lines)
    key = tmp_path / "alice.ppk"
    environment = world.environment() | {"HOME": str(tmp_path)}
    subprocess.run(["puttygen", str(world.keys / "alice"), "-O", "private", "-o", str(key)], check=True)
    with (folder / "sessions" / "bastion").open("a") as file:
        file.write(f"PublicKeyFile={key}\n")
    command = ["plink", "-batch", "-load", "web1", "-i", str(key), "-l", "root", "echo pasted"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, env=environment)
    assert done.stdout == b"pasted\n", done.stderr


def test_plain_keys_for_paramiko(world: JumpWorld, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text(printed(world, "plain"))
    key = paramiko.Ed25519Key.from_private_key_file(str(world.keys / "alice"))
    with paramiko.SSHClient() as outer, paramiko.SSHClient() as inner:
        outer.load_host_keys(str(known))
        inner.load_host_keys(str(known))
        common = {"pkey": key, "allow_agent": False, "look_for_keys": False}
        outer.connect(LOOPBACK, world.port, "alice", **common)  # type: ignore[arg-type]
        transport = outer.get_transport()
        assert transport is not None
        channel = transport.open_channel("direct-tcpip", ("web1", world.sshd.port), (LOOPBACK, 0))
        inner.connect("web1", world.sshd.port, "root", sock=channel, **common)  # type: ignore[arg-type]
        assert inner.exec_command("echo pasted")[1].read() == b"pasted\n"


def test_ansible_variables(world: JumpWorld, tmp_path: Path) -> None:
    """What Ansible hands to ssh: its common arguments, the port and the user of the host."""
    subprocess.run(
        ["sh", "-eu"], input=printed(world, "openssh").replace("~/.ssh", str(tmp_path)), text=True, check=True
    )
    text = printed(world, "ansible").replace("~/.ssh", str(tmp_path))
    (common,) = re.findall(r"^ansible_ssh_common_args='(.*)'$", text, re.MULTILINE)
    (port,) = re.findall(r"^web1 ansible_port=(\d+)", text, re.MULTILINE)
    jumper = tmp_path / "for_the_jump"  # the key of the first hop, which a user has in ~/.ssh/config
    jumper.write_text(
        f"IdentityFile {world.keys}/alice\nIdentitiesOnly yes\nIdentityAgent none\nBatchMode yes\n"
        f"UserKnownHostsFile {tmp_path}/bastion_known_hosts\n"
    )
    command = ["ssh", "-F", str(jumper), *shlex.split(common), "-p", port, "root@web1", "echo pasted"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, env=world.environment()
    )
    assert done.stdout == b"pasted\n", done.stderr


def test_without_a_public_name_the_command_says_what_to_set(world: JumpWorld) -> None:
    done = world.bastion("client-config", "--config", str(world.config))
    assert done.returncode == 2
    assert b"[listen] public" in done.stderr
