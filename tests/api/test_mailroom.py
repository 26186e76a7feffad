"""Dead letters over HTTP: for an operator alone, and what is asked becomes a tick's input."""

from http import HTTPStatus

import orjson
import pytest

from server.api.mailroom import NUMBERS_MAX, Mailroom, described, order, target
from server.api.operators import Orders
from server.bus.memory import MemoryBus
from server.shard.machine import DROP_LETTER, REPLAY_LETTER, command_shapes, decode_batches
from server.shard.mail import Lane, Letter, Post
from server.shard.ports import commands_topic
from tests.support.pasture import GAME

TOKEN = "t" * 32
SHAPES = command_shapes(GAME.schema)
ORDERS = Orders(MemoryBus(), lambda: None)


@pytest.fixture
def posts():
    posts = {1: Post(1), 2: Post(2)}
    for n in (1, 2):
        posts[1].bury(Letter(1, 2, Lane.BULK, n, 17, 5, b"cargo"), "no room")
    posts[2].bury(Letter(2, 1, Lane.URGENT, 1, 1, 6, b""), "another version")
    return posts


@pytest.fixture
def asked(posts):
    """(shard, command, numbers) of what was asked of a shard, in order; and the way to ask."""
    bus, heard = MemoryBus(), []
    for shard in posts:

        def hear(data, shard=shard):
            heard.extend((shard, kind, r["number"].tolist()) for kind, r in decode_batches(data, SHAPES).items())

        bus.subscribe(commands_topic(shard), hear)
    mailroom = Mailroom(TOKEN, lambda: posts, Orders(bus, lambda: None))
    return heard, lambda path, token=TOKEN: mailroom.get(path, f"Bearer {token}")


def test_the_list_has_every_dead_letter(asked, posts):
    _, get = asked
    reply = get("/mail/list")
    lines = [orjson.loads(line) for line in reply.body.splitlines()]
    assert [(line["shard"], line["number"]) for line in lines] == [(1, 1), (1, 2), (2, 1)]
    assert lines[0] == {
        "shard": 1,
        "number": 1,
        "reason": "no room",
        "died_at_tick": 0,
        "source": 1,
        "destination": 2,
        "lane": "bulk",
        "seq": 1,
        "kind": 17,
        "sent_at_tick": 5,
        "bytes": 5,
    }
    assert [orjson.loads(line) for line in get("/mail/list?shard=2").body.splitlines()] == described(posts[2])
    assert reply.headers["Cache-Control"] == "no-store"


def test_what_is_asked_reaches_the_shard_as_commands(asked):
    heard, get = asked
    assert get("/mail/replay?shard=1&number=2&number=1&number=2").status is HTTPStatus.ACCEPTED
    assert get(target("drop", 2, [1])).status is HTTPStatus.ACCEPTED
    assert heard == [(1, REPLAY_LETTER, [1, 2]), (2, DROP_LETTER, [1])]
    assert list(decode_batches(order("drop", [7]), SHAPES)[DROP_LETTER].tolist()) == [(0, 7, 7)]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/mail/", HTTPStatus.NOT_FOUND),
        ("/mail/burn?shard=1&number=1", HTTPStatus.NOT_FOUND),
        ("/mail/list?shard=3", HTTPStatus.NOT_FOUND),
        ("/mail/drop?number=1", HTTPStatus.BAD_REQUEST),
        ("/mail/drop?shard=1", HTTPStatus.BAD_REQUEST),
        # It is dropped, or replayed, already; or there was none.
        ("/mail/drop?shard=1&number=3", HTTPStatus.NOT_FOUND),
        ("/mail/replay?shard=1&number=1&number=3", HTTPStatus.NOT_FOUND),
        ("/mail/drop?shard=1&number=-1", HTTPStatus.BAD_REQUEST),
        ("/mail/drop?shard=1&number=1&number=x", HTTPStatus.BAD_REQUEST),
        ("/mail/drop?shard=1&number=99999999999", HTTPStatus.BAD_REQUEST),
        ("/mail/drop?shard=²&number=1", HTTPStatus.BAD_REQUEST),
        (target("drop", 1, range(NUMBERS_MAX + 1)), HTTPStatus.BAD_REQUEST),
    ],
)
def test_what_makes_no_sense_is_refused_and_reaches_nobody(asked, path, status):
    heard, get = asked
    reply = get(path)
    assert reply.status is status
    assert orjson.loads(reply.body)["error"]
    assert heard == []


@pytest.mark.parametrize("authorization", [None, "", TOKEN, "Bearer", "Bearer é", f"Basic {TOKEN}", f"Bearer {TOKEN}x"])
def test_without_the_token_there_is_nothing(posts, authorization):
    reply = Mailroom(TOKEN, lambda: posts, ORDERS).get("/mail/list", authorization)
    assert reply.status is HTTPStatus.UNAUTHORIZED
    assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert b"cargo" not in reply.body


def test_where_no_token_is_set_nobody_is_an_operator(posts):
    for authorization in (None, "Bearer ", "Bearer x"):
        reply = Mailroom("", lambda: posts, ORDERS).get("/mail/list", authorization)
        assert reply.status is HTTPStatus.FORBIDDEN


@pytest.mark.parametrize("asked", ["/mail/list", "/mail/list?shard=1", "/mail/drop?shard=1&number=1"])
@pytest.mark.parametrize("posts", [None, dict])
def test_a_process_that_runs_no_shard_says_so_instead_of_listing_nothing(posts, asked):
    reply = Mailroom(TOKEN, posts, ORDERS).get(asked, f"Bearer {TOKEN}")
    assert reply.status is HTTPStatus.NOT_FOUND
    assert "everstep nodes" in orjson.loads(reply.body)["error"]
