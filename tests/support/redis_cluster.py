"""A Redis Cluster of three processes."""

import contextlib
from itertools import pairwise

from bench.redis_server import SLOTS, RedisServer, formed

_BOUNDS = (0, SLOTS // 3, 2 * SLOTS // 3, SLOTS)


@contextlib.contextmanager
def three(directory):
    """The servers, each with a third of the slots; they are killed in the end. Raises RedisUnavailable."""
    servers = []
    try:
        for n, (first, past) in enumerate(pairwise(_BOUNDS)):
            own = directory / str(n)
            own.mkdir()
            servers.append(RedisServer(own, cluster=True, slots=range(first, past)).__enter__())
        for server in servers[1:]:
            servers[0].meet(server)
        formed(servers)
        yield servers
    finally:
        for server in servers:
            server.kill()
