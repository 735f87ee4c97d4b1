"""What was learned as plain documents, and back (L1, pure): for whoever keeps it, and for several who learn of one
person.

Invariants: nothing that is read back is trusted, and nothing of it is larger than what this program would have written;
what does not fit is as none, and is learned anew. `FORMAT` counts the forms: what is of another form is never read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from math import isfinite
from typing import Any, Final

from bastion.detect.detector import MOST_PEOPLE, Detector
from bastion.detect.following import MOST_FOLLOWED
from bastion.detect.memory import LONGEST_NAME, Daily, Hours, Names, Recent, decayed, number
from bastion.detect.person import Person
from bastion.detect.places import Spot
from bastion.detect.sessions import KEYS_OF_A_TARGET, MOST_TARGETS

FORMAT: Final = 1

HOURS: Final = 24

Document = dict[str, Any]


class Unfit(ValueError):
    """A document that this program has not written."""


# -- one person ------------------------------------------------------------------------------------------------------


def document_of(person: Person) -> Document:
    """A person as JSON has it."""
    return {one.name: _plain(getattr(person, one.name)) for one in fields(Person)}


def person_of(document: object) -> Person:
    """The same read back. Raises Unfit."""
    if not isinstance(document, Mapping):
        raise Unfit("not a person")
    person = Person()
    for one in fields(Person):
        if one.name in document:
            setattr(person, one.name, _read(getattr(person, one.name), one.name, document[one.name]))
    return person


def _plain(value: Any) -> Any:
    match value:
        case Names():
            return {name: list(seen) for name, seen in value.days.items()}
        case Hours():
            return [value.slot, value.weight]
        case Daily():
            return [value.day, value.amount, value.peak]
        case Recent():
            return [list(one) for one in value.entries]
        case (float(when), Spot() as spot, str(network), str(session)):
            return [when, spot.latitude, spot.longitude, spot.radius, spot.name, network, session]
    return value


def _read(empty: Any, name: str, value: Any) -> Any:
    """As the field's own empty value is. Raises Unfit."""
    match empty:
        case Names():
            return _names(empty.limit, value)
        case Hours():
            slot, weight = _list(value, 2)
            return Hours([number(one) for one in _list(weight, HOURS)], number(slot))
        case Daily():
            day, amount, peak = map(number, _list(value, 3))
            return Daily(int(day), amount, peak)
        case Recent():
            return _recent(empty.limit, value)
        case float():
            return number(value)
        case str():
            return _text(value)
    return None if value is None else _place(value)


def _names(limit: int, value: Any) -> Names:
    if not isinstance(value, Mapping):
        raise Unfit("no names")
    made = Names(limit)
    for name, seen in list(value.items())[-limit:]:
        last, days = map(number, _list(seen, 2))
        made.days[_text(name)] = last, int(days)
    return made


def _recent(limit: int, value: Any) -> Recent:
    entries = [_list(one, 3) for one in _several(value)[-limit:]]
    return Recent(limit, [(number(at), _text(name), _text(session)) for at, name, session in entries])


def _place(value: Any) -> tuple[float, Spot, str, str]:
    when, latitude, longitude, radius, name, network, session = _list(value, 7)
    spot = Spot(_degrees(latitude, 90), _degrees(longitude, 180), number(radius), _text(name))
    return number(when), spot, _text(network), _text(session)


def _degrees(value: Any, most: float) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not isfinite(value)
        or abs(value) > most
    ):
        raise Unfit("no place")
    return float(value)


def _several(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Unfit("no list")
    return value


def _list(value: Any, length: int) -> list[Any]:
    if len(_several(value)) != length:
        raise Unfit("another length")
    return _several(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Unfit("no text")
    return value[:LONGEST_NAME]


# -- one person, of whom two have learned ----------------------------------------------------------------------------


def merged(one: Person, other: Person) -> Person:
    """What both know. Amounts of a day are not added up, the larger one counts: most of it both have from each
    other."""
    older, newer = (one, other) if one.last <= other.last else (other, one)
    made = Person(
        first=min(filter(None, (one.first, other.first)), default=0.0),
        last=newer.last,
        last_session=newer.last_session,
        place=max(filter(None, (one.place, other.place)), key=lambda place: place[0], default=None),
    )
    for field in fields(Person):
        match getattr(older, field.name), getattr(newer, field.name):
            case Names() as old, Names() as new:
                setattr(made, field.name, _both_names(old, new))
            case Hours() as old_hours, Hours() as new_hours:
                setattr(made, field.name, _both_hours(old_hours, new_hours))
            case Daily() as old_day, Daily() as new_day:
                setattr(made, field.name, _both_days(old_day, new_day))
            case Recent() as old_list, Recent() as new_list:
                entries = sorted({*old_list.entries, *new_list.entries})
                setattr(made, field.name, Recent(new_list.limit, entries[-new_list.limit :]))
    return made


def _both_names(one: Names, other: Names) -> Names:
    days = dict(one.days)
    for name, (last, count) in other.days.items():
        known = days.get(name, (0.0, 0))
        days[name] = max(last, known[0]), max(count, known[1])
    newest = sorted(days.items(), key=lambda item: item[1][0])[-one.limit :]
    return Names(one.limit, dict(newest))


def _both_hours(one: Hours, other: Hours) -> Hours:
    slot = max(one.slot, other.slot)
    left, right = (decayed(1.0, (slot - hours.slot) * 3600) for hours in (one, other))
    weight = [max(a * left, b * right) for a, b in zip(one.weight, other.weight, strict=True)]
    return Hours(weight, slot)


def _both_days(one: Daily, other: Daily) -> Daily:
    older, newer = (one, other) if one.day <= other.day else (other, one)
    amount = newer.amount if older.day < newer.day else max(older.amount, newer.amount)
    peak = decayed(older.peak, (newer.day - older.day) * 86400.0)
    return Daily(newer.day, amount, max(newer.peak, peak))


# -- what a detector knows beside people -----------------------------------------------------------------------------


def rest_of(detector: Detector) -> Document:
    """What is of the gateway: whose its sessions are, its targets' keys, what is nobody's."""
    return {
        "began": detector.began,
        "nobody": document_of(detector.nobody),
        "running": detector.following.running(),
        "host_keys": detector.host_keys.keys,
    }


def restore(detector: Detector, document: object) -> None:
    """Into a detector that has seen nothing yet. Raises Unfit, and then nothing is changed."""
    if not isinstance(document, Mapping):
        raise Unfit("not a detector")
    nobody = person_of(document.get("nobody"))
    running = {_text(name): _text(user) for name, user in _some(document.get("running"), MOST_FOLLOWED)}
    keys = {
        _text(target): [_text(key) for key in _several(found)[-KEYS_OF_A_TARGET:]]
        for target, found in _some(document.get("host_keys"), MOST_TARGETS)
    }
    detector.began = number(document.get("began"))
    detector.nobody, detector.following.users, detector.host_keys.keys = nobody, running, keys


def _some(value: Any, most: int) -> list[tuple[Any, Any]]:
    if not isinstance(value, Mapping):
        raise Unfit("no names")
    return list(value.items())[-most:]


def take(detector: Detector, user: str, person: Person) -> None:
    """Somebody is known, as far as there is room; whoever is known already is known as this."""
    if user in detector.people or len(detector.people) < MOST_PEOPLE:
        detector.people[user] = person
