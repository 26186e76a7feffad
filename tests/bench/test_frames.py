"""What the swarm writes, read by the library that the server reads with."""

import msgpack
import pytest
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from bench.frames import PONG, InputFrame, masked, upgrade_request
from protocol.codec import decode_client
from protocol.messages import Input


def opened():
    server = ServerProtocol()
    server.receive_data(upgrade_request("127.0.0.1", 80))
    (request,) = server.events_received()
    assert isinstance(request, Request)
    response = server.accept(request)
    assert response.status_code == 101
    server.send_response(response)
    return server


@pytest.mark.parametrize("size", [0, 1, 5, 125, 126, 300, 65_535])
def test_a_masked_frame_arrives_as_it_was(size):
    server = opened()
    payload = bytes(i * 7 % 256 for i in range(size))
    server.receive_data(masked(payload))
    (frame,) = server.events_received()
    assert (frame.opcode, frame.fin, bytes(frame.data)) == (Opcode.BINARY, True, payload)


def test_a_pong_is_a_pong():
    server = opened()
    server.receive_data(masked(b"abc", PONG))
    (frame,) = server.events_received()
    assert (frame.opcode, bytes(frame.data)) == (Opcode.PONG, b"abc")


@pytest.mark.parametrize("seq", [1, 127, 128, 65_536, 2**32 - 1])
def test_an_input_carries_its_number_and_arguments(seq):
    server = opened()
    server.receive_data(InputFrame(16, (0.5, -1.0)).with_seq(seq))
    (frame,) = server.events_received()
    assert decode_client(bytes(frame.data)) == Input(seq, 16, [0.5, -1.0])
    assert msgpack.unpackb(bytes(frame.data)) == [2, seq, 16, [0.5, -1.0]]
