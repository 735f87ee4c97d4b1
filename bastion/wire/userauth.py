"""The service and user authentication protocols (RFC 4253 section 10, RFC 4252, RFC 4256).

Invariant: `parse` consumes every byte or raises `ProtocolError`; passwords and responses are in no repr. The
meaning of 60 depends on the method, so the caller says which message it expects. The two bodies whose first byte says
which fields follow are written by hand, the rest are declarations.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Self

from bastion.wire import numbers
from bastion.wire.data import Reader, boolean, byte, string
from bastion.wire.struct import (
    Boolean,
    Kind,
    Message,
    Name,
    Names,
    Rest,
    String,
    Struct,
    counted,
    declared,
    octets,
    utf8,
)

USER_LIMIT = 1024
"""Bytes of a user name: `identity+login+target` with each part at its own limit fits many times."""

PASSWORD_LIMIT = 64 * 1024
"""Bytes of a password or response that still parses: too long is for auth to refuse, no disconnect."""

BLOB_LIMIT = 64 * 1024
"""Bytes of a key, certificate or signature: OpenSSH's certificates with 256 principals stay below 16 KiB."""

TEXT_LIMIT = 64 * 1024
"""Bytes of an instruction or prompt."""

PROMPT_LIMIT = 32
"""Prompts or responses of one keyboard-interactive round, checked before anything is allocated."""

LANGUAGE_LIMIT = 256

HOSTBOUND = "publickey-hostbound-v00@openssh.com"
"""`publickey` with the server's host key among what is signed, so that an agent can tell for which host it signs."""

Text = Annotated[str, utf8(TEXT_LIMIT)]
Language = Annotated[bytes, octets(LANGUAGE_LIMIT)]


@declared
class ServiceRequest(Message):
    """The client asks for a service (RFC 4253 section 10)."""

    NUMBER: ClassVar[int] = numbers.MSG_SERVICE_REQUEST
    name: Name


@declared
class UserauthRequest(Message):
    """One attempt (RFC 4252 section 5); `body` is specific to `method` and may hold a secret."""

    NUMBER: ClassVar[int] = numbers.MSG_USERAUTH_REQUEST
    user: Annotated[str, utf8(USER_LIMIT)]
    service: Name
    method: Name
    body: Rest = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class PublicKeyBody:
    """Body of method `publickey` (RFC 4252 section 7). `signature` None is a query and proves nothing.

    `host_key` is there in the method `HOSTBOUND` and nowhere else (OpenSSH PROTOCOL 3.1).
    """

    algorithm: str
    blob: bytes
    signature: bytes | None = None
    host_key: bytes | None = None

    @classmethod
    def parse(cls, body: bytes, hostbound: bool = False) -> Self:
        reader = Reader(body)
        signed = reader.boolean()
        algorithm, blob = reader.name(), reader.string(BLOB_LIMIT)
        host_key = reader.string(BLOB_LIMIT) if hostbound else None
        signature = reader.string(BLOB_LIMIT) if signed else None
        reader.end()
        return cls(algorithm, blob, signature, host_key)

    def encode(self) -> bytes:
        head = boolean(self.signature is not None) + string(self.algorithm) + string(self.blob)
        if self.host_key is not None:
            head += string(self.host_key)
        return head if self.signature is None else head + string(self.signature)


@dataclass(frozen=True, slots=True)
class PasswordBody:
    """Body of method `password` (RFC 4252 section 8); `new` is set in a password change."""

    password: bytes = field(repr=False)
    new: bytes | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = Reader(body)
        change = reader.boolean()
        password = reader.string(PASSWORD_LIMIT)
        new = reader.string(PASSWORD_LIMIT) if change else None
        reader.end()
        return cls(password, new)

    def encode(self) -> bytes:
        head = boolean(self.new is not None) + string(self.password)
        return head if self.new is None else head + string(self.new)


@declared
class KeyboardInteractiveBody(Struct):
    """Body of method `keyboard-interactive` (RFC 4256 section 3.1); `submethods` is a hint."""

    language: Language = b""
    submethods: Annotated[bytes, octets(TEXT_LIMIT)] = b""


@declared
class UserauthFailure(Message):
    """No, or not yet (RFC 4252 section 5.1): `methods` can continue, `partial` when the last one counted."""

    NUMBER: ClassVar[int] = numbers.MSG_USERAUTH_FAILURE
    methods: Names
    partial: Boolean = False


@declared
class UserauthBanner(Message):
    """Text for the user before authentication ends (RFC 4252 section 5.4), not sanitised: who shows it cuts it."""

    NUMBER: ClassVar[int] = numbers.MSG_USERAUTH_BANNER
    text: String
    language: Language = b""


@declared
class PkOk(Message):
    """The queried key would be acceptable (RFC 4252 section 7); nothing is proven by it."""

    NUMBER: ClassVar[int] = numbers.MSG_USERAUTH_PK_OK
    algorithm: Name
    blob: Annotated[bytes, octets(BLOB_LIMIT)]


@declared
class Prompt(Struct):
    """One question; `echo` says whether the answer may be seen while it is typed."""

    text: Text
    echo: Boolean = False


@declared
class InfoRequest(Message):
    """Questions of keyboard-interactive (RFC 4256 section 3.2)."""

    NUMBER: ClassVar[int] = numbers.MSG_USERAUTH_INFO_REQUEST
    name: Text = ""
    instruction: Text = ""
    language: Language = b""
    prompts: Annotated[
        tuple[Prompt, ...], counted(Kind(Prompt.read, Prompt.encode), PROMPT_LIMIT, "prompts")
    ] = ()


@declared
class InfoResponse(Message):
    """Answers of keyboard-interactive (RFC 4256 section 3.4), in the order of the prompts."""

    NUMBER: ClassVar[int] = numbers.MSG_USERAUTH_INFO_RESPONSE
    responses: Annotated[tuple[bytes, ...], counted(octets(PASSWORD_LIMIT), PROMPT_LIMIT, "responses")] = (
        field(repr=False)
    )


def signed_data(
    session_id: bytes,
    user: str,
    service: str,
    algorithm: str,
    blob: bytes,
    host_key: bytes | None = None,
) -> bytes:
    """What the signature of method `publickey` covers (RFC 4252 section 7), or with `host_key` that of `HOSTBOUND`.

    `session_id` is the exchange hash of the first key exchange; `user` exactly as it stood in the request.
    """
    return (
        string(session_id)
        + byte(numbers.MSG_USERAUTH_REQUEST)
        + string(user)
        + string(service)
        + string("publickey" if host_key is None else HOSTBOUND)
        + boolean(True)
        + string(algorithm)
        + string(blob)
        + (b"" if host_key is None else string(host_key))
    )
