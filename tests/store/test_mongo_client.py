"""Which of a server's errors pass, as a table; and what is asked again, and for how long."""

import pytest
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    DuplicateKeyError,
    InvalidDocument,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    ServerSelectionTimeoutError,
    WTimeoutError,
)

from server.store.errors import StoreClosed, StoreFailed
from server.store.mongo_client import connect, durable, insist, passes


def bulk(*codes):
    return BulkWriteError({"writeErrors": [{"index": i, "code": c} for i, c in enumerate(codes)]})


@pytest.mark.parametrize(
    ("error", "does"),
    [
        (AutoReconnect("the connection ended"), True),
        (NetworkTimeout("no answer"), True),
        (NotPrimaryError("stepped down"), True),
        (ServerSelectionTimeoutError("nobody there"), True),
        (WTimeoutError("not on most disks yet", 64), True),
        (DuplicateKeyError("the slot is taken", 11000), True),
        (OperationFailure("took too long", 50), True),
        (OperationFailure("a range has moved", 13388), True),
        (OperationFailure("the cursor is gone", 43), True),
        (OperationFailure("the operation was killed", 11601), True),
        (OperationFailure("not authorised", 13), False),
        (OperationFailure("authentication failed", 18), False),
        (OperationFailure("no such command", 59), False),
        (bulk(), True),
        (bulk(11000), True),
        (bulk(11000, 189), True),
        (bulk(121), False),
        (bulk(11000, 10334), False),
        (InvalidDocument("not BSON"), False),
        (ConfigurationError("no such option"), False),
    ],
)
def test_what_passes(error, does):
    assert passes(error) is does


async def test_what_passes_is_asked_again_until_it_is_answered():
    answers = [AutoReconnect("gone"), OperationFailure("stepping down", 189), 7]

    async def ask():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert await insist(ask, lambda: None) == 7
    assert answers == []


async def test_a_final_no_is_a_failure():
    async def ask():
        raise OperationFailure("not authorised", 13)

    with pytest.raises(StoreFailed, match="not authorised"):
        await insist(ask, lambda: None)


async def test_who_asks_can_be_told_to_stop():
    asked = []

    async def ask():
        asked.append(1)
        raise AutoReconnect("gone")

    def check():
        if len(asked) == 3:
            raise StoreClosed("closed")

    with pytest.raises(StoreClosed):
        await insist(ask, check)


@pytest.mark.parametrize("uri", ["nonsense", "mongodb://", "mongodb://user:secret@host:99999/"])
def test_a_uri_that_is_none_is_refused_without_its_password(uri):
    with pytest.raises(StoreFailed) as refused:
        connect(uri)
    assert "secret" not in str(refused.value)


async def test_a_write_is_to_reach_the_disks_of_most_before_we_lose_patience():
    assert durable(5.0).document == {"w": "majority", "wtimeout": 4000, "j": True}
    client = connect("mongodb://127.0.0.1:1/", answer_timeout_s=2)
    assert client.options.retry_writes is False
    assert client.options.pool_options.socket_timeout == 2
    await client.close()
