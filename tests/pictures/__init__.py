"""Pictures of the dashboards: a gateway at work, a real Prometheus beside it, and the dashboards' own queries drawn.

- `scene`: the gateway, its engineers and strangers, and what goes wrong
- `panels`: the dashboards read, their queries asked
- `draw`: panels as SVG

`make pictures` writes docs/pictures, which docs/monitoring.md shows.
"""
