"""Sftp channels as they pass (L1, pure; draft-ietf-secsh-filexfer-02): followed, and where a rule says so controlled.

What it is for: followed, every byte goes on unchanged and at once, and events tell which files were read and written,
with a SHA-256 of those that passed whole. Controlled, each request is judged before any of it reaches the target, and
a refused one is answered here with "permission denied".

Invariants: no more than the head of a packet is ever held; a digest that is told is that of the whole file; what cannot
be followed passes as a plain channel where nothing restricts it, and ends the session where something does.

May import: the rest of `relay`, `wire.sftp`, and of `policy` what judges paths (`policy.sftp`).

- `stream`: cuts the bytes of one direction into packets, heads and bodies
- `packets`: reads the heads: requests of the client, answers of the target
- `audit`: pairs requests with answers, knows the open files, tells the events
- `files`: one open file, what passed under its handle, and its digest
- `channel`: a channel that is followed and not changed (`channels.Content`)
- `rights`: what policy says to each request
- `control`: a channel under a rule: refuses, answers in between, gives windows back
"""
