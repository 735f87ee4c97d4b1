"""What is unusual about tunnels (L1, pure): where to, how much came out, in which rhythm, how often refused."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from statistics import median
from typing import Final

from bastion.detect.findings import Draft
from bastion.detect.memory import distinct
from bastion.detect.seen import Seen, count, size, span, word
from bastion.errors import Detection, LimitReason, RecorderReason

SHORTEST_BEAT: Final = 5.0  # s; what comes faster is a program that opens many at once
LONGEST_BEAT: Final = 6 * 3600.0
JITTER: Final = 0.1  # of a beat: how far each of them may be off
LEAST_JITTER: Final = 1.0  # s

# The gateway's own troubles are nobody's doing.
_OURS: Final = {*LimitReason, *RecorderReason, "no_descriptor"}


def opened(seen: Seen) -> Iterator[Draft]:
    """A tunnel is connected."""
    place, person = _place(seen), seen.person
    if not person.destinations.knows(place, seen.at) and seen.learned:
        yield Draft(
            Detection.NEW_DESTINATION,
            place,
            f"one of {len(person.destinations.days)} destinations that they had tunnels to",
            f"a tunnel to {place}",
            (seen.session,),
            target=_host(seen),
        )
    person.destinations.add(place, seen.at)
    person.openings.add(seen.at, place, seen.session)
    yield from _beacon(seen, place)


def _beacon(seen: Seen, place: str) -> Iterator[Draft]:
    wanted = seen.settings.beacon_count
    entries = [one for one in seen.person.openings.since(seen.at - wanted * LONGEST_BEAT) if one[1] == place]
    entries = entries[-wanted:]
    if len(entries) < wanted:
        return
    beats = [later[0] - sooner[0] for sooner, later in pairwise(entries)]
    beat = median(beats)
    slack = max(beat * JITTER, LEAST_JITTER)
    if not SHORTEST_BEAT <= beat <= LONGEST_BEAT or any(abs(one - beat) > slack for one in beats):
        return
    known = seen.person.rhythms.knows(place, seen.at)
    seen.person.rhythms.add(place, seen.at)
    if known or not seen.learned:
        return
    yield Draft(
        Detection.TUNNEL_BEACON,
        place,
        "tunnels at the times of a person, or a rhythm that is known of them",
        f"{len(entries)} tunnels to {place}, one every {span(beat)}, none off by more than {slack:.0f} s",
        distinct(one[2] for one in entries),
        target=_host(seen),
    )


def closed(seen: Seen) -> Iterator[Draft]:
    """A tunnel, or a forward of a session, is over: only now it is known what came out of it."""
    if seen.line.get("event") == "channel_closed" and seen.line.get("kind") != "direct-tcpip":
        return
    settings = seen.settings
    lived = count(seen.line, "seconds")
    out = count(seen.line, "bytes_out")
    floor = settings.tunnel_bytes // 4 if lived >= settings.tunnel_long else settings.tunnel_bytes
    cap = settings.habit * max(seen.person.tunnels.peak, float(settings.tunnel_bytes))
    today, usual = seen.person.tunnels.add(out, seen.at, cap)
    if not seen.learned or not out or today < floor or today < settings.habit * usual:
        return
    where = _place(seen)
    yield Draft(
        Detection.TUNNEL_DATA,
        "",
        f"at most {size(max(floor, settings.habit * usual))} out of tunnels in a day; their highest of late is "
        f"{size(usual)}",
        f"{size(today)} on this day, the last {size(out)} from {where}"
        + (f" in {span(lived)}" if lived else ""),
        (seen.session,),
        target=_host(seen) or seen.target,
    )


def refused(seen: Seen) -> Iterator[Draft]:
    """A tunnel or a forward was not given, or its far side could not be had."""
    line, person, settings = seen.line, seen.person, seen.settings
    what, reason = word(line, "what"), word(line, "reason")
    if reason in _OURS:
        return
    if what == "more":
        times = (
            min(count(line, "count"), settings.refused_count) if reason == "destination_not_allowed" else 0
        )
    else:
        times = int(what == "tunnel" or (what == "channel" and line.get("kind") == "direct-tcpip"))
    if not times:
        return
    place = _place(seen) if what != "more" else ""
    for _ in range(times):
        person.refused.add(seen.at, place, seen.session)
    entries = person.refused.since(seen.at - settings.refused_window)
    places = distinct(one[1] for one in entries)
    if len(entries) < settings.refused_count and len(places) < settings.refused_places:
        return
    yield Draft(
        Detection.TUNNELS_REFUSED,
        "",
        f"fewer than {settings.refused_count} refusals and {settings.refused_places} places in "
        f"{span(settings.refused_window)}",
        f"{len(entries)} refusals to {len(places)} places: {', '.join(places[:4])}{', ...' if len(places) > 4 else ''}",
        distinct(one[2] for one in entries),
    )


def _place(seen: Seen) -> str:
    host = _host(seen)
    return f"{host}:{count(seen.line, 'port')}" if host else word(seen.line, "path") or "a session's forward"


def _host(seen: Seen) -> str:
    return word(seen.line, "host").lower().rstrip(".")
