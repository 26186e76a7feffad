"""A cluster of real processes for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.mongo_server import MongoServer
from bench.redis_server import RedisServer
from tests.roles.processes import Cluster
from tests.support.mongo_database import Database


@pytest.fixture
async def cluster(
    root: Path, tmp_path: Path, redis_server: RedisServer, mongo_server: MongoServer, mongo_database: str
) -> AsyncIterator[Cluster]:
    """A Redis of its own and an empty database; no node runs yet, and no gateway."""
    async with (
        Database(mongo_server, mongo_database) as database,
        Cluster(root, tmp_path, redis_server, database) as made,
    ):
        yield made
