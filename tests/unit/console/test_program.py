"""The process: what it refuses to start with, TLS, a socket for a proxy, and its end."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pki import Authority
from tests.support.world import poll
from tests.unit.console.made import PASSWORD, SECTION, ConsoleSite

pytestmark = pytest.mark.slow


def failed(site: ConsoleSite) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bastion", "console", "--config", str(site.config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("lines", "code", "words"),
    [
        ("[console]\nrequire = [[\"password\"]]\n", 2, "names no group"),
        ("[console]\nauditor_groups = [\"a\"]\n", 2, "key_file is not set"),
        (f"{SECTION}state_url = \"postgresql://c@db/b\"\n", 2, "the gateway's is SQLite"),
        ("[console]\nlisten = \"0.0.0.0:1\"\n", 2, "passwords would cross the network"),
    ],
)  # fmt: skip
def test_what_it_does_not_start_with(tmp_path: Path, lines: str, code: int, words: str) -> None:
    site = ConsoleSite(tmp_path, lines)
    done = failed(site)
    site.close()
    assert done.returncode == code and words in done.stderr and "Traceback" not in done.stderr


def test_it_makes_no_store_of_its_own(tmp_path: Path) -> None:
    site = ConsoleSite(tmp_path)
    site.database.close()
    place = site.database.place.file
    for file in place.parent.glob("state.db*"):
        file.unlink()
    done = failed(site)
    site.close()
    assert done.returncode == 3 and "a gateway makes it" in done.stderr and not place.exists()


def test_it_speaks_tls_and_its_cookie_is_for_tls_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    files = authority.issue("localhost", "127.0.0.1")
    (tmp_path / "site").mkdir()
    more = f'tls_certificate = "{files.certificate}"\ntls_key = "{files.key}"\n'
    site = ConsoleSite(tmp_path / "site", SECTION + more)
    try:
        origin = site.start().origin
        assert origin.startswith("https://127.0.0.1:")
        context = ssl.create_default_context(cafile=str(authority.certificate))
        host, _, port = origin.partition("://")[2].rpartition(":")
        connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=30)
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": origin}
        connection.request("POST", "/sign-in", f"name=ada&password={PASSWORD.replace(' ', '+')}", headers)
        answer = connection.getresponse()
        marks = answer.headers["Set-Cookie"]
        assert answer.status == 303 and marks.startswith("__Host-bastion=") and "; Secure" in marks
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
        connection.close()
        with socket.create_connection((host, int(port)), timeout=30) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert not plain.recv(4096).startswith(b"HTTP/")
    finally:
        site.close()


def ask(path: Path, target: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """By a Unix socket, as a proxy does."""
    connection = http.client.HTTPConnection("console.example.com", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(30)
    connection.sock.connect(str(path))
    given = {
        "Host": "console.example.com",
        **{name.replace("_", "-"): text for name, text in headers.items()},
    }
    connection.request("GET", target, headers=given)
    answer = connection.getresponse()
    found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    connection.close()
    return found


def test_a_proxy_at_the_socket_is_believed_about_who_it_is(tmp_path: Path) -> None:
    place = tmp_path / "http.sock"
    lines = SECTION.replace(
        'listen = "127.0.0.1:0"', f'socket = "{place}"\nurl = "https://console.example.com"'
    )
    site = ConsoleSite(tmp_path, lines + 'user_header = "X-Remote-User"\n')
    try:
        site.start()
        assert stat.S_IMODE(os.stat(place).st_mode) == 0o660
        status, headers, _ = ask(place, "/sessions")
        assert status == 303 and headers["location"].startswith("/sign-in")
        status, headers, body = ask(place, "/sessions", X_Remote_User="ada", X_Forwarded_For="192.0.2.55")
        assert status == 200 and b"ada (auditor)" in body and "__Host-bastion" in headers["set-cookie"]
        (line,) = site.audit("console_signed_in")
        assert (line["user"], line["proxied"], line["source"]) == ("ada", True, "192.0.2.55")
        cookie = headers["set-cookie"].partition(";")[0]
        status, headers, _ = ask(place, "/sessions", X_Remote_User="ada", Cookie=cookie)
        assert status == 200 and "set-cookie" not in headers and len(site.audit("console_signed_in")) == 1
        status, _, body = ask(place, "/live/lock", X_Remote_User="rex", Cookie=cookie)
        assert status == 200 and b"rex (responder)" in body, "another name is another visit"
        for nobody in ("nil", "nobody", "ADA' OR 1=1", ""):
            assert ask(place, "/sessions", X_Remote_User=nobody)[0] == 303
    finally:
        site.close()


def test_it_ends_when_it_is_told_to_and_says_so(tmp_path: Path) -> None:
    site = ConsoleSite(tmp_path).start()
    site.browser("ada")
    assert site.stop() == 0
    events = [line["event"] for line in site.audit()]
    assert events[0] == "console_started" and events[-1] == "console_stopped"
    assert json.loads(json.dumps(site.audit()[0]))["place"] == site.origin
    site.close()


def test_an_audit_log_that_was_rotated_goes_on_in_the_new_file(tmp_path: Path) -> None:
    site = ConsoleSite(tmp_path).start()
    log = tmp_path / "audit.jsonl"
    log.rename(tmp_path / "audit.1")
    os.kill(site.pid, signal.SIGHUP)
    poll(lambda: log.exists(), text="the log was not opened again")
    site.browser("ada")
    assert [line["user"] for line in site.audit("console_signed_in")] == ["ada"]
    assert "console_signed_in" not in (tmp_path / "audit.1").read_text()
    site.close()


def test_it_loads_no_key_of_the_gateway(tmp_path: Path) -> None:
    """They may as well not be there."""
    site = ConsoleSite(tmp_path)
    for name in ("host_key", "upstream_ca", "front_host_ca"):
        (site.folder / name).unlink()
    try:
        assert site.start().browser("ada").get("/sessions").status == 200
    finally:
        site.close()
