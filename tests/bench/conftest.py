"""What benches need beside Python; a test that asks for it is skipped where it is not installed."""

import shutil

import pytest

from bench.mongo_server import MongoUnavailable, executable


@pytest.fixture
def mongodb():
    """A server that speaks MongoDB's protocol; benches start their own."""
    try:
        executable()
    except MongoUnavailable as why:
        pytest.skip(str(why))


@pytest.fixture
def redis():
    """Redis; benches start their own."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
