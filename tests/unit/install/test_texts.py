"""The files of a new gateway are read by what reads them, and say what was answered."""

import re
import tomllib
from pathlib import Path

import argon2
import pytest

from bastion.auth.embedded import load_users
from bastion.config.load import load
from bastion.install.answers import Answers, NewTarget
from bastion.install.gateway import Signed, build
from bastion.install.layout import Layout, Owners
from bastion.install.texts import config_text, data_text, policy_text, recipients_text, targets_text
from bastion.options.kinds import Address
from tests.unit.test_age import GOOD

BY = Signed("root", 1_800_000_000.7)
HASH = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("x")
ANSWERS = Answers(
    listen=(Address("0.0.0.0", 2222), Address("::1", 2222)),
    public=Address("gate.example.com", 2222),
    account="admin",
    password_hash=HASH,
    targets=(NewTarget("web1", "10.0.0.5"), NewTarget("db.example.com", "10.0.0.6", 2200)),
    logins=("deploy", "root"),
    egress=("10.0.0.1",),
    recipients=(GOOD,),
)


@pytest.mark.slow
def test_what_was_answered_is_what_is_loaded(tmp_path):
    build(tmp_path, ANSWERS, Layout.beside(tmp_path), Owners(), BY)
    config = load(tmp_path / "bastion.toml")
    assert config.listen.addresses == ANSWERS.listen and config.listen.public == ANSWERS.public
    assert [(t.name, t.host, t.port) for t in config.inventory] == [
        ("web1", "10.0.0.5", 22),
        ("db.example.com", "10.0.0.6", 2200),
    ]
    (rule,) = config.rules.rules
    assert [str(network) for network in config.upstream_ca.egress] == ["10.0.0.1/32"]
    assert load_users(tmp_path / "users.toml")["admin"].password == HASH
    assert rule.logins and config.recording.directory == tmp_path / "recordings"


def test_the_examples_are_comments_that_can_be_switched_on():
    for text in (policy_text(ANSWERS), targets_text(ANSWERS)):
        examples = text.partition("# Examples:\n")[2]
        assert examples.strip() and all(not line or line.startswith("#") for line in examples.splitlines())
        switched = re.sub(r"(?m)^# (?=\[|[a-z_]+ = )", "", examples)
        assert tomllib.loads(switched)


def test_a_name_with_a_dot_is_one_key():
    assert set(tomllib.loads(targets_text(ANSWERS))["targets"]) == {"web1", "db.example.com"}


def test_every_option_stands_in_the_configuration():
    sample = set(re.findall(r"(?m)^(?:# )?([a-z_]+) = ", data_text("etc", "bastion.toml")))
    made = set(re.findall(r"(?m)^(?:# )?([a-z_]+) = ", config_text(ANSWERS, Layout.beside(Path("/g")))))
    assert made == sample


def test_the_recipients_file_is_used_when_somebody_is_in_it():
    text = recipients_text(ANSWERS)
    assert text.splitlines()[-1] == GOOD and "two or more" in text.lower()
    assert '\nrecipients = "recipients.txt"' in config_text(ANSWERS, Layout.beside(Path("/g")))
