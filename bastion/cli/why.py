"""`bastion why`: make a decision of the policy and say what made it (L4)."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from bastion.assembly.building import build_directory
from bastion.auth.directory import STATE_REASONS
from bastion.auth.embedded import load_users
from bastion.auth.identity import LOGIN_NAME, Account, Identity, group_form
from bastion.auth.restrictions import Restrictions
from bastion.cli import moments
from bastion.cli.output import colour, fail, printable, time_text, write_json
from bastion.cli.runtime import RunInReactor
from bastion.cli.versions import AtThatTime, judging_at
from bastion.clock import SystemClock
from bastion.config.load import Config, load
from bastion.errors import AuthReason, ConfigError, Refused
from bastion.options.kinds import show_seconds
from bastion.policy.explain import Explanation, explain, explain_tunnel
from bastion.policy.grant import Grant
from bastion.policy.roads import road_of
from bastion.policy.rules import Policy
from bastion.policy.targets import Inventory
from bastion.policy.tunnel import TunnelGrant

JSON = dict[str, Any]

# Where the groups of an account come from that was only described.
NOT_ASKED = "--groups; no directory was asked whether there is such a user"


@click.command()
@click.argument("user")
@click.argument("target")
@click.argument("login", required=False)
@click.option("--config", "-c", "config_path", required=True, help="The configuration file.")
@click.option("--groups", help="Groups to decide with, separated by commas, instead of asking the directory.")
@click.option("--source", default="", help="Address that the engineer comes from.")
@click.option(
    "--verified", is_flag=True, help="A security key has verified its owner (rules with `require_verify`)."
)
@click.option("--at", "moment", metavar="WHEN", help=f"Judge by what was in force then: {moments.FORMS}.")
@click.option("--json", "as_json", is_flag=True, help="Write the answer as one JSON object.")
@click.pass_obj
def why(
    run: RunInReactor | None,
    user: str,
    target: str,
    login: str | None,
    config_path: str,
    groups: str | None,
    source: str,
    verified: bool,
    moment: str | None,
    as_json: bool,
) -> None:
    """Explain whether USER may reach TARGET as LOGIN, rule by rule.

    TARGET may be HOST:PORT: then the question is whether USER may tunnel there.

    Groups come from the directory, or from --groups. A restriction that a certificate or key carries is not
    known here and could still take something away. Without --source, a rule that has `sources` does not match, and
    the answer says from where it would.

    With --at, the policy and the inventory are those that were in force on this gateway at that time (`bastion policy
    versions`); groups are those of now, unless --groups says those of then.

    \b
    Exit codes: 0 allowed, 1 refused, no such user, or no policy is known of that time, 2 the call or a file is wrong,
    3 the directory or the state store does not answer.

    Example: bastion why alice web1 deploy --config /etc/bastion/bastion.toml
    """
    try:
        config = load(config_path)
    except ConfigError as error:
        fail(str(error))
    if not LOGIN_NAME.match(user):
        fail(f"{user!r} is not a user name: lower-case letters, digits and . _ -")
    now = SystemClock().time()
    now = now if moment is None else moments.at(moment, now)
    then = None if moment is None else judging_at(Path(config_path), now)
    by = (config.rules, config.inventory) if then is None else (then.rules, then.inventory)
    identity = _logged_in(account_of(config, user, groups, run), source, verified, now)
    answer = _answer(by, identity, target, login, source, now)
    if as_json:
        write_json(_as_json(identity, target, login, answer, now) | _as_of(then, now))
    else:
        if then is not None:
            click.echo(printable(f"as of {time_text(now)}: {then.sentence}"))
        _print(identity, answer, now)
    sys.exit(0 if answer.allowed else 1)


def _answer(
    by: tuple[Policy, Inventory], identity: Identity, target: str, login: str | None, source: str, now: float
) -> Explanation:
    place = _place_of(target)
    if place is None:
        return explain(*by, identity, target, login, source, now)
    if login is not None:
        fail("a tunnel has no login")
    return explain_tunnel(*by, identity, *place, source, now)


def _as_of(then: AtThatTime | None, now: float) -> JSON:
    return {} if then is None else {"at": now, "policy": asdict(then.load)}


def account_of(config: Config, user: str, groups: str | None, run: RunInReactor | None) -> Account:
    """The account as a login would find it, or as `groups` describe it without anybody being asked."""
    return _lookup(config, user, run) if groups is None else _described(user, groups)


def _logged_in(account: Account, source: str, verified: bool, now: float) -> Identity:
    """Whoever has this account, after a login just now that brought no restrictions."""
    name, uid, groups, kept = account.name, account.uid, account.groups, account.source
    service = account.service
    limits = Restrictions() if service is None else service.restrictions
    return Identity(
        name,
        uid,
        groups,
        kept,
        (),
        None,
        source,
        limits,
        now,
        user_verified=verified,
        service=service is not None,
        only_targets=account.only_targets,
    )


def _place_of(target: str) -> tuple[str, int] | None:
    """`HOST:PORT`, which no target is called; None for a target's name."""
    host, colon, port = target.rpartition(":")
    if not colon:
        return None
    if not host or not port.isascii() or not port.isdecimal() or len(port) > 5:
        fail(f"{target!r} is neither a target nor HOST:PORT")
    return host, int(port)


def _described(user: str, groups: str) -> Account:
    """An account with these groups, whether there is one or not."""
    return Account(user, "", frozenset(filter(None, map(group_form, groups.split(",")))), source=NOT_ASKED)


def _lookup(config: Config, user: str, run: RunInReactor | None) -> Account:
    """The account as a login would find it. `run` gives a reactor to a directory that needs one."""
    embedded = config.directory.embedded
    try:
        users = load_users(embedded) if embedded is not None else {}
        if user in users:
            return users[user].account()
        if config.directory.ldap is None:
            fail(
                f"unknown user: the embedded directory has no user {user!r}; use --groups to ask for others",
                1,
            )
        if run is None:
            fail(f"the embedded directory has no user {user!r}, and LDAP was not asked: use --groups", 3)
        found = run(lambda reactor: _ask(config, user, reactor))
    except ConfigError as error:
        fail(str(error))
    except Refused as refused:
        if refused.reason is AuthReason.UNKNOWN_USER:
            fail(f"unknown user: neither the embedded directory nor LDAP has a user {user!r}", 1)
        if refused.reason in STATE_REASONS.values():
            fail(f"LDAP has the user {user!r}, who may not log in: {refused.reason}", 1)
        fail(f"LDAP has not answered, so nothing is known of {user!r}: {refused.text} ({refused.reason})", 3)
    assert isinstance(found, Account)
    return found


def _ask(config: Config, user: str, reactor: Any) -> Any:
    directory = build_directory(
        config, None, reactor, SystemClock(), None
    )  # LDAP: the file was asked already
    answer = directory.lookup(user)

    def close(result: Any) -> Any:
        directory.close()
        return result

    return answer.addBoth(close)


def _sftp(grant: Grant) -> dict[str, list[str]] | None:
    """Path patterns by sftp verb; None when nothing restricts sftp."""
    rights = grant.sftp
    if rights is None:
        return None
    return {verb: [pattern.text for pattern in patterns] for verb, patterns in rights.patterns.items()}


def _limits(grant: Grant, now: float) -> JSON:
    return {
        "max_duration": None if grant.ends_at is None else grant.ends_at - now,
        "idle": grant.idle,
    }


def _as_json(identity: Identity, target: str, login: str | None, answer: Explanation, now: float) -> JSON:
    grant = answer.grant
    return {
        "user": identity.name,
        "groups": sorted(identity.groups),
        "target": target,
        "login": login,
        "allowed": answer.allowed,
        "reason": str(answer.reason),
        "text": answer.text,
        "note": answer.note,
        "depends_on_source": list(answer.sources),
        "factors": list(answer.factors),
        "grant": None
        if grant is None
        else {
            "target": grant.target.name,
            "address": grant.target.address,
            "via": [hop.name for hop in road_of(grant.inventory, grant.target)],
            "login": grant.login,
            "verbs": dict(grant.granted_by),
            "env": list(grant.env),
            "sftp": _sftp(grant),
            "rules": list(grant.rules),
            **_limits(grant, now),
        },
        "tunnel": None
        if answer.tunnel is None
        else {
            "host": answer.tunnel.host,
            "port": answer.tunnel.port,
            "rules": [rule.name for rule in answer.tunnel.by_text],
            "by_address": [rule.name for rule in answer.tunnel.by_address],
            "max_duration": None if answer.tunnel.ends_at is None else answer.tunnel.ends_at - now,
        },
        "rules": [
            {
                "rule": trace.rule,
                "origin": trace.origin,
                "matched": trace.matched,
                "conditions": [
                    {"what": condition.what, "holds": condition.holds, "detail": condition.detail}
                    for condition in trace.conditions
                ],
            }
            for trace in answer.traces
        ],
    }


def _print(identity: Identity, answer: Explanation, now: float) -> None:
    word = colour("allowed", "green", bold=True) if answer.allowed else colour("refused", "red", bold=True)
    if answer.sources and not answer.allowed:
        word = colour("depends on the source", "yellow", bold=True)
        click.echo(f"{word}: from {', '.join(answer.sources)} more rules match; from anywhere else refused:")
        click.echo(f"  {printable(answer.text)} ({answer.reason})")
    else:
        click.echo(f"{word}: {printable(answer.text)} ({answer.reason})")
        if answer.sources:
            click.echo(f"  from {', '.join(answer.sources)} more rules match, which may allow more")
    if answer.sources:
        click.echo("  --source ADDRESS asks for one address")
    groups = ", ".join(sorted(identity.groups)) or "none"
    click.echo(f"  groups of {identity.name} ({identity.source}): {printable(groups)}")
    if answer.factors:
        click.echo(
            f"  needs {', '.join(answer.factors)}: of the login; a code or password is asked for otherwise"
        )
    if answer.note:
        click.echo(f"  {printable(answer.note)}")
    if answer.grant is not None:
        _print_grant(answer.grant, now)
    if answer.tunnel is not None:
        _print_tunnel(answer.tunnel, now)
    for trace in answer.traces:
        sign = "matches" if trace.matched else "does not match"
        click.echo(f"rule {trace.rule} ({printable(trace.origin)}) {sign}")
        for condition in trace.conditions:
            mark = colour("+", "green") if condition.holds else colour("-", "red")
            click.echo(f"  {mark} {condition.what}: {printable(condition.detail)}")


def _print_tunnel(tunnel: TunnelGrant, now: float) -> None:
    if tunnel.target is not None:
        click.echo(f"  {tunnel.target.name} is a gateway and records itself")
    if tunnel.ends_at is not None:
        click.echo(f"  ends after {show_seconds(tunnel.ends_at - now)}")
    click.echo("  the addresses that the name resolves to are judged when it is dialled")


def _print_grant(grant: Grant, now: float) -> None:
    road = " -> ".join(hop.name for hop in road_of(grant.inventory, grant.target))
    click.echo(f"  {grant.target.name} is {grant.target.address}{road and f', reached through {road}'}")
    for verb, rule in grant.granted_by.items():
        click.echo(f"  {verb} by rule {rule}")
    for verb, paths in (_sftp(grant) or {}).items():
        click.echo(f"  sftp: {verb} {', '.join(paths)}")
    if grant.ends_at is not None:
        click.echo(f"  ends after {show_seconds(grant.ends_at - now)}")
    if grant.idle is not None:
        click.echo(f"  ends when silent for {show_seconds(grant.idle)}")
