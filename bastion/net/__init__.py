"""Sockets, the reactor, names and addresses (L2): how bytes get in and out of this process, and in which order.

What it is for: reading much and writing at once without copying, strangers behind engineers, and a look-up or a
connection that is paid for, bounded and judged before it is made.

Invariants: an address is connected to only after its `judge` has let it pass, and nothing is resolved twice; what
has not logged in is read behind what has; nothing waits without a limit and a deadline; Twisted's private names are
used here and in no other room, and a Twisted without one of them is refused at the start.

May import: L0, L1 (who pays: `auth.budget`; what an address is: `policy.patterns`), Twisted, the system's own
modules. Only `app` and `__main__` install the reactor; everybody else is given it.

- `connect`: from a name to a connection: resolve once, judge every address, connect to one that was judged good
- `descriptors`: as many file descriptors as the system gives, and whether any are left
- `listening`: sockets that listen: opened here, or handed in by systemd
- `local_addresses`: which addresses and ports are the gateway's own
- `epoll`: Twisted's epoll reactor with monotonic time, cheap events and a background for strangers
- `notify`: what systemd is told, and its watchdog
- `posting`: one POST to a web server, in a thread
- `mailing`: one mail to a mail server
- `program`: a program whose input and output are a connection
- `reactor`: installs it, or another where there is no epoll
- `read_size`: how much one turn may read, so that a keystroke does not wait behind bulk
- `resolver`: names to addresses, in few threads shared fairly between payers
- `socket`: listening and connecting sockets that use one read buffer and send at once
- `tls`: TLS in front of the metrics page; `mutual_tls`: between gateways, each of which proves its name
- `tuning`: the C library's allocator
- `twisted_names`: the private names, and the check for them
- `urls`: URLs of servers that are asked or told, as values of options
"""
