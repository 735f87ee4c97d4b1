"""What several workers of one gateway count together, in memory that all of them see (L0).

What it is for: limits that hold over all workers, without a question to another process at every accept.

Invariants: a row has one writer; what is counted is counted in before the others are read. Pure: whoever starts the
workers makes the memory.

    rows       a row for each worker: its counts, its counts by name, and which of its sessions are unfinished
    buckets    leaky buckets that all workers fill together
"""
