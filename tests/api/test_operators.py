"""Who may ask as an operator, and how it is answered."""

from http import HTTPStatus

import orjson
import pytest

from server.api.operators import Orders, Refused, answered, numbers, reply
from server.bus.memory import MemoryBus
from server.shard.ports import commands_topic

TOKEN = "t" * 32


def act(action, options):
    if action == "no":
        raise Refused(HTTPStatus.NOT_FOUND, "there is none")
    return reply(HTTPStatus.OK, orjson.dumps([action, options]))


def get(path, authorization=f"Bearer {TOKEN}", token=TOKEN):
    return answered(token, "/prefix/", path, authorization, act)


def test_an_operator_is_answered():
    answer = get("/prefix/yes?n=1&n=2")
    assert (answer.status, orjson.loads(answer.body)) == (HTTPStatus.OK, ["yes", {"n": ["1", "2"]}])
    assert answer.headers["Cache-Control"] == "no-store"
    assert get("/prefix/yes", f"bearer  {TOKEN} ").status is HTTPStatus.OK


def test_a_refusal_says_why():
    answer = get("/prefix/no")
    assert (answer.status, orjson.loads(answer.body)) == (HTTPStatus.NOT_FOUND, {"error": "there is none"})


@pytest.mark.parametrize("authorization", [None, "", TOKEN, "Bearer", "Bearer é", f"Basic {TOKEN}", f"Bearer {TOKEN}x"])
def test_without_the_token_nobody_is(authorization):
    answer = get("/prefix/yes", authorization)
    assert answer.status is HTTPStatus.UNAUTHORIZED
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("authorization", [None, "Bearer ", "Bearer x"])
def test_where_no_token_is_set_nobody_is(authorization):
    assert get("/prefix/yes", authorization, token="").status is HTTPStatus.FORBIDDEN


def test_numbers_are_numbers():
    assert numbers(["3", "1", "3"], "n") == [1, 3]
    for wrong in ("-1", "x", "1.0", "", "²", "99999999999"):
        with pytest.raises(Refused, match="n is a number"):
            numbers([wrong], "n")


def test_what_would_reach_nobody_is_not_ordered():
    bus, lacks, heard = MemoryBus(), [None], []
    bus.subscribe(commands_topic(7), heard.append)
    orders = Orders(bus, lambda: lacks[0])
    orders.give(7, b"order")
    lacks[0] = "Redis does not answer"
    with pytest.raises(Refused, match="Redis does not answer: nothing was ordered") as refused:
        orders.give(7, b"lost")
    assert refused.value.status is HTTPStatus.SERVICE_UNAVAILABLE
    assert heard == [b"order"]
