"""Targets (L2): reaching one, knowing that it is the one, logging in to it.

What it is for: from a Grant to an authenticated transport, with a credential made for this one login; and what
is known of targets besides: their host keys, and where their names lead.

Invariants: nothing is dialled without a Grant, and only at an address that was judged; a credential is made after
the host key was accepted, at each hop too; a refusal says which step failed, in words that hold nothing of the
target's own unless quoted; cancelling closes what was opened.

It may import L0, L1 and the rooms of its layer that a dial is made of: `net`, `transport`, `userauth`, `endpoint`,
`ca`, and the workers of `auth`. It knows no session.

    dial              one coroutine: resolve, connect, key exchange, host key, login, each step timed; through hops
    leg               one connection of it: key exchange, host key, login
    host_keys         what is known of host keys: known_hosts, pins, DNS
    credentials       what it logs in with: a certificate for one session, the target's own key, a password
    facts             what is known of a leg that stands, and why one could not
    keyscan           which host keys a host proves to have, without a login
    proxy             a program that leads to a target, from the list in the configuration
    sshfp             what DNS says of a target's host key, with DNSSEC
    target_addresses  where the names of targets lead: what a tunnel to a bare address is compared with
"""
