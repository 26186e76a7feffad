"""What listens to one Redis server."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.client import PubSub
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError

# What a server that is away, or half gone, makes the driver raise. Beside errors of its own: AttributeError and
# RuntimeError, where a connection ends while two use it, or one that has just ended. So nothing is left out.
FAULTS: Final = (Exception,)


@functools.cache
def connecting_once(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """Such connections, which connect once: whoever has them begins anew with another one.

    The driver's own connect again wherever they fail, from each of the tasks that use one, and all but the last of what
    they open then is dropped as it stands. Before Python 3.11.5 such a socket keeps uvloop's loop from being closed.
    """

    class Once(kind):  # type: ignore[misc, valid-type]  # mypy knows no base that comes as an argument
        begun = False

        async def connect(self) -> None:
            if not self.is_connected:
                if self.begun:
                    raise RedisConnectionError("the connection has ended")
                self.begun = True
                await super().connect()

    return Once


class Ear:
    """Hears the channels of one server.

    `heard`: told (kind, channel, payload) of each "message", of each "subscribe" and "unsubscribe" that the server
    confirms, and "moved" where it has ended what nobody here asked it to end. `silence_s`: seconds without a word after
    which the server is asked whether it is there. `sharded`: the channels are those of a Redis Cluster.
    """

    def __init__(
        self, server: Redis, heard: Callable[[str, str, bytes], Awaitable[None]], silence_s: float, *, sharded: bool
    ) -> None:
        self._server = server
        self._heard = heard
        self._silence_s = silence_s
        self._sharded = sharded
        self._pubsub: PubSub = server.pubsub()
        # Channel -> times it was ended here, and the server has not confirmed it.
        self._ending: Counter[str] = Counter()

    async def subscribe(self, channel: str) -> None:
        """Ask for it; `heard` is told when the server has. Raises FAULTS."""
        await (self._pubsub.ssubscribe(channel) if self._sharded else self._pubsub.subscribe(channel))

    async def unsubscribe(self, channel: str) -> None:
        """Ask for no more of it. Raises FAULTS."""
        self._ending[channel] += 1
        await (self._pubsub.sunsubscribe(channel) if self._sharded else self._pubsub.unsubscribe(channel))

    async def run(self) -> None:
        """Listen until that fails. Raises FAULTS; TimeoutError where the server is gone without a word."""
        asked = False
        while True:
            message = await self._pubsub.get_message(timeout=self._silence_s)
            if message is not None:
                asked = False
                # Cluster's kinds are "smessage", "ssubscribe", "sunsubscribe".
                kind = message["type"].removeprefix("s") if self._sharded else message["type"]
                if message["channel"] is not None:
                    channel = message["channel"].decode()
                    if kind == "unsubscribe" and not self._confirmed(channel):
                        kind = "moved"
                    await self._heard(kind, channel, message["data"])
            elif asked:
                raise TimeoutError("Redis does not answer")
            else:
                asked = True
                await self._pubsub.ping()

    def _confirmed(self, channel: str) -> bool:
        """Whether this is the end of what was ended here: it may be listened to again by then."""
        asked = self._ending.pop(channel, 0)
        if asked > 1:
            self._ending[channel] = asked - 1
        return asked > 0

    async def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(*FAULTS):
            await self._pubsub.aclose()  # type: ignore[no-untyped-call]  # as the driver declares it
        await closed(self._server)


async def closed(client: Redis | RedisCluster) -> None:
    """Close the client, whatever state its server is in."""
    with contextlib.suppress(*FAULTS):
        await client.aclose()
