"""The journal in MongoDB: a sequence of slots per shard that are only ever inserted, so that a collision is the fence.

A document is a record, or a seal: the mark of a new writer.

    shard   key of the shard (server/store/mongo_layout.py)        } unique together:
    slot    1, 2, 3 ... without a hole at the time of writing      } the shard key
    tick    of the record; of a seal: of the record before it
    epoch, nonce, hash   whose it is: writer's epoch, a random text of this writer, XXH3 of the record
    record  JournalRecord.encode(); a seal has none

*Fence.* A writer inserts into the slot after its last one and into no other. Who claims the shard reads the last slot,
inserts a seal with a higher epoch into the next, and goes on behind it. The writer before has that same slot as its
next: its insert collides and it stops. (Ticks would not do: those without input have no record, so the
old writer's next tick is not the seal's. docs/decisions/0014-journal-slots.md)

*Unknown outcomes.* One ordered insert per shard is under way at a time; what is appended meanwhile makes the next. When
it times out, collides, or its answer is lost, nothing is acknowledged, and each of its slots is read back by key,
linearizably: ours there (epoch, nonce, hash) is durable once a write that changes nothing has got the same concern;
another's is the fence; from the first that is absent on, the same documents are sent again. A copy that arrives late
finds its slots taken.

*Trimming* deletes records, never a seal and never the last slot: the slot that a stale writer would take next always
is a seal's, so it stays taken for ever.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import xxhash
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from server.shard.errors import JournalDamaged
from server.shard.journal import JournalRecord
from server.shard.ports import Claim, Span
from server.shard.tail import Tail
from server.store.errors import Fenced, StoreClosed, StoreFailed
from server.store.mongo_client import (
    ANSWER_TIMEOUT_S,
    CONCERN_REFUSED,
    Client,
    Document,
    Pauses,
    durable,
    failed,
    insist,
    passes,
)
from server.store.mongo_layout import JOURNAL, shard_key, shard_of
from server.store.writers import Writers, next_epoch

# One insert takes this many at the most: enough to catch up quickly, little enough to be read back.
_BATCH_RECORDS_MAX: Final = 256
_BATCH_BYTES_MAX: Final = 4 * 1024 * 1024
# A document has 16 MiB.
_RECORD_BYTES_MAX: Final = 15 * 1024 * 1024
_WHOSE: Final = ("epoch", "nonce", "hash")


@dataclass(slots=True)
class _Entry:
    document: Document
    on_durable: Callable[[], None]
    durable: bool = False


@dataclass(slots=True)
class _Writer:
    """This process as the writer of a shard."""

    shard: int
    key: str
    nonce: bytes
    # Of the seal, and of the last record before it.
    epoch: int
    sealed_tick: int
    # The last one taken.
    slot: int
    queue: deque[_Entry] = field(default_factory=deque)
    # Runs while there is something to insert.
    task: asyncio.Task[None] | None = None


class MongoJournal:
    """A JournalStore. `client`: of `connect`; whoever made it closes it, after this.

    `close_timeout_s`: how long `close` waits for a server that does not answer.
    """

    def __init__(
        self,
        client: Client,
        database: str,
        *,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        close_timeout_s: float = 30.0,
    ) -> None:
        collection: AsyncCollection[Document] = client[database][JOURNAL.name]
        self._slots = collection.with_options(
            write_concern=durable(answer_timeout_s), read_concern=ReadConcern("majority")
        )
        self._sure = collection.with_options(read_concern=ReadConcern("linearizable"))
        self._answer_timeout_s = answer_timeout_s
        self._answer_timeout_ms = round(answer_timeout_s * 800)
        self._close_timeout_s = close_timeout_s
        self._admission = Writers()
        self._writers: dict[int, _Writer] = {}
        # All shards' records that nobody was told of, in order of append.
        self._untold: deque[_Entry] = deque()
        self._failure: Exception | None = None
        self._closed = False

    # -- writing -----------------------------------------------------------------

    async def claim(self, shard: int, epoch: int | None = None) -> Claim:
        """See JournalStore."""
        self._check()
        writer = self._writers.get(shard)
        while writer is not None and writer.task is not None:
            # What was appended before the claim comes before it.
            await writer.task
        self._admission.revoke(shard)
        self._writers.pop(shard, None)
        key, nonce, pauses = shard_key(shard), os.urandom(16), Pauses()
        while True:
            self._check()
            last = await insist(lambda: self._last(key), self._check)
            claim = Claim(next_epoch(shard, last["epoch"], epoch), last["tick"])
            slot = last["slot"] + 1
            try:
                await self._insert([_seal(claim, key, slot, nonce)])
                break
            except Fenced:
                # Another was first, or the last slot is not yet on most disks: look again.
                await pauses.wait()
        self._writers[shard] = _Writer(shard, key, nonce, claim.epoch, claim.tick, slot)
        self._admission.grant(shard, claim)
        return claim

    def append(self, record: JournalRecord, on_durable: Callable[[], None]) -> None:
        """See JournalStore."""
        self._check()
        data = record.encode()
        if len(data) > _RECORD_BYTES_MAX:
            raise StoreFailed(f"shard {record.shard}, tick {record.tick}: a record of {len(data)} bytes")
        self._admission.admit(record)
        writer = self._writers[record.shard]
        writer.slot += 1
        entry = _Entry(_document(record, data, writer.key, writer.slot, writer.nonce), on_durable)
        writer.queue.append(entry)
        self._untold.append(entry)
        if writer.task is None:
            writer.task = asyncio.get_running_loop().create_task(self._drain(writer))

    async def _drain(self, writer: _Writer) -> None:
        """Insert what is queued, batch by batch, until nothing is."""
        try:
            while writer.queue and self._failure is None:
                batch = _batch(writer.queue)
                await self._insert([entry.document for entry in batch])
                for _ in batch:
                    writer.queue.popleft().durable = True
                self._tell()
        except Exception as error:  # noqa: BLE001  # whatever it is, nothing may be acknowledged after it
            self._fail(error)
        finally:
            writer.task = None

    def _tell(self) -> None:
        while self._untold and self._untold[0].durable and self._failure is None:
            self._untold.popleft().on_durable()

    async def _insert(self, documents: list[Document]) -> None:
        """Have the documents in their slots, on most disks. Raises Fenced where another's lies there, StoreFailed."""
        pauses = Pauses()
        while True:
            self._check_failure()
            try:
                await self._slots.insert_many(documents, ordered=True)
            except PyMongoError as error:
                if not passes(error):
                    raise failed(error) from error
            else:
                return
            documents = await self._absent(documents)
            if not documents:
                return
            await pauses.wait()

    async def _absent(self, documents: list[Document]) -> list[Document]:
        """Of documents whose fate is unknown, those from the first on that is not in its slot. Raises Fenced."""
        present = len(documents)
        for i, document in enumerate(documents):
            there = await insist(partial(self._at, document), self._check_failure)
            if there is None:
                present = i
                break
            if any(there[name] != document[name] for name in _WHOSE):
                raise Fenced(
                    f"shard {document['shard']}: slot {document['slot']} is epoch {there['epoch']}'s; "
                    f"epoch {document['epoch']} has ended"
                )
        return documents[present:] if await self._confirmed(documents[:present]) else documents

    async def _confirmed(self, documents: list[Document]) -> bool:
        """Whether documents that were read back are on the disks of most; False: they are gone again.

        To be seen is not to be on a disk: a server alone, and a set whose majorities do not wait for journals, show
        what a power cut takes. A write waits for all before it on its server, and a batch lies on two at the most.
        """
        for document in (*documents[:1], *documents[1:][-1:]):
            whose = {name: document[name] for name in ("shard", "slot", *_WHOSE)}
            same = partial(self._slots.update_one, whose, {"$set": {"nonce": document["nonce"]}})
            if not (await insist(same, self._check_failure)).matched_count:
                return False
        return True

    async def _at(self, document: Document) -> Document | None:
        """Whose the document in a slot is, as most of the replica set has it."""
        slot = {"shard": document["shard"], "slot": document["slot"]}
        try:
            return await self._sure.find_one(slot, dict.fromkeys(_WHOSE, 1), max_time_ms=self._answer_timeout_ms)
        except OperationFailure as error:
            if error.code not in CONCERN_REFUSED or self._sure is self._slots:
                raise
            # A majority read may be late, never wrong: then we insert again, collide, and look again.
            self._sure = self._slots
            return await self._slots.find_one(slot, dict.fromkeys(_WHOSE, 1))

    async def _last(self, key: str) -> Document:
        found = await self._slots.find_one({"shard": key}, {"record": 0}, sort=[("shard", -1), ("slot", -1)])
        return found or {"slot": 0, "tick": 0, "epoch": 0}

    async def fill(self, shard: int, records: AsyncIterator[JournalRecord], claim: Claim) -> None:
        """Put a backup's records into a shard that has nothing; durable when it returns.

        `claim`: what is known of its last one beside the records, for whoever claims it next. Raises Fenced where
        somebody else writes it, StoreFailed; what was put by then stays.
        """
        self._check()
        key, nonce, slot = shard_key(shard), os.urandom(16), 0
        documents: list[Document] = []
        size = 0
        async for record in records:
            data = record.encode()
            slot, size = slot + 1, size + len(data)
            claim = Claim(max(claim.epoch, record.epoch), record.tick)
            documents.append(_document(record, data, key, slot, nonce))
            if size > _BATCH_BYTES_MAX or len(documents) == _BATCH_RECORDS_MAX:
                await self._insert(documents)
                documents, size = [], 0
        await self._insert([*documents, _seal(claim, key, slot + 1, nonce)])

    # -- state -------------------------------------------------------------------

    @property
    def backlog(self) -> int:
        """Records taken and not yet durable."""
        return len(self._untold)

    @property
    def failure(self) -> Exception | None:
        """See JournalStore. One shard's fence is the whole store's: this process is not who it takes itself for."""
        return self._failure

    async def close(self) -> None:
        """See JournalStore."""
        if self._closed:
            return
        self._closed = True
        tasks = [w.task for w in self._writers.values() if w.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=self._close_timeout_s)
        if self._untold and self._failure is None:
            self._fail(StoreFailed(f"closed after {self._close_timeout_s} s with {self.backlog} records undecided"))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error

    def _check(self) -> None:
        self._check_failure()
        if self._closed:
            raise StoreClosed("the journal is closed")

    def _check_failure(self) -> None:
        if self._failure is not None:
            kind = Fenced if isinstance(self._failure, Fenced) else StoreFailed
            raise kind(str(self._failure)) from self._failure

    # -- reading and trimming ----------------------------------------------------

    async def read(self, shard: int, after_tick: int) -> AsyncIterator[JournalRecord]:
        """See JournalStore. A document is written whole or not at all: a torn record is damage wherever it lies."""
        key, tail, known = shard_key(shard), Tail(shard, after_tick), after_tick
        pauses, whole = Pauses(), False
        loop, until_s = asyncio.get_running_loop(), 0.0
        while not whole:
            try:
                async for document in self._slots.find({"shard": key, "tick": {"$gt": known}}).sort(
                    [("shard", 1), ("tick", 1), ("slot", 1)]
                ):
                    tick = document["tick"]
                    if "seal" in document:
                        _reaches(shard, known, tick)
                        continue
                    record = tail.read(tick, bytes(document["record"]))
                    if tail.cut is not None:
                        raise JournalDamaged(shard, tick, tail.cut)
                    if record is not None:
                        known = tick
                        yield record
                sealed = self._writers[shard].sealed_tick if shard in self._writers else known
                whole = known >= sealed
                # A primary elected since the claim may show all of it a moment later.
                until_s = until_s or loop.time() + self._answer_timeout_s
                if loop.time() >= until_s:
                    _reaches(shard, known, sealed)
            except PyMongoError as error:
                if not passes(error):
                    raise failed(error) from error
            if not whole:
                self._check()
                await pauses.wait()

    async def spans(self) -> dict[int, Span]:
        """See JournalStore."""
        group = {
            "_id": "$shard",
            "after": {"$min": "$previous"},
            "last": {"$max": "$tick"},
            "records": {"$sum": 1},
        }

        async def ask() -> list[Document]:
            return await (await self._slots.aggregate([{"$match": {"seal": None}}, {"$group": group}])).to_list()

        found = {shard_of(d["_id"]): d for d in await insist(ask, self._check)}
        return {shard: Span(d["after"], d["last"], d["records"]) for shard, d in sorted(found.items())}

    async def trim(self, shard: int, up_to_tick: int) -> None:
        """See JournalStore."""
        key = shard_key(shard)
        last = await insist(lambda: self._last(key), self._check)
        may_go = {
            "shard": key,
            "tick": {"$lte": up_to_tick},
            "slot": {"$lt": last["slot"]},
            "seal": None,
        }
        await insist(lambda: self._slots.delete_many(may_go), self._check)


def _document(record: JournalRecord, data: bytes, key: str, slot: int, nonce: bytes) -> Document:
    return {
        "shard": key,
        "slot": slot,
        "tick": record.tick,
        "previous": record.previous,
        "epoch": record.epoch,
        "nonce": nonce,
        "hash": xxhash.xxh3_64_digest(data),
        "record": data,
    }


def _seal(claim: Claim, key: str, slot: int, nonce: bytes) -> Document:
    whose = {"epoch": claim.epoch, "nonce": nonce, "hash": b""}
    return {"shard": key, "slot": slot, "tick": claim.tick, **whose, "seal": True}


def _batch(queue: deque[_Entry]) -> list[_Entry]:
    """The first of the queue, as many as one insert takes; at least one."""
    batch: list[_Entry] = []
    size = 0
    for entry in queue:
        size += len(entry.document["record"])
        if batch and (size > _BATCH_BYTES_MAX or len(batch) == _BATCH_RECORDS_MAX):
            break
        batch.append(entry)
    return batch


def _reaches(shard: int, known: int, sealed: int) -> None:
    if sealed > known:
        raise JournalDamaged(shard, sealed, f"a gap: a writer began after tick {sealed}, and the last here is {known}")
