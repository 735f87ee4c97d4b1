"""What is wrong with a gateway's surroundings (L4): owners, ports, directory, disks, clock, targets, this machine.

What it is for: `bastion doctor` looks at everything that a configuration needs and cannot hold, and says for each
fault what to type. It needs no running gateway, changes nothing, and asks nobody for a password.

Invariants: nothing waits longer than its deadline, whatever hangs (a directory, a disk, a resolver); a fault of one
part hides no other; what is judged is judged for the user whom the gateway runs as, by that user's own rights
where the kernel can be asked.

May import: every layer below; of this one `assembly`, which builds what dials.

- `findings`: a finding and its levels
- `subject`: what is looked at: configuration, user, clock
- `keys`: agents that hold keys, overlaps; `files`: owners and modes; `ports`: who listens
- `console`: what the console's own user may read, and may not
- `disk`: space, filesystem, locks, speed; `bucket`: what may be done in it; `machine`: clock, limits, versions
- `sinks`: where the audit log goes besides
- `gateway`: whether one runs
- `directory`: accounts and LDAP servers; `network`: names, and the way to each target
- `examination`: all of it at the same time, each part with its deadline
"""
