"""MongoDB's wire protocol, as much of it as a proxy and a fake router need: OP_MSG, read and written.

https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any, Final

import bson
from bson.raw_bson import RawBSONDocument

_HEADER: Final = struct.Struct("<iiii")
_OP_MSG: Final = 2013
_OP_QUERY: Final = 2004
_OP_REPLY: Final = 1
_MORE_TO_COME: Final = 1 << 1

Document = dict[str, Any]


async def read_message(reader: asyncio.StreamReader) -> bytes:
    """One whole message, header and all. Raises IncompleteReadError where the other side has ended."""
    length = await reader.readexactly(4)
    return length + await reader.readexactly(int.from_bytes(length, "little") - 4)


def command_name(message: bytes) -> str:
    """What a request asks for: `insert`, `find`, `hello`."""
    return next(iter(command_of(message)))


def command_of(message: bytes) -> Document:
    """The command of a request, with its document sequences put back in as arrays."""
    opcode = _HEADER.unpack_from(message)[3]
    if opcode == _OP_QUERY:
        # The first greeting of a driver that does not know yet whom it greets.
        start = message.index(b"\0", 20) + 1 + 8
        return bson.decode(message[start:])
    assert opcode == _OP_MSG, f"opcode {opcode}"
    command: Document = {}
    at = 20
    while at < len(message):
        kind, size = message[at], int.from_bytes(message[at + 1 : at + 5], "little")
        part = message[at + 1 : at + 1 + size]
        if kind == 0:
            command |= bson.decode(part)
        else:
            end = part.index(b"\0", 4)
            command[part[4:end].decode()] = [bson.decode(d.raw) for d in _documents(part[end + 1 :])]
        at += 1 + size
    return command


def expects_reply(message: bytes) -> bool:
    """Whether the sender waits for an answer."""
    return _HEADER.unpack_from(message)[3] != _OP_MSG or not message[16] & _MORE_TO_COME


def reply_to(request: bytes, document: Document) -> bytes:
    """The bytes that answer a request."""
    body = bson.encode(document)
    _, request_id, _, opcode = _HEADER.unpack_from(request)
    if opcode == _OP_QUERY:
        body = struct.pack("<iqii", 8, 0, 0, 1) + body
        return _HEADER.pack(16 + len(body), 0, request_id, _OP_REPLY) + body
    body = b"\0\0\0\0\0" + body
    return _HEADER.pack(16 + len(body), 0, request_id, _OP_MSG) + body


def _documents(data: bytes) -> list[RawBSONDocument]:
    found = []
    while data:
        size = int.from_bytes(data[:4], "little")
        found.append(RawBSONDocument(data[:size]))
        data = data[size:]
    return found
