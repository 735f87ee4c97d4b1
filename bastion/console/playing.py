"""The player (L4): a page that opens a recording, and the parts of it that the page asks for.

Invariant: a part needs the same right as the page, whenever it is asked for; what the process says of a recording is
JSON without a `<` here, whatever it was before.
"""

from __future__ import annotations

import re
from typing import Final

from bastion.console import grants
from bastion.console.answers import JSON, Answer
from bastion.console.desk import Call
from bastion.console.reads import Trouble
from bastion.console.recordings import without_ends
from bastion.console.routes import FORMS
from bastion.console.searching import WORDS_MAX
from bastion.errors import ConsoleReason

_SECONDS: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,6})?")


async def play(call: Call) -> Answer:
    """The page, with what there is and the part that is looked at first."""
    name, channel, at = call.found.parts["session"], call.channel(), _seconds(call)
    words = call.asked.query.get("q", "").strip()[:WORDS_MAX]
    asked = [f"channel={channel}"] if channel is not None else []
    asked += [f"at={at:g}"] if at else []
    asked += [f"words={words}"] if words else []
    opened = await call.open("play", name, "play", " ".join(asked), channel, at=at, words=words)
    grants.opened(call.somebody, name, call.desk.clock.monotonic())
    common = call.common()
    opened.before, opened.behind = call.desk.pages.around("play.html", **common, id=name, forms=list(FORMS))
    opened.change = without_ends
    return Answer(stream=opened)


async def part(call: Call) -> Answer:
    """One part, as JSON."""
    name, channel, at = call.found.parts["session"], call.channel(), _seconds(call)
    if channel is None:
        raise Trouble(ConsoleReason.BAD_REQUEST, "a part is of one channel")
    visit, now = call.somebody, call.desk.clock.monotonic()
    covered = grants.is_open(visit, name, now)
    brief = bool(call.asked.query.get("brief"))
    command = "" if covered else "play"
    opened = await call.open(
        "part", name, command, f"channel={channel} at={at:g}", channel, at=at, brief=brief
    )
    if not covered:
        grants.opened(visit, name, now)
    opened.change = without_ends
    return Answer(200, JSON, stream=opened)


def _seconds(call: Call) -> float:
    """From where on. Raises Trouble."""
    text = call.asked.query.get("at", "")
    if text and _SECONDS.fullmatch(text) is None:
        raise Trouble(ConsoleReason.BAD_REQUEST, "the moment is no number of seconds")
    return float(text or 0)
