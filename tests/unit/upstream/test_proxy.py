"""What the words of a proxy command become."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from bastion.errors import Refused, UpstreamReason
from bastion.policy.targets import Target
from bastion.upstream.proxy import Proxied, expanded

TARGET = Target(name="web1", host="10.0.0.5", port=2222, proxy_command="tunnel")


@pytest.mark.parametrize(
    ("word", "made"),
    [
        ("%h:%p", "10.0.0.5:2222"),
        ("%r@%h", "root@10.0.0.5"),
        ("100%%", "100%"),
        ("%%h", "%h"),
        ("%%%h", "%10.0.0.5"),
        ("", ""),
        ("$(id);%h", "$(id);10.0.0.5"),
    ],
)
def test_each_stands_for_what_it_says(word: str, made: str) -> None:
    assert expanded(["/bin/x", word], TARGET, "root") == ("/bin/x", made)


@given(st.lists(st.sampled_from(["%h", "%p", "%r", "%%", "a", " ", "h"])))
def test_what_is_put_in_is_not_looked_at_again(parts: list[str]) -> None:
    target = Target(name="x", host="%h%p", port=1, proxy_command="t")
    meanings = {"%h": "%h%p", "%p": "1", "%r": "%%r", "%%": "%"}
    assert expanded(["".join(parts)], target, "%%r") == ("".join(meanings.get(part, part) for part in parts),)


def test_a_program_that_is_not_configured_is_none() -> None:
    with pytest.raises(Refused) as refused:
        Proxied(Clock(), {}, TARGET)
    assert refused.value.reason is UpstreamReason.PROXY_FAILED
