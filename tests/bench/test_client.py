"""The swarm's clients against bytes cut anywhere: what they count is what was sent."""

import pytest

from bench.client import LOOK_EVERY, Client, Counts, FloorClient
from protocol.codec import encode_ack, encode_bye, encode_delta, encode_error
from protocol.errors import CloseCode, ErrorCode
from server.gateway.fanout import websocket_frame

ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


class Transport:
    """Keeps what is written; in place of a socket, for a protocol has no other side here."""

    def __init__(self):
        self.written = []
        self.closed = False

    def write(self, data):
        self.written.append(data)

    def close(self):
        self.closed = True


def started(kind=Client, number=0):
    client = kind(number, Counts(), b"GET")
    client.connection_made(Transport())
    return client


def delta(tick, entities):
    return websocket_frame(encode_delta(1, tick, b"", [], [(0, bytes(6 * entities)), (1, b"abc")]))


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 100_000])
def test_frames_are_counted_however_they_are_cut(step):
    client = started()
    deltas = [delta(tick, 50) for tick in range(LOOK_EVERY * 2)]
    stream = ACCEPTED + b"".join(websocket_frame(encode_ack(9)) + d for d in deltas)
    for at in range(0, len(stream), step):
        client.data_received(stream[at : at + step])
    assert client.counts.bytes == len(stream)
    assert client.counts.deltas == len(deltas)
    assert client.counts.looks == 2
    assert client.counts.seen == 100


def test_hello_follows_the_upgrade_and_nothing_before():
    client = started(number=3)
    assert client.transport.written == [b"GET"]
    client.data_received(ACCEPTED[:20])
    assert len(client.transport.written) == 1
    client.data_received(ACCEPTED[20:])
    assert len(client.transport.written) == 2


def test_a_refusal_closes_and_says_why():
    client = started()
    client.data_received(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
    assert client.transport.closed
    assert "503" in client.counts.reasons[0]


def test_pings_are_answered_and_closes_told():
    client = started()
    client.data_received(ACCEPTED + b"\x89\x02hi")
    assert client.transport.written[-1][0] == 0x8A
    client.data_received(b"\x88\x06\x0f\xa7slow")
    assert client.transport.closed
    assert client.counts.reasons == ["closed with 4007 slow"]


def test_errors_are_counted_and_told_once():
    client = started()
    error = websocket_frame(encode_error(ErrorCode.RATE_EXCEEDED, "too fast", 7))
    client.data_received(ACCEPTED + error * 3 + websocket_frame(encode_bye(CloseCode.FLOOD, "go")))
    assert client.counts.refused == 3
    assert client.counts.reasons == ["ERROR 6: too fast", "BYE 4009: go"]


def test_a_floor_client_joins_by_the_upgrade_alone():
    client = started(FloorClient)
    client.data_received(ACCEPTED + b"\x82\x7e\x01\x00" + bytes(256))
    assert client.counts.joined == 1
    assert client.counts.deltas == 1
    assert client.transport.written == [b"GET"]


def test_whoever_closes_the_client_is_lost():
    client = started()
    client.connection_lost(None)
    client.connection_lost(ConnectionResetError("reset"))
    assert client.counts.lost == 2
    assert client.counts.reasons == ["connection lost: reset"]
