"""The comparison of drivers: its worker writes what it says, durably, and looks at the loop meanwhile."""

import pytest
from pymongo import MongoClient

from bench import mongo_clients
from bench.mongo_server import MongoServer, MongoUnavailable

DOCUMENTS = {"whole": 1, "chunks": 3, "records": 6000, "nothing": 0}


async def test_the_worker_writes_each_shape_and_reports_stalls(tmp_path, monkeypatch):
    monkeypatch.setattr(mongo_clients, "WRITES", 1)
    try:
        with MongoServer(tmp_path) as server:
            figures = await mongo_clients._measure("pymongo", server.uri)
            with MongoClient(server.uri) as client:
                written = client["bench"]["pymongo"].count_documents({})
    except MongoUnavailable as why:
        pytest.skip(str(why))
    assert set(figures) == set(DOCUMENTS)
    assert written == 1 + sum(DOCUMENTS.values())
    for shape, inserts in mongo_clients.SHAPES.items():
        assert sum(count * size for count, size in inserts) == mongo_clients.BYTES
        assert sum(count for count, _ in inserts) == DOCUMENTS[shape]
        assert 0 <= figures[shape]["stall_ms_min"] <= figures[shape]["stall_ms_max"]
        assert figures[shape]["write_ms_p50"] > figures["nothing"]["write_ms_p50"]
