"""Keys and authorities (L2): what the gateway signs with, and whose host keys it believes.

What it is for: the upstream CA makes a certificate for each session, the front host CA one for each target's names;
known_hosts says which host key a target has; private keys are read from files, passwords from files and programs.

Invariants: a certificate never exceeds the login that asked for it, nor a host certificate the inventory's names;
nothing is trusted on first use, and a line that cannot be read is an error; a private key that others can read is
refused; nothing of a secret is in an error. The four authorities are never the same key (`config.authorities` looks).

It may import L0, L1 (`auth.certificates`, `auth.restrictions`, `policy.targets`), `auth.workers`, `transport.settings`,
`pyrage` and `cryptography`. What blocks (`secrets`, `agent`, `pins`, `rotation`, `backup`) says so, and is called in a
thread or by a command.

    keys               private key files that only their owner reads, lists of public keys
    credentials        where systemd's are
    agent              signing with a key that is in an ssh-agent
    agent_threads      ... in threads, with what went wrong
    secrets            passwords for targets, from a file or a program
    programs           one run of a program whose output is wanted, with its deadline
    upstream           the upstream CA: a certificate for one session
    issuing            the issuing CA: certificates for people who have logged in
    front_host         the front host CA: host certificates for the inventory's names
    host_certificates  the host keys of inner connections, with such certificates
    known_hosts        the hosts whose keys are known, read strictly
    revoked_keys       the file of revoked keys: a KRL or a list
    files              key files, ledger and known_hosts written: whole or not at all
    ledger             keys.toml: which key is in force from when, and which were retired
    slots              one configured key and the one that is to take its place
    rotation           the steps of `bastion keys rotate` and `retire`
    backup             files sealed for age recipients
    identities         files of age recipients and identities
    front_keys         the gateway's own host keys, by time
    host_key_news      what a client is told of them (UpdateHostKeys)
    pins               known_hosts written: what `bastion target pin` does
"""
