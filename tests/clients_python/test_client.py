"""The client against the real server."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import connect as open_websocket
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection, serve

from clients.python import BacklogFull, Client, Ended, Refused, Unreachable, connect
from protocol.codec import encode_bye
from protocol.errors import CloseCode, ErrorCode, InvalidArgument, UnknownMessage
from protocol.messages import Ack, Error, Event, Receipt, Welcome
from server.app import Everstep
from tests.gateway.visitor import only_stream

# No test waits for a time; this ends one that would wait for ever.
pytestmark = pytest.mark.usefixtures("_within_a_minute")


@pytest.fixture
async def _within_a_minute():
    async with asyncio.timeout(60):
        yield


def own(client: Client, field: str):
    region, handle = client.entity
    return client.view[region].value(handle, field)


async def next_of(client: Client, kind: type):
    async for message in client.messages():
        if isinstance(message, kind):
            return message
    raise AssertionError(f"the session ended without {kind.__name__}: {client.ended}")


async def test_one_joins_and_is_there(pasture: Everstep) -> None:
    async with await connect(pasture.ws_url, name="Ada") as client:
        region, handle = client.entity
        assert client.schema.game == "pasture"
        assert client.schema == pasture.game.schema
        assert client.view[region].archetype(handle) == "Avatar"
        assert own(client, "Body.name") == "Ada"
        # Exactly the middle: the region's origin was added.
        assert (own(client, "Position.x"), own(client, "Position.y")) == (28.0, 128.0)
        assert await client.ping() > 0
        assert client.clock.rtt_s > 0
        assert client.tick_rate_hz == 20


async def test_a_move_is_acked_with_the_state_it_led_to(pasture: Everstep) -> None:
    async with await connect(pasture.ws_url) as client:
        before = own(client, "Position.x")
        seq = client.send("Move", dx=0.5, dy=0)
        await client.until(lambda: client.acked >= seq)
        await client.until(lambda: own(client, "Position.x") > before)
        assert (own(client, "Position.x") - before) % 0.5 == 0


async def test_the_view_agrees_with_the_server_on_a_walk_across_cells(pasture: Everstep) -> None:
    async with await connect(pasture.ws_url, name="walker") as client, await connect(pasture.ws_url) as other:
        client.send("Move", dx=1.0, dy=-0.75)
        for x in (30, 40, 60, 90, 120):
            await client.until(lambda reached=x: own(client, "Position.x") >= reached)
            assert await client.check()
            assert await other.check()
        # The other stands in the middle, and the walker has long left its view.
        await other.until(lambda: client.entity[1] not in other.view[other.entity[0]])
        assert await other.check()


async def test_the_view_check_finds_a_view_that_drifted(pasture: Everstep) -> None:
    async with await connect(pasture.ws_url) as client:
        region, handle = client.entity
        # Nothing but an enter brings it back: its changes name a handle that is not there.
        del client.view[region].entities[handle]
        assert not await client.check()


async def test_speech_reaches_both_and_a_receipt_comes(pasture: Everstep) -> None:
    async with await connect(pasture.ws_url) as one, await connect(pasture.ws_url) as other:
        one.send("Say", text="hé, you")
        for client in (one, other):
            event = await next_of(client, Event)
            assert event.args == (one.entity[1], "hé, you")
        step = one.send("Step")
        assert await next_of(one, Receipt) == Receipt(step)


async def test_what_the_server_would_refuse_is_refused_here(pasture: Everstep) -> None:
    async with await connect(pasture.ws_url) as client:
        with pytest.raises(UnknownMessage, match="Fly"):
            client.send("Fly")
        with pytest.raises(InvalidArgument, match=r"Move takes \['dx', 'dy'\]"):
            client.send("Move", dx=1.0)
        with pytest.raises(InvalidArgument, match=r"Move\.dx"):
            client.send("Move", dx=1.5, dy=0.0)
        with pytest.raises(InvalidArgument, match=r"Say\.text"):
            client.send("Say", text="line\nend")
        assert client.seq == 0


async def test_what_the_server_refuses_comes_as_error_with_its_seq(pasture: Everstep) -> None:
    async with await connect(pasture.ws_url) as client:
        # Past the local check, as a client of another make might.
        client._talk._reader.read = lambda _: ()  # type: ignore[method-assign]
        seq = client.send("Move", dx=2.0, dy=0.0)
        error = await next_of(client, Error)
        assert (error.code, error.seq) == (ErrorCode.INVALID_ARGUMENT, seq)
        assert "Move.dx" in error.text
        assert await client.check()


async def test_a_broken_connection_resumes_and_no_step_is_lost_or_doubled(pasture: Everstep) -> None:
    async with await connect(pasture.ws_url, name="Ada") as client:
        session, entity = client.session, client.entity
        steps = 0
        for connections in (2, 3, 4):
            for _ in range(5):
                client.send("Step")
            client.abort()
            for _ in range(5):
                client.send("Step")
            steps += 10
            await client.until(lambda wanted=connections: client.connections == wanted and client.connected)
            assert client.welcome.resumed
            assert (client.session, client.entity) == (session, entity)
            await client.until(lambda: client.acked == client.seq)
        await client.until(lambda: client.entity[1] in client.view[client.entity[0]])
        await client.until(lambda: own(client, "Body.steps") == steps)
        assert own(client, "Body.name") == "Ada"
        assert await client.check()


async def test_a_session_taken_over_by_its_token_ends_the_first_connection(pasture: Everstep) -> None:
    first = await connect(pasture.ws_url, name="Ada")
    step = first.send("Step")
    await first.until(lambda: first.acked >= step)
    async with await connect(pasture.ws_url, resume=first.resume_token) as second:
        assert second.welcome.resumed
        assert second.session == first.session
        assert second.acked == step
        assert second.send("Step") > step + 1
        await second.until(lambda: own(second, "Body.steps") == 2)
        with pytest.raises(Ended) as caught:
            await first.until(lambda: False)
        assert caught.value.code == CloseCode.REPLACED
        with pytest.raises(Ended):
            first.send("Step")
    await first.close()


async def test_a_resume_token_that_means_nothing_begins_a_new_session(pasture: Everstep) -> None:
    async with await connect(pasture.ws_url, resume="nonsense") as client:
        assert not client.welcome.resumed
        error = await next_of(client, Error)
        assert error.code == ErrorCode.RESUME_FAILED
        assert await next_of(client, Welcome) == client.welcome
        client.send("Step")
        assert await next_of(client, Ack) == Ack(1)


async def test_what_a_new_session_does_not_know_is_answered_before_its_welcome(pasture: Everstep) -> None:
    async with await connect(pasture.ws_url) as client:
        # As if its session were over when it comes back.
        client._talk._resume = "nonsense"
        client.abort()
        void = client.send("Step")
        await client.until(lambda: client.connections == 2)
        assert await next_of(client, Welcome) != client.welcome
        assert (await next_of(client, Error)).seq is None
        error = await next_of(client, Error)
        assert (error.code, error.seq) == (ErrorCode.RESUME_FAILED, void)
        assert await next_of(client, Welcome) == client.welcome
        # Numbers are of the new session from here on.
        assert client.send("Step") == void
        assert await next_of(client, Receipt) == Receipt(void)


async def test_leaving_takes_the_entity_away(pasture: Everstep) -> None:
    async with await connect(pasture.ws_url) as watcher:
        client = await connect(pasture.ws_url)
        handle = client.entity[1]
        region = watcher.entity[0]
        await watcher.until(lambda: handle in watcher.view[region])
        await client.leave()
        assert isinstance(client.ended, Ended)
        assert client.ended.code == CloseCode.NORMAL
        await watcher.until(lambda: handle not in watcher.view[region])
        await client.leave()


async def test_closing_leaves_the_entity_to_wait(pasture: Everstep) -> None:
    client = await connect(pasture.ws_url)
    session, token = client.session, client.resume_token
    await client.close()
    async with await connect(pasture.ws_url, resume=token) as again:
        assert again.welcome.resumed
        assert again.session == session


async def test_a_refused_token_says_so(pasture: Everstep) -> None:
    with pytest.raises(Refused) as caught:
        await connect(pasture.ws_url, token="no.such.token")
    assert caught.value.code == CloseCode.UNAUTHORISED


@contextlib.asynccontextmanager
async def turning_away(url: str, times: float) -> AsyncIterator[str]:
    """The address of a server that tells the first so many to come again, and hands others on to the one at `url`."""
    turned_away = 0

    async def serve_one(here: ServerConnection) -> None:
        nonlocal turned_away
        if turned_away < times:
            turned_away += 1
            await here.recv()
            await here.send(encode_bye(CloseCode.INTERNAL, "a part of the world does not answer"))
            await here.close(CloseCode.INTERNAL, "a part of the world does not answer")
            return
        async with open_websocket(url) as there:

            async def carry(source: Connection, target: Connection) -> None:
                async for message in source:
                    await target.send(message)
                await target.close()

            await asyncio.gather(carry(here, there), carry(there, here))

    async with serve(serve_one, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_who_joins_while_a_part_of_the_world_does_not_answer_tries_again(pasture: Everstep) -> None:
    async with turning_away(pasture.ws_url, 2) as url, await connect(url, name="Ada") as client:
        assert own(client, "Body.name") == "Ada"


async def test_a_part_of_the_world_that_never_answers_says_so_in_the_end(pasture: Everstep) -> None:
    async with turning_away(pasture.ws_url, math.inf) as url:
        with pytest.raises(Refused) as caught:
            await connect(url, resume="of before", return_within_s=0.4)
        assert caught.value.code == CloseCode.INTERNAL


async def test_nobody_there_says_so(pasture: Everstep) -> None:
    with pytest.raises(Unreachable):
        await connect(pasture.ws_url.replace("/ws", "/nowhere"))


async def test_unread_messages_are_bounded_and_counted(pasture: Everstep) -> None:
    async with await connect(pasture.ws_url, messages_max=4) as client:
        for _ in range(12):
            client.send("Say", text="again")
        await client.until(lambda: client.acked == client.seq)
        await client.until(lambda: client.messages_dropped > 0)
        assert len(client._inbox) == 4


async def test_inputs_without_ack_are_bounded(pasture: Everstep) -> None:
    async with await connect(pasture.ws_url, inputs_max=3) as client:
        for _ in range(3):
            client.send("Say", text="a")
        with pytest.raises(BacklogFull):
            client.send("Say", text="a")
        await client.until(lambda: client.acked == 3)
        assert client.send("Say", text="a") == 4


async def test_the_clock_follows_the_server(pasture: Everstep) -> None:
    async with await connect(pasture.ws_url) as client:
        for _ in range(3):
            await client.ping()
        best = client.clock.best
        # Within the round trip and two ticks of what the server counts right now.
        assert abs(client.clock.tick_at(best.now_s) - best.ticks) == 0
        assert best.ticks - 2 <= only_stream(pasture).tick
        assert client.clock.rate_hz > 0


async def test_questions_that_the_server_passes_over_are_answered_in_the_end(pasture: Everstep) -> None:
    async with await connect(pasture.ws_url) as client:
        for _ in range(client.welcome.limits.inputs_burst + 40):
            client.send("Move", dx=0.0, dy=0.0)
        answers = asyncio.gather(client.ping(), client.check())
        error = await next_of(client, Error)
        assert error.code == ErrorCode.RATE_EXCEEDED
        round_trip_s, agreed = await answers
        assert round_trip_s > 0
        assert agreed


async def test_a_predicate_that_raises_reaches_its_caller(pasture: Everstep) -> None:
    async with await connect(pasture.ws_url) as client:
        calls = 0

        def fails_second() -> bool:
            nonlocal calls
            calls += 1
            if calls > 1:
                raise LookupError("mine")
            return False

        with pytest.raises(LookupError, match="mine"):
            await client.until(fails_second)
        assert await client.check()
