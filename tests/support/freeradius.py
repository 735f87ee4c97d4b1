"""A private FreeRADIUS on loopback: its own folder and ports, in the foreground, gone after `close`.

alice's code is 123456, bob has a second question ("Next code", answered by 654321), carol's answers have no
Message-Authenticator, as those of a server from before CVE-2024-3596.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Self

from tests.support.net import LOOPBACK, free_ports

SECRET = "a secret of sixteen"

CONF = """prefix = /usr
exec_prefix = /usr
sysconfdir = {folder}
localstatedir = {folder}
logdir = {folder}
raddbdir = {folder}
radacctdir = {folder}
run_dir = {folder}
libdir = /usr/lib/freeradius
name = radius
max_request_time = 30
cleanup_delay = 1
max_requests = 256
log {{
    destination = stdout
}}
security {{
    allow_vulnerable_openssl = yes
    reject_delay = 0
}}
thread pool {{
    start_servers = 1
    max_servers = 2
}}
client gateway {{
    ipaddr = 127.0.0.1
    secret = "{secret}"
    require_message_authenticator = yes
}}
modules {{
    pap {{
    }}
    always handled {{
        rcode = handled
    }}
    files {{
        usersfile = {folder}/users
    }}
}}
server default {{
    listen {{
        type = auth
        ipaddr = 127.0.0.1
        port = {port}
    }}
    authorize {{
        if (&User-Name == "bob" && !&State) {{
            update control {{
                &Response-Packet-Type := Access-Challenge
            }}
            update reply {{
                &Reply-Message := "Next code"
                &State := 0x01020304
                &Message-Authenticator := 0x00
            }}
            handled
        }}
        files
        pap
    }}
    authenticate {{
        Auth-Type PAP {{
            pap
        }}
    }}
    post-auth {{
        if (&User-Name != "carol") {{
            update reply {{
                &Message-Authenticator := 0x00
            }}
        }}
        Post-Auth-Type REJECT {{
            update reply {{
                &Message-Authenticator := 0x00
            }}
        }}
    }}
}}
"""
USERS = """alice Cleartext-Password := "123456"
bob Cleartext-Password := "654321"
carol Cleartext-Password := "123456"
"""


def freeradius_missing() -> str:
    """Why these tests cannot run here, or "" when they can."""
    return "" if shutil.which("freeradius") else "freeradius is not installed"


class FreeRadius:
    """Serves from the beginning until `close`."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="radius-"))
        (self.port,) = free_ports(1)
        conf = CONF.format(folder=self.folder, secret=SECRET, port=self.port)
        (self.folder / "radiusd.conf").write_text(conf)
        (self.folder / "users").write_text(USERS)
        (self.folder / "dictionary").write_text("$INCLUDE /usr/share/freeradius/dictionary\n")
        command = ["freeradius", "-fX", "-d", str(self.folder), "-D", "/usr/share/freeradius"]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True
        )
        self.said: list[str] = []
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said.append(line)
            if "Ready to process requests" in line:
                break
        else:
            self.close()
            raise RuntimeError("freeradius did not start:\n" + "".join(self.said[-20:]))
        self._drain()

    def _drain(self) -> None:
        """Nobody reads what it says of each request; the pipe must not fill."""

        def read() -> None:
            assert self._process.stdout is not None
            for line in self._process.stdout:
                self.said.append(line)

        threading.Thread(target=read, daemon=True).start()

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
