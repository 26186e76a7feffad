"""What listens to one server: what it is told, and that it does not wait for ever for one that is gone."""

import asyncio

import pytest
from redis.asyncio import Redis

from server.bus.redis_ear import Ear


async def test_it_tells_of_confirmations_and_messages_in_order(server):
    told = asyncio.Queue()
    ear = Ear(Redis.from_url(server.url), lambda *what: told.put(what), 5.0, sharded=False)
    await ear.subscribe("a")
    task = asyncio.create_task(ear.run())
    async with asyncio.timeout(10), Redis.from_url(server.url) as speaker:
        assert (await told.get())[:2] == ("subscribe", "a")
        await speaker.publish("a", b"1")
        await speaker.publish("a", b"2")
        assert [await told.get(), await told.get()] == [("message", "a", b"1"), ("message", "a", b"2")]
        await ear.unsubscribe("a")
        assert (await told.get())[:2] == ("unsubscribe", "a")
    task.cancel()
    await ear.close()


async def test_what_is_ended_and_begun_again_before_the_server_says_so_has_not_moved(server):
    told = asyncio.Queue()
    ear = Ear(Redis.from_url(server.url), lambda *what: told.put(what), 5.0, sharded=False)
    await ear.subscribe("a")
    for _ in range(2):
        await ear.unsubscribe("a")
        await ear.subscribe("a")
    task = asyncio.create_task(ear.run())
    async with asyncio.timeout(10):
        kinds = [(await told.get())[0] for _ in range(5)]
    assert kinds == ["subscribe", "unsubscribe", "subscribe", "unsubscribe", "subscribe"]
    task.cancel()
    await ear.close()


async def test_silence_alone_is_no_fault_and_no_answer_is_one(server):
    ear = Ear(Redis.from_url(server.url), lambda *_: asyncio.sleep(0), 0.05, sharded=False)
    await ear.subscribe("a")
    task = asyncio.create_task(ear.run())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(task), 0.5)
    assert not task.done(), "the server answered, so all was well"
    server.pause()
    with pytest.raises(TimeoutError, match="does not answer"):
        async with asyncio.timeout(10):
            await task
    server.resume()
    await ear.close()
