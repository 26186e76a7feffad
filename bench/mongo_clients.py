"""What a driver does to the event loop while it writes 12 MB: PyMongo's asyncio API against Motor.

    python bench/mongo_clients.py              both, one JSON line

Motor is no dependency: it is run by the environment that scripts/setup-test-mongo.sh makes, into which the first
run installs it. So this file imports nothing of ours but the server's process, and is its own worker.

Three shapes of 12 MB, with w: majority and j: true: `whole`, one document of bytes; `chunks`, three of 4 MB one after
the other, as a checkpoint is written; `records`, 6,000 of 2 kB in one insert, which no journal of ours does: it
takes 256 at a time. The stall is how much later than asked a task wakes that sleeps for 1 ms at a time, the longest of
each write. The loop is uvloop, as the server's; the database a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

WRITES = 20
BYTES = 12_000_000
# Shape -> the inserts of one write, each as (documents, bytes of each).
SHAPES = {"whole": [(1, BYTES)], "chunks": 3 * [(1, BYTES // 3)], "records": [(6000, BYTES // 6000)]}
_SLEEP_S = 0.001


# -- the worker ----------------------------------------------------------------


def _worker(driver: str, uri: str) -> dict[str, Any]:  # Any: JSON
    import uvloop  # noqa: PLC0415  # the caller's environment is another

    done: dict[str, Any] = uvloop.run(_measure(driver, uri))
    return done


async def _stalls(until: asyncio.Event, late_ms: list[float]) -> None:
    while not until.is_set():
        asked = time.perf_counter()
        await asyncio.sleep(_SLEEP_S)
        late_ms.append((time.perf_counter() - asked - _SLEEP_S) * 1000)


async def _measure(driver: str, uri: str) -> dict[str, Any]:  # Any: JSON
    client: Any  # one of two drivers, and only one is installed everywhere
    if driver == "motor":
        from motor.motor_asyncio import AsyncIOMotorClient  # type: ignore[import-not-found]  # noqa: PLC0415

        client = AsyncIOMotorClient(uri)
    else:
        from pymongo import AsyncMongoClient  # noqa: PLC0415

        client = AsyncMongoClient(uri)
    collection = client["bench"][driver].with_options(write_concern=_durable())
    payload = os.urandom(BYTES)
    await collection.insert_one({"payload": payload})
    figures = {shape: await _write(collection, inserts, payload) for shape, inserts in SHAPES.items()}
    # Nothing at all, so that what the machine itself does is known.
    figures["nothing"] = await _write(collection, [], payload)
    closing = client.close()
    if closing is not None:
        await closing
    return figures


async def _write(
    collection: Any,
    inserts: list[tuple[int, int]],
    payload: bytes,  # Any: of either driver
) -> dict[str, float]:
    write_ms: list[float] = []
    stall_ms: list[float] = []
    for _ in range(WRITES):
        batches = [[{"slot": i, "payload": payload[:size]} for i in range(count)] for count, size in inserts]
        late_ms: list[float] = []
        done = asyncio.Event()
        watch = asyncio.create_task(_stalls(done, late_ms))
        await asyncio.sleep(0.02)
        began = time.perf_counter()
        for documents in batches:
            await collection.insert_many(documents)
        write_ms.append((time.perf_counter() - began) * 1000)
        done.set()
        await watch
        stall_ms.append(max(late_ms))
    return {
        "write_ms_p50": _median(write_ms),
        "stall_ms_min": round(min(stall_ms), 2),
        "stall_ms_p50": _median(stall_ms),
        "stall_ms_max": round(max(stall_ms), 2),
    }


def _durable() -> Any:  # Any: pymongo's WriteConcern; the worker's environment has it, the caller's may not
    from pymongo.write_concern import WriteConcern  # noqa: PLC0415

    return WriteConcern("majority", j=True)


def _median(values: list[float]) -> float:
    return round(sorted(values)[len(values) // 2], 2)


# -- the one that starts it ----------------------------------------------------


def run() -> dict[str, Any]:  # Any: JSON
    """Both drivers against one server. Raises MongoUnavailable, CalledProcessError where Motor cannot be installed."""
    from bench.mongo_server import VENV, MongoServer  # noqa: PLC0415  # a worker has no package `bench`

    python = VENV / "bin" / "python"
    with TemporaryDirectory() as data, MongoServer(Path(data)) as server:
        if subprocess.run([python, "-c", "import motor, uvloop"], capture_output=True, check=False).returncode:  # noqa: S603
            subprocess.run([python, "-m", "pip", "install", "--quiet", "motor", "uvloop"], check=True)  # noqa: S603
        figures: dict[str, Any] = {"bytes": BYTES, "writes": WRITES}
        for driver in ("motor", "pymongo"):
            done = subprocess.run(  # noqa: S603  # this very file
                [python, __file__, driver, server.uri], stdout=subprocess.PIPE, check=True, text=True
            )
            figures[driver] = json.loads(done.stdout)
    return figures


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(_worker(*sys.argv[1:3])))  # noqa: T201  # to the one that started it
    else:
        sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
        print(json.dumps(run()))  # noqa: T201  # the result
