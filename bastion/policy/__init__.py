"""Who may reach what, as whom, doing what (L1, pure): from the operator's rules to a yes or no.

What it is for: `grant.authorise` decides once, before anything is dialled, and gives a `Grant`; all that a session asks
for later is a function of that Grant. For places outside of sessions `tunnel.authorise_tunnel` gives a `TunnelGrant`,
which judges each address again before it is connected to.

Invariants: nothing is allowed that no rule allows; only this room can make a Grant, a TunnelGrant or a TunnelRoute, and
nothing is dialled without one; what may not be reached is refused in the words of what does not exist.

May import: `wire`, `sides`, `errors`, `clock`, `options`, and of `auth` who somebody is. It knows no relay and no door.

- `targets`: the inventory: machines, their names and places
- `locks`: who and what the security team has taken out of service
- `lock_list`: the same where several gateways lock and unlock
- `patterns`: names and destinations as rules write them
- `rules`, `selection`: rules and the `Policy` of them all; which targets each of them selects, as bits
- `schedule`: hours and days by the clocks of a time zone
- `approval`: who has to approve before a session opens
- `grant`: rules -> Grant, the accounts that they give, and the words of a refusal
- `decide`: Grant -> Verdict, for each open and request of a session
- `verdict`: the answer: yes or no, why, and by which rule
- `roads`: the hops to a target, from the gateway on
- `route`: where a `host:port` leads: session, gateway, tunnel or nowhere
- `tunnel`: rules -> TunnelGrant -> TunnelRoute
- `addresses`: which addresses may be connected to at all
- `sftp`: paths that may be downloaded, uploaded, listed and modified
- `explain`: the same decision, rule by rule, for `bastion why`
- `own`: the same told to the engineer it is about, for `why` in the lobby
- `expectations`: a table of what a policy should answer, for `bastion policy test`
- `access`: who can reach what, for `bastion access`
- `review`: what in a policy cannot mean what somebody wanted, for `bastion check`
"""
