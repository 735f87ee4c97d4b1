"""How to get a certificate for a login, and what each client does with it (pure text)."""

from __future__ import annotations

from typing import Final

from bastion.setup_texts.facts import ClientFacts

FILE: Final = "~/.ssh/bastion_certificate.pub"
"""Where the lines for OpenSSH keep it: no name that OpenSSH takes for the certificate of a key beside it, since it
would be shown to the gateway when a new one is asked for."""

ALIAS: Final = "bastion-cert"
"""The host of the lines for OpenSSH that the certificate is asked of: the gateway, without a certificate."""

NO_CERTIFICATES: Final = "PubkeyAcceptedAlgorithms -*-cert-v01@openssh.com"

RENEWED_BEFORE: Final = 30
"""Minutes before its end at which a new one is fetched."""


def help_text(gateway: str, port: int, identity: str) -> str:
    """What `help cert` prints."""
    at = f"-p {port} " if port != 22 else ""
    plink = f"-P {port} " if port != 22 else ""
    cert = f"{at}{identity}@{gateway} cert"
    return f"""\
A certificate logs you in for some hours, and the code or touch of this login counts as long.
It is printed whole, or not at all with the reason on standard error and exit status 1.

OpenSSH, by itself from now on (setup prints more lines, and these):
  ssh {at}{identity}@{gateway} setup openssh

OpenSSH, once, for the key ~/.ssh/id_ed25519:
  ssh {cert} >~/.ssh/new-cert.pub && mv ~/.ssh/new-cert.pub ~/.ssh/id_ed25519-cert.pub
Another key (on Windows: type KEY.pub | ssh ...):
  ssh {at}{identity}@{gateway} cert - <~/.ssh/other.pub

PowerShell:
  $c = ssh {cert}; if ($?) {{ Set-Content -Encoding ascii "$HOME\\.ssh\\id_ed25519-cert.pub" $c }}

PuTTY (0.78 or newer; then Connection, SSH, Auth, Credentials: certificate to use with the private key):
  plink {plink}{identity}@{gateway} cert >bastion-cert.pub

An agent, macOS's too: with id_ed25519-cert.pub beside the key, ssh-add takes both
  ssh-add ~/.ssh/id_ed25519
A key that only an agent has (Secretive, 1Password, a token): a CertificateFile line for the host is enough.

Logged in with such a certificate you get no new one. Where your client shows it by itself:
  ssh -o {NO_CERTIFICATES.replace(" ", "=")} {cert}
"""


def renewing(facts: ClientFacts) -> list[str]:
    """Lines of ssh_config that fetch a certificate when there is none, or its end is near; none where none is
    issued."""
    if facts.certificates is None:
        return []
    minutes = max(facts.certificates.lifetime // 60 - RENEWED_BEFORE, facts.certificates.lifetime // 120)
    new = FILE.removesuffix(".pub") + ".new"
    fresh = f"find {FILE} -mmin -{minutes} 2>/dev/null | grep -q ."
    fetch = f"(umask 077; ssh {ALIAS} cert >{new}) && mv {new} {FILE}"
    lines = ["", f"Host {ALIAS}", f"    HostName {facts.gateway}", f"    Port {facts.port}"]
    lines += [f"    User {facts.identity}"] if facts.identity else []
    lines += [] if facts.certificates.by_certificate else [f"    {NO_CERTIFICATES}"]
    return [
        *lines,
        "    ControlPath none",
        "    ClearAllForwardings yes",
        "",
        "# Fetches a certificate when there is none, or its end is near. It asks what a login asks.",
        f"Match originalhost bastion exec \"sh -c '{fresh} || {{ {fetch}; }}'\"",
        f"    CertificateFile {FILE}",
    ]
