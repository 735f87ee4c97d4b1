"""The filters of the list as the query of a URL, and back (L4, pure): so that a list can be sent to a colleague.

Invariant: what is no filter, or cannot be read as one, is told beside its field and chooses nothing silently.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Final
from urllib.parse import urlencode

from bastion.console.answers import Answer, document
from bastion.errors import ConsoleReason
from bastion.indexing.words import Question
from bastion.options.kinds import seconds_of
from bastion.recording.listed import TUNNEL, Wanted
from bastion.recording.ran import KINDS
from bastion.state.paging import Among, Cursor
from bastion.state.review_queue import STATES as REVIEW_STATES
from bastion.state.review_queue import Rules, chosen_among
from bastion.state.reviewing import TAG

ROWS: Final = 50
MOST_ROWS: Final = 200

TEXTS: Final = ("user", "target", "login", "rule", "source", "since", "until", "kind", "state")
REVIEWS: Final = ("alert", "review", "tag")
"""What alerts and reviewers say of a session: of the list alone, a search knows nothing of them."""

COMMAND: Final = "command"
"""Words of a command that was run or typed: of the list alone, too."""

COMMAND_MAX: Final = 256
LISTED: Final = (*TEXTS, *REVIEWS, COMMAND)
"""The filters of the list."""

ALERTS: Final = ("yes",)
KIND_CHOICES: Final = (*KINDS, TUNNEL)
STATES: Final = ("live", "incomplete", "opaque")

_NAME: Final = re.compile(r"[^\s]{1,253}(?: [^\s]{1,253}){0,8}")


@dataclass(frozen=True, slots=True)
class Filters:
    """`given` is what stood in the URL, by field; `faults` what is wrong with it. `after` is where the page begins."""

    wanted: Wanted
    kind: str = ""
    given: Mapping[str, str] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    after: Cursor | None = None
    rows: int = ROWS
    alert: bool = False
    review: str = ""
    tag: str = ""

    @property
    def command(self) -> Question | None:
        """What was run; None: whatever it was."""
        words = self.given.get(COMMAND, "")
        return Question.of(words) if words else None

    def among(self, rules: Rules, now: float) -> Among:
        """What chooses rows by what alerts and reviewers say of them."""
        return lambda connection: chosen_among(connection, rules, self.alert, self.review, self.tag, now)

    def url(self, path: str, after: Cursor | None = None) -> str:
        """A URL with the same filters; `after`: of the page behind this one."""
        fields = dict(self.given)
        if self.rows != ROWS:
            fields["rows"] = str(self.rows)
        if after is not None:
            fields["after"] = str(after)
        return f"{path}?{urlencode(fields)}" if fields else path

    def since(self, moment: float) -> str:
        """A URL of the list with the same filters but for the command, of sessions since that moment (seconds since the
        epoch)."""
        fields = {name: value for name, value in self.given.items() if name not in (COMMAND, "since")}
        fields["since"] = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"/sessions?{urlencode(fields)}"

    @property
    def asked(self) -> str:
        """For the audit log: as the options of a command stand there."""
        return " ".join(f"{name}={value}" for name, value in sorted(self.given.items()))


def filters_of(query: Mapping[str, str], now: float, fields: tuple[str, ...] = TEXTS) -> Filters:
    """Read the fields of a query; `now` in seconds since the epoch, `fields` those that there are."""
    given = {name: query[name].strip() for name in fields if query.get(name, "").strip()}
    faults: dict[str, str] = {
        name: "no such filter" for name in query if name not in (*fields, "after", "rows", "q")
    }
    for name in ("user", "target", "login", "rule"):
        if name in given and not _NAME.fullmatch(given[name]):
            faults[name] = "is no name"
    network = None
    if "source" in given:
        try:
            network = ip_network(given["source"], strict=False)
        except ValueError:
            faults["source"] = "give an address or a network, as 10.1.2.3 or 10.1.0.0/16"
    since, until = (_moment(given, name, now, faults) for name in ("since", "until"))
    kind, state = given.get("kind", ""), given.get("state", "")
    if kind and kind not in KIND_CHOICES:
        faults["kind"] = f"is none of: {', '.join(KIND_CHOICES)}"
    for name, choices in (("state", STATES), ("alert", ALERTS), ("review", REVIEW_STATES)):
        if name in given and given[name] not in choices:
            faults[name] = f"is none of: {', '.join(choices)}"
    if "tag" in given and not TAG.fullmatch(given["tag"]):
        faults["tag"] = "is no tag: up to 32 small letters, digits and . _ -"
    faults |= _unfit_words(given.get(COMMAND))
    wanted = Wanted(
        since,
        until,
        given.get("user", ""),
        given.get("target", ""),
        given.get("login", ""),
        given.get("rule", ""),
        network,
        live=state == "live",
        incomplete=state == "incomplete",
        opaque=state == "opaque",
        tunnels=None if not kind else kind == TUNNEL,
    )
    after, rows = _place(query, faults)
    return Filters(
        wanted,
        "" if kind == TUNNEL else kind,
        given,
        faults,
        after,
        rows,
        "alert" in given,
        given.get("review", ""),
        given.get("tag", ""),
    )


def _unfit_words(words: str | None) -> dict[str, str]:
    """Why no command is found by them, if none can be."""
    if words is None:
        return {}
    if len(words) > COMMAND_MAX:
        return {COMMAND: f"is longer than {COMMAND_MAX} characters"}
    return {} if Question.of(words).terms else {COMMAND: "there is no word in it to look for"}


def search_path(words: str, query: str) -> str:
    """The path of the page that looks for these words; `query` are filters as of a URL."""
    asked = urlencode({"q": words})
    return f"/search?{asked}&{query}" if query else f"/search?{asked}"


def unfit(filters: Filters) -> Answer:
    """What a program reads of faults."""
    text = "; ".join(f"{name} {fault}" for name, fault in filters.faults.items())
    return document(
        {"error": str(ConsoleReason.BAD_REQUEST), "text": text, "fields": dict(filters.faults)}, 400
    )


def _place(query: Mapping[str, str], faults: dict[str, str]) -> tuple[Cursor | None, int]:
    after = None
    if query.get("after"):
        after = Cursor.of(query["after"])
        if after is None:
            faults["after"] = "is no place in the list"
    rows = query.get("rows", str(ROWS))
    if not re.fullmatch(r"[1-9][0-9]{0,2}", rows) or int(rows) > MOST_ROWS:
        faults["rows"] = f"is no number up to {MOST_ROWS}"
        return after, ROWS
    return after, int(rows)


def _moment(given: Mapping[str, str], name: str, now: float, faults: dict[str, str]) -> float | None:
    """`2026-11-23`, `2026-11-23T10:00` (UTC), or `7d`: so long ago."""
    text = given.get(name)
    if text is None:
        return None
    ago = seconds_of(text)
    if ago is not None:
        return now - ago
    try:
        moment = datetime.fromisoformat(text)
        found = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        faults[name] = "give 2026-11-23, 2026-11-23T10:00 (UTC), or how long ago: 7d, 12h"
        return None
    return found
