"""Who somebody is, and what a proof is worth (L1 and L2): everything between a name and an `Identity`.

What it is for: an attempt to log in is opened, charged, judged and settled here; the directories answer whether there
is an account; restrictions of a certificate or key come out as one value. What an identity may do is policy's.

Invariants: possession and account are separate questions, and both must be answered; an attempt is charged before
it is judged and settled exactly once; the cheapest question is asked first; whatever a peer can cause has a payer and
a limit; every outcome is a word of `errors.AuthReason`.

May import: L0 and `recording.strict_json`; the L2 half also `observe` (an attempt is a line and a counter), Twisted
and ldap3. The L1 half is pure: no I/O, no clock, no Twisted.

- `names`, `identity`, `restrictions`: user names, identities, what a credential forbids
- `credentials`, `certificates`: keys and certificates, verified; `attempt`: one login attempt
- `context`: what attempts are made with
- `key_counters`: does each security key's counter rise?
- `revocation`: what is revoked, asked before anybody is let in
- `security_keys`: what is demanded of a signature that somebody had to touch something for
- `totp`: one-time codes, their secrets sealed, recovery codes; `codes`: whose code it is, told to no stranger
- `factors`: the chains of factors that a login may need, and what it has given of them; `evidence`: what was shown,
  for the audit log
- `ca_scope`: whom certificates of a login CA may let in
- `issued`: what a certificate that was issued here carries of an earlier login
- `throttle`, `penalty_records`, `penalty_reasons`, `penalty_sources`, `startups`: penalties for guessing, places for
  unfinished logins
- `account_failures`: guesses end before the directory locks the account
- `distant`: penalties of several processes, kept in one of them
- `penalty_claims`, `penalty_limits`, `guesses`: penalties of several gateways as one; limits; one guess
- `outside`: the seam for factors that others judge
- `oidc`, `oidc_provider`, `oidc_token`, `https`: an identity provider; `radius`, `radius_packets`: RADIUS servers
- `webauthn`: a passkey's signature, judged
- `held`: connections of such questions, and of posts, that can be cut
- `budget`, `turns`: what one payer may cost, and whose turn it is
- `directory`: the Protocol of a directory; `chain`: embedded accounts before LDAP; `answers`: what it said a moment ago
- `password_hashes`: is a hash one that may be computed?
- `embedded`: accounts in a TOML file; `break_glass`: when those for emergencies are open
- `ldap`, `ldap_attempt`, `ldap_link`, `ldap_pool`, `ldap_servers`: LDAP from the reactor down to one conversation
- `ldap_observer`: who hears what LDAP does
- `ldap_config`, `ldap_dn`, `ldap_entry`, `ldap_state`, `ldap_groups`: its options, its names, what an entry says of an
  account, whether it may log in, and its groups
- `ldap_filters`: are the filters of the options filters?
- `workers`: threads for calls that block, with deadlines kept by the reactor
"""
