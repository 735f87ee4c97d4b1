"""What is unusual about a login (L1, pure): where from, when, after how long, by whose certificate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bastion.detect.findings import Draft
from bastion.detect.places import Whereabouts, kilometres
from bastion.detect.seen import Seen, span, word
from bastion.errors import Detection

HOURS_KNOWN: Final = 20.0  # hours of presence before one can be unusual
HOUR_SHARE: Final = 0.01  # of all hours: what lies within two hours of this one
DAYS_AT_HOME: Final = 2  # a network that somebody came from on so many days is one of theirs


def login(seen: Seen) -> Iterator[Draft]:
    """Everything about one proof that let somebody in. What it shows is remembered after it was judged."""
    line = seen.line
    if (
        line.get("result") != "ok" or line.get("method") == "none"
    ):  # `none`: the connection outside has proved it
        return
    here = seen.locate(word(line, "source"))
    if here.network:
        yield from _new_network(seen, here)
        yield from _travel(seen, here)
        yield from _certificate(seen, here)
    yield from _hour(seen)
    yield from _dormant(seen)
    if here.network:
        seen.person.networks.add(here.network, seen.at)
    seen.person.last = max(seen.person.last, seen.at)
    seen.person.last_session = seen.session


def _new_network(seen: Seen, here: Whereabouts) -> Iterator[Draft]:
    networks = seen.person.networks
    if not seen.learned or here.trusted or networks.knows(here.network, seen.at):
        return
    usual = ", ".join(sorted(networks.days, key=networks.days_of, reverse=True)[:3])
    where = f" ({here.spot.name})" if here.spot is not None and here.spot.name else ""
    yield Draft(
        Detection.NEW_NETWORK,
        here.network,
        f"one of {len(networks.days)} networks, mostly {usual}",
        f"a login from {word(seen.line, 'source')}, network {here.network}{where}",
        (seen.session,),
    )


def _travel(seen: Seen, here: Whereabouts) -> Iterator[Draft]:
    person, spot = seen.person, here.spot
    if spot is None:
        return
    before, person.place = person.place, (seen.at, spot, here.network, seen.session)
    if before is None or not seen.learned or before[2] == here.network:
        return
    when, where, network, session = before
    far = kilometres(where, spot)
    hours = max(seen.at - when, 1.0) / 3600
    both = all(person.networks.days_of(name) >= DAYS_AT_HOME for name in (network, here.network))
    if both or far < seen.settings.travel_distance or far / hours < seen.settings.travel_speed:
        return
    yield Draft(
        Detection.IMPOSSIBLE_TRAVEL,
        "",
        f"at most {seen.settings.travel_speed} km/h between two logins",
        f"{far:.0f} km in {span(hours * 3600)}: from {where.name or network} to {spot.name or here.network}",
        (session, seen.session),
    )


def _hour(seen: Seen) -> Iterator[Draft]:
    """By the sun where they are, when that is known: whoever travels keeps to the hours of the place."""
    place = seen.person.place  # the last that is known: through a VPN nobody's is
    local = seen.at + (place[1].longitude * 240 if place else 0.0)
    hours, hour = seen.person.hours, local % 86400 / 3600
    share = hours.share(hour)
    enough = seen.learned and hours.known() >= HOURS_KNOWN
    hours.add(local)
    if not enough or share >= HOUR_SHARE:
        return
    clock = "by the sun where they are" if place else "UTC"
    yield Draft(
        Detection.UNUSUAL_HOUR,
        "",
        f"hours at which they are here; {share:.1%} of those lie within two hours of this one",
        f"a login at {int(hour):02d}:{int(hour % 1 * 60):02d} {clock}",
        (seen.session,),
    )


def _dormant(seen: Seen) -> Iterator[Draft]:
    away = seen.at - seen.person.last
    if not seen.person.last or away < seen.settings.dormant_after:
        return
    yield Draft(
        Detection.DORMANT_ACCOUNT,
        "",
        f"a login at least every {span(seen.settings.dormant_after)}",
        f"the first one after {span(away)}",
        (seen.person.last_session, seen.session),
    )


def _certificate(seen: Seen, here: Whereabouts) -> Iterator[Draft]:
    line, person = seen.line, seen.person
    name = word(line, "certificate_id")
    serial = line.get("certificate_serial")
    if not name and serial is None:
        return
    name = f"{name[:64]} {serial if isinstance(serial, int) else ''}"
    window = person.certificates.since(seen.at - seen.settings.certificate_window)
    uses = [one for one in window if one[1].partition(" ")[2] == name]
    others = [one for one in uses if one[1].partition(" ")[0] != here.network]
    if not uses or uses[-1] in others:
        person.certificates.add(seen.at, f"{here.network} {name}", seen.session)
    if not others or not seen.learned or here.trusted or person.networks.knows(here.network, seen.at):
        return
    yield Draft(
        Detection.CERTIFICATE_SHARED,
        name,
        f"one network within {span(seen.settings.certificate_window)}, or those they always come from",
        f"certificate {name.strip()} from {others[-1][1].partition(' ')[0]} and, {span(seen.at - others[-1][0])} "
        f"later, from {here.network}",
        (others[-1][2], seen.session),
    )
