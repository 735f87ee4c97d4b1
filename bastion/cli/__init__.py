"""The commands (L4): what operators and the security team type.

What it is for: each command is one module, named in `main.COMMANDS` and imported when it is called, so that
`bastion --help` and the commands on recordings start quickly. `bastion serve` is `app`'s, `bastion demo` is `demo`'s.

Invariants: text from a peer, a recording or a log never acts on the terminal it is shown on (`output.printable`,
`recording.screen`); exit codes mean the same everywhere: 0 done, 1 the answer is no, 2 the call or a file is wrong,
3 what was asked of is not there; what a command says of policy is what the gateway would decide (the same functions).

May import: every layer below; of this one `assembly` (`target` and `why` build what `serve` builds). No command
imports the reactor: those that need it get it as `ctx.obj` (`runtime`).

- `main`: the table of commands; `runtime`, `output`, `recordings`: what commands share; `auditing`: what they
  write into the audit log
- `init`, `init_questions`, `init_report`: a new gateway
- `doctor`: what is wrong around it
- `check`, `why`, `access`, `policy`: configuration and policy; `versions`: policies of before
- `services`: accounts of programs
- `inventory`: targets and who says so; inventories that are asked
- `control_client`: how commands speak to the running gateway
- `live`, `watch`, `lock`, `status`, `totp`, `break_glass`, `certificates`, `keys_of`, `requests`: they do
- `adopt`: what a gateway that does not come back has left
- `upgrade`, `reload`: they do too, and wait for another process or configuration
- `sessions`, `replay`, `export`: recordings; `indexed`: sessions from the index of the state store
- `playing`: a recording played, and what keys do; `offsets`: places in it as people give them
- `evidence`: a session in a bundle, with what proves it
- `index`, `search`: the reading index; `reading`: where it is
- `redaction`: which secrets are masked, and who may see them
- `moments`: times as people give them
- `ran`: what was run in a session; `commands`: all of it, searched; `lobby_calls`: the gateway's own commands
- `audit`: is the audit log what was written
- `verify`, `verify_ledger`, `verify_bucket`: are recordings what was written, and all there
- `drill`, `rewrap`: who can open them
- `prune`, `retaining`, `wanted`, `deletions`, `holds`: what goes, by rules or as two people want, and what stays
- `bucket`, `copies`: recordings that are there, found and fetched
- `progress`: how far a long command is
- `backup`: a whole gateway, sealed
- `state`: the state store itself; `stores`: what commands on it share; `ledger`: that of recordings after its loss
- `explain`: what the audit log knows about a reference; `advice`: what helps against a refusal
- `target`, `target_config`, `client_config`: hosts, and what both sides need
- `alerts`: what in it somebody should look at; `findings`: those that a gateway keeps, and mutes
- `keys`: `key_list`, `key_rotation` and `key_backup`, the gateway's own keys
- `hash_password`: a hash for the embedded directory
"""
