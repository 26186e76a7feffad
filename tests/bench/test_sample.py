"""The clients that check: what is right passes, what is wrong is counted."""

import struct
import zlib

import pytest

from bench.client import Counts
from bench.crowd_game import GAME, SET_MARK
from bench.frames import InputFrame
from bench.sample import Findings, SampleClient
from protocol.codec import encode_delta, encode_keyframe, encode_view_digest, encode_welcome
from protocol.messages import RegionInfo, SessionLimits, Welcome
from server.gateway.fanout import websocket_frame

OWN, OTHER = 5, 9


class Transport:
    """Keeps what is written."""

    def __init__(self):
        self.written = []

    def write(self, data):
        self.written.append(data)


def record(handle, x, y, mark):
    return struct.pack("<HHHB", handle, x, y, mark)


@pytest.fixture
def client():
    welcome = Welcome(
        session=1,
        resume="r",
        resumed=False,
        ack=0,
        tick=99,
        tick_rate_hz=20.0,
        name="one",
        regions=(RegionInfo(1, 0.0, 0.0, 320.0, 320.0, "u16"),),
        entity=(1, OWN),
        limits=SessionLimits(4096, 40.0, 80, 30.0, 30.0),
        schema=GAME.schema,
    )
    marks = [InputFrame(SET_MARK, (value,)) for value in range(256)]
    client = SampleClient(0, Counts(), b"GET", Findings(10), marks)
    client.connection_made(Transport())
    key = encode_keyframe(1, 100, [(0, record(OWN, 1, 2, 0) + record(OTHER, 3, 4, 0))])
    client.data_received(b"HTTP/1.1 101 \r\n\r\n" + websocket_frame(encode_welcome(welcome)) + websocket_frame(key))
    client._findings.reset()
    return client


def hear(client, message):
    client.data_received(websocket_frame(message))


def test_an_input_is_timed_until_its_own_value_shows(client):
    client.mark()
    hear(client, encode_delta(1, 101, b"", [], [(1, struct.pack("<HB", OTHER, 1))]))
    assert client._findings.latency_ms == []
    hear(client, encode_delta(1, 102, b"", [], [(1, struct.pack("<HB", OWN, 1))]))
    assert len(client._findings.latency_ms) == 1


def test_an_overtaken_input_is_seen_with_the_later_one(client):
    client.mark()
    client.mark()
    hear(client, encode_delta(1, 101, b"", [], [(1, struct.pack("<HB", OWN, 2))]))
    assert len(client._findings.latency_ms) == 2
    hear(client, encode_delta(1, 102, b"", [], []))
    assert len(client._findings.latency_ms) == 2


@pytest.mark.parametrize(("spoil", "mismatches"), [(0, 0), (1, 1)])
def test_a_digest_is_compared(client, spoil, mismatches):
    crc = 0
    for entity in (record(OWN, 1, 2, 0), record(OTHER, 3, 4, 0)):
        crc = zlib.crc32(b"\0" + entity, crc)
    hear(client, encode_view_digest(1, 100, 2, crc ^ spoil))
    assert client._findings.checks == 1
    assert client._findings.mismatches == mismatches
    assert len(client.counts.reasons) == mismatches


def test_a_photograph_shows_the_end_of_its_tick(client):
    # Tick 110 comes in two parts; the second belongs to it.
    hear(client, encode_delta(1, 110, b"", [], [(0, struct.pack("<HHH", OTHER, 30, 40))]))
    hear(client, encode_delta(1, 110, b"", [(0, record(12, 7, 7, 7))], []))
    hear(client, encode_delta(1, 111, struct.pack("<H", OTHER), [], []))
    first, second = client._findings.photographs
    assert (first.tick, second.tick, second.handle) == (100, 110, OWN)
    assert second.records == record(OWN, 1, 2, 0) + record(OTHER, 30, 40, 0) + record(12, 7, 7, 7)


def test_what_the_sdk_refuses_is_a_mismatch(client):
    hear(client, encode_delta(1, 101, b"\0", [], []))
    assert client._findings.mismatches == 1
