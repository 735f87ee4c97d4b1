"""A gateway of several processes (L5): a small supervisor, and workers that serve.

What it is for: one process uses one processor. With `[process] workers` above one, `bastion serve` is a supervisor that
owns the listening sockets, the metrics page and the signals; workers are programs of their own that accept from the
same sockets. What holds over all of them stands in memory that they share (`sharing`) or is asked of the supervisor;
nothing of it is on the way of a byte.

Invariants: the supervisor loads nothing of SSH and reads nothing that engineers send; a reload is taken by all workers
or by none; a worker that dies takes its own sessions with it and nothing else, and what it left unfinished is written
to its end by another; a worker whose supervisor is gone judges no password, ends its sessions with words and stops.

    questions    what supervisor and workers ask each other, as values
    memory       the memory that they share, and how a worker is told where everything is
    child        one worker, as the supervisor sees it: started, asked, restarted
    starving     how long one has waited for a processor
    supervisor   all of them: the start, the end, who died, and the figures of all as one
    reloads      SIGHUP: all prepare, then all take it or none
    pages        /metrics and /readyz of all workers
    settings     what of a configuration the supervisor follows itself
    running      its process: sockets, signals, the line that says that all are ready
    worker       the other side: a program that is one of several workers
"""
