"""The world of `make run` (L4): a directory, authorities, a target and a gateway on loopback, to try everything on.

What it is for: a newcomer pastes the printed commands and sees a session recorded, replayed and explained, without an
sshd, an LDAP server or a right on the machine. The gateway in it is `bastion serve` with a configuration of its own.

Invariants: it listens on loopback only; everything lies in one folder, is made new each time and is gone at the end,
with every process it started, also when it is killed; nothing in it is a secret of anybody, and nothing in the
gateway knows that it is a demo.

May import: every layer below, `cli` (one way to fail), and Conch's server side, which only the demo's target uses.

- `files`: keys, certificates, users, inventory, policy and configuration
- `target`: a small SSH server with a real shell that trusts the demo's upstream CA
- `world`: `bastion demo`: starts it all, prints what to paste, ends it all
"""
