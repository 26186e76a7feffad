"""MongoDB's messages, as a driver writes them, read back."""

import asyncio
import struct

import bson
import pytest

from bench.mongo_wire import command_name, command_of, expects_reply, read_message, reply_to


def op_msg(sections: bytes, flags: int = 0) -> bytes:
    body = struct.pack("<I", flags) + sections
    return struct.pack("<iiii", 16 + len(body), 7, 0, 2013) + body


def sequence(name: str, *documents: dict) -> bytes:
    body = name.encode() + b"\0" + b"".join(bson.encode(d) for d in documents)
    return b"\1" + struct.pack("<i", 4 + len(body)) + body


INSERT = op_msg(
    b"\0" + bson.encode({"insert": "journal", "$db": "world"}) + sequence("documents", {"slot": 1}, {"slot": 2})
)


def test_a_command_has_its_documents_back():
    assert command_name(INSERT) == "insert"
    assert command_of(INSERT) == {"insert": "journal", "$db": "world", "documents": [{"slot": 1}, {"slot": 2}]}


def test_a_sender_may_not_want_an_answer():
    assert expects_reply(INSERT)
    assert not expects_reply(op_msg(b"\0" + bson.encode({"insert": "journal"}), flags=2))


def test_an_answer_names_its_question():
    answer = reply_to(INSERT, {"ok": 1})
    length, _, answers, opcode = struct.unpack_from("<iiii", answer)
    assert (length, answers, opcode) == (len(answer), 7, 2013)
    assert bson.decode(answer[21:]) == {"ok": 1}


async def test_messages_are_read_whole():
    reader = asyncio.StreamReader()
    reader.feed_data(INSERT + INSERT[:20])
    reader.feed_eof()
    assert await read_message(reader) == INSERT
    with pytest.raises(asyncio.IncompleteReadError):
        await read_message(reader)
