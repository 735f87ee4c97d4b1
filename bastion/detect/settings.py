"""The section `[detections]`, but for the files that it names (L1, pure)."""

from __future__ import annotations

from dataclasses import dataclass

from bastion.errors import Detection
from bastion.options import option
from bastion.options.kinds import NETWORK, SIZE, Network, choice, duration, integer, list_of

LEVEL = choice("alert", "notice", "off")


def _level(help_text: str, default: str) -> str:
    return option(LEVEL, help_text, default=default)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What of the audit log is told, and how loud (`docs/detections.md`)."""

    learning: float = option(
        duration(0, 90 * 86400),
        "How long a gateway, and then each person, is only watched before anything is called unusual.",
        default=14 * 86400.0,
    )
    trusted: tuple[Network, ...] = option(
        list_of(NETWORK),
        "Networks in which nobody is at an unusual place: offices, the VPN's addresses.",
        default=(),
        example='["192.0.2.0/24"]',
    )
    network_bits: int = option(
        integer(8, 32),
        "Addresses with so many bits in common are one network, where no `asn` says so; of IPv6 it is 48.",
        default=24,
    )
    new_network: str = _level("A login from a network that this person never came from.", "notice")
    impossible_travel: str = _level(
        "Two logins from places too far apart for the time between them; needs `geoip`.", "alert"
    )
    travel_speed: int = option(
        integer(100, 100_000), "Kilometres an hour that nobody travels at.", default=1000
    )
    travel_distance: int = option(integer(50, 20_000), "Kilometres below which nobody is asked.", default=500)
    unusual_hour: str = _level("A login at an hour at which this person is not here.", "notice")
    dormant_account: str = _level("A login after a long time without any.", "alert")
    dormant_after: float = option(duration(86400, 3650 * 86400), "That long time.", default=45 * 86400.0)
    certificate_shared: str = _level(
        "One certificate used from two networks within an hour, one of which is new for this person.", "alert"
    )
    certificate_window: float = option(duration(60, 86400), "That hour.", default=3600.0)
    new_destination: str = _level("A tunnel to a place that this person never had one to.", "notice")
    tunnel_data: str = _level("More bytes out of tunnels in a day than this person ever takes.", "alert")
    tunnel_bytes: int = option(
        SIZE,
        "Bytes a day below which that is not told; a quarter of it for a tunnel that lived for `tunnel_long`.",
        default=4 << 30,
    )
    tunnel_long: float = option(duration(60, 30 * 86400), "A tunnel that lived so long.", default=8 * 3600.0)
    tunnel_beacon: str = _level("Tunnels to one place, opened in the rhythm of a machine.", "alert")
    beacon_count: int = option(integer(5, 32), "Tunnels in one rhythm that are told.", default=10)
    tunnels_refused: str = _level("Tunnels refused again and again.", "alert")
    refused_count: int = option(
        integer(2, 1000), "Refusals within `refused_window` that are told.", default=20
    )
    refused_places: int = option(integer(2, 60), "Or different places that were refused in it.", default=6)
    refused_window: float = option(duration(10, 86400), "The time in which they are counted.", default=600.0)
    sftp_data: str = _level("More bytes read over sftp in a day than this person ever takes.", "alert")
    sftp_bytes: int = option(SIZE, "Bytes a day below which that is not told.", default=4 << 30)
    habit: int = option(
        integer(2, 100),
        "How many times a person's highest day of late it takes to be told, for `tunnel_data` and `sftp_data`.",
        default=4,
    )
    many_targets: str = _level("Many targets that are new for this person, in a short time.", "alert")
    targets_count: int = option(
        integer(3, 128), "New targets within `targets_window` that are told.", default=10
    )
    targets_window: float = option(duration(10, 86400), "The time in which they are counted.", default=600.0)
    host_key_changed: str = _level(
        "A target whose host key was refused; a key that was accepted in another's place is a notice.",
        "alert",
    )
    break_glass: str = _level(
        "A break-glass account let in, or proved while they are closed; one that was refused is a notice.",
        "alert",
    )
    recording_trouble: str = _level("A recording, the ledger or the log could not be written.", "alert")

    def level(self, kind: Detection) -> str:
        """How loud it is: `alert`, `notice` or `off`."""
        return str(getattr(self, kind.value))
