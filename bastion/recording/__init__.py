"""Recordings of sessions (L1 and L2): written before anything is forwarded, read by people and programs.

What it is for: one file of blocks per session (docs/recording-format.md). The recorder gives the blocks of one burst,
the writer puts them on the disk with one write(2), and only then is the burst forwarded.

Invariants: a file holds whole blocks only, whatever happened to the process or the disk; what the client received is in
the blocks before it, or a gap record says how much is not; a reader believes nothing that a file says.

May import: `age`, `wire` for text, `sides`, `errors`, `clock`. The disk is touched by `writer`, `store`, `sealing`,
`ledger_file`, `listing`.

- `format`: what a file is made of, both ways: preamble, heads, events, header, totals
- `framing`: a payload between head and foot, its digest, links of the chain
- `keys`: who vouches for a recording; `unwrapping`: its data keys, as a reader has them
- `chain`: the blocks of one recording as they are written: numbered, signed, encrypted
- `recorder`: one session's bytes and events -> blocks
- `events`: what a recorder is given, as parts of a block
- `bulk`: the rate rule: which bytes of a flow are kept when somebody moves a disk image
- `reader`: a file -> events, past every damage
- `opening`: encrypted blocks, opened with the data keys
- `verifying`: is a file what its gateway wrote?
- `ledger`, `ledger_file`: which recordings there were, as a chain of lines; the file that holds it
- `blocks`: blocks that come piece by piece -> events
- `pieces`: digests by which a part of a file proves itself
- `strict_json`: JSON of a file, with nothing in it that cannot be written again
- `channels`: what each channel was: what was asked of it, how it ended, what passed
- `frames`: events -> steps of showing one channel, or all
- `scp`, `rsync`, `operations`: channels that move files, as lists of what they did; `file_tree`: as a tree
- `pens`, `grid`, `terminal`: what a terminal of the recorded size shows
- `snapshots`: a terminal's whole state, packed, and painted on another terminal
- `keyframes`: where a recording can be opened in the middle; `seeking`: a recording played from any time on
- `transcript`: output as lines: those of a screen, or plain ones
- `commands`: what was asked of channels to run, and what was typed at shells
- `typed`, `panes`: the latter, read off a screen, and off one that tmux or screen draws
- `prompts`, `screen_lines`, `running`: what looks like a prompt, lines over several rows, commands that go on
- `render`: frames -> text, asciicast; events -> JSON lines, raw bytes
- `changes`: what terminals showed, as changes of rows; `segments`: the same of one channel, part by part
- `resizes`: when windows got another size
- `masking`: what was typed while nothing was shown, masked where it is read
- `redacting`: patterns of secrets; `flattening`: bytes for a terminal as lines to look for them in
- `redacted`, `redacted_lines`: a recording, and lines of a screen, with secrets masked
- `page`: a recording as an HTML page with a player
- `screen`: what a terminal is shown of a recording: nothing that acts on it
- `controls`: terminal output as text and control sequences
- `writer`: blocks -> disk; when the disk is ill, and who is told
- `store`: the folder of recordings: may one begin, and beginning it
- `data_keys`: keys made ahead of the sessions that need them; `rewrapping`: a recording for other recipients
- `booking`: what the ledger is told, and when
- `sealing`: what a process that died left unfinished, ended by another
- `ran`: what was asked of channels, in a line
- `listed`: lines of a listing, and which are wanted
- `listing`: the recordings that are there, and what is known of each
"""
