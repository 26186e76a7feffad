"""The WebSocket shell: every way bytes can be cut gives the same messages, every fault its close code."""

from __future__ import annotations

import asyncio
import random
import socket as sockets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar, Self

import pytest
from websockets.asyncio.server import serve
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from server.gateway.socket import GameSocket, Turn
from tests.gateway.visitor import PATIENCE_S, masked

SIZE_MAX = 1000
SEND_BUFFER_BYTES = 4096


class Ear:
    """A Listener that writes down what it hears and answers nothing."""

    def __init__(self) -> None:
        self.sockets: list[GameSocket] = []
        self.messages: list[bytes] = []
        self.texts = 0
        self.gone: list[GameSocket] = []
        self.change = asyncio.Event()

    def opened(self, socket: GameSocket) -> None:
        self.sockets.append(socket)
        self.change.set()

    def received(self, _socket: GameSocket, message: bytes) -> None:
        self.messages.append(bytes(message))
        self.change.set()

    def received_text(self, socket: GameSocket) -> None:
        self.texts += 1
        socket.end(b"", 1003, "binary frames only")

    def lost(self, socket: GameSocket) -> None:
        self.gone.append(socket)
        self.change.set()

    async def hears(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.messages) < count:
                self.change.clear()
                await self.change.wait()


class Mouth:
    """A client that sends exactly the chunks it is told to."""

    # Sockets to be closed with the server.
    opened: ClassVar[list[sockets.socket]] = []

    def __init__(self, port: int) -> None:
        self.port = port
        self.protocol = ClientProtocol(parse_uri(f"ws://127.0.0.1:{port}/"))
        self.events: list[object] = []

    @classmethod
    async def dial(cls, port: int, *, heels: bytes = b"", receive_bytes: int = 0) -> Self:
        self = cls(port)
        raw = sockets.socket()
        if receive_bytes:
            raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, receive_bytes)
        raw.settimeout(0)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
        raw.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
        self.raw = raw
        self.opened.append(raw)
        self.protocol.send_request(self.protocol.connect())
        await self.send(b"".join(self.protocol.data_to_send()) + heels)
        while not self.events:
            await self.read()
        self.events.clear()
        return self

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.raw, data)

    async def read(self, size: int = 65_536) -> bytes:
        data = await asyncio.get_running_loop().sock_recv(self.raw, size)
        if data:
            self.protocol.receive_data(data)
        else:
            self.protocol.receive_eof()
        self.events += self.protocol.events_received()
        return data

    async def close_code(self) -> int:
        async with asyncio.timeout(PATIENCE_S):
            while self.protocol.close_rcvd is None:
                if not await self.read():
                    return 1006 if self.protocol.close_rcvd is None else self.protocol.close_rcvd.code
        self.raw.close()
        return self.protocol.close_rcvd.code


@asynccontextmanager
async def listening(size_max: int = SIZE_MAX, turn: Turn | None = None) -> AsyncIterator[tuple[Ear, int]]:
    ear = Ear()

    async def handle(connection: GameSocket) -> None:
        connection.open(SEND_BUFFER_BYTES, turn=turn)
        await connection.wait_closed()

    server = await serve(
        handle,
        "127.0.0.1",
        0,
        create_connection=lambda protocol, server, **options: GameSocket(ear, protocol, server, **options),
        compression=None,
        max_size=size_max,
        ping_interval=None,
        close_timeout=0.5,
    )
    try:
        yield ear, server.sockets[0].getsockname()[1]
    finally:
        while Mouth.opened:
            Mouth.opened.pop().close()
        server.close()
        await server.wait_closed()


def story(random_: random.Random) -> tuple[bytes, list[bytes]]:
    """Frames of every kind that a client may send, and the messages they carry."""
    data, said = b"", []
    for _ in range(random_.randint(1, 25)):
        size = random_.choice((0, 1, 5, 60, 124, 125, 126, 127, 300, SIZE_MAX))
        payload = random_.randbytes(size)
        whim = random_.random()
        if whim < 0.65:
            data += masked(payload)
        elif whim < 0.8:
            cut = sorted(random_.randrange(size + 1) for _ in range(2))
            parts = [payload[: cut[0]], payload[cut[0] : cut[1]], payload[cut[1] :]]
            data += masked(parts[0], fin=False)
            if random_.random() < 0.5:
                data += masked(b"between", Opcode.PING)
            data += masked(parts[1], Opcode.CONT, fin=False) + masked(parts[2], Opcode.CONT)
        else:
            data += masked(payload[:125], random_.choice((Opcode.PING, Opcode.PONG)))
            continue
        said.append(payload)
    return data, said


def chunks(data: bytes, random_: random.Random) -> list[bytes]:
    """The bytes, cut anywhere: inside headers and masks, byte by byte, or many frames in one."""
    found, at = [], 0
    while at < len(data):
        size = random_.choice((1, 2, 3, 7, 50, 500, 5000, 60_000))
        found.append(data[at : at + size])
        at += size
    return found


async def test_messages_are_the_same_wherever_the_bytes_are_cut():
    # The socket's own callback is fed, as the loop would feed it: TCP would join what is sent in pieces.
    async with listening() as (ear, port):
        for seed in range(150):
            chance = random.Random(seed)
            data, said = story(chance)
            mouth = await Mouth.dial(port)
            while len(ear.sockets) <= seed:
                ear.change.clear()
                await ear.change.wait()
            ear.messages.clear()
            for chunk in chunks(data, chance):
                ear.sockets[seed].data_received(chunk)
            assert ear.messages == said, f"seed {seed}"
            mouth.raw.close()


async def test_messages_are_the_same_over_a_real_wire():
    async with listening() as (ear, port):
        chance = random.Random(1)
        mouth = await Mouth.dial(port)
        everything: list[bytes] = []
        for _ in range(8):
            data, said = story(chance)
            everything += said
            for chunk in chunks(data, chance):
                await mouth.send(chunk)
                await asyncio.sleep(0)
        await ear.hears(len(everything))
        assert ear.messages == everything


async def test_a_ping_is_answered_among_messages():
    async with listening() as (ear, port):
        mouth = await Mouth.dial(port)
        await mouth.send(masked(b"a") + masked(b"hello?", Opcode.PING) + masked(b"b"))
        await ear.hears(2)
        while not mouth.events:
            await mouth.read()
        (pong,) = mouth.events
        assert isinstance(pong, Frame)
        assert (pong.opcode, bytes(pong.data)) == (Opcode.PONG, b"hello?")
        assert ear.messages == [b"a", b"b"]


@pytest.mark.parametrize("cut", [None, *range(1, 14)])
async def test_what_comes_on_the_heels_of_the_handshake_is_heard_once_and_whole(cut: int | None):
    frames = masked(b"first") + masked(b"more")
    async with listening() as (ear, port):
        mouth = await Mouth.dial(port, heels=frames[:cut])
        await mouth.send((b"" if cut is None else frames[cut:]) + masked(b"then"))
        await ear.hears(3)
        assert ear.messages == [b"first", b"more", b"then"]


RESERVED = masked(b"x", reserved=4)
UNMASKED = Frame(Opcode.BINARY, b"x").serialize(mask=False)
FAULTS = {
    "unmasked": (UNMASKED, 1002),
    "a reserved bit": (RESERVED, 1002),
    "an unknown opcode": (bytes((0x83,)) + masked(b"x")[1:], 1002),
    "a continuation of nothing": (masked(b"x", Opcode.CONT), 1002),
    "a message within a message": (masked(b"x", fin=False) + masked(b"y"), 1002),
    "a ping in fragments": (masked(b"x", Opcode.PING, fin=False), 1002),
    "a ping of 126 bytes": (bytes((0x89, 0xFE, 0, 126, 0, 0, 0, 0)) + b"x" * 126, 1002),
    "oversize by a byte": (masked(b"x" * (SIZE_MAX + 1)), 1009),
    "oversize by a terabyte": (bytes((0x82, 0xFF)) + (2**40).to_bytes(8, "big") + b"\0" * 4, 1009),
    "oversize in fragments": (masked(b"x" * SIZE_MAX, fin=False) + masked(b"y", Opcode.CONT), 1009),
    "text": (masked(b"hello", Opcode.TEXT), 1003),
}


@pytest.mark.parametrize("after_whole_frames", [False, True], ids=["first", "later in a chunk"])
@pytest.mark.parametrize("fault", list(FAULTS))
async def test_a_fault_closes_with_its_code_and_nothing_after_it_is_heard(fault: str, after_whole_frames: bool):
    data, code = FAULTS[fault]
    async with listening() as (ear, port):
        mouth = await Mouth.dial(port)
        before = masked(b"before") if after_whole_frames else b""
        await mouth.send(before + data + masked(b"after"))
        assert await mouth.close_code() == code
        assert b"after" not in ear.messages
        assert [m for m in ear.messages if m == b"before"] == [b"before"] * after_whole_frames


async def test_nothing_is_heard_after_a_close_frame():
    async with listening() as (ear, port):
        mouth = await Mouth.dial(port)
        await mouth.send(masked(b"a") + masked((1000).to_bytes(2, "big"), Opcode.CLOSE) + masked(b"after"))
        assert await mouth.close_code() == 1000
        assert ear.messages == [b"a"]


async def test_a_small_limit_holds_on_every_path():
    async with listening(size_max=64) as (ear, port):
        mouth = await Mouth.dial(port)
        await mouth.send(masked(b"x" * 64) + masked(b"y" * 65))
        assert await mouth.close_code() == 1009
        assert ear.messages == [b"x" * 64]


async def test_what_the_kernel_does_not_take_at_once_is_not_lost():
    async with listening() as (ear, port):
        mouth = await Mouth.dial(port, receive_bytes=4096)
        (socket,) = ear.sockets
        chance = random.Random(3)
        written, refused, got = b"", 0, bytearray()
        for _ in range(400):
            frame = Frame(Opcode.BINARY, chance.randbytes(chance.choice((10, 3000, 20_000)))).serialize(mask=False)
            if socket.write(frame):
                written += frame
                # One write at the most waits: what is held for a slow reader is bounded.
                assert socket.transport.get_write_buffer_size() <= len(frame)
            else:
                refused += 1
                got += await asyncio.get_running_loop().sock_recv(mouth.raw, 2000)
        while len(got) < len(written):
            got += await asyncio.get_running_loop().sock_recv(mouth.raw, 65_536)
        assert bytes(got) == written
        assert refused > 0
        assert not socket.stalled()


async def test_pings_of_one_who_does_not_read_are_not_answered_without_bound():
    async with listening() as (ear, port):
        mouth = await Mouth.dial(port, receive_bytes=4096)
        (socket,) = ear.sockets
        ping = masked(b"x" * 125, Opcode.PING) * 100
        most = 0
        async with asyncio.timeout(PATIENCE_S):
            while not ear.gone and most < 4_000_000:
                try:
                    await mouth.send(ping)
                except ConnectionError:
                    break
                most = max(most, socket.transport.get_write_buffer_size())
        # The kernel's own buffers aside: a few chunks of the loop's, and no more.
        assert most < 1_000_000


async def test_one_who_reads_nothing_is_gone_after_the_closing_time_whatever_waits_for_it():
    async with listening() as (ear, port):
        mouth = await Mouth.dial(port, receive_bytes=4096)
        (socket,) = ear.sockets
        assert socket.write(Frame(Opcode.BINARY, b"x" * 8_000_000).serialize(mask=False))
        assert socket.stalled()
        socket.end(b"", 4008, "too slow")
        async with asyncio.timeout(PATIENCE_S):
            while not ear.gone:
                ear.change.clear()
                await ear.change.wait()
        assert ear.gone == [socket]
        mouth.raw.close()


async def test_a_reason_longer_than_a_close_frame_holds_still_closes_with_its_code():
    async with listening() as (ear, port):
        mouth = await Mouth.dial(port)
        ear.sockets[0].end(b"", 4000, "é" * 100)
        assert await mouth.close_code() == 4000
        assert mouth.protocol.close_rcvd.reason == "é" * 60


async def test_a_write_after_the_end_is_refused_and_harms_nobody():
    async with listening() as (ear, port):
        mouth = await Mouth.dial(port)
        (socket,) = ear.sockets
        socket.end(b"", 1000, "")
        assert not socket.write(b"\x82\x01x")
        socket.end(b"", 4000, "again")
        assert await mouth.close_code() == 1000
        while not ear.gone:
            ear.change.clear()
            await ear.change.wait()
        assert not socket.write(b"\x82\x01x")


def framed(*payloads: bytes) -> bytes:
    return b"".join(Frame(Opcode.BINARY, payload).serialize(mask=False) for payload in payloads)


async def test_what_one_turn_writes_leaves_in_one_piece_and_in_order():
    async with listening(turn=Turn()) as (ear, port):
        mouths = [await Mouth.dial(port) for _ in range(3)]
        for n, socket in enumerate(ear.sockets):
            assert socket.write(framed(b"one", b"%d" % n))
        for socket in ear.sockets:
            assert socket.write(framed(b"two"))
            assert not socket.stalled(), "nothing waits for its client"
        for n, mouth in enumerate(mouths):
            assert await mouth.read() == framed(b"one", b"%d" % n, b"two")


@pytest.mark.parametrize("gathered", [False, True])
async def test_the_end_of_one_who_has_closed_and_keeps_the_wire_harms_nobody(gathered: bool):
    turn = Turn() if gathered else None
    async with listening(turn=turn) as (ear, port):
        mouth = await Mouth.dial(port)
        (socket,) = ear.sockets
        # The library answers the CLOSE, and writes the end of the stream: nothing can be written after it.
        mouth.protocol.send_close(1000)
        await mouth.send(b"".join(mouth.protocol.data_to_send()))
        assert await asyncio.wait_for(mouth.read(), PATIENCE_S)
        socket.write(framed(b"late"))
        socket.end(framed(b"farewell"), 4004, "nothing heard in time")
        async with asyncio.timeout(PATIENCE_S):
            while not ear.gone:
                ear.change.clear()
                await ear.change.wait()


async def test_what_the_next_turn_writes_goes_along():
    async with listening(turn=Turn()) as (ear, port):
        mouth = await Mouth.dial(port)
        (socket,) = ear.sockets
        assert socket.write(framed(b"one"))
        asyncio.get_running_loop().call_soon(socket.write, framed(b"two"))
        assert await mouth.read() == framed(b"one", b"two")
        assert socket.write(framed(b"three"))
        assert await mouth.read() == framed(b"three"), "and nothing is written twice"


async def test_a_farewell_comes_after_what_its_turn_wrote():
    async with listening(turn=Turn()) as (ear, port):
        mouth = await Mouth.dial(port)
        (socket,) = ear.sockets
        assert socket.write(framed(b"one"))
        socket.end(framed(b"bye"), 1000, "")
        assert not socket.write(framed(b"two"))
        assert await mouth.close_code() == 1000
        said = [event.data for event in mouth.events if isinstance(event, Frame) and event.opcode is Opcode.BINARY]
        assert said == [b"one", b"bye"]


async def test_what_the_kernel_does_not_take_of_a_turn_waits_and_the_next_is_refused():
    async with listening(turn=Turn()) as (ear, port):
        mouth = await Mouth.dial(port, receive_bytes=4096)
        (socket,) = ear.sockets
        parts = [framed(b"x" * 3_000_000), framed(b"y" * 3_000_000)]
        assert all(socket.write(part) for part in parts)
        for _ in range(3):
            await asyncio.sleep(0)
        assert socket.stalled()
        assert not socket.write(framed(b"z"))
        data = b""
        async with asyncio.timeout(PATIENCE_S):
            while len(data) < sum(map(len, parts)):
                data += await asyncio.get_running_loop().sock_recv(mouth.raw, 1_000_000)
        assert data == b"".join(parts)


async def test_whoever_hangs_up_with_something_gathered_harms_nobody():
    async with listening(turn=Turn()) as (ear, port):
        mouth, other = await Mouth.dial(port), await Mouth.dial(port)
        first, second = ear.sockets
        assert first.write(framed(b"gone"))
        first.transport.abort()
        assert second.write(framed(b"here"))
        assert await other.read() == framed(b"here")
        assert not first.write(framed(b"more"))
        mouth.raw.close()


async def test_whoever_hangs_up_during_the_handshake_leaves_nothing_behind():
    async with listening() as (ear, port):
        request = Mouth(port).protocol
        request.send_request(request.connect())
        hello = b"".join(request.data_to_send()) + masked(b"hello")
        loop = asyncio.get_running_loop()
        for _ in range(30):
            raw = sockets.socket()
            raw.settimeout(0)
            await loop.sock_connect(raw, ("127.0.0.1", port))
            await loop.sock_sendall(raw, hello)
            raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            raw.close()
        mouth = await Mouth.dial(port)
        async with asyncio.timeout(PATIENCE_S):
            while len(ear.sockets) - len(ear.gone) > 1:
                ear.change.clear()
                await ear.change.wait()
        mouth.raw.close()
