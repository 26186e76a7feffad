"""What the tests of stores share."""

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from bench.mongo_proxy import MongoProxy
from bench.mongo_server import MongoServer, MongoUnavailable
from tests.support.mongo_database import Database, collect_sockets

# The contract's assertions explain themselves as a test module's do.
pytest.register_assert_rewrite("tests.store.contract")


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory) -> Iterator[MongoServer]:
    """One server for all tests that neither kill nor pause it; each takes a database of its own."""
    try:
        with MongoServer(tmp_path_factory.mktemp("mongo")) as server:
            yield server
    except MongoUnavailable as why:
        pytest.skip(str(why))


@pytest.fixture
def mongo_database() -> str:
    """The name of a database that nobody else has."""
    return f"everstep_test_{uuid.uuid4().hex}"


@pytest.fixture
async def mongo(mongo_server, mongo_database) -> AsyncIterator[Database]:
    """A database on that server, laid out."""
    async with Database(mongo_server, mongo_database) as made:
        yield made


@pytest.fixture
async def proxy(mongo_server) -> AsyncIterator[MongoProxy]:
    """A way to that server that can be made a bad one."""
    async with MongoProxy(mongo_server.port) as made:
        yield made
    collect_sockets()
