"""Servers and buses of the bus tests."""

import contextlib
from random import Random

import pytest

from bench.redis_server import RedisServer, RedisUnavailable
from server.bus.redis import RedisBus, RedisOptions
from tests.support.redis_cluster import three

# Their assertions explain themselves as a test module's do.
pytest.register_assert_rewrite("tests.bus.contract")


def started(directory, **options):
    try:
        return RedisServer(directory, **options).__enter__()
    except RedisUnavailable as why:
        pytest.skip(str(why))


@contextlib.contextmanager
def trio(directory):
    """As `three`, where Redis is installed."""
    with contextlib.ExitStack() as stack:
        try:
            servers = stack.enter_context(three(directory))
        except RedisUnavailable as why:
            pytest.skip(str(why))
        yield servers


@pytest.fixture(scope="session", params=["alone", "cluster of one", "cluster of three"])
def any_server(request, tmp_path_factory):
    """Redis, and Redis Clusters; none is killed."""
    directory = tmp_path_factory.mktemp("redis")
    if request.param == "cluster of three":
        with trio(directory) as servers:
            yield servers[0]
        return
    server = started(directory, cluster=request.param == "cluster of one")
    yield server
    server.kill()


@pytest.fixture
def cluster(tmp_path):
    """The servers of a Redis Cluster of the test's own."""
    with trio(tmp_path) as servers:
        yield servers


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
