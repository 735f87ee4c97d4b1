"""What is said to one request: the verb that is lacked, and the form in which a path goes on."""

import pytest

from bastion.errors import PolicyReason
from bastion.policy.sftp import SftpRights, parse_pattern
from bastion.relay.sftp.audit import Conversation
from bastion.relay.sftp.rights import Rights
from bastion.wire import sftp
from bastion.wire.data import string
from bastion.wire.sftp import Request

UNDER = (parse_pattern("/pub/**"),)


def rights(*verbs):
    conversation = Conversation(1, lambda event: None, hashing=False)
    return Rights(SftpRights("files", dict.fromkeys(verbs, UNDER)), conversation)


def asked(kind, *paths, **more):
    return Request(kind, 1, "name", paths, **more)


@pytest.mark.parametrize(
    ("verb", "request_"),
    [
        ("download", asked(sftp.OPEN, b"/pub/a", flags=sftp.FXF_READ)),
        ("upload", asked(sftp.OPEN, b"/pub/a", flags=sftp.FXF_WRITE)),
        ("list", asked(sftp.OPENDIR, b"/pub/a")),
        ("modify", asked(sftp.REMOVE, b"/pub/a")),
        ("modify", asked(sftp.RENAME, b"/pub/a", b"/pub/b")),
    ],
)
def test_a_verb_gives_what_no_other_does(verb, request_):
    others = {"download", "upload", "list", "modify"} - {verb}
    assert rights(verb).request(request_) == (None, None)
    refusing = rights(*others)
    verdict, instead = refusing.request(request_)
    assert verdict is not None and not verdict.allowed and instead is None
    assert (verdict.rule, refusing.verb) == ("files", verb)


def test_a_path_goes_on_in_the_form_that_was_judged():
    request = asked(sftp.OPENDIR, b"/pub//a/../b")
    verdict, instead = rights("list").request(request)
    assert verdict is None and instead == request.with_paths((b"/pub/b",))
    assert instead is not None and string(b"/pub/b") in instead


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (asked(sftp.REMOVE, b"/pub/\0a"), PolicyReason.PATH_NOT_ALLOWED),
        (asked(sftp.REMOVE, b"/pub/a", whole=False), PolicyReason.VERB_NOT_ALLOWED),
        (asked(sftp.SYMLINK, b"/pub/a", b"/pub/b"), PolicyReason.VERB_NOT_ALLOWED),
        (asked(250), PolicyReason.VERB_NOT_ALLOWED),
    ],
)
def test_what_cannot_be_judged_is_refused_whatever_is_given(request_, reason):
    verdict, instead = rights("download", "upload", "list", "modify").request(request_)
    assert verdict is not None and verdict.reason is reason and instead is None


def test_data_under_no_open_handle_is_refused():
    having = rights("download", "upload")
    verdict = having.transfer(None, writing=True)
    assert verdict is not None and having.verb == "upload"
    verdict = having.transfer(None, writing=False)
    assert verdict is not None and having.verb == "download"
