"""A small mongos: the router of a sharded cluster, over two or more real servers that hold the data.

It knows what the layout of Everstep needs: it says `isdbgrid`, keeps the tables of sharded collections, ranges and
zones, and sends each document to the server that its shard key names. What a real router refuses it refuses with
the same code, and it is stricter in one thing: a write to a sharded collection carries the whole shard key,
though a real one takes an absent field for null (since 4.4) or asks every shard. On the tick path that is a fault.

Not here: balancing, transactions, cursors beyond the first batch. It shows that the commands we send are in order and
that the store works with its documents on several servers; it proves nothing about a real cluster.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

import xxhash
from bson import MaxKey, MinKey
from pymongo import AsyncMongoClient

from bench.mongo_wire import Document, command_of, expects_reply, read_message, reply_to

BAD_VALUE: Final = 2
UNAUTHORIZED_ZONE: Final = 9
SHARD_NOT_FOUND: Final = 70
CANNOT_CREATE_INDEX: Final = 67
INVALID_OPTIONS: Final = 72
ALREADY_INITIALIZED: Final = 23
SHARD_KEY_NOT_FOUND: Final = 61
RANGE_OVERLAP: Final = 178
COMMAND_NOT_FOUND: Final = 59
NAMESPACE_NOT_SHARDED: Final = 118

# Of a command, what belongs to the driver's talk with the router.
_TALK: Final = ("$db", "lsid", "$clusterTime", "txnNumber", "$readPreference")


class Refused(Exception):
    """What the router says no to, with the server's code for it."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass
class Sharded:
    """A sharded collection: its key, and where each range of it lies (ranges in order, without a gap)."""

    key: Document
    unique: bool
    # (first point, shard): it holds from there to the next range's first point.
    ranges: list[tuple[tuple[Any, ...], str]]
    zones: list[Document] = field(default_factory=list)

    def point(self, document: Document) -> tuple[Any, ...]:
        missing = [name for name in self.key if name not in document]
        if missing:
            raise Refused(SHARD_KEY_NOT_FOUND, f"the document has no shard key field {missing[0]!r}")
        return tuple(_hashed(document[f]) if kind == "hashed" else document[f] for f, kind in self.key.items())

    def shard_of(self, document: Document) -> str:
        point = _order(self.point(document))
        return next(shard for low, shard in reversed(self.ranges) if _order(low) <= point)

    def move(self, low: tuple[Any, ...], high: tuple[Any, ...], to: str) -> None:
        after = next(shard for start, shard in reversed(self.ranges) if _order(start) <= _order(high))
        kept = [r for r in self.ranges if not _order(low) <= _order(r[0]) <= _order(high)]
        ends = [] if isinstance(high[0], MaxKey) else [(high, after)]
        self.ranges = sorted([*kept, (low, to), *ends], key=lambda r: _order(r[0]))


class FakeMongos:
    """Listens on 127.0.0.1; `servers`: the URI of each shard's server, by its name."""

    def __init__(self, servers: dict[str, str]) -> None:
        self._servers = servers
        self._clients: dict[str, AsyncMongoClient[Document]] = {}
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.sharded: dict[str, Sharded] = {}
        self.tags: dict[str, list[str]] = {name: [] for name in servers}
        # Of each collection: index name to its specification.
        self._hashed_indexes: dict[str, dict[str, Document]] = {}
        # Every administrative command that was taken, in order.
        self.commands: list[Document] = []

    async def __aenter__(self) -> Self:
        self._clients = {name: AsyncMongoClient(uri) for name, uri in self._servers.items()}
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._listener is not None
        self._listener.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._listener.wait_closed()
        for client in self._clients.values():
            await client.close()

    @property
    def uri(self) -> str:
        assert self._listener is not None
        return f"mongodb://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"

    def client_of(self, shard: str) -> AsyncMongoClient[Document]:
        """The server behind, past the router."""
        return self._clients[shard]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                message = await read_message(reader)
                answer = await self.answer(command_of(message))
                if expects_reply(message):
                    writer.write(reply_to(message, answer))
                    await writer.drain()
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            # The driver has ended, or we are to.
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def answer(self, command: Document) -> Document:
        """What a router answers to a command."""
        name = next(iter(command))
        handler = getattr(self, f"_do_{name.lower()}", None)
        try:
            if handler is None:
                raise Refused(COMMAND_NOT_FOUND, f"no such command: {name!r}")
            return {"ok": 1.0} | await handler(command)
        except Refused as refused:
            return {"ok": 0.0, "code": refused.code, "errmsg": str(refused)}

    # -- greetings ---------------------------------------------------------------

    async def _do_hello(self, _command: Document) -> Document:
        return {
            "isWritablePrimary": True,
            "ismaster": True,
            "helloOk": True,
            "msg": "isdbgrid",
            "maxBsonObjectSize": 16 * 2**20,
            "maxMessageSizeBytes": 48_000_000,
            "maxWriteBatchSize": 100_000,
            "logicalSessionTimeoutMinutes": 30,
            "minWireVersion": 0,
            "maxWireVersion": 25,
        }

    _do_ismaster = _do_hello

    async def _do_ping(self, _command: Document) -> Document:
        return {}

    _do_endsessions = _do_ping

    # -- the cluster -------------------------------------------------------------

    async def _do_enablesharding(self, command: Document) -> Document:
        self.commands.append(command)
        return {}

    async def _do_listshards(self, _command: Document) -> Document:
        return {"shards": [{"_id": s, "host": uri, "tags": self.tags[s]} for s, uri in self._servers.items()]}

    async def _do_shardcollection(self, command: Document) -> Document:
        name, key, unique = command["shardCollection"], command["key"], bool(command.get("unique"))
        had = self.sharded.get(name)
        if had is not None and (list(had.key.items()), had.unique) != (list(key.items()), unique):
            raise Refused(ALREADY_INITIALIZED, f"{name} is sharded already, with other options")
        hashed = "hashed" in key.values()
        if hashed and unique:
            raise Refused(BAD_VALUE, "hashed shard keys cannot be declared unique")
        for index in await self._indexes(name):
            if index.get("unique") and index["name"] != "_id_" and not _begins(index["key"], key):
                raise Refused(INVALID_OPTIONS, f"unique index {index['name']} does not begin with the shard key")
        if had is None:
            self.commands.append(command)
            shards = list(self._servers)
            first = (MinKey(),) * len(key)
            # A range lies on one shard until somebody moves it; hashes are spread from the start.
            ranges = [(first, shards[0])]
            if hashed:
                ranges += [((i * 2**64 // len(shards),), s) for i, s in enumerate(shards) if i]
            self.sharded[name] = Sharded(key, unique, ranges)
        return {"collectionsharded": name}

    async def _do_moverange(self, command: Document) -> Document:
        sharded = self._sharded(command["moveRange"])
        if command["toShard"] not in self._servers:
            raise Refused(SHARD_NOT_FOUND, f"no shard {command['toShard']}")
        low, high = _bounds(sharded, command)
        sharded.move(low, high, command["toShard"])
        self.commands.append(command)
        return {}

    async def _do_addshardtozone(self, command: Document) -> Document:
        shard, zone = command["addShardToZone"], command["zone"]
        if shard not in self._servers:
            raise Refused(SHARD_NOT_FOUND, f"no shard {shard}")
        if zone not in self.tags[shard]:
            self.tags[shard].append(zone)
        self.commands.append(command)
        return {}

    async def _do_updatezonekeyrange(self, command: Document) -> Document:
        name, zone = command["updateZoneKeyRange"], command["zone"]
        sharded = self._sharded(name)
        low, high = _bounds(sharded, command)
        same = [z for z in sharded.zones if z["min"] == command["min"] and z["max"] == command["max"]]
        if zone is None:
            sharded.zones = [z for z in sharded.zones if z not in same]
        else:
            if not any(zone in tags for tags in self.tags.values()):
                raise Refused(UNAUTHORIZED_ZONE, f"zone {zone} does not exist")
            for z in sharded.zones:
                a, b = _bounds(sharded, z)
                if (z["tag"] != zone or z not in same) and _order(a) < _order(high) and _order(low) < _order(b):
                    raise Refused(RANGE_OVERLAP, f"the range overlaps one of zone {z['tag']}")
            if not same:
                sharded.zones.append({"ns": name, "min": command["min"], "max": command["max"], "tag": zone})
            # A real cluster's balancer does this some time later.
            sharded.move(low, high, next(s for s, tags in self.tags.items() if zone in tags))
        self.commands.append(command)
        return {}

    # -- indexes -----------------------------------------------------------------

    async def _do_createindexes(self, command: Document) -> Document:
        name = f"{command['$db']}.{command['createIndexes']}"
        sharded = self.sharded.get(name)
        plain = []
        for index in command["indexes"]:
            if sharded and index.get("unique") and not _begins(index["key"], sharded.key):
                raise Refused(CANNOT_CREATE_INDEX, f"a unique index must begin with the shard key {sharded.key}")
            if "hashed" in index["key"].values():
                # The servers behind know none: it is kept here.
                self._hashed_indexes.setdefault(name, {})[index["name"]] = index
            else:
                plain.append(index)
        return await self._everywhere(command | {"indexes": plain}) if plain else {}

    async def _do_listindexes(self, command: Document) -> Document:
        name = f"{command['$db']}.{command['listIndexes']}"
        return _cursor(name, await self._indexes(name))

    async def _do_collmod(self, command: Document) -> Document:
        return await self._everywhere(command)

    _do_drop = _do_collmod
    _do_dropdatabase = _do_collmod

    # -- documents ---------------------------------------------------------------

    async def _do_insert(self, command: Document) -> Document:
        """Ordered as the documents are: each run that belongs to one shard is one insert there."""
        name = f"{command['$db']}.{command['insert']}"
        done, documents = 0, command["documents"]
        while done < len(documents):
            shard = self._shard_of(name, documents[done])
            run = [documents[done]]
            while done + len(run) < len(documents):
                following = documents[done + len(run)]
                if self._shard_of(name, following) != shard:
                    break
                run.append(following)
            reply = await self._at(shard, command | {"documents": run})
            if reply.get("writeErrors"):
                errors = [e | {"index": e["index"] + done} for e in reply["writeErrors"]]
                return reply | {"n": done + reply["n"], "writeErrors": errors}
            if not reply["ok"]:
                return reply
            done += len(run)
        return {"n": done}

    async def _do_update(self, command: Document) -> Document:
        assert len(command["updates"]) == 1, "one at a time"
        update = command["updates"][0]
        name = f"{command['$db']}.{command['update']}"
        return await self._at(self._shard_of(name, update["q"]), command)

    async def _do_delete(self, command: Document) -> Document:
        name = f"{command['$db']}.{command['delete']}"
        for one in command["deletes"]:
            if one["limit"] == 1:
                self._shard_of(name, one["q"])
        return await self._everywhere(command)

    async def _do_find(self, command: Document) -> Document:
        name = f"{command['$db']}.{command['find']}"
        if command["$db"] == "config":
            return _cursor(name, [d for d in self._config(command["find"]) if _matches(d, command.get("filter", {}))])
        asked = command | {"batchSize": 100_000}
        found: list[Document] = []
        for shard in self._servers:
            reply = await self._at(shard, asked)
            if not reply["ok"]:
                return reply
            assert reply["cursor"]["id"] == 0, "more than one batch"
            found += reply["cursor"]["firstBatch"]
        for name_, direction in reversed(command.get("sort", {}).items()):
            found.sort(key=lambda d, n=name_: d[n], reverse=direction == -1)
        limit = command.get("limit", 0)
        return _cursor(name, found[: abs(limit)] if limit else found)

    # -- helpers -----------------------------------------------------------------

    def _config(self, collection: str) -> list[Document]:
        if collection == "collections":
            return [{"_id": name, "key": s.key, "unique": s.unique} for name, s in self.sharded.items()]
        assert collection == "tags", collection
        return [zone for s in self.sharded.values() for zone in s.zones]

    def _sharded(self, name: str) -> Sharded:
        if name not in self.sharded:
            raise Refused(NAMESPACE_NOT_SHARDED, f"{name} is not sharded")
        return self.sharded[name]

    def _shard_of(self, name: str, document: Document) -> str:
        """A collection that is not sharded lies on the first."""
        sharded = self.sharded.get(name)
        return sharded.shard_of(document) if sharded else next(iter(self._servers))

    async def _indexes(self, name: str) -> list[Document]:
        database, _, collection = name.partition(".")
        reply = await self._at(next(iter(self._servers)), {"listIndexes": collection, "$db": database})
        found = reply["cursor"]["firstBatch"] if reply["ok"] else []
        return found + list(self._hashed_indexes.get(name, {}).values())

    async def _everywhere(self, command: Document) -> Document:
        replies = [await self._at(shard, command) for shard in self._servers]
        failed = [r for r in replies if not r["ok"]]
        return failed[0] if failed else replies[0] | {"n": sum(r.get("n", 0) for r in replies)}

    async def _at(self, shard: str, command: Document) -> Document:
        return await self._clients[shard][command["$db"]].command(_without_talk(command), check=False)


def _without_talk(command: Document) -> Document:
    return {name: value for name, value in command.items() if name not in _TALK}


def _cursor(name: str, documents: list[Document]) -> Document:
    return {"cursor": {"id": 0, "ns": name, "firstBatch": documents}}


def _begins(index: Document, key: Document) -> bool:
    return list(index.items())[: len(key)] == list(key.items())


def _bounds(sharded: Sharded, command: Document) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    for end in ("min", "max"):
        if list(command[end]) != list(sharded.key):
            raise Refused(BAD_VALUE, f"{end} is no point of the shard key {sharded.key}")
    low, high = tuple(command["min"].values()), tuple(command["max"].values())
    if not _order(low) < _order(high):
        raise Refused(BAD_VALUE, "min is not below max")
    return low, high


def _order(point: tuple[Any, ...]) -> tuple[Any, ...]:
    """BSON's order of values: MinKey, numbers, texts, MaxKey."""

    def rank(value: Any) -> tuple[int, Any]:
        if isinstance(value, MinKey):
            return (0, 0)
        if isinstance(value, MaxKey):
            return (3, 0)
        return (2, value) if isinstance(value, str) else (1, value)

    return tuple(rank(value) for value in point)


def _hashed(value: Any) -> int:
    return xxhash.xxh3_64_intdigest(repr(value).encode())


def _matches(document: Document, wanted: Document) -> bool:
    for name, value in wanted.items():
        if isinstance(value, dict) and list(value) == ["$ne"]:
            if document.get(name) == value["$ne"]:
                return False
        elif document.get(name) != value:
            return False
    return True
