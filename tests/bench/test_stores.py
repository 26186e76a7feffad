"""Measured servers and their stores: a crowd's world is really kept there."""

import asyncio
import json
import subprocess
import sys

import pytest

from bench.processes import ROOT
from bench.stores import DATABASE, Store, kept_in
from config.settings import load
from server.store.mongo_client import connect
from server.store.mongo_layout import check


# On the memory store: tests/bench/test_cli.py.
@pytest.mark.parametrize("store", [Store.SQLITE, Store.MONGODB])
def test_a_crowd_on_a_store_that_outlives_its_server(store, request):
    if store is Store.MONGODB:
        request.getfixturevalue("mongodb")
    options = ["--clients", "8", "--seconds", "1", "--warm-up", "0.5", "--store", store]
    command = [sys.executable, "-m", "bench", "crowd", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["store"] == store
    assert figures["mismatches"] == figures["lost"] == 0
    assert figures["digests_checked"] > 0


def test_settings_name_the_store_and_a_directory_of_its_own(tmp_path):
    with kept_in(Store.SQLITE, tmp_path, 0) as settings:
        loaded = load(overrides=settings, environment={})
    assert loaded.store.kind == "sqlite"
    assert loaded.server.data_dir == tmp_path


@pytest.mark.usefixtures("mongodb")
def test_a_database_is_laid_out_and_ends_with_its_use(tmp_path):
    with kept_in(Store.MONGODB, tmp_path, 0) as settings:
        loaded = load(overrides=settings, environment={})
        uri = loaded.store.mongodb_uri.get_secret_value()

        async def look() -> None:
            async with connect(uri) as client:
                await check(client, DATABASE)

        asyncio.run(look())
        assert loaded.store.mongodb_database == DATABASE
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(asyncio.open_connection("127.0.0.1", int(uri.partition("127.0.0.1:")[2].partition("/")[0])))
