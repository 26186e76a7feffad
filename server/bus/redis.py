"""The bus over Redis pub/sub: one connection that hears, one that speaks.

Redis keeps nothing of what is published, and says nothing of what it drops; nor does this. Whoever needs more has
sequences, acknowledgements and keyframes of their own. So a Redis that is away costs no memory and no waiting:
what is published meanwhile is dropped and counted, subscriptions are made again when it is back.

On a Redis Cluster topics are sharded channels (SPUBLISH, SSUBSCRIBE, Redis 7): each lives on one node, and the
cluster's bus between nodes carries none of them. redis-py polls its nodes in turn there; this listens to each itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Any, Final, Self

import structlog
from redis.asyncio import ConnectionPool, Redis, RedisCluster
from redis.asyncio.connection import Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from server.bus.circuit import Circuit, CircuitState
from server.bus.listeners import Handler, Listeners
from server.bus.redis_ear import FAULTS, Ear, closed, connecting_once

_log = structlog.get_logger(__name__)

# Messages of one round trip to Redis.
_BATCH_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """See config/settings.py for meaning and units."""

    url: str
    # Whether `url` names a node of a Redis Cluster.
    cluster: bool = False
    # In front of every topic, so that two worlds can share a server.
    prefix: str = "everstep:"
    # What may wait to be sent; more is dropped.
    outgoing_bytes_max: int = 67_108_864
    # Seconds for a connection, and for an answer.
    timeout_s: float = 2.0
    # Seconds of silence after which the listening connection is asked whether it lives.
    silence_s: float = 2.0
    backoff_first_s: float = 0.05
    backoff_most_s: float = 2.0


class RedisBus:
    """A Bus between processes: `async with RedisBus(options, random) as bus`. It need not find Redis there.

    Full policy: the newest is dropped and counted in `dropped`, by reason.
    """

    def __init__(self, options: RedisOptions, random: Random) -> None:
        self._options = options
        self._listeners = Listeners()
        self._outgoing: deque[tuple[str, bytes]] = deque()
        self._outgoing_bytes = 0
        # Something waits to be sent, or nothing more will.
        self._something = asyncio.Event()
        self._closing = False
        # Held while what Redis has confirmed changes.
        self._turn = asyncio.Condition()
        # What Redis has confirmed that this process listens to.
        self._confirmed: set[str] = set()
        self._speaking = Circuit(options.backoff_first_s, options.backoff_most_s, random)
        self._hearing = Circuit(options.backoff_first_s, options.backoff_most_s, random)
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._loop = asyncio.get_running_loop()
        # Whether it hears.
        self.connected = False
        # Reason -> messages that were not handed to Redis since the start.
        self.dropped: Counter[str] = Counter()
        # Times that listening had to begin again.
        self.reconnects = 0

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._speak(), name="bus-speak"),
            asyncio.create_task(self._listen(), name="bus-listen"),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What was published in the last moment, a farewell, still goes where it can.
        self._closing = True
        self._something.set()
        await asyncio.wait(self._tasks[:1], timeout=self._options.timeout_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def publish(self, topic: str, payload: bytes) -> None:
        """Hand the bytes to whoever listens, if Redis is there."""
        if self._speaking.state(self._loop.time()) is CircuitState.OPEN:
            self.dropped["away"] += 1
        elif self._outgoing_bytes + len(payload) > self._options.outgoing_bytes_max:
            self.dropped["full"] += 1
        else:
            self._outgoing.append((self._options.prefix + topic, payload))
            self._outgoing_bytes += len(payload)
            self._something.set()

    def subscribe(self, topic: str, handler: Handler) -> Callable[[], None]:
        """Have `handler` called, from when Redis has heard of it; returns what ends it."""
        end = self._listeners.add(topic, handler)
        self._changed.set()

        def unsubscribe() -> None:
            end()
            self._changed.set()

        return unsubscribe

    @property
    def circuits(self) -> dict[str, CircuitState]:
        """Whether it tries to speak, and to hear."""
        now_s = self._loop.time()
        return {"speaking": self._speaking.state(now_s), "hearing": self._hearing.state(now_s)}

    async def settled(self) -> None:
        """Wait until Redis has confirmed what this process listens to."""
        async with self._turn:
            await self._turn.wait_for(lambda: self._confirmed == self._listeners.topics)

    # -- speaking --------------------------------------------------------------------

    async def _speak(self) -> None:
        client = self._client()
        try:
            while self._outgoing or not self._closing:
                await self._something.wait()
                batch = self._batch()
                try:
                    async with asyncio.timeout(self._options.timeout_s):
                        await self._send(client, batch)
                    self._speaking.succeeded()
                except FAULTS as error:
                    # Whether they arrived is not known; what waits behind them is old when Redis is back.
                    self.dropped["failed"] += len(batch)
                    self.dropped["away"] += len(self._outgoing)
                    self._forget()
                    delay_s = self._speaking.failed(self._loop.time())
                    _log.warning("bus can't publish", reason=repr(error), again_in_s=round(delay_s, 2))
                    await closed(client)
                    client = self._client()
                    await asyncio.sleep(delay_s)
        finally:
            await closed(client)

    def _batch(self) -> list[tuple[str, bytes]]:
        batch = [self._outgoing.popleft() for _ in range(min(_BATCH_MAX, len(self._outgoing)))]
        self._outgoing_bytes -= sum(len(payload) for _, payload in batch)
        if not self._outgoing and not self._closing:
            self._something.clear()
        return batch

    def _forget(self) -> None:
        self._outgoing.clear()
        self._outgoing_bytes = 0
        self._something.clear()

    async def _send(self, client: Redis | RedisCluster, batch: list[tuple[str, bytes]]) -> None:
        if isinstance(client, RedisCluster):
            # First of all: each of those that follow would find it without nodes, and begin anew under the others.
            await client.initialize()
            by_topic: dict[str, list[bytes]] = {}
            for topic, payload in batch:
                by_topic.setdefault(topic, []).append(payload)
            await asyncio.gather(*(_send_sharded(client, topic, payloads) for topic, payloads in by_topic.items()))
            return
        async with client.pipeline(transaction=False) as pipe:
            for topic, payload in batch:
                pipe.publish(topic, payload)
            await pipe.execute()

    # -- hearing ---------------------------------------------------------------------

    async def _listen(self) -> None:
        while True:
            client = self._client()
            try:
                await self._hear(client)
            except* FAULTS as errors:
                delay_s = self._hearing.failed(self._loop.time())
                reason = repr(errors.exceptions[0])
                _log.warning("bus can't listen", reason=reason, again_in_s=round(delay_s, 2))
            finally:
                self.connected = False
                await self._confirm(self._confirmed.clear)
                await closed(client)
            self.reconnects += 1
            await asyncio.sleep(delay_s)

    async def _hear(self, client: Redis | RedisCluster) -> None:
        """Until a connection fails. Raises a group of what it failed with."""
        options = self._options
        ears: dict[str, Ear] = {}
        # Channel -> the server that has it.
        places: dict[str, str] = {}
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    self._changed.clear()
                    wanted = {options.prefix + topic for topic in self._listeners.topics}
                    for channel in sorted(wanted - places.keys()):
                        place = await self._place(client, channel)
                        new = place not in ears
                        if new:
                            ears[place] = Ear(
                                self._server(place, once=True), self._heard, options.silence_s, sharded=options.cluster
                            )
                        await ears[place].subscribe(channel)
                        places[channel] = place
                        if new:
                            group.create_task(ears[place].run(), name=f"bus-ear-{place}")
                    for channel in sorted(places.keys() - wanted):
                        await ears[places.pop(channel)].unsubscribe(channel)
                    if self._closing:
                        # The driver's `wait_for` may have taken our cancellation for itself: before Python 3.12 it does
                        # where what it waits for is done in the same turn of the loop.
                        raise asyncio.CancelledError
                    await self._changed.wait()
        finally:
            for ear in ears.values():
                await ear.close()

    async def _place(self, client: Redis | RedisCluster, channel: str) -> str:
        """host:port of the server that has the channel; empty where there is one alone."""
        if isinstance(client, Redis):
            return ""
        await client.initialize()
        node = client.get_node_from_key(channel)
        if node is None:
            raise RedisError(f"no node of the cluster has {channel}")
        return f"{node.host}:{node.port}"

    def _server(self, place: str, *, once: bool = False) -> Redis:
        """A connection to this one server. `once`: it is not made again where it fails."""
        # Any: the driver's own arguments, as it reads them from an address.
        told: dict[str, Any] = dict(parse_url(self._options.url))
        if place:
            host, _, port = place.rpartition(":")
            told |= {"host": host, "port": int(port)}
        timeout_s = self._options.timeout_s
        # The circuit decides when to try again, not the driver.
        told |= {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s, "retry": Retry(NoBackoff(), 0)}
        if once:
            told["connection_class"] = connecting_once(told.get("connection_class", Connection))
        # The pool, and not the client, knows what an address can ask for beside a server: TLS, or a Unix socket.
        return Redis.from_pool(ConnectionPool(**told))

    async def _heard(self, kind: str, channel: str, payload: bytes) -> None:
        topic = channel.removeprefix(self._options.prefix)
        if kind == "message":
            self._listeners.tell(topic, payload)
        elif kind == "subscribe":
            self.connected = True
            self._hearing.succeeded()
            await self._confirm(lambda: self._confirmed.add(topic))
        elif kind == "unsubscribe":
            await self._confirm(lambda: self._confirmed.discard(topic))
        elif kind == "moved":
            # The channel's slot has: to another node of the cluster.
            raise RedisError(f"{channel} has moved")

    async def _confirm(self, change: Callable[[], None]) -> None:
        async with self._turn:
            change()
            self._turn.notify_all()

    def _client(self) -> Redis | RedisCluster:
        """What speaks, and knows which server has which channel."""
        if not self._options.cluster:
            return self._server("")
        timeout_s = self._options.timeout_s
        return RedisCluster.from_url(self._options.url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)


async def _send_sharded(client: RedisCluster, channel: str, payloads: list[bytes]) -> None:
    """One channel's messages, one after the other: in order, as far as pub/sub has one."""
    for payload in payloads:
        await client.spublish(channel, payload)
