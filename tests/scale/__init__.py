"""How many gateways so many engineers need, and where it breaks first: measured costs, stated habits, a simulation.

- `inputs`: every number that goes in, with its source
- `machine`: time, processors and threads, as events
- `storm`: everybody connects at once, against the gateway's own limits
- `day`: what an ordinary day asks for, and the gateways that it takes
- `bench`: the bench of logins that was measured, simulated
- `measure`: `python -m tests.scale.measure` measures what no other bench does: bytes and rows of one session

`make simulate` prints the tables of docs/scaling.md.
"""
