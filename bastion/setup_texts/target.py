"""What a target's sshd needs to work behind the gateway, as text to paste (L2, pure text)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from bastion.wire.keys import PublicKey

CA_FILE = "/etc/ssh/bastion_upstream_ca.pub"
CONFIG_FOLDER = "/etc/ssh/sshd_config.d"
CONFIG_FILE = f"{CONFIG_FOLDER}/bastion.conf"
MAIN_FILE = "/etc/ssh/sshd_config"
PENALTIES_SINCE = (9, 8)
"""sshd versions below do not know PerSourcePenaltyExemptList and refuse to start with it."""

MAX_SESSIONS = 128
"""Channels per connection that the gateway lets through (`relay.limits.MAX_CHANNELS`)."""

MAX_STARTUPS = "100:30:1000"
"""sshd's default of 10:30:100 counts per daemon, and all engineers come from the gateway at once."""


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """What is known of the gateway and of the target's sshd. `version` None = unknown.

    `upstream_cas` are two keys while one takes the other's place.
    """

    upstream_cas: tuple[PublicKey, ...]
    egress_addresses: Collection[str] = ()
    version: tuple[int, int] | None = None
    principals_file: str = ""


def target_config(facts: TargetFacts) -> str:
    """Shell and sshd_config lines, commented, in the order in which an administrator does them."""
    sources = ",".join(facts.egress_addresses)
    parts = [
        *_authorities(facts.upstream_cas),
        "",
        "# 2. In /etc/ssh/sshd_config, above the first Match block:",
        f"TrustedUserCAKeys {CA_FILE}",
        *_principals(facts.principals_file),
        f"MaxStartups {MAX_STARTUPS}",
        *_penalties(facts, sources),
        *_sessions(sources),
        "",
        "# 3. Check and reload: sshd -t && systemctl reload ssh",
        "#    Its log then shows each login with the engineer and the session: ID alice k3v2m5q7p2r4t6w8",
    ]
    return "\n".join(parts) + "\n"


def target_script(facts: TargetFacts) -> str:
    """The same as a script for the target's root: it may run twice, and reloads sshd only when that accepts it."""
    sources = ",".join(facts.egress_addresses)
    lines = [f"TrustedUserCAKeys {CA_FILE}", f"MaxStartups {MAX_STARTUPS}"]
    if facts.principals_file:
        lines.append(f"AuthorizedPrincipalsFile {facts.principals_file}")
    penalties = f"PerSourcePenaltyExemptList {sources}"
    # Below a Match line nothing else may stand, so what only some versions know comes before it.
    newer = (
        [f"if sshd -t -o '{penalties}' 2>/dev/null; then echo '{penalties}' >> {CONFIG_FILE}; fi"]
        if sources
        else []
    )
    return (
        "\n".join(
            (
                "# For root on the target: trust the gateway's upstream CA.",
                "set -e",
                f"cat > {CA_FILE} <<'END'",
                *(key.line("bastion-upstream-ca") for key in facts.upstream_cas),
                "END",
                f"mkdir -p {CONFIG_FOLDER}",
                f"cat > {CONFIG_FILE} <<'END'",
                *lines,
                "END",
                *newer,
                f"cat >> {CONFIG_FILE} <<'END'",
                *(line for line in _sessions(sources) if line and not line.startswith("#")),
                "END",
                f"grep -qi '^ *Include  *{CONFIG_FOLDER}/' {MAIN_FILE} ||",
                f"    sed -i '1i Include {CONFIG_FOLDER}/*.conf' {MAIN_FILE}",
                "sshd -t",
                "systemctl reload ssh 2>/dev/null || systemctl reload sshd 2>/dev/null || "
                'kill -HUP "$(cat /run/sshd.pid)"',
            )
        )
        + "\n"
    )


def _authorities(keys: tuple[PublicKey, ...]) -> list[str]:
    lines = [f"#    {key.line('bastion-upstream-ca')}" for key in keys]
    if len(keys) == 1:
        return [f"# 1. The gateway's upstream CA, public half, in {CA_FILE}:", *lines]
    head = f"# 1. The gateway's upstream CA, public halves, in {CA_FILE}."
    return [head, "#    A new key is taking the old one's place, so both lines for now:", *lines]


def _principals(path: str) -> list[str]:
    if path:
        return [
            "# The accounts' lists of principals; a certificate's one principal is the account's name.",
            f"AuthorizedPrincipalsFile {path}",
        ]
    return [
        "# Without AuthorizedPrincipalsFile a certificate logs in to the account that is its principal,",
        "# which is what the gateway writes. If the option is set, each list must hold the account's name.",
    ]


def _penalties(facts: TargetFacts, sources: str) -> list[str]:
    if facts.version is not None and facts.version < PENALTIES_SINCE:
        return []
    if not sources:
        return ["# OpenSSH 9.8 and later: PerSourcePenaltyExemptList <the gateway's addresses>"]
    line = f"PerSourcePenaltyExemptList {sources}"
    if facts.version is None:
        return [
            "# All engineers share the gateway's addresses: one failing login must not shut out the others.",
            "# Only for OpenSSH 9.8 and later (older ones refuse the option); see: ssh -V",
            f"#{line}",
        ]
    return [
        "# All engineers share the gateway's addresses: one failing login must not shut out the others.",
        line,
    ]


def _sessions(sources: str) -> list[str]:
    if not sources:
        return [f"MaxSessions {MAX_SESSIONS}"]
    return [
        "",
        "# At the end of the file:",
        f"Match Address {sources}",
        f"    MaxSessions {MAX_SESSIONS}",
    ]
