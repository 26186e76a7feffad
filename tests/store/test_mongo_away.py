"""A whole server on a database that is away or wrong: its words and its exit status."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

from websockets.asyncio.client import connect

from bench.mongo_server import MongoServer
from protocol.codec import encode_input
from tests.app.test_kept import Payer
from tests.gateway.glade import PAY
from tests.store.test_full_disk import Server, settle
from tests.support.mongo_database import Database


def environment(uri: str, database: str) -> dict[str, str]:
    """What the server is told."""
    return {
        **os.environ,
        "EVERSTEP_STORE__KIND": "mongodb",
        "EVERSTEP_STORE__MONGODB_URI": uri,
        "EVERSTEP_STORE__MONGODB_DATABASE": database,
        "EVERSTEP_SERVER__STOP_WITHIN_S": "3.5",
    }


async def test_a_stop_while_the_database_is_away_ends_in_time_and_says_what_is_not_kept(
    root: Path, tmp_path: Path, mongo: Database, mongo_server: MongoServer
) -> None:
    ada = Payer()
    told = environment(mongo.uri, mongo.name)
    server = await Server.start(root, tmp_path, told)
    async with connect(server.ws_url, compression=None) as wire:
        await ada.join(wire)
        await ada.pay(wire, 30)
        mongo_server.pause()
        try:
            ada.sent += 1
            await wire.send(encode_input(ada.sent, PAY, [1]))
            while ada.paid() < ada.sent:
                await ada.receive(wire)
            server.process.send_signal(signal.SIGTERM)
            words = await server.last_words()
        finally:
            mongo_server.resume()
    assert server.process.returncode == 3
    assert re.search(r"stopped at tick \d+, and what came after tick \d+ is not known to be kept", words)
    # Nobody was told otherwise.
    assert ada.sent not in ada.receipts
    assert "Traceback" not in words
    server = await Server.start(root, tmp_path, told)
    await settle(ada, server.ws_url)
    assert await server.end(signal.SIGTERM) == 0


async def test_a_database_that_nobody_prepared_is_named(root: Path, tmp_path: Path, mongo: Database) -> None:
    server = await Server.start(root, tmp_path, environment(mongo.uri, "bare"))
    words = await server.last_words()
    assert server.process.returncode == 3
    assert "the world kept in the MongoDB database 'bare' can't go on" in words
    assert "everstep store init" in words
    assert "store.mongodb_database with another name" in words
    assert "--data" not in words
