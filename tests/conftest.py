"""What every test may ask for."""

from __future__ import annotations

import gc
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvloop
from hypothesis import settings as hypothesis_settings

from bench.mongo_server import MongoServer, MongoUnavailable
from bench.redis_server import RedisServer, RedisUnavailable
from config.settings import Settings, load

ROOT = Path(__file__).resolve().parent.parent

# No deadline: a shared machine stalls now and then, and no test asserts a time.
# `print_blob` gives the line that repeats a failure.
hypothesis_settings.register_profile("everstep", deadline=None, print_blob=True)
hypothesis_settings.load_profile("everstep")

# Many tests have something fail on purpose. With rich at hand structlog shows each traceback with its source coloured
# and every local variable: that can take longer than all else that a test does.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], Any]]:
    """Asynchronous tests run on the loop that the server runs on."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_collection_finish() -> None:
    """What stands before the first test is not looked through by the collector after each."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    """What a test leaves open fails that test, not whichever runs when the collector comes by."""
    yield
    gc.collect()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A directory's name marks its tests: tests/browser, tests/bench."""
    for item in items:
        for name in ("browser", "bench"):
            if item.path.is_relative_to(ROOT / "tests" / name):
                item.add_marker(name)


@pytest.fixture
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """An empty directory for a server's data."""
    made = tmp_path / "data"
    made.mkdir()
    return made


@pytest.fixture
def settings(data_dir: Path) -> Settings:
    """The defaults, on a free port and in a directory of their own, whatever the environment says."""
    return load(overrides={"server.port": 0, "server.data_dir": data_dir}, environment={})


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    """One server for all tests that neither kill it nor leave it paused; each takes a database of its own."""
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
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis of the test's own, to be killed and paused."""
    try:
        with RedisServer(tmp_path_factory.mktemp("redis")) as server:
            yield server
    except RedisUnavailable as why:
        pytest.skip(str(why))
