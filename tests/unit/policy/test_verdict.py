"""A verdict is a value; those that are made once are shared by all sessions."""

import dataclasses

import pytest

from bastion.errors import PolicyReason
from bastion.policy.verdict import Verdict


def test_a_verdict_cannot_be_turned_into_another():
    no = Verdict(False, PolicyReason.VERB_NOT_ALLOWED, "rule", "no")
    with pytest.raises(dataclasses.FrozenInstanceError):
        no.allowed = True
    assert dataclasses.replace(no, rule="other") == Verdict(
        False, PolicyReason.VERB_NOT_ALLOWED, "other", "no"
    )


def test_ssh_inside_needs_a_word_of_its_own():
    assert not Verdict(True, PolicyReason.ALLOWED, "rule").allow_ssh
