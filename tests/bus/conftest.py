"""Servers and buses of the bus tests."""

import contextlib
from random import Random

import pytest

from bench.redis_server import RedisServer, RedisUnavailable
from server.bus.redis import RedisBus, RedisOptions

# Their assertions explain themselves as a test module's do.
pytest.register_assert_rewrite("tests.bus.contract")


def started(directory, **options):
    try:
        return RedisServer(directory, **options).__enter__()
    except RedisUnavailable as why:
        pytest.skip(str(why))


@pytest.fixture(scope="session", params=["alone", "cluster"])
def any_server(request, tmp_path_factory):
    """Redis, and a Redis Cluster; neither is killed."""
    server = started(tmp_path_factory.mktemp("redis"), cluster=request.param == "cluster")
    yield server
    server.kill()


@pytest.fixture
def server(tmp_path):
    """A Redis of the test's own, to be killed and paused."""
    own = started(tmp_path)
    yield own
    own.kill()


@pytest.fixture
async def connect():
    """(server, **options) -> a RedisBus, closed in the end."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(server, **options):
            told = RedisOptions(server.url, cluster=server.cluster, **options)
            return await stack.enter_async_context(RedisBus(told, Random(1)))

        yield make
