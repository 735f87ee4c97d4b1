"""Networks and places from databases of addresses in MaxMind's format (L2).

Files that an operator gets from MaxMind, DB-IP, IPinfo or makes: one with places (`location`, `city`, `country`), one
with providers (`autonomous_system_number`). They are read with the library `maxminddb`, an extra of the package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from bastion.detect.places import Lookup, Spot, no_lookup
from bastion.errors import BastionError

LEAST_RADIUS: Final = 50.0  # km: no database knows better where somebody is
LONGEST_NAME: Final = 64

Get = Callable[[str], object]


class NoDatabase(BastionError):
    """A database of addresses cannot be read. The text says which, why, and what to do."""


def lookup_in(geoip: Path | None, asn: Path | None) -> Lookup:
    """What the given databases know. Raises NoDatabase."""
    if geoip is None and asn is None:
        return no_lookup
    places, providers = _open(geoip), _open(asn)

    def lookup(source: str) -> tuple[str, Spot | None]:
        return _provider(providers(source)), _spot(places(source))

    return lookup


def _open(path: Path | None) -> Get:
    if path is None:
        return lambda _: None
    try:
        import maxminddb  # here: only whoever names such a file needs it
    except ImportError:
        raise NoDatabase(
            f"{path}: reading it needs the library maxminddb: pip install 'bastion-gateway[geoip]'"
        ) from None
    try:
        reader = maxminddb.open_database(path, maxminddb.MODE_MEMORY)
    except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
        raise NoDatabase(f"{path}: cannot be read: {error}") from None

    def get(source: str) -> object:
        try:
            return reader.get(source)
        except (ValueError, maxminddb.InvalidDatabaseError):  # IPv6 in a database of IPv4, a damaged record
            return None

    return get


def _provider(found: object) -> str:
    number = found.get("autonomous_system_number") if isinstance(found, Mapping) else None
    return f"AS{number}" if isinstance(number, int) and number > 0 else ""


def _spot(found: object) -> Spot | None:
    location = found.get("location") if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping) or not isinstance(location, Mapping):
        return None
    latitude, longitude = location.get("latitude"), location.get("longitude")
    if not isinstance(latitude, int | float) or not isinstance(longitude, int | float):
        return None
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        return None
    radius = location.get("accuracy_radius")
    wrong = max(LEAST_RADIUS, float(radius)) if isinstance(radius, int | float) else LEAST_RADIUS
    name = ", ".join(filter(None, (_name(found.get("city")), _name(found.get("country")))))
    return Spot(float(latitude), float(longitude), wrong, name)


def _name(part: object) -> str:
    if not isinstance(part, Mapping):
        return ""
    names: Any = part.get("names")
    name = names.get("en") if isinstance(names, Mapping) else part.get("iso_code")
    return name[:LONGEST_NAME] if isinstance(name, str) else ""
