"""Checkpoints in MongoDB: a document per chunk, and one for the manifest, written last.

    shard, tick   of the checkpoint                                           } unique together:
    chunk         "" for the manifest; else the writer's epoch and a name     } the shard key
    epoch         who wrote it
    data          the bytes

A chunk's key has its writer's epoch: an owner that has lost the shard and does not know it yet writes chunks of
its own, not over those of the next. The manifest's key has none: one of a newer epoch stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

from pymongo import ReplaceOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import DuplicateKeyError, PyMongoError
from pymongo.read_concern import ReadConcern

from server.shard.checkpoint import Chunk, Manifest
from server.shard.errors import CheckpointDamaged
from server.store.errors import Fenced, StoreClosed
from server.store.mongo_client import ANSWER_TIMEOUT_S, Client, Document, durable, failed, insist, passes
from server.store.mongo_layout import CHECKPOINTS, shard_key, shard_of

_MANIFEST: Final = ""
# A question has 48 MB; a store that answers it holds up the journal's for as long.
_BATCH_BYTES_MAX: Final = 4 * 1024 * 1024


class MongoCheckpoints:
    """A CheckpointStore. `client`: of `connect`; whoever made it closes it, after this.

    A server that does not answer is waited for; `close` ends the waiting with StoreClosed.
    """

    def __init__(self, client: Client, database: str, *, answer_timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        collection: AsyncCollection[Document] = client[database][CHECKPOINTS.name]
        self._documents = collection.with_options(
            write_concern=durable(answer_timeout_s), read_concern=ReadConcern("majority")
        )
        self._closed = False

    async def write(self, manifest: Manifest, chunks: Sequence[Chunk]) -> None:
        """See CheckpointStore. Raises Fenced where a newer epoch has written one of this tick."""
        at, epoch = _at(manifest.shard, manifest.tick), manifest.epoch
        for batch in _batches(chunks):
            await self._put_all({_key(epoch, chunk.name): chunk.data for chunk in batch}, at, epoch)
        await self._put({**at, "chunk": _MANIFEST}, epoch, manifest.encode())

    async def shards(self) -> list[int]:
        """See CheckpointStore."""

        async def ask() -> list[Document]:
            group = [{"$match": {"chunk": _MANIFEST}}, {"$group": {"_id": "$shard"}}]
            return await (await self._documents.aggregate(group)).to_list()

        return sorted(shard_of(document["_id"]) for document in await insist(ask, self._check))

    async def manifests(self, shard: int) -> list[Manifest]:
        """See CheckpointStore."""
        asked = {"shard": shard_key(shard), "chunk": _MANIFEST}

        async def ask() -> list[Document]:
            return await self._documents.find(asked).sort([("shard", -1), ("tick", -1)]).to_list()

        whole = []
        for document in await insist(ask, self._check):
            try:
                whole.append(Manifest.decode(document["data"]))
            except CheckpointDamaged:
                continue
        return whole

    async def chunk(self, shard: int, tick: int, name: str) -> bytes | None:
        """See CheckpointStore."""
        at = _at(shard, tick)
        manifest = await self._find({**at, "chunk": _MANIFEST}, {"epoch": 1})
        if manifest is None:
            return None
        found = await self._find({**at, "chunk": _key(manifest["epoch"], name)})
        return None if found is None else bytes(found["data"])

    async def delete(self, shard: int, tick: int) -> None:
        """See CheckpointStore. What interrupted writes left at this tick and before goes with it."""
        at = _at(shard, tick)
        await insist(lambda: self._documents.delete_one({**at, "chunk": _MANIFEST}), self._check)
        asked = {"shard": at["shard"], "chunk": _MANIFEST, "tick": {"$lt": tick}}

        async def ask() -> list[Document]:
            return await self._documents.find(asked, {"tick": 1}).to_list()

        kept = [document["tick"] for document in await insist(ask, self._check)]
        rest = {"shard": at["shard"], "tick": {"$lte": tick, "$nin": kept}, "chunk": {"$ne": _MANIFEST}}
        await insist(lambda: self._documents.delete_many(rest), self._check)

    async def close(self) -> None:
        """Take no more."""
        self._closed = True

    async def _put_all(self, data: dict[str, bytes], at: Document, epoch: int) -> None:
        """Chunks, by key, in one question: one after the other each would wait for a sync of its own.

        A world that is killed every few seconds would then never have a whole checkpoint, and replay ever more.
        """
        self._check()
        writes = [
            ReplaceOne({**at, "chunk": key}, {**at, "chunk": key, "epoch": epoch, "data": chunk}, upsert=True)
            for key, chunk in data.items()
        ]
        try:
            await self._documents.bulk_write(writes, ordered=False)
        except PyMongoError as error:
            if not passes(error):
                raise failed(error) from error
            # What of it was done is not known: each is asked for again.
            for key, chunk in data.items():
                await self._put({**at, "chunk": key}, epoch, chunk)

    async def _put(self, key: Document, epoch: int, data: bytes) -> None:
        """Have this under the key, unless a newer epoch's is there."""
        # Of a newer one the filter finds nothing, so the upsert inserts, and collides.
        replace = partial(
            self._documents.replace_one,
            {**key, "epoch": {"$lte": epoch}},
            {**key, "epoch": epoch, "data": data},
            upsert=True,
        )

        async def put() -> None:
            try:
                await replace()
            except DuplicateKeyError:
                there = await self._documents.find_one(key, {"epoch": 1})
                if there is not None and there["epoch"] > epoch:
                    raise Fenced(
                        f"shard {key['shard']}: epoch {there['epoch']} has a checkpoint of tick {key['tick']}; "
                        f"epoch {epoch} has ended"
                    ) from None
                # Two upserts of one key at once: the second finds what the first inserted.
                raise

        await insist(put, self._check)

    async def _find(self, key: Document, fields: dict[str, Any] | None = None) -> Document | None:
        return await insist(lambda: self._documents.find_one(key, fields), self._check)

    def _check(self) -> None:
        if self._closed:
            raise StoreClosed("the checkpoint store is closed")


def _batches(chunks: Sequence[Chunk]) -> Iterator[list[Chunk]]:
    """The chunks in order, so many at a time as one question may hold; at least one."""
    batch: list[Chunk] = []
    size = 0
    for chunk in chunks:
        if batch and size + len(chunk.data) > _BATCH_BYTES_MAX:
            yield batch
            batch, size = [], 0
        batch.append(chunk)
        size += len(chunk.data)
    if batch:
        yield batch


def _at(shard: int, tick: int) -> Document:
    return {"shard": shard_key(shard), "tick": tick}


def _key(epoch: int, name: str) -> str:
    return f"{epoch}/{name}"
