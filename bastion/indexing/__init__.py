"""The reading index (L2): what recordings showed, to search in; for where they can be read, no gateway needs it.

What it is for: `bastion index` draws every finished recording once, with the terminal of `recording`, and keeps its
lines, commands and keyframes in one SQLite file; `bastion search` finds lines again, `bastion replay` begins anywhere.

Invariants: it holds what recordings say and is as secret as they are (0600, in a folder 0700); it can be thrown away
and made again. A session is in it whole or not at all, whoever was killed meanwhile; one whose file has changed or is
gone leaves it at the next run. A file that cannot be read holds up no other.

May import: `recording`, `clock`, `errors`, `wire` for text.

- `words`: lines as words for the index, and what a question asks of a line
- `ahead`: pages brought into the kernel's cache before they are asked for
- `store`: the file and its tables
- `searching`: which pages have the words, and which sessions come first
- `ran`: commands by their words, and the sessions that they lead to
- `pages`: lines gathered and packed
- `playing`: what a replay needs to know before it shows anything, and keyframes
- `filling`: which recordings are to be read, reading them, by several processes
"""
