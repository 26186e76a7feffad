"""Talking to MongoDB: how a client is made, and which of its errors pass.

A write that timed out or whose answer was lost may have been done or not: its outcome is unknown. The driver's own
retries are off, so that there is one way through that, ours, in server/store/mongo.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from pymongo import AsyncMongoClient
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
)
from pymongo.write_concern import WriteConcern

from server.store.errors import StoreError, StoreFailed

# Any: a document's values are of whatever type BSON has.
Document = dict[str, Any]
Client = AsyncMongoClient[Document]
T = TypeVar("T")

ANSWER_TIMEOUT_S: Final = 5.0
# A server that does not even take a connection, or a replica set without a primary, is noticed sooner.
_REACH_TIMEOUT_MS: Final = 5000
# The first and the longest pause before a server that did not answer is asked again.
_PAUSE_MIN_S: Final = 0.02
_PAUSE_MAX_S: Final = 1.0

DUPLICATE_KEY: Final = 11000
# Read concerns that a server alone, or an old one, does not take.
CONCERN_REFUSED: Final = frozenset({72, 123, 148})  # InvalidOptions, NotAReplicaSet, ReadConcernMajorityNotEnabled
_PASSING: Final = frozenset(
    {
        6,  # HostUnreachable
        7,  # HostNotFound
        24,  # LockTimeout
        43,  # CursorNotFound: its server has stepped down, or is another now; reading goes on with a new one
        46,  # LockBusy
        50,  # MaxTimeMSExpired
        64,  # WriteConcernTimeout
        89,  # NetworkTimeout
        91,  # ShutdownInProgress
        112,  # WriteConflict
        133,  # FailedToSatisfyReadPreference: a shard has no primary just now
        134,  # ReadConcernMajorityNotAvailableYet
        150,  # StaleEpoch: a range has moved, and the router is learning it
        175,  # QueryPlanKilled: the same, under a cursor
        189,  # PrimarySteppedDown
        237,  # CursorKilled
        249,  # StaleDbVersion
        250,  # StaleChunkHistory
        262,  # ExceededTimeLimit
        9001,  # SocketException
        10107,  # NotWritablePrimary
        11600,  # InterruptedAtShutdown
        11601,  # Interrupted: an operator ended the operation, not the world
        11602,  # InterruptedDueToReplStateChange
        13388,  # StaleConfig
        13435,  # NotPrimaryNoSecondaryOk
        13436,  # NotPrimaryOrSecondary
        14031,  # OutOfDiskSpace: somebody can make room
    }
)


def connect(uri: str, *, answer_timeout_s: float = ANSWER_TIMEOUT_S) -> Client:
    """A client; it connects when first used. `answer_timeout_s`: silence after which an outcome is unknown.

    Raises StoreFailed for a URI that is none.
    """
    timeout_ms = round(answer_timeout_s * 1000)
    if not uri.startswith(("mongodb://", "mongodb+srv://")):
        # The driver would take it for the name of a host.
        raise StoreFailed("MongoDB URI: it begins with neither mongodb:// nor mongodb+srv://")
    try:
        return AsyncMongoClient(
            uri,
            appname="everstep",
            retryWrites=False,
            connectTimeoutMS=min(timeout_ms, _REACH_TIMEOUT_MS),
            serverSelectionTimeoutMS=min(timeout_ms, _REACH_TIMEOUT_MS),
            socketTimeoutMS=timeout_ms,
        )
    except (PyMongoError, ValueError) as error:
        # Not the URI itself: it may hold a password.
        raise StoreFailed(f"MongoDB URI: {error}") from None


def durable(answer_timeout_s: float) -> WriteConcern:
    """What a write has to reach before anybody is told of it: the disks of most of a replica set."""
    # The server gives up before we do, so that mostly it is it who says that it took too long.
    return WriteConcern("majority", wtimeout=round(answer_timeout_s * 800), j=True)


def passes(error: PyMongoError) -> bool:
    """Whether a server, or the next primary, may answer otherwise soon. What was to be done may have been done."""
    if isinstance(error, BulkWriteError):
        refused = error.details["writeErrors"]
        return all(e["code"] == DUPLICATE_KEY or e["code"] in _PASSING for e in refused)
    if isinstance(error, (ConnectionFailure, WriteConcernError, DuplicateKeyError)):
        return True
    return isinstance(error, OperationFailure) and error.code in _PASSING


class Pauses:
    """How long to wait before the next try: twice as long each time, up to a second."""

    def __init__(self) -> None:
        self._next_s = _PAUSE_MIN_S

    async def wait(self) -> None:
        """Wait once."""
        await asyncio.sleep(self._next_s)
        self._next_s = min(2 * self._next_s, _PAUSE_MAX_S)


async def insist(ask: Callable[[], Awaitable[T]], check: Callable[[], None]) -> T:
    """The answer to something that does no harm when done twice, however long it takes.

    `check` is called before each try and raises to end it. Raises StoreFailed for errors that do not pass.
    """
    pauses = Pauses()
    while True:
        check()
        try:
            return await ask()
        except PyMongoError as error:
            if not passes(error):
                raise failed(error) from error
        await pauses.wait()


def failed(error: PyMongoError) -> StoreError:
    """A server's final no, as a store's error."""
    # To what could not be reached the driver adds its timeouts, and all that it believes of every server.
    reason = str(error).partition(" (configured timeouts: ")[0].partition(", Timeout: ")[0]
    return StoreFailed(f"MongoDB: {type(error).__name__}: {reason}")
