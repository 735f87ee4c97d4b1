"""The lag probe measures its own lateness."""

from twisted.internet.task import Clock

from bastion.clock import FixedClock
from bastion.observe import meters as m
from bastion.observe.lag import INTERVAL, WINDOW, LagProbe
from bastion.observe.meters import Meters


class World:
    def __init__(self):
        self.reactor, self.clock, self.meters = Clock(), FixedClock(), Meters()
        self.probe = LagProbe(self.reactor, self.clock, self.meters)
        self.probe.start()

    def turn(self, late=0.0):
        self.clock.advance(INTERVAL + late)
        self.reactor.advance(INTERVAL)

    @property
    def peak(self):
        return self.meters.value(m.LAG_MAX_SECONDS) / m.MICROSECONDS


def test_a_late_turn_is_seen():
    world = World()
    world.turn()
    world.turn(late=0.4)
    assert world.meters.value(m.LAG_SECONDS) == 2
    assert round(world.peak, 3) == 0.4


def test_the_peak_is_forgotten_after_the_window():
    world = World()
    world.turn(late=0.4)
    world.turn(late=0.1)
    for _ in range(int(WINDOW / INTERVAL) - 1):
        world.turn()
    assert round(world.peak, 3) == 0.1
    for _ in range(3):
        world.turn()
    assert round(world.peak, 3) == 0.0


def test_the_peaks_kept_are_bounded():
    world = World()
    for turn in range(2000):
        world.turn(late=1.0 / (turn + 1))
    assert len(world.probe._peaks) <= WINDOW / INTERVAL + 1


def test_stopping_leaves_no_timer():
    world = World()
    world.probe.stop()
    world.probe.stop()
    assert world.reactor.getDelayedCalls() == []
