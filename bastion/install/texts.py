"""The contents of a new gateway's files (L3, text): every option with its help, the samples of `etc/` as comments."""

from __future__ import annotations

import json
import secrets
from importlib import resources

from bastion.config.render import render_sample
from bastion.install.answers import Answers
from bastion.install.layout import CONSOLE_USER, Layout

GROUP = "admins"
HOST_KEYS = ("ssh_host_ed25519_key", "ssh_host_rsa_key")


def data_text(*path: str) -> str:
    """A file of the folders that the package carries (`etc/` of the checkout)."""
    return resources.files("bastion").joinpath("data", *path).read_text(encoding="utf-8")


def config_text(answers: Answers, layout: Layout) -> str:
    """`bastion.toml`: the sample with what was answered."""
    return render_sample(
        {
            "listen.addresses": _toml([str(address) for address in answers.listen]),
            "listen.public": _toml(str(answers.public)),
            "host_keys.files": _toml([f"keys/{name}" for name in HOST_KEYS]),
            "login_ca.files": '["keys/login_ca.pub"]',
            "upstream_ca.key": '"keys/upstream_ca"',
            **({"upstream_ca.egress": _toml(list(answers.egress))} if answers.egress else {}),
            "front_host_ca.key": '"keys/front_host_ca"',
            "directory.embedded": '"users.toml"',
            "targets.known_hosts": '"known_hosts"',
            "recording.directory": _toml(layout.written(layout.recordings)),
            "recording.signing_key": '"keys/recording"',
            **({"recording.recipients": '"recipients.txt"'} if answers.recipients else {}),
            **({"metrics.listen": _toml(str(answers.metrics))} if answers.metrics else {}),
            "state.directory": _toml(layout.written(layout.state)),
            "control.socket": _toml(layout.written(layout.run / "control.sock")),
            "audit.file": _toml(layout.written(layout.log / "audit.jsonl")),
            **(_console(layout) if layout.console else {}),
        }
    )


def _console(layout: Layout) -> dict[str, str]:
    """For whom the first account is in; passwords alone, since there is no key of second factors yet."""
    return {
        "console.require": '[["password"]]',
        "console.admin_groups": _toml([GROUP]),
        "console.audit_file": _toml(str(layout.log.with_name(CONSOLE_USER) / "audit.jsonl")),
    }


def policy_text(answers: Answers) -> str:
    """`policy.toml`: one rule for the first account, and the sample's rules as comments."""
    logins = answers.logins or ("root",)
    return "\n".join(
        (
            "# Who may reach what. Nothing is allowed that no rule allows. All options are in docs/policy.md;",
            f"# `bastion why {answers.account} TARGET {logins[0]}` explains a decision.",
            "",
            "[[rule]]",
            f'name = "{GROUP}"',
            f'groups = ["{GROUP}"]',
            'targets = ["*"]',
            f"logins = {_toml(list(logins))}",
            'verbs = ["shell", "pty", "exec", "sftp", "env", "forward-local"]',
            "",
            "# Examples:",
            "",
            _commented(data_text("etc", "policy.toml").partition("\n\n")[2]),
        )
    )


def targets_text(answers: Answers) -> str:
    """`targets.toml`: the targets that were given, and the sample's as comments."""
    tables = [
        f"[targets.{_key(target.name)}]\nhost = {_toml(target.host)}\n"
        + (f"port = {target.port}\n" if target.port != 22 else "")
        for target in answers.targets
    ]
    return "\n".join(
        (
            "# The inventory: one table per machine. Every option is in docs/configuration.md.",
            "",
            *tables,
            "# Examples:",
            "",
            _commented(data_text("etc", "targets.toml").partition("\n\n")[2]),
        )
    )


def users_text(answers: Answers) -> str:
    """`users.toml`: the first account."""
    return f"""\
# Accounts that are asked before any LDAP directory, and log in while that is down. A password's hash comes from
# `bastion hash-password`; `keys = ["ssh-ed25519 AAAA..."]` lets a key log in. Other options: docs/configuration.md.

# The first account, for setting up and for breaking glass. Give engineers accounts of their own. Second factors and
# passkeys belong to the id, which nobody gets again.
[users.{_key(answers.account)}]
id = "{secrets.token_hex(8)}"
password = "{answers.password_hash}"
groups = ["{GROUP}"]
"""


def recipients_text(answers: Answers) -> str:
    """`recipients.txt`: who shall be able to open recordings."""
    lines = "".join(f"{recipient}\n" for recipient in answers.recipients)
    return f"""\
# age recipients, one a line: who shall be able to open recordings (age-keygen makes a pair; keep its secret half off
# this machine). Two or more: what is encrypted to a lost identity is lost. Recordings are encrypted while
# recording.recipients in bastion.toml names this file.
{lines}"""


KNOWN_HOSTS = """\
# Host keys of targets, as OpenSSH writes them; `bastion target pin` adds to it. The host CA of your targets, when you
# have one, goes here by hand: @cert-authority *.example.com ssh-ed25519 AAAA...
"""


def _commented(text: str) -> str:
    """Each line as a comment, once: what is one already stays as it is."""
    lines = (line if not line or line.startswith("#") else f"# {line}" for line in text.splitlines())
    return "\n".join(lines) + "\n"


def _toml(value: str | list[str]) -> str:
    """JSON's strings and lists of them are TOML's."""
    return json.dumps(value, ensure_ascii=False)


def _key(name: str) -> str:
    """A name as a key of a table: quoted when it has a dot."""
    return _toml(name) if "." in name else name
