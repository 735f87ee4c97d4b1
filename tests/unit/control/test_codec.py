"""Values as JSON and back: what is not as annotated is refused by name, and nothing is converted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

import orjson
import pytest

from bastion.auth.penalty_claims import Claim, Of
from bastion.control import (
    account_id,
    approvals,
    confirming,
    deletion,
    glass,
    node,
    orders,
    penalty_orders,
    proving,
    reloads,
    there,
)
from bastion.control.codec import MAX_NUMBER, MAX_TEXT, Unfit, from_json, to_json
from bastion.policy.lock_list import Gone
from bastion.policy.locks import Lock, LockKind


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True)
class Inner:
    text: str = "x"


@dataclass(frozen=True, slots=True)
class Value:
    text: str
    number: int = 3
    share: float = 0.5
    flag: bool = False
    colour: Colour = Colour.RED
    inner: Inner = Inner()
    several: tuple[Inner, ...] = ()
    perhaps: float | None = None
    named: Mapping[str, int] | None = None
    few: tuple[int, ...] = field(default=(), metadata={"most": 2})


FULL = Value("t", -1, 2.5, True, Colour.RED, Inner("y"), (Inner(), Inner("z")), 1.0, {"a": 1})


def test_there_and_back():
    for value in (FULL, Value("")):
        assert from_json(Value, orjson.loads(orjson.dumps(to_json(value))), strict=True) == value


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"text": 1}, "Value.text: not a string"),
        ({"text": None}, "Value.text"),
        ({"text": "x" * (MAX_TEXT + 1)}, "Value.text: longer"),
        ({"text": "a\ud800"}, "Value.text: holds half"),
        ({"number": True}, "Value.number: not an integer"),
        ({"number": 1.0}, "Value.number"),
        ({"number": MAX_NUMBER + 1}, "Value.number: too large"),
        ({"share": 10**400}, "Value.share: too large"),
        ({"share": -1e300}, "Value.share: too large"),
        ({"share": float("nan")}, "Value.share: too large"),
        ({"few": [1, 2, 3]}, "Value.few: more than 2"),
        ({"share": "1"}, "Value.share: not a number"),
        ({"flag": 1}, "Value.flag: not true or false"),
        ({"colour": "blue"}, "Value.colour: not one of red"),
        ({"colour": ["red"]}, "Value.colour"),
        ({"inner": []}, "Value.inner: not an object"),
        ({"inner": {"text": 1}}, "Value.inner.text"),
        ({"several": {}}, "Value.several: not a list"),
        ({"several": [1]}, r"Value.several\[\]"),
        ({"named": {"a": "b"}}, r"Value.named\{\}"),
        ({"more": 1}, "not known here"),
    ],
)
def test_what_does_not_fit_is_named(change, fault):
    with pytest.raises(Unfit, match=fault):
        from_json(Value, {**to_json(FULL), **change}, strict=True)


@pytest.mark.parametrize(
    "change", [{"text": "a\ud800"}, {"number": 10**400}, {"perhaps": 10**400}, {"few": [1, 2, 3]}]
)
def test_what_cannot_be_passed_on_is_no_answer_either(change):
    with pytest.raises(Unfit):
        from_json(Value, {**to_json(FULL), **change}, strict=False)


def test_what_is_missing_is_named_and_defaults_stand_in():
    with pytest.raises(Unfit, match=r"Value.text: is missing"):
        from_json(Value, {}, strict=True)
    assert from_json(Value, {"text": "a"}, strict=True) == Value("a")
    with pytest.raises(Unfit):
        from_json(Value, [], strict=True)


def test_an_answer_of_a_newer_process_may_say_more():
    assert from_json(Value, {"text": "a", "more": 1}, strict=False) == Value("a")


def test_everything_that_can_be_asked_goes_there_and_back():
    by, selection = node.By(0, "root"), node.Selection(user="alice")
    examples = {
        "status": node.StatusAsked(),
        "snapshot": node.SnapshotAsked(),
        "live": node.LiveAsked(selection),
        "kill": node.Kill(selection, "why", by),
        "set_locks": orders.SetLocks((Lock(LockKind.USER, "alice", "x", "root", 1.0, None),)),
        "lock": orders.AddLock(LockKind.SOURCE, "192.0.2.1", "x", 5.0, by),
        "unlock": orders.RemoveLock("alice", LockKind.USER, "x", by),
        "kept_locks": orders.KeptLocks(),
        "keep_lock": orders.KeepLock(Lock(LockKind.USER, "alice", "x", "root", 1.0, 5.0), True),
        "locks": orders.LocksAsked(),
        "penalties": orders.PenaltiesAsked(),
        "clear_penalties": orders.ClearPenalties("192.0.2.1", "alice", "x", by),
        "log_level": orders.SetLogLevel(orders.LogLevel.WARN, by),
        "watch": orders.WatchSession("abc", "x", by),
        "upgrade": orders.Upgrade(by),
        "reload": reloads.ReloadOrder(by),
        "totp_enrol": orders.EnrolTotp("alice", by),
        "totp_invite": orders.InviteTotp("alice", by),
        "totp_list": orders.TotpAsked(),
        "totp_reset": orders.ResetTotp("alice", "x", by),
        "keys_of": orders.KeysOfAsked("alice"),
        "certificates": orders.CertificatesAsked("alice", ended=True),
        "approvals": approvals.ApprovalsAsked(),
        "approval_answer": approvals.AnswerRequest("abcdefghij", True, "x", "123456", by),
        "deletions": deletion.DeletionsAsked(),
        "deletion_ask": deletion.AskDeletion("aaaabbbbccccdddd", "x", "", "{}", 5, by),
        "deletion_answer": deletion.AnswerDeletion("aaaabbbbccccdddd", True, "123456", by=by),
        "code_use": proving.UseCode("u-1", "192.0.2.1", "123456"),
        "account_id": account_id.IdAsked("alice"),
        "set_break_glass": glass.SetGlass(glass.Glass(5.0, "x", "root")),
        "break_glass": glass.GlassAsked(),
        "break_glass_open": glass.OpenGlass("x", 60.0, by),
        "break_glass_close": glass.CloseGlass(by),
        "keep_break_glass": glass.KeepGlass(glass.Kept(glass.Glass(5.0, "x", "root"), 1.0)),
        "kept_break_glass": glass.GlassKept(),
        "shared_locks": confirming.SharedLocks("m"),
        "confirm_locks": confirming.ConfirmLocks(12.5),
        "share_penalties": penalty_orders.SharePenalties(
            "gw1",
            "ab" * 32,
            (Claim("ab" * 12, Of.PAIR, "192.0.2.1", 6, 1.5, 1.0, 0.0, 1.0, 9.0, 1),),
            (penalty_orders.Seen("gw2", 7),),
            True,
        ),
    }
    assert examples.keys() == node.REQUESTS.keys()
    for command, request in examples.items():
        again = from_json(node.REQUESTS[command], orjson.loads(orjson.dumps(to_json(request))), strict=True)
        assert again == request


def test_everything_that_gateways_ask_each_other_goes_there_and_back():
    by, selection = node.By(0, "root"), node.Selection(user="alice")
    lock, gone = Lock(LockKind.USER, "alice", "x", "root", 1.0, None, "u-1"), Gone(LockKind.USER, "bob", 2.0)
    examples = {
        "node_locks": there.LocksThere("m"),
        "node_lock": there.LocksTold((lock,), (gone,)),
        "node_live": there.LiveThere(by, selection),
        "node_status": there.StatusThere(by),
        "node_kill": there.KillThere(by, selection, "why"),
        "node_watch": there.WatchThere(by, "abc", "why"),
    }
    assert examples.keys() == there.ASKED_BY_NODES.keys()
    held = there.LocksHeld("m", (lock,), (gone,))
    rows = confirming.SharedRows("m", (lock,))
    for value in (*examples.values(), held, rows, confirming.SharedRows("m"), confirming.Heard()):
        again = from_json(type(value), orjson.loads(orjson.dumps(to_json(value))), strict=True)
        assert again == value


def test_what_the_version_before_does_not_know_is_written_only_where_it_says_something():
    named = Lock(LockKind.USER, "alice", "x", "root", 1.0)
    assert "uid" not in to_json(named) and to_json(replace(named, uid="u-1"))["uid"] == "u-1"
    assert from_json(Lock, to_json(named), strict=True) == named


def test_a_lock_of_a_kind_that_only_a_newer_gateway_has_is_left_out_and_the_answer_is_one():
    known = to_json(Lock(LockKind.USER, "alice", "x", "root", 1.0, None))
    told = {
        "mark": "m",
        "locks": [known, {**known, "kind": "planet"}],
        "gone": [{"kind": "x", "value": "y", "made_at": 1.0}],
    }
    held = from_json(there.LocksHeld, told, strict=False)
    assert [lock.value for lock in held.locks] == ["alice"] and held.gone == ()
    for wrong in ({**known, "kind": 7}, {**known, "made_at": "x"}, "x"):
        with pytest.raises(Unfit):
            from_json(there.LocksHeld, {"mark": "m", "locks": [wrong]}, strict=False)
