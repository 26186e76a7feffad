"""What a server gets when it opens its database."""

import pytest

from server.store.errors import LayoutWrong, StoreClosed, StoreFailed
from server.store.mongo_open import mongo_stores
from tests.store.checkpoint_contract import checkpoint, ticks
from tests.store.contract import chain, durable, read


async def test_both_stores_of_one_database(mongo):
    async with mongo_stores(mongo.uri, mongo.name) as (journal, checkpoints):
        await journal.claim(1)
        await durable(journal, chain([1, 2]))
        await checkpoints.write(*checkpoint(1))
        assert [r.tick for r in await read(journal, after_tick=1)] == [2]
        assert ticks(await checkpoints.manifests(1)) == [1]
    with pytest.raises(StoreClosed):
        await journal.claim(1)
    with pytest.raises(StoreClosed):
        await checkpoints.manifests(1)


async def test_a_database_that_nobody_prepared_is_refused(mongo):
    with pytest.raises(LayoutWrong, match="everstep store init"):
        async with mongo_stores(mongo.uri, f"{mongo.name}_other"):
            pytest.fail("opened")


async def test_a_server_that_is_not_there_is_a_failure(proxy, mongo_database):
    await proxy.cut()
    with pytest.raises(StoreFailed):
        async with mongo_stores(proxy.uri, mongo_database, answer_timeout_s=0.2):
            pytest.fail("opened")
