"""The Redis that benches kill: with what it kept, and without."""

import socket

import pytest

from bench.redis_server import RedisServer, RedisUnavailable


@pytest.fixture(params=[True, False], ids=["kept", "not kept"])
def server(request, tmp_path):
    own = RedisServer(tmp_path, kept=request.param)
    try:
        with own:
            yield own
    except RedisUnavailable as why:
        pytest.skip(str(why))


def said(server, command):
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(command + b"\r\n")
        return connection.recv(100)


def again(server, *, forget=False):
    server.kill()
    if forget:
        server.forget()
    server.start()
    return said(server, b"GET key")


def test_what_is_there_after_a_kill(server, request):
    port = server.port
    assert said(server, b"SET key value") == b"+OK\r\n"
    kept = "not kept" not in request.node.name
    assert again(server) == (b"$5\r\nvalue\r\n" if kept else b"$-1\r\n")
    assert again(server, forget=True) == b"$-1\r\n"
    assert server.port == port
