"""Codecs of the service and user authentication protocols (RFC 4253 section 10, RFC 4252, RFC 4256).

Invariant: `parse` consumes every byte or raises `ProtocolError`; passwords and responses are in no repr. The
meaning of 60 depends on the method, so the caller says which codec it expects.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Self

from bastion.errors import ProtocolError
from bastion.wire import numbers
from bastion.wire.data import Reader, boolean, byte, namelist, string, uint32

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


def _reader(payload: bytes, number: int) -> Reader:
    reader = Reader(payload)
    if reader.byte() != number:
        raise ProtocolError(f"payload is no message {number}")
    return reader


@dataclass(frozen=True, slots=True)
class ServiceRequest:
    """The client asks for a service (RFC 4253 section 10)."""

    NUMBER: ClassVar[int] = numbers.MSG_SERVICE_REQUEST
    name: str

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        reader = _reader(payload, cls.NUMBER)
        message = cls(reader.name())
        reader.end()
        return message

    def encode(self) -> bytes:
        return byte(self.NUMBER) + string(self.name)


@dataclass(frozen=True, slots=True)
class ServiceAccept:
    """The server grants it (RFC 4253 section 10)."""

    NUMBER: ClassVar[int] = numbers.MSG_SERVICE_ACCEPT
    name: str

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        reader = _reader(payload, cls.NUMBER)
        message = cls(reader.name())
        reader.end()
        return message

    def encode(self) -> bytes:
        return byte(self.NUMBER) + string(self.name)


@dataclass(frozen=True, slots=True)
class UserauthRequest:
    """One attempt (RFC 4252 section 5); `body` is specific to `method` and may hold a secret."""

    NUMBER: ClassVar[int] = numbers.MSG_USERAUTH_REQUEST
    user: str
    service: str
    method: str
    body: bytes = field(default=b"", repr=False)

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        reader = _reader(payload, cls.NUMBER)
        return cls(reader.text(USER_LIMIT), reader.name(), reader.name(), reader.rest())

    def encode(self) -> bytes:
        names = string(self.user) + string(self.service) + string(self.method)
        return byte(self.NUMBER) + names + self.body


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


@dataclass(frozen=True, slots=True)
class KeyboardInteractiveBody:
    """Body of method `keyboard-interactive` (RFC 4256 section 3.1); `submethods` is a hint."""

    language: bytes = b""
    submethods: bytes = b""

    @classmethod
    def parse(cls, body: bytes) -> Self:
        reader = Reader(body)
        message = cls(reader.string(LANGUAGE_LIMIT), reader.string(TEXT_LIMIT))
        reader.end()
        return message

    def encode(self) -> bytes:
        return string(self.language) + string(self.submethods)


@dataclass(frozen=True, slots=True)
class UserauthFailure:
    """No, or not yet (RFC 4252 section 5.1): `methods` can continue, `partial` when the last one counted."""

    NUMBER: ClassVar[int] = numbers.MSG_USERAUTH_FAILURE
    methods: tuple[str, ...]
    partial: bool = False

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        reader = _reader(payload, cls.NUMBER)
        message = cls(reader.namelist(), reader.boolean())
        reader.end()
        return message

    def encode(self) -> bytes:
        return byte(self.NUMBER) + namelist(self.methods) + boolean(self.partial)


@dataclass(frozen=True, slots=True)
class UserauthSuccess:
    """Yes (RFC 4252 section 5.1)."""

    NUMBER: ClassVar[int] = numbers.MSG_USERAUTH_SUCCESS

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        _reader(payload, cls.NUMBER).end()
        return cls()

    def encode(self) -> bytes:
        return byte(self.NUMBER)


@dataclass(frozen=True, slots=True)
class UserauthBanner:
    """Text for the user before authentication ends (RFC 4252 section 5.4), not sanitised."""

    NUMBER: ClassVar[int] = numbers.MSG_USERAUTH_BANNER
    text: bytes
    language: bytes = b""

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        reader = _reader(payload, cls.NUMBER)
        message = cls(reader.string(), reader.string(LANGUAGE_LIMIT))  # who shows it cuts it
        reader.end()
        return message

    def encode(self) -> bytes:
        return byte(self.NUMBER) + string(self.text) + string(self.language)


@dataclass(frozen=True, slots=True)
class PkOk:
    """The queried key would be acceptable (RFC 4252 section 7); nothing is proven by it."""

    NUMBER: ClassVar[int] = numbers.MSG_USERAUTH_PK_OK
    algorithm: str
    blob: bytes

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        reader = _reader(payload, cls.NUMBER)
        message = cls(reader.name(), reader.string(BLOB_LIMIT))
        reader.end()
        return message

    def encode(self) -> bytes:
        return byte(self.NUMBER) + string(self.algorithm) + string(self.blob)


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question; `echo` says whether the answer may be seen while it is typed."""

    text: str
    echo: bool = False


@dataclass(frozen=True, slots=True)
class InfoRequest:
    """Questions of keyboard-interactive (RFC 4256 section 3.2)."""

    NUMBER: ClassVar[int] = numbers.MSG_USERAUTH_INFO_REQUEST
    name: str = ""
    instruction: str = ""
    prompts: tuple[Prompt, ...] = ()
    language: bytes = b""

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        reader = _reader(payload, cls.NUMBER)
        name, instruction = reader.text(TEXT_LIMIT), reader.text(TEXT_LIMIT)
        language = reader.string(LANGUAGE_LIMIT)
        count = reader.uint32()
        if count > PROMPT_LIMIT:
            raise ProtocolError("too many prompts")
        prompts = tuple(Prompt(reader.text(TEXT_LIMIT), reader.boolean()) for _ in range(count))
        reader.end()
        return cls(name, instruction, prompts, language)

    def encode(self) -> bytes:
        head = string(self.name) + string(self.instruction) + string(self.language)
        prompts = b"".join(string(prompt.text) + boolean(prompt.echo) for prompt in self.prompts)
        return byte(self.NUMBER) + head + uint32(len(self.prompts)) + prompts


@dataclass(frozen=True, slots=True)
class InfoResponse:
    """Answers of keyboard-interactive (RFC 4256 section 3.4), in the order of the prompts."""

    NUMBER: ClassVar[int] = numbers.MSG_USERAUTH_INFO_RESPONSE
    responses: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        reader = _reader(payload, cls.NUMBER)
        count = reader.uint32()
        # The count is the peer's word: bounded first (CVE-2026-48107 allocated by it).
        if count > PROMPT_LIMIT:
            raise ProtocolError("too many responses")
        responses = tuple(reader.string(PASSWORD_LIMIT) for _ in range(count))
        reader.end()
        return cls(responses)

    def encode(self) -> bytes:
        answers = b"".join(string(response) for response in self.responses)
        return byte(self.NUMBER) + uint32(len(self.responses)) + answers


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
