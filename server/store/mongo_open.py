"""The stores of a MongoDB database, as a server opens them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from pymongo.errors import PyMongoError

from server.store.mongo import MongoJournal
from server.store.mongo_checkpoints import MongoCheckpoints
from server.store.mongo_client import ANSWER_TIMEOUT_S, connect, durable, failed
from server.store.mongo_layout import UNFINISHED, check


@asynccontextmanager
async def mongo_medium(
    uri: str, database: str, *, answer_timeout_s: float = ANSWER_TIMEOUT_S, close_timeout_s: float = 30.0
) -> AsyncIterator[Callable[[], tuple[MongoJournal, MongoCheckpoints]]]:
    """What makes journals and checkpoint stores of this database, over one client; whoever has them made closes them.

    Raises as `mongo_stores`.
    """
    async with connect(uri, answer_timeout_s=answer_timeout_s) as client:
        try:
            await check(client, database)
        except PyMongoError as error:
            raise failed(error) from error

        def make() -> tuple[MongoJournal, MongoCheckpoints]:
            return (
                MongoJournal(client, database, answer_timeout_s=answer_timeout_s, close_timeout_s=close_timeout_s),
                MongoCheckpoints(client, database, answer_timeout_s=answer_timeout_s),
            )

        yield make


@asynccontextmanager
async def mongo_stores(
    uri: str, database: str, *, answer_timeout_s: float = ANSWER_TIMEOUT_S, close_timeout_s: float = 30.0
) -> AsyncIterator[tuple[MongoJournal, MongoCheckpoints]]:
    """The journal and the checkpoints, closed in the end. `close_timeout_s`: see MongoJournal.

    Raises LayoutWrong where `everstep store init` has not been run, StoreFailed where the server is not to be had.
    """
    async with mongo_medium(uri, database, answer_timeout_s=answer_timeout_s, close_timeout_s=close_timeout_s) as make:
        journal, checkpoints = make()
        try:
            yield journal, checkpoints
        finally:
            await journal.close()
            await checkpoints.close()


@asynccontextmanager
async def unfinished(uri: str, database: str) -> AsyncIterator[None]:
    """Nobody opens this database while the block lasts, nor after it where it raises, or the process dies in it.

    Raises StoreFailed.
    """
    async with connect(uri) as client:
        marks = client[database].get_collection(UNFINISHED, write_concern=durable(ANSWER_TIMEOUT_S))
        try:
            await marks.insert_one({"_id": "restore"})
        except PyMongoError as error:
            raise failed(error) from error
        yield
        try:
            await marks.delete_one({"_id": "restore"})
        except PyMongoError as error:
            raise failed(error) from error
