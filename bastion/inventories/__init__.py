"""Inventories that a program or a web server gives as JSON (L2): asked, read strictly, kept.

What it is for: `[inventories.NAME]` names where targets come from. What was answered last is a file in the folder of
the state, in the form of targets.toml, and a reload reads it as it reads the inventory's other files.

Invariants: what an answer may say of a target is a short list, and nothing in it is run, opened or logged in with;
nothing of an answer is kept that no target is made of; an answer with any fault changes nothing, and what was kept
stays as it was; the gateway's processes ask nobody, a process of its own does (`assembly.fetching`).

May import: L0 and L1, of L2 `options`, `net` (URLs) and `ca`.

- `section`: the options of `[inventories.NAME]`
- `answers`: JSON in the gateway's own form -> targets -> the text that is kept
- `ansible`: the same of what `ansible-inventory --list` prints
- `fetching`: one question, by a program or over HTTPS, with its deadline and its limit
- `kept`: what was answered last, on disk
- `report`: what came of each question, as a line
"""
