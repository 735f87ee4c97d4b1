"""Recordings in an S3 bucket (L2): uploaded from the folder they were written to, proved, found and deleted there.

Invariants: a session waits for nothing of this; the local copy goes when the bucket has shown the checksum of its own,
and the index says where it is; whatever dies in between leaves both.

The gateway's processes load nothing of it but `report` and `place`: uploads run in a process of their own
(`assembly.uploading`).

May import: L0 and L1, of L2 `state`, `recording` and `ca`.

- `place`: which bucket, as a value
- `bucket`: one bucket, through boto3
- `measure`: a file's checksums, whole and in parts
- `upload`: one recording into the bucket, and the proof
- `spool`: what waits, and the hold on a file while it is uploaded
- `schedule`: when what is tried
- `uploader`: all of it, a few at a time
- `report`: how it goes, as a line
- `fetching`: a recording out of the bucket
- `ranged`: an object as a file to seek in, fetched by pieces
- `contents`: what lies there, whatever an index says
- `rebuilding`: the index made again from that
- `rewrapping`: a recording for other recipients, in the place of the one before
- `removing`: one that is to go
"""
