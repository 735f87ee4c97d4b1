"""What clients and targets need, as text that works when it is pasted (L2, pure text).

What it is for: `bastion client-config`, `bastion target-config` and the lobby's `setup` print these. There is one
function for each kind of client, and all of them are given the same facts.

Invariants: nothing in a text is secret; no authority is trusted for `*`, only for names of the inventory; what stands
in a text came from the configuration, never from a peer; the same facts give the same text.

May import: L0, `policy` (targets), and beside it `ca` (for which names host certificates are made). It reads no file
and asks nobody.

- `facts`: names, ports, keys and targets: what the texts are made of
- `client`: OpenSSH, VS Code, Ansible, plain known_hosts lines, dropbear
- `certificate`: how to get a certificate for a login, and lines that renew it
- `putty`: PuTTY's registry file and WinSCP's
- `sshfp`: the gateway's host keys as DNS records
- `target`: what an sshd needs: the CA it trusts, and limits that do not punish a gateway
"""
