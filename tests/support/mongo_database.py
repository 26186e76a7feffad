"""A database on a MongoDB server, laid out by `init`, as a medium of the stores' contracts."""

from bench.mongo_server import MongoServer
from server.store.mongo import MongoJournal
from server.store.mongo_checkpoints import MongoCheckpoints
from server.store.mongo_client import connect
from server.store.mongo_layout import init, shard_key


class Database:
    """A Medium (tests/store/contract.py): one database of one server; dropped in the end."""

    def __init__(self, server: MongoServer | str, name, *, answer_timeout_s=0.5):
        self.uri = server if isinstance(server, str) else server.uri
        self.name = name
        self.answer_timeout_s = answer_timeout_s
        self.client = connect(self.uri)
        self.journal = self.client[name]["journal"]
        self.checkpoints = self.client[name]["checkpoints"]
        self._clients = []

    async def __aenter__(self):
        await init(self.client, self.name)
        return self

    async def __aexit__(self, *_):
        for client in self._clients:
            await client.close()
        await self.client.drop_database(self.name)
        await self.client.close()

    async def open(self):
        return self.through(self.uri)

    def through(self, uri, **options):
        """A journal that is reached this way."""
        return MongoJournal(self._connect(uri), self.name, answer_timeout_s=self.answer_timeout_s, **options)

    def checkpoints_through(self, uri):
        """A checkpoint store that is reached this way."""
        return MongoCheckpoints(self._connect(uri), self.name, answer_timeout_s=self.answer_timeout_s)

    async def fail(self, _journal):
        # Not authorised: whoever is answered that will not be answered otherwise by asking again.
        await self.fail_point("insert", {"errorCode": 13})

    async def fail_point(self, command, data, times=1):
        data = {"failCommands": [command], **data}
        await self.client.admin.command("configureFailPoint", "failCommand", mode={"times": times}, data=data)

    async def put(self, shard, tick, data):
        key = shard_key(shard)
        slot = 1 + await self.journal.count_documents({"shard": key})
        await self.journal.insert_one(
            {"shard": key, "slot": slot, "tick": tick, "epoch": 1, "nonce": b"", "hash": b"", "record": data}
        )

    async def slots(self, shard=1):
        """(slot, tick, epoch) of what is kept of a shard; a seal's tick is negative."""
        found = await self.journal.find({"shard": shard_key(shard)}).sort("slot").to_list()
        return [(d["slot"], -d["tick"] if "seal" in d else d["tick"], d["epoch"]) for d in found]

    def _connect(self, uri):
        self._clients.append(connect(uri, answer_timeout_s=self.answer_timeout_s))
        return self._clients[-1]
