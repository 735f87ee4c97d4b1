"""The control of a process that serves: its node, the hub over it, and the desk (L4)."""

from __future__ import annotations

from collections.abc import Callable

from bastion.assembly.control_desk import ControlDesk
from bastion.assembly.health import HealthWatch
from bastion.assembly.log_level import LevelFilter
from bastion.config.load import Config
from bastion.control.hub import Hub
from bastion.control.local import LocalNode
from bastion.control.node import Part
from bastion.control.orders import SetLogLevel
from bastion.session.gateway import Gateway


class Controlling(ControlDesk):
    """The node of this process too, and the hub over it alone."""

    def __init__(
        self,
        gateway: Gateway,
        config: Config,
        health: HealthWatch,
        on_look: Callable[[], None],
        alone: bool = True,
    ) -> None:
        """`on_look` sets the gauges that nobody keeps up to date. `alone`: the gateway is this process. Raises
        ConfigError."""
        self.local = LocalNode(gateway, on_look=on_look)
        self.local.parts = lambda: [
            Part(found.part, found.state.name.lower(), found.text) for found in health.findings()
        ]
        self.local.config_file = str(config.file)
        self.hub = Hub(self.local)
        self.hub.name = "gateway"
        super().__init__(
            gateway.reactor,
            gateway.clock,
            self.hub,
            gateway.meters,
            gateway.audit,
            config.control,
            config.file,
        )
        if alone:
            self.join(config.nodes, config.state.name)

    def follow(self, levels: LevelFilter) -> None:
        """`log-level` changes this one."""
        self.local.log_level = lambda: str(levels.level)
        self.local.answers(SetLogLevel, lambda request, _: levels.set(request.level))
