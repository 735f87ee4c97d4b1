"""`[detections]`: defaults, and faults told by line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from bastion.config.detections import Detections
from bastion.config.outputs import read_section
from bastion.detect.whereabouts import NoDatabase
from bastion.errors import ConfigError, Detection


def section(folder: Path, text: str) -> Detections:
    file = folder / "bastion.toml"
    file.write_text(f"[detections]\n{text}\n")
    return read_section(file, Detections)


def test_without_a_word_all_are_on(tmp_path: Path) -> None:
    made = section(tmp_path, "")
    assert made == Detections() and all(made.level(kind) != "off" for kind in Detection)
    assert made.locate()("203.0.113.1").network == "203.0.113.0/24"


def test_each_has_a_level_and_networks_their_size(tmp_path: Path) -> None:
    made = section(
        tmp_path, 'new_network = "off"\nnetwork_bits = 16\ntrusted = ["192.0.2.0/24"]\nlearning = "7d"'
    )
    assert made.level(Detection.NEW_NETWORK) == "off" and made.learning == 7 * 86400
    assert made.locate()("203.0.113.1").network == "203.0.0.0/16" and made.locate()("192.0.2.9").trusted


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ('break_glass = "loud"', "detections.break_glass", "alert"),
        ("beacon_count = 2", "detections.beacon_count", "5 to 32"),
        ('new_netwerk = "off"', "detections.new_netwerk", "new_network"),
        ('alertmanager = "http://am.example.com"', "detections.alertmanager", "https"),
        ('alertmanager_token_file = "x"', "detections.alertmanager_token_file", "no effect"),
        ('webhook = "http://soc.example.com/x"', "detections.webhook", "https"),
        ('webhook_secret_file = "x"', "detections.webhook_secret_file", "no effect"),
        ('run = "yes"', "detections.run", "true"),
        ('trusted = ["192.0.2.1/24"]', "detections.trusted", "192.0.2"),
    ],
)
def test_faults_name_their_line_and_key(tmp_path: Path, text: str, key: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        section(tmp_path, text)
    assert f"bastion.toml:2: {key}" in str(caught.value) and problem in str(caught.value)


def test_a_file_that_is_no_database_is_told_when_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(NoDatabase, match=r"absent\.mmdb"):
        section(tmp_path, 'asn = "absent.mmdb"').locate()
    (tmp_path / "x.mmdb").write_text("no")
    with pytest.raises(NoDatabase, match=r"x\.mmdb"):
        section(tmp_path, 'geoip = "x.mmdb"').locate()
