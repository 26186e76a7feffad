"""Dead letters over HTTP, for an operator of a world that runs.

    GET /mail/list?shard=1               the letters that nobody could use, a JSON line each; of all shards without one
    GET /mail/replay?shard=1&number=3    have them sent again: several numbers may be named
    GET /mail/drop?shard=1&number=3      have them forgotten

The last two are input of the shard's next tick, journalled like a player's; asked twice they are done once, and a
number that no letter has any more is refused. The rest is as in server/api/operators.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

import numpy as np
import orjson

from server.api.http import Reply
from server.api.operators import Options, Orders, Refused, answered, numbers, reply
from server.shard.machine import DROP_LETTER, REPLAY_LETTER, SYSTEM_COMMANDS, encode_batches
from server.shard.mail import Lane, Post

PREFIX: Final = "/mail/"
# What an operator can have done with dead letters -> the command that does it.
ACTIONS: Final = {"replay": REPLAY_LETTER, "drop": DROP_LETTER}
NUMBERS_MAX: Final = 1024
_SHAPES: Final = {command.id: command for command in SYSTEM_COMMANDS}


class Mailroom:
    """Answers requests below PREFIX.

    `token`: an operator's; `posts`: the mail of every shard that runs here, None where none ever does.
    """

    def __init__(self, token: str, posts: Callable[[], Mapping[int, Post]] | None, orders: Orders) -> None:
        self._token = token
        self._posts = posts
        self._orders = orders

    def get(self, asked: str, authorization: str | None) -> Reply:
        """Answer a request target; `authorization`: the header of that name, "Bearer" and the token."""
        return answered(self._token, PREFIX, asked, authorization, self._answer)

    def _answer(self, action: str, options: Options) -> Reply:
        posts = self._chosen(options)
        if action == "list":
            lines = [orjson.dumps(line) + b"\n" for post in posts for line in described(post)]
            return reply(HTTPStatus.OK, b"".join(lines))
        return self._act(action, posts, options)

    def _chosen(self, options: Options) -> list[Post]:
        if self._posts is None:
            # Nothing to list would look like no dead letters.
            raise Refused(HTTPStatus.NOT_FOUND, "no shard runs in a gateway: `everstep nodes` tells which node has it")
        posts = self._posts()
        if not posts:
            raise Refused(HTTPStatus.NOT_FOUND, "no shard runs here now: `everstep nodes` tells which node has it")
        if "shard" not in options:
            return [posts[shard] for shard in sorted(posts)]
        (shard,) = numbers(options["shard"][-1:], "shard")
        if shard not in posts:
            raise Refused(HTTPStatus.NOT_FOUND, f"shard {shard} does not run here")
        return [posts[shard]]

    def _act(self, action: str, posts: list[Post], options: Options) -> Reply:
        if action not in ACTIONS:
            raise Refused(HTTPStatus.NOT_FOUND, "there is list, replay and drop")
        if len(posts) != 1:
            raise Refused(HTTPStatus.BAD_REQUEST, "choose a shard")
        letters = numbers(options.get("number", ()), "number")
        if not 1 <= len(letters) <= NUMBERS_MAX:
            raise Refused(HTTPStatus.BAD_REQUEST, f"1 to {NUMBERS_MAX} numbers")
        shard, known = posts[0].shard, {dead.number for dead in posts[0].dead}
        if unknown := [str(letter) for letter in letters if letter not in known]:
            why = f"shard {shard} has no dead letter {', '.join(unknown)}: nothing was ordered"
            raise Refused(HTTPStatus.NOT_FOUND, why)
        self._orders.give(shard, order(action, letters))
        return reply(HTTPStatus.ACCEPTED, orjson.dumps({"shard": shard, action: letters}) + b"\n")


def order(action: str, numbers: Sequence[int]) -> bytes:
    """What one of ACTIONS on these dead letters is to the shard: a command batch. They have no session."""
    kind = ACTIONS[action]
    return encode_batches({kind: np.array([(0, n, n) for n in numbers], _SHAPES[kind].dtype)})


def described(post: Post) -> list[dict[str, Any]]:  # Any: JSON
    """Each dead letter, as an operator reads it."""
    return [
        {
            "shard": post.shard,
            "number": dead.number,
            "reason": dead.reason,
            "died_at_tick": dead.tick,
            "source": dead.letter.source,
            "destination": dead.letter.destination,
            "lane": Lane(dead.letter.lane).name.lower(),
            "seq": dead.letter.seq,
            "kind": dead.letter.kind,
            "sent_at_tick": dead.letter.tick,
            "bytes": len(dead.letter.payload),
        }
        for dead in post.dead
    ]


def target(action: str, shard: int | None, numbers: Sequence[int]) -> str:
    """The request target that asks for this."""
    query = [("shard", shard)] if shard is not None else []
    return f"{PREFIX}{action}?{urlencode([*query, *(('number', n) for n in numbers)])}"
