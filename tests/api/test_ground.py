"""Regions divided and united over HTTP: for an operator alone, and what is asked becomes a tick's input."""

from http import HTTPStatus

import orjson
import pytest

from server.api.ground import Ground, target
from server.api.operators import Orders
from server.bus.memory import MemoryBus
from server.shard.machine import DIVIDE, command_shapes, decode_batches
from server.shard.ports import commands_topic
from tests.support.pasture import GAME

TOKEN = "t" * 32
SHAPES = command_shapes(GAME.schema)


@pytest.fixture
def asked():
    """(region, to be divided) of what was asked, in order; and the way to ask."""
    bus, heard = MemoryBus(), []
    for region in (1, 2, 3):

        def hear(data, region=region):
            heard.extend((region, bool(r["divide"][0])) for r in [decode_batches(data, SHAPES)[DIVIDE]])

        bus.subscribe(commands_topic(region), hear)
    ground = Ground(TOKEN, {1, 2}, Orders(bus, lambda: None))
    return heard, lambda path, token=TOKEN: ground.get(path, f"Bearer {token}")


def test_what_is_asked_reaches_the_region(asked):
    heard, get = asked
    answer = get(target("divide", 2))
    assert answer.status is HTTPStatus.ACCEPTED
    assert orjson.loads(answer.body) == {"region": 2, "divide": True}
    assert get("/ground/unite?region=1").status is HTTPStatus.ACCEPTED
    assert heard == [(2, True), (1, False)]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/ground/", HTTPStatus.NOT_FOUND),
        ("/ground/burn?region=1", HTTPStatus.NOT_FOUND),
        # It is a part, or there is none.
        ("/ground/divide?region=3", HTTPStatus.NOT_FOUND),
        ("/ground/divide", HTTPStatus.BAD_REQUEST),
        ("/ground/divide?region=1&region=2", HTTPStatus.BAD_REQUEST),
        ("/ground/divide?region=-1", HTTPStatus.BAD_REQUEST),
    ],
)
def test_what_makes_no_sense_is_refused_and_reaches_nobody(asked, path, status):
    heard, get = asked
    answer = get(path)
    assert answer.status is status
    assert orjson.loads(answer.body)["error"]
    assert heard == []


def test_without_the_token_nothing_happens(asked):
    heard, get = asked
    assert get(target("divide", 1), token="x").status is HTTPStatus.UNAUTHORIZED
    assert heard == []


def test_a_world_that_may_not_be_divided_says_so():
    answer = Ground(TOKEN, (), Orders(MemoryBus(), lambda: None)).get(target("divide", 1), f"Bearer {TOKEN}")
    assert b"split_depth" in answer.body
