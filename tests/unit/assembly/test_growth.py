"""What a process has counted since it began, as what is new of it."""

from __future__ import annotations

from bastion.assembly.growth import Growth
from bastion.observe.families.recordings import UPLOAD_BYTES, UPLOADS
from bastion.observe.meters import Meters


def test_only_what_is_new_is_added() -> None:
    meters = Meters()
    growth = Growth(meters)
    assert [growth.take(UPLOADS, count, "ok") for count in (3, 3, 5)] == [3, 0, 2]
    assert growth.take(UPLOADS, 4, "timeout") == 4, "each value by itself"
    assert growth.take(UPLOAD_BYTES, 7) == 7, "and each family"
    assert (meters.value(UPLOADS, "ok"), meters.value(UPLOADS, "timeout")) == (5, 4)


def test_a_process_that_begins_again_only_adds() -> None:
    meters = Meters()
    growth = Growth(meters)
    growth.take(UPLOADS, 5, "ok")
    growth.again()
    assert growth.take(UPLOADS, 2, "ok") == 2
    assert growth.take(UPLOADS, 1, "ok") == 0, "one that counts back is not believed"
    assert meters.value(UPLOADS, "ok") == 7
