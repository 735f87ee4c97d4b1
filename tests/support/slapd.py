"""A private slapd on loopback: own folder and ports, TLS by an authority made on the spot, gone after `close`.

The tree (suffix dc=example,dc=org) has ou=people, ou=groups and the service account cn=reader,ou=services; a
test adds the entries it needs with `person` and `group`. slapd runs in the foreground with statistics on
stderr, so tests wait for lines ("slapd starting") and read back what really arrived ("BIND dn=..."), instead
of sleeping or trusting.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from tests.support.net import LOOPBACK, free_ports, wait_until_listening
from tests.support.pki import Authority

SUFFIX = "dc=example,dc=org"
PEOPLE = f"ou=people,{SUFFIX}"
GROUPS = f"ou=groups,{SUFFIX}"
READER = f"cn=reader,ou=services,{SUFFIX}"
READER_PASSWORD = "reader-secret"
ROOT = f"cn=root,{SUFFIX}"
ROOT_PASSWORD = "root-secret"
PASSWORD = "correct horse"
# The name in the server's certificate; clients that connect by 127.0.0.1 are covered as well.
SERVER_NAME = "ldap.example.org"
SCHEMA = Path(__file__).resolve().parents[2] / "etc" / "ldap" / "openssh-lpk.schema"
START_TIMEOUT = 20.0
STOP_TIMEOUT = 10.0


def slapd_missing() -> str:
    """Why these tests cannot run here, or "" when they can."""
    return "" if shutil.which("slapd") and shutil.which("slapadd") else "slapd is not installed"


def person(uid: str, *extra: str, password: str | None = PASSWORD, rdn: str = "") -> str:
    """The LDIF of one account. `extra`: further lines; extensibleObject allows any known attribute."""
    lines = [
        f"dn: {rdn or 'uid=' + uid},{PEOPLE}",
        "objectClass: inetOrgPerson",
        "objectClass: ldapPublicKey",
        "objectClass: extensibleObject",
        f"uid: {uid}",
        f"cn: {uid}",
        "sn: Example",
    ]
    if password is not None:
        lines.append(f"userPassword: {_salted_sha(password)}")
    return "\n".join([*lines, *extra]) + "\n"


def group(name: str, *members: str) -> str:
    """The LDIF of one groupOfNames of account names."""
    lines = [f"dn: cn={name},{GROUPS}", "objectClass: groupOfNames", f"cn: {name}"]
    return "\n".join([*lines, *(f"member: uid={member},{PEOPLE}" for member in members)]) + "\n"


def nested(name: str, *lines: str, base: str = GROUPS) -> str:
    """The LDIF of one groupOfNames, below another entry if need be; a line without a colon is a member's DN."""
    head = [
        f"dn: cn={name},{base}",
        "objectClass: groupOfNames",
        "objectClass: extensibleObject",
        f"cn: {name}",
    ]
    return "\n".join([*head, *(line if ": " in line else f"member: {line}" for line in lines)]) + "\n"


def _salted_sha(password: str) -> str:
    salt = os.urandom(8)
    digest = hashlib.sha1(password.encode() + salt).digest()
    return "{SSHA}" + base64.b64encode(digest + salt).decode()


def _base_tree() -> list[str]:
    units = [f"dn: ou={unit},{SUFFIX}\nobjectClass: organizationalUnit\nou: {unit}\n"
             for unit in ("people", "groups", "services")]  # fmt: skip
    return [
        f"dn: {SUFFIX}\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: example\n",
        *units,
        f"dn: {READER}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: reader\n"
        f"userPassword: {_salted_sha(READER_PASSWORD)}\n",
    ]


class Slapd:
    """One server. `start`, `stop` and `start` again keep the ports and the data."""

    def __init__(
        self,
        entries: list[str],
        extra_config: str = "",
        *,
        server_config: str = "",
        days: int = 1,
        tls: bool = True,
        subject_only: bool = False,
    ) -> None:
        """`server_config`: lines before those of the database. `days`: how long the certificate is valid; negative for
        one that has expired. `subject_only`: it shows its name in the subject and nowhere else."""
        self._tls = tls
        self._folder = Path(tempfile.mkdtemp(prefix="bastion-slapd-"))
        self._extra_config, self._server_config = extra_config, server_config
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self.port, self.tls_port = free_ports(2)
        self.authority = Authority(self._folder / "pki")
        self._server_files = self.authority.issue(
            SERVER_NAME,
            *(() if subject_only else ("localhost", LOOPBACK)),
            days=days,
            subject_only=subject_only,
        )
        try:
            self._prepare([*_base_tree(), *entries])
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    @property
    def url(self) -> str:
        return f"ldap://{LOOPBACK}:{self.port}"

    @property
    def tls_url(self) -> str:
        return f"ldaps://{LOOPBACK}:{self.tls_port}"

    @property
    def lines(self) -> list[str]:
        """What slapd has written to its log so far."""
        with self._changed:
            return list(self._lines)

    def binds(self, dn: str) -> int:
        """How many bind requests with this DN have arrived since `forget`."""
        return sum(f'BIND dn="{dn}" method' in line for line in self.lines)

    def forget(self) -> None:
        """Empty the log, so that a test counts only what it caused.

        What a test before caused may not have been read yet: a mark is waited for that stands behind it.
        """
        if self._process is not None:
            mark = f"cn=mark{time.monotonic_ns()}"
            subprocess.run(
                ["ldapwhoami", "-x", "-H", self.url, "-D", mark, "-w", "x"], capture_output=True, timeout=60
            )
            connection = self.wait_for(f'BIND dn="{mark}"').partition("conn=")[2].split()[0]
            self.wait_for(rf"conn={connection} fd=\d+ closed")
        with self._changed:
            self._lines.clear()

    def wait_for(self, pattern: str, timeout: float = START_TIMEOUT) -> str:
        """The first log line that matches, waiting for it if need be."""
        give_up_at = time.monotonic() + timeout
        with self._changed:
            while True:
                for line in self._lines:
                    if re.search(pattern, line):
                        return line
                left = give_up_at - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise TimeoutError(
                        f"slapd never wrote {pattern!r}; it wrote:\n" + "".join(self._lines[-20:])
                    )

    def start(self) -> None:
        """Start and wait until it serves. The first start may move to other ports when these were taken."""
        for attempt in range(3):
            self._spawn()
            try:
                self.wait_for("slapd starting")
                # It says so after bind(2) and before listen(2).
                for port in (self.port, self.tls_port) if self._tls else (self.port,):
                    wait_until_listening(port)
                return
            except TimeoutError:
                self.stop()
                if attempt == 2:
                    raise
                self.port, self.tls_port = free_ports(2)

    def stop(self) -> None:
        """End the process and wait for it; harmless when it is not running."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """The crash: SIGKILL."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """Stop and remove the folder."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def change(self, ldif: str) -> None:
        """Apply LDIF changes (`changetype: add`, `modify`, `delete`) as the administrator."""
        subprocess.run(
            ["ldapmodify", "-x", "-H", self.url, "-D", ROOT, "-w", ROOT_PASSWORD],
            input=ldif,
            text=True,
            capture_output=True,
            timeout=STOP_TIMEOUT,
            check=True,
        )

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT)
        if self._reader is not None:
            self._reader.join(STOP_TIMEOUT)
        assert process.stderr is not None
        process.stderr.close()

    def _spawn(self) -> None:
        self.forget()
        urls = f"{self.url} {self.tls_url}" if self._tls else self.url
        self._process = subprocess.Popen(
            [
                "slapd",
                "-f",
                str(self._folder / "slapd.conf"),
                "-d",
                "stats",
                "-h",
                urls,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()

    def _prepare(self, entries: list[str]) -> None:
        (self._folder / "data").mkdir(mode=0o700)
        (self._folder / "slapd.conf").write_text(self._config())
        # Active Directory compares these; the schema that slapd has for it forgets to say so.
        schema = Path("/etc/ldap/schema/msuser.schema").read_text()
        rules = dict.fromkeys(("userPrincipalName", "sAMAccountName"), "caseIgnoreMatch")
        rules["objectSid"] = "octetStringMatch"
        for name, rule in rules.items():
            schema = schema.replace(f"NAME '{name}'", f"NAME '{name}' EQUALITY {rule}", 1)
        (self._folder / "msuser.schema").write_text(schema)
        # slapadd takes operational attributes (pwdAccountLockedTime, memberOf), which a client may not write.
        done = subprocess.run(
            ["slapadd", "-q", "-f", str(self._folder / "slapd.conf")],
            input="\n".join(entries),
            text=True,
            capture_output=True,
            timeout=START_TIMEOUT,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"slapadd failed:\n{done.stderr}")

    def _config(self) -> str:
        schemas = "\n".join(
            f"include /etc/ldap/schema/{name}.schema"
            for name in ("core", "cosine", "nis", "inetorgperson", "dsee")
        )
        tls = (
            f"TLSCertificateFile {self._server_files.certificate}\n"
            f"TLSCertificateKeyFile {self._server_files.key}\n"
            f"TLSCACertificateFile {self.authority.certificate}"
        )
        return f"""
{schemas}
include {self._folder}/msuser.schema
include {SCHEMA}
# Built into 389 Directory Server, unknown to slapd.
attributetype ( 2.16.840.1.113730.3.1.610 NAME 'nsAccountLock' EQUALITY caseIgnoreMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 2.16.840.1.113730.3.1.91 NAME 'passwordExpirationTime'
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.24 SINGLE-VALUE )
attributetype ( 2.16.840.1.113730.3.1.95 NAME 'accountUnlockTime'
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.24 SINGLE-VALUE )
# FreeIPA's, by names and syntax; the numbers are of RFC 4520's arc for experiments.
attributetype ( 1.3.6.1.4.1.4203.666.99.1 NAME 'krbPrincipalExpiration'
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.24 SINGLE-VALUE )
attributetype ( 1.3.6.1.4.1.4203.666.99.2 NAME 'krbPasswordExpiration'
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.24 SINGLE-VALUE )
attributetype ( 1.3.6.1.4.1.4203.666.99.3 NAME 'ipaSshPubKey' EQUALITY octetStringMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 )
attributetype ( 1.3.6.1.4.1.4203.666.99.4 NAME 'ipaUniqueID' EQUALITY caseIgnoreMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
pidfile {self._folder}/slapd.pid
argsfile {self._folder}/slapd.args
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload ppolicy
{tls if self._tls else ""}
threads 8
{self._server_config}
database mdb
suffix "{SUFFIX}"
rootdn "{ROOT}"
rootpw {ROOT_PASSWORD}
directory {self._folder}/data
maxsize 16777216
index objectClass,uid,member,memberUid eq
overlay ppolicy
{self._extra_config}
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{READER}" read by self read by * none
"""
