"""Every number that the simulation starts from: what was measured, with the words of the page that says so, and what
is assumed. `test_scale.py` looks each of them up, so that a page that is measured anew changes this file too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, Final

ASSUMED: Final = "assumed"
MIB: Final = 1 << 20
KIB: Final = 1 << 10
GIB: Final = 1 << 30


@dataclass(frozen=True)
class Source:
    """Where a number is from: a page of docs/ and what stands there, or ASSUMED; `text` says what it is."""

    text: str
    unit: str
    page: str = ASSUMED
    quote: str = ""


def measured(value: float, text: str, unit: str, page: str, quote: str) -> Any:
    return field(default=value, metadata={"source": Source(text, unit, page, quote)})


def assumed(value: float, text: str, unit: str) -> Any:
    return field(default=value, metadata={"source": Source(text, unit)})


def described(inputs: Any) -> Iterator[tuple[str, float, Source]]:
    """(name, value, source) of each number of an instance."""
    for one in fields(inputs):
        yield one.name, getattr(inputs, one.name), one.metadata["source"]


@dataclass(frozen=True)
class Costs:
    """What work costs a gateway."""

    login: float = measured(
        13.4, "a login with its session, of the gateway's processors, four workers", "ms", "scaling.md",
        "| CPU ms of a login, clients for each | 12.0 | 12.1 | 12.5 | 13.4 |",
    )  # fmt: skip
    supervisor: float = measured(
        0.8, "of it in the supervisor, which is one process", "ms", "scaling.md",
        "it takes 0.8 ms of a login's CPU",
    )  # fmt: skip
    refused: float = measured(
        0.7, "a connection that is turned away", "ms", "security.md",
        "| TCP connection, closed at once | 0.7 |",
    )  # fmt: skip
    exchange: float = measured(
        1000, "what a stranger pays for a key exchange, given back at the login", "us", "security.md",
        "| key exchange, mlkem768x25519, ed25519 host key | 1.0 |",
    )  # fmt: skip
    relayed: float = measured(
        7.14, "bytes relayed and recorded, two workers", "CPU s/GiB", "scaling.md",
        "| CPU s/GiB, default, paced streams for each | 6.35 | 7.14 |",
    )  # fmt: skip
    keystroke: float = measured(
        181, "a keystroke: its turn of the loop, and that of its echo", "us", "performance.md",
        "83 us towards the target and 98, with its recording, back",
    )  # fmt: skip
    idle: float = measured(
        0.45, "an idle session, a second", "us", "performance.md",
        "| 2,000 | 2.2 | 9.4 | 773 |",
    )  # fmt: skip
    session_memory: float = measured(
        32.5, "memory of an idle session", "KiB", "scaling.md",
        "| KiB of PSS, one idle session | 27.8 | 26.4 | 28.4 | 32.5 |",
    )  # fmt: skip
    worker_memory: float = measured(
        73.4, "memory of a worker at rest", "MiB", "scaling.md",
        "| MiB of PSS, one worker at rest | 72.9 | 73.4 |",
    )  # fmt: skip
    supervisor_memory: float = measured(
        41, "memory of the supervisor", "MiB", "service.md", "the supervisor less than 41 MiB",
    )  # fmt: skip
    uploader_memory: float = measured(
        77, "memory of the process that uploads, at its peak", "MiB", "recordings-store.md",
        "| memory of the process that uploads, at its peak | 77 MiB |",
    )  # fmt: skip
    uploads: float = measured(
        25, "recordings that reach the bucket, with 50 ms to it and four at a time", "a second",
        "recordings-store.md", "25 recordings a second",
    )  # fmt: skip
    requests: float = measured(
        3, "requests to the bucket for a recording of up to 16 MiB", "", "recordings-store.md",
        "a HEAD, a PUT and a HEAD",
    )  # fmt: skip
    descriptors: float = measured(
        3, "descriptors of a session and its recording", "", "service.md",
        "two per session, one per recording",
    )  # fmt: skip
    recording: float = measured(
        3.2, "a recording of a session that does next to nothing", "KiB", "scaling.md",
        "| recording of a session of one command, KiB |",
    )  # fmt: skip
    recorded_key: float = measured(
        94, "of a recording, a line that is typed and echoed", "bytes", "scaling.md",
        "| one more line typed and echoed, bytes of the recording |",
    )  # fmt: skip
    framing: float = measured(
        1.026, "size of a recording, for each byte of output in bulk", "", "security.md",
        "grows by 1.026 MiB/s",
    )  # fmt: skip
    audit: float = measured(
        2.6, "audit log of a session of one command, its login included", "KiB", "scaling.md",
        "| audit log of it, login included, KiB |",
    )  # fmt: skip
    begin_rows: float = measured(
        2, "rows written when a session begins", "", "scaling.md", "| rows written at its beginning |",
    )  # fmt: skip
    end_rows: float = measured(
        3, "rows written when it ends", "", "scaling.md", "| rows written at its end |",
    )  # fmt: skip


@dataclass(frozen=True)
class Habits:
    """What engineers do, a day and in its busiest hour, and how their clients behave."""

    sessions: float = assumed(
        20, "sessions of an engineer, shells, commands and copies, playbooks included", "a day"
    )
    busy_hour: float = assumed(20, "of a day's sessions begin in its busiest hour", "%")
    open: float = assumed(2, "sessions of an engineer open at once in the busiest hour", "")
    typing: float = assumed(10, "of the engineers are typing at any moment of that hour", "%")
    keys: float = assumed(3, "keystrokes of somebody who is typing", "a second")
    output: float = assumed(5, "output on terminals and of commands, recorded in whole", "MiB a day")
    copied: float = assumed(40, "files copied, whose content is not recorded", "MiB a day")
    behind: float = assumed(20, "engineers behind one address (an office, a VPN's way out)", "")
    again: float = assumed(5, "how long somebody waits who was turned away, half or twice that by chance (ssh itself "
                              "tries once: ConnectionAttempts counts connecting alone)", "s")  # fmt: skip
    minute: float = assumed(60, "after an outage everybody connects again within", "s")


@dataclass(frozen=True)
class Site:
    """What a gateway runs on and talks to."""

    processors: float = assumed(8, "processors of a gateway, each with a worker", "")
    memory: float = assumed(16, "memory of a gateway", "GiB")
    full: float = assumed(50, "of its processors may be busy in the busiest hour", "%")
    memory_full: float = assumed(75, "of its memory may be in use", "%")
    limit: float = measured(
        10_000, "`limits.sessions` of a gateway", "", "configuration.md", "| `sessions` | integer | `10000` |",
    )  # fmt: skip
    files: float = measured(
        262_144, "descriptors of the service", "", "../systemd/bastion.service", "LimitNOFILE=262144",
    )  # fmt: skip
    begin: float = measured(
        100, "`limits.startups`: early drop begins at", "", "configuration.md", '"100:30:1000"'
    )
    rate: float = measured(30, "... with a chance of", "%", "configuration.md", '"100:30:1000"')
    places: float = measured(1000, "... and ends at", "", "configuration.md", '"100:30:1000"')
    per_source: float = measured(
        100, "`limits.startups_per_source`", "", "configuration.md", "| `startups_per_source` | integer | `100` |",
    )  # fmt: skip
    grace: float = measured(
        60, "`limits.login_grace`", "s", "configuration.md", '| `login_grace` | duration | `"1m"` |'
    )
    threads: float = measured(
        8, "`directory.ldap.threads` of a gateway", "", "configuration.md", "| `threads` | integer | `8` |",
    )  # fmt: skip
    ldap: float = assumed(10, "the directory's answers for one login, together", "ms")
    round_trip: float = assumed(30, "a packet to an engineer and back", "ms")
    target: float = assumed(150, "what the target's sshd takes for a login", "ms")
    goal: float = assumed(120, "everybody is back after an outage within", "s")


@dataclass(frozen=True)
class Inputs:
    """All of them."""

    costs: Costs = field(default_factory=Costs)
    habits: Habits = field(default_factory=Habits)
    site: Site = field(default_factory=Site)


def table(inputs: Inputs) -> Iterator[str]:
    """The rows of docs/scaling.md."""
    yield "| number | value | where it is from |"
    yield "|---|---|---|"
    for part in (inputs.costs, inputs.habits, inputs.site):
        for _, value, source in described(part):
            origin = _origin(source.page)
            yield f"| {source.text} | {value:,g} {source.unit}".rstrip() + f" | {origin} |"


def _origin(page: str) -> str:
    if page == ASSUMED:
        return ASSUMED
    if page.startswith("../"):
        return f"`{page.removeprefix('../')}`"
    return "above" if page == "scaling.md" else f"[{page.removesuffix('.md')}]({page})"
