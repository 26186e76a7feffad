"""The real server's frames are those the codec would make, and bad input gets its typed answer there too."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import fields

import msgpack
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed

from clients.python import connect
from protocol import codec
from protocol.errors import CloseCode, ErrorCode
from protocol.messages import (
    Ack,
    Bye,
    Delta,
    Error,
    Event,
    Keyframe,
    Pong,
    Receipt,
    ServerMessage,
    ViewDigest,
    Welcome,
    You,
)
from server.app import Everstep
from tests.clients_python.pasture import GAME
from tests.protocol.test_mutation_fuzz import SEED, Mutator, client_seeds, say

pack = msgpack.packb


@pytest.fixture
async def server(settings):
    async with asyncio.timeout(120), Everstep(settings, GAME) as app:
        yield app


# WELCOME is left out: its numbers may be ints or floats, as the settings have them.
ENCODERS: dict[type, Callable[..., bytes]] = {
    Delta: codec.encode_delta,
    Keyframe: codec.encode_keyframe,
    Ack: codec.encode_ack,
    Receipt: codec.encode_receipt,
    Event: codec.encode_event,
    Pong: codec.encode_pong,
    ViewDigest: codec.encode_view_digest,
    Error: codec.encode_error,
    Bye: codec.encode_bye,
    You: codec.encode_you,
}


def encoded(message: ServerMessage) -> bytes:
    """What the codec makes of a message. Its fields are the encoder's parameters, in order."""
    return ENCODERS[type(message)](*(getattr(message, f.name) for f in fields(message)))


async def rest_of(socket: ClientConnection) -> tuple[list[bytes], int]:
    """All frames until the server closes, and its close code."""
    frames = []
    try:
        while True:
            frames.append(await socket.recv(decode=False))
    except ConnectionClosed:
        assert socket.close_code is not None
        return frames, socket.close_code


async def test_the_fan_outs_bytes_are_the_codecs(server: Everstep) -> None:
    """The gateway joins DELTA and KEYFRAME from slices; the codec's plain way must give the same bytes."""
    seen: Counter[str] = Counter()
    async with open_websocket(server.ws_url, compression=None) as socket:
        await socket.send(codec.encode_hello(name="Ada"))
        await socket.send(codec.encode_ping(1.5))
        enters = leaves = 0
        while seen["Delta"] < 100 or not enters or not leaves:
            data = await socket.recv()
            message = codec.decode_server(data)
            assert isinstance(message, Welcome) or encoded(message) == data
            seen[type(message).__name__] += 1
            if isinstance(message, Keyframe):
                # Off to where others come into view and go out of it.
                frames = [codec.encode_input(1, 16, [1, 1]), codec.encode_input(2, 17, [])]
                frames += [codec.encode_input(3, 18, ["hello"]), codec.encode_input(4, 99, []), codec.encode_check()]
                for frame in frames:
                    await socket.send(frame)
            if isinstance(message, Delta):
                enters += len(message.enters)
                leaves += len(message.leaves)
        await socket.send(codec.encode_leave())
        frames, code = await rest_of(socket)
    assert code == CloseCode.NORMAL
    for data in frames:
        message = codec.decode_server(data)
        assert encoded(message) == data
        seen[type(message).__name__] += 1
    # YOU waits for a second region.
    expected = "Welcome Delta Keyframe Ack Receipt Event Pong ViewDigest Error Bye"
    assert set(seen) == set(expected.split())


async def answer(url: str, *frames: bytes | str) -> Error | Bye:
    """The first ERROR or BYE after these frames."""
    async with open_websocket(url, compression=None) as socket:
        for frame in frames:
            await socket.send(frame)
        while True:
            message = codec.decode_server(await socket.recv())
            if isinstance(message, Error | Bye):
                return message


HELLO = codec.encode_hello(name="x")

REFUSALS = [
    ("no msgpack", [b"\xc1"], ErrorCode.MALFORMED),
    ("half a frame", [HELLO[:-2]], ErrorCode.MALFORMED),
    ("a type that is none", [pack([9])], ErrorCode.UNKNOWN),
    ("INPUT before HELLO", [codec.encode_input(1, 16, [0, 0])], ErrorCode.OUT_OF_ORDER),
    ("CHECK before HELLO", [codec.encode_check()], ErrorCode.OUT_OF_ORDER),
    ("a second HELLO", [HELLO, HELLO], ErrorCode.OUT_OF_ORDER),
    ("a name too long", [codec.encode_hello(name="x" * 25)], ErrorCode.INVALID_ARGUMENT),
    ("a resume token that is none", [codec.encode_hello(resume="x")], ErrorCode.RESUME_FAILED),
    ("PING with NaN", [pack([3, float("nan")])], ErrorCode.INVALID_ARGUMENT),
    ("another version", [codec.encode_hello(version=2)], CloseCode.VERSION),
    ("a token that is none", [codec.encode_hello(token="a.b.c")], CloseCode.UNAUTHORISED),
    ("a text frame", ["hello"], CloseCode.UNSUPPORTED),
]


@pytest.mark.parametrize(("frames", "code"), [r[1:] for r in REFUSALS], ids=[r[0] for r in REFUSALS])
async def test_a_refusal_says_why(server: Everstep, frames: list[bytes | str], code: int) -> None:
    message = await answer(server.ws_url, *frames)
    assert message.code == code
    assert message.text


async def test_nonsense_without_end_is_closed(server: Everstep) -> None:
    async with open_websocket(server.ws_url, compression=None) as socket:
        for _ in range(server.settings.gateway.malformed_max + 1):
            await socket.send(b"\xc1")
        frames, code = await rest_of(socket)
    assert code == CloseCode.PROTOCOL
    assert [type(codec.decode_server(f)) for f in frames] == [Error] * server.settings.gateway.malformed_max + [Bye]


async def test_a_frame_too_long_is_closed(server: Everstep) -> None:
    async with open_websocket(server.ws_url, compression=None) as socket:
        await socket.send(bytes(server.settings.gateway.frame_bytes_max + 1))
        assert (await rest_of(socket))[1] == CloseCode.TOO_BIG


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (codec.encode_input(7, 99, []), ErrorCode.UNKNOWN),
        (codec.encode_input(7, 0, []), ErrorCode.UNKNOWN),
        (codec.encode_input(7, 16, [0]), ErrorCode.INVALID_ARGUMENT),
        (codec.encode_input(7, 16, [float("nan"), 0]), ErrorCode.INVALID_ARGUMENT),
        (codec.encode_input(7, 16, [float("inf"), 0]), ErrorCode.INVALID_ARGUMENT),
        (codec.encode_input(7, 16, [1.5, 0]), ErrorCode.INVALID_ARGUMENT),
        (codec.encode_input(7, 18, ["a\0b"]), ErrorCode.INVALID_ARGUMENT),
    ],
)
async def test_a_refused_input_is_named_and_others_pass(server: Everstep, frame: bytes, code: ErrorCode) -> None:
    async with await connect(server.ws_url) as client:
        assert client._socket is not None
        await client._socket.send(frame)
        async for message in client.messages():
            if isinstance(message, Error):
                assert (message.code, message.seq) == (code, 7)
                break
        # The refused number was not spent: 1 is still above the last.
        seq = client.send("Step")
        await client.until(lambda: client.acked == seq)


async def test_mutated_frames_hurt_nobody_else(server: Everstep, capsys: pytest.CaptureFixture[str]) -> None:
    mutator = Mutator(random.Random(SEED), client_seeds())
    outcomes: Counter[str] = Counter()
    async with await connect(server.ws_url, name="witness") as witness:
        for _ in range(60):
            async with open_websocket(server.ws_url, compression=None) as socket:
                await socket.send(HELLO)
                while not isinstance(codec.decode_server(await socket.recv()), Welcome):
                    continue
                # A server that has heard enough closes before the last.
                with contextlib.suppress(ConnectionClosed):
                    for _ in range(40):
                        await socket.send(mutator.frame())
                    await socket.send(codec.encode_leave())
                frames, code = await rest_of(socket)
                outcomes.update(type(codec.decode_server(data)).__name__ for data in frames)
                outcomes[CloseCode(code).name] += 1
        seq = witness.send("Step")
        await witness.until(lambda: witness.acked == seq)
        assert witness.connections == 1
        assert await witness.check()
    logged = capsys.readouterr()
    say(f"EVERSTEP_FUZZ_SEED={SEED} {dict(sorted(outcomes.items()))}")
    assert sum(outcomes[code] for code in ("NORMAL", "PROTOCOL", "FLOOD", "TOO_BIG")) == 60
    assert outcomes["PROTOCOL"] > 0
    assert outcomes["Error"] > 0
    assert "Traceback" not in logged.out + logged.err
