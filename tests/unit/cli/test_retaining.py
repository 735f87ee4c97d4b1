"""What the configuration says about recordings, as the rules that plan."""

from __future__ import annotations

from pathlib import Path

from bastion.cli.retaining import labels_of, rules_of
from bastion.config.load import load
from tests.unit.config.site import Site


def test_rules_and_labels_are_those_of_the_files(tmp_path: Path) -> None:
    site = Site(tmp_path)
    config = load(site.config)
    assert not rules_of(config).any and rules_of(config).at_least == 7 * 86400.0
    site.write(
        "bastion.toml",
        site.config.read_text()
        + '[retention]\nmax_age = "2d"\nlabels = { "env=prod" = "off" }\nusers = { bob = "1d" }\nmax_size = "1KiB"\n',
    )
    rules = rules_of(load(site.config))
    assert (rules.max_age, rules.max_bytes) == (2 * 86400.0, 1024)
    assert dict(rules.labels) == {"env=prod": None} and dict(rules.users) == {"bob": 86400.0}
    labels = labels_of(config)
    target = next(iter(config.inventory))
    assert labels(target.name) == {f"{name}={value}" for name, value in target.labels.items()}
    assert labels("nowhere") is None
