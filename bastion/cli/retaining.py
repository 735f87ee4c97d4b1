"""What `[retention]` and the inventory say about recordings, for whoever plans what goes (L4)."""

from __future__ import annotations

from collections.abc import Callable, Collection

from bastion.config.load import Config
from bastion.state.retention import Rules


def rules_of(config: Config) -> Rules:
    """The rules as they are configured."""
    wanted = config.retention
    return Rules(wanted.max_age, wanted.labels, wanted.users, wanted.max_size, wanted.at_least)


def labels_of(config: Config) -> Callable[[str], Collection[str] | None]:
    """A target's labels, as "env=prod"; None for one that the inventory has not."""

    def labels(name: str) -> Collection[str] | None:
        target = config.inventory.find(name)
        return None if target is None else {f"{key}={value}" for key, value in target.labels.items()}

    return labels
