"""SSH on the wire: what the bytes mean, and nothing of what is done about it.

Invariant: every byte is consumed, every length is checked before anything is allocated by it, and whatever a peer sends
raises `ProtocolError` and nothing else. Nothing here waits, keeps a connection's state beyond its packets and keys, or
decides who may do what. May import `bastion.errors` and `cryptography`; no Twisted, no clock, no I/O.

    data            the types of RFC 4251: `Reader`, and a writer for each
    numbers         message numbers, disconnect codes, open failures
    struct          messages as declarations: fields declared once, read and written by it
    messages        the connection protocol, 80-100
    body            what bodies of requests have in common, and how they are told to people
    requests        bodies of requests and opens, the tables that name them, `parse_body`
    forwards        those bodies that carry other connections
    fates           what becomes of each field that crosses
    userauth        service requests and user authentication
    sftp            packets of sftp, as far as they are followed
    packets         frames in and out, with or without a cipher
    ciphers         cipher and MAC suites
    legacy          names of what only a target may list
    kexinit         version lines, KEXINIT, negotiation
    kex             the exchange: its messages, its hash, the keys that come of it
    key_agreement   the mathematics of it
    keys            public and private keys, signatures
    certificates    OpenSSH's certificates
    krl             OpenSSH's lists of revoked keys
    security_keys   signatures of FIDO2 keys, and what is said in them
    key_options     what stands before a key in authorized_keys
    proxy_header    what a load balancer says before the first byte (the PROXY protocol)
    printable       peer text made safe to show
    interning       values that many connections have in common, kept once
"""
