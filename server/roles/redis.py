"""Redis, as every process of a cluster meets it: the bus, the leases, and what they all have to know."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import orjson
import structlog

from config.settings import Settings
from server.bus.circuit import CircuitState
from server.observe.metrics import Metrics, Tally
from server.roles.errors import RedisAway, SettingsRefuse

if TYPE_CHECKING:
    from redis.asyncio import Redis, RedisCluster

    from server.bus.redis import RedisBus
    from server.store.leases_redis import RedisLeases

_log = structlog.get_logger(__name__)

_KEY_BYTES: Final = 32
# Seconds for which Redis knows the terms of a world after its last process said them, and between two times of saying.
_TERMS_S: Final = 10.0
_KEEP_S: Final = 1.0
# Times that Redis has to be asked for keys until those that are there are believed to be all: who has others, of before
# Redis lost its data, puts them back meanwhile.
_ASKED_FOR_KEYS: Final = 5
# What a world's processes agree on: a text for each name.
Terms = Mapping[str, str]


class ResumeKeys:
    """The keys that sign resume tokens: each gateway signs with one, and takes what any of them signed.

    They lie in a set of Redis, and every process of the world remembers all that it has seen there, nodes too: Redis
    may lose them at any moment, and any gateway may begin just then, find none and make one.
    """

    def __init__(self) -> None:
        # The one to sign with first.
        self.known: list[str] = []
        # Times that Redis still has to be asked.
        self._to_ask = 0

    @property
    def all_known(self) -> bool:
        """Whether what is signed with another key is nobody's."""
        return self._to_ask == 0

    def see(self, there: Iterable[str]) -> None:
        """What Redis has."""
        self.known += sorted(set(there).difference(self.known))
        self._to_ask = max(0, self._to_ask - 1)

    def make(self) -> None:
        """There is none: the world is new, or Redis has lost its data."""
        self.known = [secrets.token_hex(_KEY_BYTES)]
        self._to_ask = _ASKED_FOR_KEYS


@dataclass(frozen=True, slots=True)
class Connected:
    """What is reached through Redis."""

    bus: RedisBus
    leases: RedisLeases
    client: Redis | RedisCluster
    prefix: str

    async def resume_keys(self) -> ResumeKeys:
        """Those of this world, one at the least. Raises RedisAway."""
        keys = ResumeKeys()
        with _told(self.prefix):
            await self._exchange(keys)
            if not keys.known:
                keys.make()
                await self._exchange(keys)
        return keys

    async def agree(self, terms: Terms) -> None:
        """See to it that all processes of this world have the same terms. Raises SettingsRefuse, RedisAway.

        Frames of another schema, or from regions that lie elsewhere, would be read as something that they are not.
        """
        with _told(self.prefix):
            await self._say(terms)
            said: bytes | None = await _awaited(self.client.get(self._terms_name))
        theirs: dict[str, str] = orjson.loads(said) if said is not None else dict(terms)
        for name in sorted(theirs.keys() | terms.keys()):
            if theirs.get(name) != terms.get(name):
                raise SettingsRefuse(
                    f"{name} is {terms.get(name)} here and {theirs.get(name)} in other processes of this world "
                    f"(or was, {_TERMS_S:.0f} s ago): all have the same, or a redis.prefix of their own"
                )

    async def keep(
        self, terms: Terms, keys: ResumeKeys, seen: Callable[[ResumeKeys], None] = lambda _keys: None
    ) -> None:
        """Until cancelled: say the terms again, and give Redis the keys whenever it has lost them.

        `seen`: called whenever Redis was asked for keys.
        """
        while True:
            await asyncio.sleep(_KEEP_S)
            with contextlib.suppress(*_faults()):
                await self._say(terms)
                await _awaited(self.client.pexpire(self._terms_name, round(_TERMS_S * 1000)))
                await self._exchange(keys)
                seen(keys)

    async def _exchange(self, keys: ResumeKeys) -> None:
        if keys.known:
            await _awaited(self.client.sadd(self._resume_name, *keys.known))
        there: set[bytes] = await _awaited(self.client.smembers(self._resume_name))
        keys.see(key.decode() for key in there)

    async def _say(self, terms: Terms) -> None:
        told = orjson.dumps(dict(terms), option=orjson.OPT_SORT_KEYS)
        await _awaited(self.client.set(self._terms_name, told, nx=True, px=round(_TERMS_S * 1000)))

    @property
    def _terms_name(self) -> str:
        return f"{self.prefix}terms"

    @property
    def _resume_name(self) -> str:
        return f"{self.prefix}resume-keys"


@contextlib.asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Connected]:
    """The bus and the leases of the Redis that the settings name. Raises SettingsRefuse, RedisAway."""
    try:
        # A world in one process needs no driver, and may not have it.
        from redis.asyncio import Redis, RedisCluster  # noqa: PLC0415
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415

        from server.bus.redis import RedisBus, RedisOptions  # noqa: PLC0415
        from server.store.leases_redis import RedisLeases  # noqa: PLC0415
    except ImportError as error:
        raise SettingsRefuse("the driver of Redis is missing: pip install 'everstep[redis]'") from error
    told = settings.redis
    url = told.url.get_secret_value()
    # Whoever asks asks again by himself, and soon: an answer that comes late is worth nothing.
    timeouts: dict[str, Any] = {"socket_timeout": told.timeout_s, "socket_connect_timeout": told.timeout_s}
    try:
        client: Redis | RedisCluster
        if told.cluster:
            client = RedisCluster.from_url(url, **timeouts)
        else:
            client = Redis.from_url(url, retry=Retry(NoBackoff(), 0), **timeouts)
    except ValueError as error:
        # Not the address itself: it may hold a password.
        raise SettingsRefuse(f"redis.url is no address of Redis: {error}") from None
    try:
        with _told(shown(url)):
            await _awaited(client.ping())
        options = RedisOptions(**(told.model_dump() | {"url": url}))
        async with RedisBus(options, Random()) as bus:  # noqa: S311  # jitter
            yield Connected(bus, RedisLeases(client, settings.node.lease_ttl_s, told.prefix), client, told.prefix)
    finally:
        await client.aclose()


class BusGauges:
    """What the bus of a process tells an operator: `show` now and then."""

    def __init__(self, bus: RedisBus, metrics: Metrics) -> None:
        self._bus = bus
        self._metrics = metrics
        self._dropped = Tally(metrics.bus_dropped_total)
        self._reconnects = 0

    def show(self) -> None:
        """Bring the metrics up to what the bus has counted."""
        self._dropped.tell(self._bus.dropped)
        reconnects = self._bus.reconnects
        self._metrics.bus_reconnects_total.inc(reconnects - self._reconnects)
        self._reconnects = reconnects
        for way, now in self._bus.circuits.items():
            for state in CircuitState:
                self._metrics.bus_circuit.labels(way, state.value).set(state is now)


def shown(url: str) -> str:
    """An address without user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}" + (f":{parts.port}" if parts.port else "") + parts.path


@contextlib.contextmanager
def _told(where: str) -> Any:  # Any: a generator, as contextmanager takes it
    try:
        yield
    except _faults() as error:
        raise RedisAway(f"Redis at {where} does not answer: {error}") from error


def _faults() -> tuple[type[Exception], ...]:
    from server.bus.redis_ear import FAULTS  # noqa: PLC0415  # as above

    return FAULTS


async def _awaited(answer: Any) -> Any:  # Any: the driver declares its answers for both of its clients at once
    return await answer
