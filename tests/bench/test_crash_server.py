"""The server as a process: it is ready, it is killed, and one that ends by itself says why."""

import pytest

from bench.crash_server import ServerEnded, ServerProcess, environment
from bench.stores import Store


async def test_a_server_is_ready_and_is_killed(tmp_path):
    server = await ServerProcess.start(tmp_path, environment(Store.SQLITE), tmp_path / "server.log")
    try:
        assert (await server.ready()).startswith("ws://127.0.0.1:")
        assert server.ready_s > server.began_s
        server.check()
    finally:
        killed_s = await server.kill()
    assert killed_s > server.ready_s
    # One that is gone is not killed again.
    with pytest.raises(ServerEnded, match="status -9"):
        await server.kill()


async def test_a_server_that_ends_by_itself_says_why(tmp_path):
    told = environment(Store.SQLITE) | {"EVERSTEP_WORLD__SEED": "none"}
    server = await ServerProcess.start(tmp_path, told, tmp_path / "server.log")
    with pytest.raises(ServerEnded, match=r"status 2.*EVERSTEP_WORLD__SEED"):
        await server.ready()
    with pytest.raises(ServerEnded):
        server.check()


def test_settings_of_the_caller_are_not_the_servers(monkeypatch):
    monkeypatch.setenv("EVERSTEP_WORLD__SEED", "9")
    told = environment(Store.MONGODB, "mongodb://127.0.0.1:1")
    assert "EVERSTEP_WORLD__SEED" not in told
    assert told["EVERSTEP_STORE__KIND"] == "mongodb"
