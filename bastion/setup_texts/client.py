"""What an engineer's client needs to use this gateway, as text that works when it is pasted (pure text).

`bastion client-config --for openssh` and `ssh bastion setup openssh` print the same. Invariant: the front host CA
is trusted for names and addresses of the inventory and for nothing else, never for `*`; nothing here is secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bastion.ca.host_certificates import InnerHostKeys, names_of
from bastion.policy.targets import Target
from bastion.setup_texts.certificate import ALIAS, renewing
from bastion.setup_texts.facts import Certificates, ClientFacts, ClientTarget, place
from bastion.setup_texts.putty import putty, winscp


def facts_for(
    inner_host_keys: InnerHostKeys,
    public: tuple[str, int],
    identity: str,
    targets: Iterable[tuple[Target, str]],
    certificates: Certificates | None = None,
) -> ClientFacts:
    """The facts for `targets`, each with the login to write down ("" = none). `public` is what engineers type."""
    ca = inner_host_keys.ca
    return ClientFacts(
        gateway=public[0],
        port=public[1],
        identity=identity,
        targets=tuple(target_facts(target, login) for target, login in targets),
        host_keys=inner_host_keys.front.publics,
        authorities=ca.publics if ca is not None else (),
        certificates=certificates,
    )


def target_facts(target: Target, login: str) -> ClientTarget:
    """What a client has to know of one target; `login` may be empty."""
    return ClientTarget(
        target.name, target.aliases, names_of(target), target.port, login, target.kind == "ssh"
    )


def text_for(facts: ClientFacts, form: str) -> str:
    """The lines for one client; `form` is one of `FORMS`, else KeyError."""
    return FORMS[form](facts)


# -- known_hosts ------------------------------------------------------------------------------------------------


def known_hosts(facts: ClientFacts) -> list[str]:
    """Lines for the gateway, and for its targets the authorities of each target, or the plain keys without a CA."""
    lines = [f"{place(facts.gateway, facts.port)} {key.line()}" for key in facts.host_keys]
    if not facts.authorities:
        return lines + plain_lines(facts)
    lines += [
        f"@cert-authority {_places(target)} {authority.line('bastion-front-host-ca')}"
        for target in facts.targets
        if target.recorded
        for authority in facts.authorities
    ]
    return lines


def plain_lines(facts: ClientFacts) -> list[str]:
    """The gateway's own keys under the names of each target, for clients that know no host certificates."""
    return [
        f"{_places(target)} {key.line()}"
        for target in facts.targets
        if target.recorded
        for key in facts.host_keys
    ]


def _places(target: ClientTarget) -> str:
    return ",".join(place(name, target.port) for name in target.names)


def _plain(facts: ClientFacts) -> str:
    gateway = [f"{place(facts.gateway, facts.port)} {key.line()}" for key in facts.host_keys]
    head = "# known_hosts lines for clients without host certificates: paramiko and others"
    return _text([head, *gateway, *plain_lines(facts)])


def _dropbear(facts: ClientFacts) -> str:
    """dbclient compares the whole first word with the host as it was typed: one name a line, and no port.

    Without ports the gateway is trusted as these hosts at any port, so these lines are for dbclient only.
    """
    names = [facts.gateway, *(name for target in facts.targets if target.recorded for name in target.names)]
    lines = [f"{name} {key.line()}" for name in dict.fromkeys(names) for key in facts.host_keys]
    return _text(["# ~/.ssh/known_hosts of dropbear's dbclient, which knows neither ports nor lists", *lines])


# -- OpenSSH and what reads its configuration -------------------------------------------------------------------


def _openssh(facts: ClientFacts) -> str:
    return _text(
        [
            "# Paste this into a shell; again when targets come or go. It writes ~/.ssh/bastion_known_hosts and",
            "# ~/.ssh/bastion_config, and one Include line at the top of ~/.ssh/config. Then: ssh "
            + (facts.targets[0].name if facts.targets else "bastion"),
            *_openssh_script(facts),
        ]
    )


def _openssh_script(facts: ClientFacts) -> list[str]:
    return [
        "mkdir -p -m 700 ~/.ssh",
        "cat >~/.ssh/bastion_known_hosts <<'END'",
        *known_hosts(facts),
        "END",
        "cat >~/.ssh/bastion_config <<'END'",
        *ssh_config(facts),
        "END",
        "touch ~/.ssh/config",
        "grep -q '^Include bastion_config' ~/.ssh/config || {",
        "    { echo 'Include bastion_config'; echo; cat ~/.ssh/config; } >~/.ssh/config.new",
        "    chmod 600 ~/.ssh/config.new && mv ~/.ssh/config.new ~/.ssh/config",
        "}",
    ]


def ssh_config(facts: ClientFacts) -> list[str]:
    """Host blocks: the gateway is called bastion, every target by its names."""
    lines = ["Host bastion", f"    HostName {facts.gateway}", f"    Port {facts.port}"]
    lines += [f"    User {facts.identity}"] if facts.identity else []
    for target in facts.targets:
        lines += ["", f"Host {' '.join((target.name, *target.aliases))}", f"    Port {target.port}"]
        lines += [f"    User {target.login}"] if target.login else []
        lines += ["    ProxyJump bastion"]
    lines += renewing(facts)
    names = [name for target in facts.targets for name in (target.name, *target.aliases)]
    gateways = ("bastion",) if facts.certificates is None else ("bastion", ALIAS)
    lines += [
        "",
        f"Host {' '.join((*gateways, *names))}",
        "    UserKnownHostsFile ~/.ssh/known_hosts ~/.ssh/bastion_known_hosts",
    ]
    return lines


def _ansible(facts: ClientFacts) -> str:
    return _text(ansible_lines(facts))


def ansible_lines(facts: ClientFacts) -> list[str]:
    """An inventory that needs no ssh_config, only the host keys."""
    user = f"{facts.identity}@" if facts.identity else ""
    lines = [
        "# inventory.ini for Ansible. Host keys: `ssh bastion setup openssh` first.",
        "[bastion_targets]",
    ]
    for target in facts.targets:
        login = f" ansible_user={target.login}" if target.login else ""
        lines.append(f"{target.name} ansible_port={target.port}{login}")
    proxy = f"{user}{place(facts.gateway, facts.port, brackets=False)}"
    common = f"-o ProxyJump={proxy} -o UserKnownHostsFile=~/.ssh/bastion_known_hosts"
    return [*lines, "", "[bastion_targets:vars]", f"ansible_ssh_common_args='{common}'"]


def _vscode(facts: ClientFacts) -> str:
    opens = [f"#   code --remote ssh-remote+{target.name} ." for target in facts.targets]
    return _text(
        [
            "# VS Code's Remote - SSH reads ~/.ssh/config. Paste this into a shell, then pick a host there, or:",
            *opens,
            *_openssh_script(facts),
        ]
    )


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


FORMS: dict[str, Callable[[ClientFacts], str]] = {
    "openssh": _openssh,
    "putty": putty,
    "winscp": winscp,
    "ansible": _ansible,
    "vscode": _vscode,
    "plain": _plain,
    "dropbear": _dropbear,
}
"""What `--for` takes, and `setup` in the lobby."""
