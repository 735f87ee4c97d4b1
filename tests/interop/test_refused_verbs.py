"""Each verb refused in turn: the right answer of the protocol, a connection that lives on, a line that names the rule.

For every verb there is one target whose rule gives all the others, and one, `all`, whose rule gives everything, so
that each refusal stands beside the same thing allowed.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.support.jump import JumpWorld
from tests.support.net import LOOPBACK, free_port
from tests.support.recorded import Watch
from tests.support.sshd import sshd_missing
from tests.support.talkers import Echo, talk
from tests.support.world import poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]
VERBS = ("shell", "exec", "sftp", "subsystem", "pty", "env", "forward-local", "forward", "forward-remote",
         "streamlocal", "agent", "x11")  # fmt: skip
DEFAULT = "builtin:default-refuse"
PROHIBITED, CONNECT_FAILED = 1, 2  # RFC 4254 section 5.1
FAR = "nowhere.invalid"


def rule_without(verb: str) -> str:
    """All verbs but one, for the target that is called so."""
    verbs = [one for one in VERBS if one != verb]
    lists = {
        "subsystem": 'subsystems = ["echo*"]',
        "forward": f'forward = ["{FAR}:80"]',
        "env": 'env = ["WORD"]',
    }
    lines = [text for name, text in lists.items() if name in verbs]
    name = f"no-{verb}" if verb else "all"
    return "\n".join([
        "[[rule]]", f'name = "rule-{name}"', 'groups = ["ops"]', f'targets = ["{name}"]', 'logins = ["root"]',
        f"verbs = {verbs}".replace("'", '"'), *lines, "",
    ])  # fmt: skip


class VerbWorld(JumpWorld):
    """One machine under as many names as there are verbs."""

    def __init__(self) -> None:
        options = ("AcceptEnv *", "X11Forwarding yes", "X11UseLocalhost yes", "Subsystem echo /bin/cat")
        super().__init__(policy="".join(map(rule_without, ("", *VERBS))), sshd_options=options)
        for name in ("all", *(f"no-{verb}" for verb in VERBS)):
            self.add_target(name, LOOPBACK, self.sshd.port)

    @asynccontextmanager
    async def connect(self, target: str, **options: Any) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """asyncssh through the direct door; it tells what the protocol answered."""
        key = " ".join((self.keys / "gateway_host.pub").read_text().split()[:2])
        known = asyncssh.import_known_hosts(f"[{LOOPBACK}]:{self.port} {key}\n")
        async with asyncssh.connect(
            LOOPBACK, self.port, username=f"alice+root+{target}" if target else "alice", known_hosts=known,
            client_keys=[str(self.keys / "alice")], config=None, **{"agent_path": None, **options},
        ) as connection:  # fmt: skip
            yield connection


@pytest.fixture(scope="module")
def world() -> Iterator[VerbWorld]:
    made = VerbWorld()
    try:
        made.start()
        yield made
    finally:
        made.close()


Connection = asyncssh.SSHClientConnection


async def shell(connection: Connection) -> str:
    done = await connection.run(input="echo a shell\nexit\n")
    return str(done.stdout)


async def execute(connection: Connection) -> str:
    return str((await connection.run("echo a command")).stdout)


async def sftp(connection: Connection) -> str:
    async with connection.start_sftp_client() as client:
        return str(await client.realpath("/"))


async def subsystem(connection: Connection) -> str:
    return str((await connection.run(subsystem="echo", input="back")).stdout)


async def pty(connection: Connection) -> str:
    return str((await connection.run("tty", term_type="xterm")).stdout)


async def local(connection: Connection) -> str:
    with Echo() as echo:
        return await _exchange(await connection.open_connection("localhost", echo.port))


async def _exchange(streams: tuple[Any, Any]) -> str:
    reader, writer = streams
    writer.write(b"hello")
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return str(answer.decode())


async def far(connection: Connection) -> str:
    """The target cannot reach it either, and says so itself."""
    try:
        await connection.open_connection(FAR, 80)
    except asyncssh.ChannelOpenError as error:
        if error.code == CONNECT_FAILED:
            return "the target tried"
        raise
    raise AssertionError("it is nowhere")


async def remote(connection: Connection) -> str:
    """A port on the target that leads back here, used from the target."""
    with Echo() as echo:
        listener = await connection.forward_remote_port("localhost", 0, LOOPBACK, echo.port)
        answer = await asyncio.to_thread(talk, listener.get_port(), b"hello")
        listener.close()
        return answer.decode()


async def unix(connection: Connection) -> str:
    path = Path(f"/tmp/bastion-echo-{free_port()}")
    try:
        with Echo(path=path):
            return await _exchange(await connection.open_unix_connection(str(path)))
    finally:
        path.unlink(missing_ok=True)


WORK: dict[str, tuple[Callable[[Connection], Awaitable[str]], str]] = {
    "shell": (shell, "a shell\n"),
    "exec": (execute, "a command\n"),
    "sftp": (sftp, "/"),
    "subsystem": (subsystem, "back"),
    "pty": (pty, "/dev/pts/"),
    "forward-local": (local, "hello"),
    "forward": (far, "the target tried"),
    "forward-remote": (remote, "hello"),
    "streamlocal": (unix, "hello"),
}
CHANNELS = {
    "forward-local": "direct-tcpip",
    "forward": "direct-tcpip",
    "streamlocal": "direct-streamlocal@openssh.com",
}
REQUESTS = {
    "shell": "shell",
    "exec": "exec",
    "sftp": "subsystem",
    "subsystem": "subsystem",
    "pty": "pty-req",
    "forward-remote": "tcpip-forward",
}
ERRORS = (asyncssh.ChannelOpenError, asyncssh.ChannelListenError)


@pytest.mark.parametrize("verb", WORK)
def test_a_verb_that_is_refused_beside_the_same_allowed(world: VerbWorld, verb: str) -> None:
    work, answer = WORK[verb]
    other, others_answer = WORK["sftp" if verb == "exec" else "exec"]
    seen, watch = len(world.audit("refused")), Watch(world)

    async def scenario() -> None:
        async with world.connect("all") as connection:
            assert (await work(connection)).startswith(answer)
        async with world.connect(f"no-{verb}") as connection:
            with pytest.raises(ERRORS) as caught:
                await work(connection)
            if verb in CHANNELS:
                assert isinstance(caught.value, asyncssh.ChannelOpenError)
                assert caught.value.code == PROHIBITED
                assert "not allowed on" in caught.value.reason
            # The rest of the connection lives on.
            assert await other(connection) == others_answer

    asyncio.run(asyncio.wait_for(scenario(), 60))
    (line,) = world.new_audit("refused", seen)
    assert (line["rule"], line["reason"]) == (DEFAULT, "verb_not_allowed")
    if verb in CHANNELS:
        assert (line["what"], line["kind"]) == ("channel", CHANNELS[verb])
    else:
        assert (line["what"], line["name"]) == ("request", REQUESTS[verb])
    for session in watch.sessions(2):
        assert session.totals["reason"] == "client_closed"


def test_a_variable_is_refused_and_the_command_runs_without_it(world: VerbWorld) -> None:
    seen = len(world.audit("refused"))

    async def scenario() -> None:
        for target, said in (("all", "here\n"), ("no-env", "\n")):
            async with world.connect(target) as connection:
                done = await connection.run("echo $WORD", env={"WORD": "here"})
                assert done.stdout == said

    asyncio.run(asyncio.wait_for(scenario(), 60))
    (line,) = world.new_audit("refused", seen)
    assert (line["name"], line["reason"], line["rule"]) == ("env", "env_not_allowed", DEFAULT)


def test_a_remote_unix_socket(world: VerbWorld) -> None:
    """`-R /path`: opened by the target, judged by the verb, and only after the client asked."""
    seen, path = len(world.audit("refused")), f"/tmp/bastion-remote-{free_port()}"

    async def scenario() -> None:
        with Echo() as echo:
            async with world.connect("all") as connection:
                await connection.forward_remote_path_to_port(path, LOOPBACK, echo.port)
                speak = f"python3 -c 'import socket; s = socket.socket(socket.AF_UNIX); s.connect(\"{path}\");" \
                        " s.send(b\"hello\"); print(s.recv(9).decode())'; rm " + path  # fmt: skip
                assert (await connection.run(speak)).stdout == "hello\n"
            async with world.connect("no-streamlocal") as connection:
                with pytest.raises(asyncssh.ChannelListenError):
                    await connection.forward_remote_path_to_port(path, LOOPBACK, echo.port)
                assert await execute(connection) == "a command\n"

    asyncio.run(asyncio.wait_for(scenario(), 60))
    (line,) = world.new_audit("refused", seen)
    assert (line["name"], line["rule"]) == ("streamlocal-forward@openssh.com", DEFAULT)
    opened = [one["kind"] for one in world.audit("channel_opened") if one["by"] == "target"]
    assert "forwarded-streamlocal@openssh.com" in opened


@pytest.fixture
def agent(world: VerbWorld) -> Iterator[dict[str, str]]:
    """An agent with a key in it, as the environment of an ssh."""
    path = world.folder / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    try:
        poll(path.exists, text="no agent")
        environment = {**world.environment(), "SSH_AUTH_SOCK": str(path)}
        subprocess.run(["ssh-add", str(world.keys / "bob")], env=environment, check=True, capture_output=True)
        yield environment
    finally:
        process.terminate()
        process.wait(10)
        path.unlink(missing_ok=True)


def test_the_agent(world: VerbWorld, agent: dict[str, str]) -> None:
    """`-A`: the channel is the target's, judged by the verb, and only after the client asked."""
    seen = len(world.audit("refused"))

    def listed(target: str, *options: str) -> subprocess.CompletedProcess[bytes]:
        command = world.ssh_command("ssh-add -l; echo done", user=f"alice+root+{target}", options=options)
        command = [word for word in command if word != "IdentityAgent=none"]
        command = [
            word for at, word in enumerate(command) if word != "-o" or command[at + 1 : at + 2] != ["-o"]
        ]
        return subprocess.run(command, capture_output=True, timeout=60, env=agent)

    assert b"ED25519" in listed("all", "-A").stdout
    assert b"ED25519" not in listed("all").stdout
    refused = listed("no-agent", "-A")
    assert b"ED25519" not in refused.stdout and b"done" in refused.stdout
    (line,) = world.new_audit("refused", seen)
    assert (line["name"], line["rule"]) == ("auth-agent-req@openssh.com", DEFAULT)
    opened = [one for one in world.audit("channel_opened") if one["kind"] == "auth-agent@openssh.com"]
    assert [one["by"] for one in opened] == ["target"]


def test_x11(world: VerbWorld) -> None:
    """`-X`: as the agent."""
    seen = len(world.audit("refused"))
    cookie, number = "00112233445566778899aabbccddeeff", 77
    connect = (
        'python3 -c \'import os, socket; n = int(os.environ["DISPLAY"].split(":")[1].split(".")[0]);'
        ' s = socket.create_connection(("127.0.0.1", 6000 + n)); s.send(b"x" * 12); s.recv(99)\' 2>/dev/null; true'
    )

    async def scenario() -> None:
        async with world.connect("all") as connection:
            process = await connection.create_process(
                connect, x11_forwarding=True, x11_display=f"{LOOPBACK}:{number}", x11_auth_path=str(authority)
            )
            done = await process.wait()
            assert done.returncode == 0, done.stderr
        async with world.connect("no-x11") as connection:
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.run(
                    "true",
                    x11_forwarding=True,
                    x11_display=f"{LOOPBACK}:{number}",
                    x11_auth_path=str(authority),
                )
            assert await execute(connection) == "a command\n"

    authority = world.folder / "xauthority"
    subprocess.run(
        ["xauth", "-f", str(authority), "add", f"{LOOPBACK}:{number}", ".", cookie],
        check=True,
        capture_output=True,
    )
    asyncio.run(asyncio.wait_for(scenario(), 60))
    (line,) = world.new_audit("refused", seen)
    assert (line["name"], line["rule"]) == ("x11-req", DEFAULT)
    assert [one["by"] for one in world.audit("channel_opened") if one["kind"] == "x11"] == ["target"]


def test_a_tunnel_without_a_rule_and_the_outer_connection_lives_on(world: VerbWorld) -> None:
    seen = len(world.audit("refused"))

    async def scenario() -> None:
        async with world.connect("") as connection:
            with pytest.raises(asyncssh.ChannelOpenError) as caught:
                await connection.open_connection("db1.internal", 5432)
            assert caught.value.code == PROHIBITED and "you may reach" in caught.value.reason
            with pytest.raises(asyncssh.ChannelListenError):
                await connection.forward_remote_port("localhost", 0, LOOPBACK, 9)
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.open_unix_connection("/run/x")
            assert "alice" in str((await connection.run("whoami")).stdout)

    asyncio.run(asyncio.wait_for(scenario(), 60))
    lines = world.new_audit("refused", seen)
    kinds = [line.get("kind") or line.get("name") for line in lines]
    assert kinds == ["direct-tcpip", "tcpip-forward", "direct-streamlocal@openssh.com"]
    assert lines[0]["reason"] == "destination_not_allowed"
