"""The `bastion` command: a table of subcommands, each loaded only when it is asked for.

Exit codes, the same for every subcommand: 0 done, 1 the answer is no (refused, not found, check failed),
2 the call or a file is wrong, 3 the thing asked of is not there (gateway not running, target not reachable).
"""

from __future__ import annotations

import importlib
import sys
from contextlib import nullcontext

import click

from bastion import __version__
from bastion.loading import loading

# name -> (module:attribute, one line of help). The help stands here so that `bastion --help` imports nothing.
COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("bastion.cli.init:init", "make a gateway: keys, configuration, folders"),
    "serve": ("bastion.serving:serve", "run the gateway"),
    "check": ("bastion.cli.check:check", "validate config and policy"),
    "doctor": ("bastion.cli.doctor:doctor", "say what is wrong around a gateway, and what to type"),
    "why": ("bastion.cli.why:why", "explain whether somebody may reach a target"),
    "access": ("bastion.cli.access:access", "list who can reach what, for a review"),
    "inventory": ("bastion.cli.inventory:inventory", "list targets and who says so, ask inventories"),
    "services": ("bastion.cli.services:services", "list accounts of programs, and which end soon"),
    "policy": ("bastion.cli.policy:policy", "compare a policy with what it should answer"),
    "explain": ("bastion.cli.explain:explain", "tell the full story behind a reference"),
    "alerts": ("bastion.cli.alerts:alerts", "what in the audit log somebody should look at"),
    "status": ("bastion.cli.status:status", "how the running gateway is"),
    "live": ("bastion.cli.live:live", "who is here now"),
    "kill": ("bastion.cli.live:kill", "end sessions, tunnels and connections"),
    "watch": ("bastion.cli.watch:watch", "watch a session as it happens"),
    "lock": ("bastion.cli.lock:lock", "take a user, target, certificate or source out of service"),
    "locks": ("bastion.cli.lock:locks", "what is locked"),
    "unlock": ("bastion.cli.lock:unlock", "take a lock away"),
    "requests": ("bastion.cli.requests:requests", "what waits for an approval"),
    "approve": ("bastion.cli.requests:approve", "let somebody's request come true"),
    "deny": ("bastion.cli.requests:deny", "say no to somebody's request"),
    "break-glass": ("bastion.cli.break_glass:break_glass", "accounts for emergencies: open, close and look"),
    "totp": ("bastion.cli.totp:totp", "second factors: make, list and take away"),
    "certificates": (
        "bastion.cli.certificates:certificates",
        "those issued to people who had logged in",
    ),
    "keys-of": ("bastion.cli.keys_of:keys_of", "what somebody may log in with"),
    "penalties": ("bastion.cli.status:penalties", "who must wait after failed logins"),
    "reload": ("bastion.cli.reload:reload", "let the gateway read its configuration again"),
    "upgrade": ("bastion.cli.upgrade:upgrade", "hand over to another version, cutting nobody"),
    "log-level": ("bastion.cli.status:log_level", "let the operator's log tell more or less"),
    "sessions": ("bastion.cli.sessions:sessions", "list recorded and live sessions"),
    "commands": ("bastion.cli.commands:commands", "who ran what, where"),
    "index": ("bastion.cli.index:index", "read recordings into an index to search in"),
    "search": ("bastion.cli.search:search", "find what was shown in recordings"),
    "searches": ("bastion.console.nightly:searches", "run saved searches, post what is new"),
    "console": ("bastion.console.command:console", "serve the review console to browsers"),
    "console-token": ("bastion.console.token_command:console_token", "API tokens of the review console"),
    "replay": ("bastion.cli.replay:replay", "play a session in this terminal"),
    "export": ("bastion.cli.export:export", "write a session as asciicast, page, text or json"),
    "evidence": ("bastion.cli.evidence:evidence", "bundle a session with its proof and who has looked"),
    "verify": ("bastion.cli.verify:verify", "prove that recordings are what was written"),
    "audit": ("bastion.cli.audit:audit", "prove that the audit log is what was written"),
    "drill": ("bastion.cli.drill:drill", "prove that an identity opens recordings"),
    "rewrap": ("bastion.cli.rewrap:rewrap", "let others open encrypted recordings, or fewer"),
    "prune": ("bastion.cli.prune:prune", "remove recordings that are kept no longer"),
    "hold": ("bastion.cli.holds:hold", "keep a recording whatever the rules say"),
    "unhold": ("bastion.cli.holds:unhold", "let the rules apply to it again"),
    "deletions": ("bastion.cli.deletions:deletions", "recordings that two people want gone"),
    "backup": ("bastion.cli.backup:backup", "back up configuration, keys and state, and restore them"),
    "adopt": ("bastion.cli.adopt:adopt", "end what a gateway that does not come back has left"),
    "state": ("bastion.cli.state:state", "migrate, check and rebuild the state store"),
    "target": ("bastion.cli.target:target", "scan, pin and test targets"),
    "target-config": ("bastion.cli.target_config:target_config", "print what a target's sshd needs"),
    "client-config": ("bastion.cli.client_config:client_config", "print what engineers' clients need"),
    "keys": ("bastion.cli.keys:keys", "list, rotate and back up the gateway's own keys"),
    "hash-password": ("bastion.cli.hash_password:hash_password", "make a hash for the embedded directory"),
    "demo": ("bastion.demo.world:demo", "run a small world on loopback"),
}


class LazyGroup(click.Group):
    """Imports a subcommand's module when it is called, so that `--help` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        with loading() if module not in sys.modules else nullcontext():
            command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bastion")
def cli() -> None:
    """An SSH gateway that records every session.

    Start with `bastion init DIR`, then `bastion serve --config DIR/bastion.toml`.
    """
