"""What a recording shows (L4): as text, taken away, verified. Each is opened by a process of its own.

Invariant: what that process says becomes text of a page, or JSON without a `<`, here, whatever it was before.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from bastion.console.answers import POLICY_OF_FILES, Answer, document
from bastion.console.desk import Call
from bastion.console.readers import Opened
from bastion.console.routes import FORMS

_REPLACED: Final = ((b"&", b"&amp;"), (b"<", b"&lt;"), (b">", b"&gt;"), (b'"', b"&#34;"), (b"'", b"&#39;"))


def escaped(data: bytes) -> bytes:
    """Bytes of UTF-8 as text of a page, however they are cut."""
    for what, by in _REPLACED:
        data = data.replace(what, by)
    return data


def without_ends(data: bytes) -> bytes:
    """JSON that ends no element: a `<` stands in its strings alone."""
    return data.replace(b"<", b"\\u003c")


async def text(call: Call) -> Answer:
    """What was shown, as text: without a script."""
    opened, name = await _opened(call, "text", "text")
    opened.before, opened.behind = call.desk.pages.around("text.html", **call.common(), id=name)
    opened.change = escaped
    return Answer(stream=opened)


async def export(call: Call) -> Answer:
    """A file to keep."""
    form = call.found.parts["form"]
    kind, ending = FORMS[form]
    opened, name = await _opened(call, form, "export")
    saved = ("content-disposition", f'attachment; filename="{name}.{ending}"')
    return Answer(200, kind, headers=(saved,), stream=opened, policy=POLICY_OF_FILES)


async def files(call: Call) -> Answer:
    """What was done with files, as a tree: without a script."""
    name = call.found.parts["session"]
    opened = await call.open("files", name, "files")
    return call.page("files.html", id=name, **orjson.loads(await opened.all()))


async def verify(call: Call) -> Answer:
    """Is the recording what its gateway wrote?"""
    name = call.found.parts["session"]
    opened = await call.open("verify", name, "verify")
    return call.page("verify.html", id=name, verdict=orjson.loads(await opened.all()))


async def api_verify(call: Call) -> Answer:
    """The same for programs."""
    opened = await call.open("verify", call.found.parts["session"], "verify")
    return document(orjson.loads(await opened.all()))


async def looks(call: Call) -> Answer:
    """Who has looked at it: of the audit log, and so on a page of its own."""
    name = call.found.parts["session"]
    return call.page("looks.html", id=name, told=await _looks(call, name))


async def api_looks(call: Call) -> Answer:
    """The same for programs."""
    return document(await _looks(call, call.found.parts["session"]))


async def _looks(call: Call, name: str) -> dict[str, Any]:
    opened = await call.open("looks", name, "looks")
    found: dict[str, Any] = orjson.loads(await opened.all())
    return found


async def _opened(call: Call, what: str, command: str) -> tuple[Opened, str]:
    name, channel = call.found.parts["session"], call.channel()
    asked = [f"channel={channel}"] if channel is not None else []
    if command == "export":
        asked.append(f"form={what}")
    return await call.open(what, name, command, " ".join(asked), channel), name
