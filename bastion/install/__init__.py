"""What a gateway is made of on disk (L3): keys, configuration, accounts and folders, with their owners and modes.

What it is for: `bastion init` makes a gateway that `bastion check` accepts from a few answers, and the demo's world
has its authorities made by the same functions.

Invariants: nothing that exists is overwritten; everything is made beside its place and moved there when it is
whole, so that an error or a signal leaves either a gateway or nothing; a private key is never readable by others,
not even for a moment; the gateway's own user owns only what it writes, and its keys.

May import: the layers below.

- `answers`: what an operator decided, and reading it
- `authorities`: making keys and passwords
- `layout`: where everything is, who owns it, with which mode
- `gateway`: all of it, built in a stage
- `texts`: the files' contents, with the samples of `etc/` as examples
- `making`: staging and placing
- `units`: systemd's files, the service's user
- `program`: how this installation is called again
"""
