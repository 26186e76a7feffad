"""The bus between processes, on a real Redis: what it promises, and what its fall does."""

import asyncio
import shutil
import subprocess
from random import Random
from urllib.parse import quote

import pytest
from redis.asyncio import Redis

from bench.redis_server import free_port
from server.bus.redis import RedisBus, RedisOptions
from tests.bus.conftest import started
from tests.bus.contract import BusContract, Heard


class Servers:
    """A medium: each bus has connections of its own."""

    def __init__(self, server, connect):
        self._server, self._connect = server, connect
        self._buses = []

    async def bus(self):
        self._buses.append(await self._connect(self._server))
        return self._buses[-1]

    async def settled(self):
        async with asyncio.timeout(10):
            for bus in self._buses:
                await bus.settled()


class TestRedisBus(BusContract):
    @pytest.fixture
    def medium(self, any_server, connect):
        return Servers(any_server, connect)


async def until(condition):
    """Let others run until it holds."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  # counters and flags announce nothing
            await asyncio.sleep(0.005)


async def test_worlds_with_prefixes_of_their_own_share_a_server(server, connect):
    here, there = await connect(server), await connect(server, prefix="other:")
    mine, theirs = Heard(), Heard()
    here.subscribe("a", mine)
    there.subscribe("a", theirs)
    await here.settled()
    await there.settled()
    here.publish("a", b"mine")
    there.publish("a", b"theirs")
    assert (await mine.until(1), await theirs.until(1)) == ([b"mine"], [b"theirs"])


async def test_a_killed_redis_stops_nobody_and_hears_of_all_subscriptions_when_it_is_back(server, connect):
    here, there = await connect(server), await connect(server)
    heard, later = Heard(), Heard()
    there.subscribe("a", heard)
    await there.settled()
    here.publish("a", b"before")
    await heard.until(1)

    server.kill()
    await until(lambda: not there.connected)
    # Made while nobody is there to hear of it.
    there.subscribe("b", later)
    here.publish("a", b"lost")
    await until(lambda: here.dropped["failed"] + here.dropped["away"] >= 1)
    for _ in range(1000):
        here.publish("a", b"lost as well")

    server.start()
    async with asyncio.timeout(20):
        await there.settled()
    assert there.reconnects >= 1
    # What speaks comes back at a moment of its own: whoever needs an answer asks again.
    async with asyncio.timeout(20):
        while not later.payloads:
            here.publish("b", b"after")
            await asyncio.sleep(0.01)
    here.publish("a", b"end")
    assert (await heard.until(2))[-1] == b"end"
    assert b"lost" not in heard.payloads


async def test_a_redis_that_is_not_there_yet_is_waited_for(server, connect):
    server.kill()
    bus, heard = await connect(server), Heard()
    bus.subscribe("a", heard)
    bus.publish("a", b"early")
    await until(lambda: bus.dropped["failed"] == 1)
    assert not bus.connected
    server.start()
    async with asyncio.timeout(20):
        await bus.settled()
        while not heard.payloads:
            bus.publish("a", b"late")
            await asyncio.sleep(0.01)
    assert set(heard.payloads) == {b"late"}


async def test_a_redis_that_hangs_is_noticed_by_both_halves(server, connect):
    bus, heard = await connect(server, timeout_s=0.2, silence_s=0.1), Heard()
    bus.subscribe("a", heard)
    await bus.settled()
    server.pause()
    bus.publish("a", b"into the void")
    await until(lambda: not bus.connected and bus.dropped["failed"] == 1)
    server.resume()
    async with asyncio.timeout(20):
        await bus.settled()


async def test_a_connection_cut_by_the_server_is_made_again(server, connect):
    bus, heard = await connect(server), Heard()
    bus.subscribe("a", heard)
    await bus.settled()
    async with Redis.from_url(server.url) as operator:
        await operator.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    await until(lambda: bus.reconnects == 1)
    async with asyncio.timeout(20):
        await bus.settled()
    bus.publish("a", b"again")
    assert await heard.until(1) == [b"again"]


async def test_a_topic_that_is_left_and_listened_to_again_at_once_costs_no_connection(any_server, connect):
    here, there = await connect(any_server), await connect(any_server)
    end = there.subscribe("left", lambda _payload: None)
    there.subscribe("other", lambda _payload: None)
    async with asyncio.timeout(20):
        await there.settled()
        for turns in range(12):
            end()
            # So long that the server is told, and so short that it has hardly answered.
            for _ in range(turns):
                await asyncio.sleep(0)
            heard = Heard()
            end = there.subscribe("left", heard)
            while not heard.payloads:
                here.publish("left", b"again")
                await asyncio.sleep(0.01)
    assert there.reconnects == 0


async def test_topics_lie_on_all_nodes_of_a_cluster_and_each_is_heard_from_its_own(cluster, connect):
    here, there = await connect(cluster[0]), await connect(cluster[1])
    heard = {f"topic {n}": Heard() for n in range(12)}
    for topic, handler in heard.items():
        there.subscribe(topic, handler)
    await there.settled()
    for topic in heard:
        here.publish(topic, topic.encode())
    for topic, handler in heard.items():
        assert await handler.until(1) == [topic.encode()]
    # Sharded ones, and no others: those would go to every node.
    for server in cluster:
        assert server.ask(b"PUBSUB CHANNELS\r\n") == b"*0"
        assert server.ask(b"PUBSUB SHARDCHANNELS\r\n") != b"*0"


async def test_a_topic_whose_slot_moves_to_another_node_is_heard_from_there(cluster, connect):
    here, there = await connect(cluster[0]), await connect(cluster[0])
    heard = Heard()
    there.subscribe("a", heard)
    await there.settled()
    slot = int(cluster[0].ask(b"CLUSTER KEYSLOT everstep:a\r\n")[1:])
    owner = next(n for n, server in enumerate(cluster) if server.ask(b"PUBSUB SHARDCHANNELS\r\n") != b"*0")
    target = cluster[(owner + 1) % 3]
    number = target.ask(b"CLUSTER MYID\r\n", whole=True).split()[1]
    # As resharding ends: whoever takes it is told first.
    for server in (target, cluster[owner], cluster[(owner + 2) % 3]):
        assert server.ask(b"CLUSTER SETSLOT %d NODE %s\r\n" % (slot, number)) == b"+OK"
    async with asyncio.timeout(20):
        while not heard.payloads:
            here.publish("a", b"after")
            await asyncio.sleep(0.01)
    assert there.reconnects >= 1
    assert target.ask(b"PUBSUB SHARDCHANNELS\r\n") == b"*1"


async def test_whatever_the_driver_makes_of_connections_that_are_cut_at_any_moment_the_bus_hears_again(server, connect):
    here, there = await connect(server), await connect(server, backoff_first_s=0.001, backoff_most_s=0.01)
    heard = Heard()
    for number in range(24):
        there.subscribe(f"topic {number}", heard)
    end = None
    async with Redis.from_url(server.url) as operator:
        for cut in range(60):
            await operator.client_kill_filter(_type="pubsub")
            # What it asks the server for goes out over a connection that is just ending.
            if end is not None:
                end()
            end = there.subscribe(f"passing {cut}", heard)
            for _ in range(cut % 12):
                await operator.ping()
    async with asyncio.timeout(20):
        await there.settled()
        while not heard.payloads:
            here.publish("topic 7", b"after all that")
            await asyncio.sleep(0.01)
    assert there.reconnects > 3


async def test_a_driver_that_fails_in_its_own_way_stops_nobody_who_speaks(server, connect):
    here, there = await connect(server, backoff_first_s=0.001, backoff_most_s=0.01), await connect(server)
    heard = Heard()
    there.subscribe("a", heard)
    await there.settled()
    send, here._send = here._send, None
    here.publish("a", b"lost")
    await until(lambda: here.dropped["failed"] == 1)
    here._send = send
    async with asyncio.timeout(20):
        while not heard.payloads:
            here.publish("a", b"after")
            await asyncio.sleep(0.01)
    assert set(heard.payloads) == {b"after"}


async def test_a_full_queue_drops_the_newest_and_counts_them(server, connect):
    bus, heard = await connect(server, outgoing_bytes_max=100), Heard()
    bus.subscribe("a", heard)
    await bus.settled()
    # No turn of the loop between them: nothing can leave.
    for n in range(10):
        bus.publish("a", b"%d" % n * 30)
    assert await heard.until(3) == [b"0" * 30, b"1" * 30, b"2" * 30]
    assert bus.dropped == {"full": 7}


async def test_what_was_published_last_still_leaves_when_the_bus_is_closed(server, connect):
    there, heard = await connect(server), Heard()
    there.subscribe("a", heard)
    await there.settled()
    async with RedisBus(RedisOptions(server.url), there._speaking._random) as here:
        for n in range(1000):
            here.publish("a", b"%d" % n)
    assert await heard.until(1000) == [b"%d" % n for n in range(1000)]


def socket_of(directory):
    """(its arguments, its address) of a Redis on a Unix socket."""
    return ["--unixsocket", str(directory / "s")], f"unix://{directory / 's'}"


def tls_of(directory):
    """The same of one that speaks TLS, with a certificate that it signed itself."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("openssl is not installed")
    key, certificate, port = directory / "key.pem", directory / "certificate.pem", free_port()
    asked = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    asked += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [openssl, *asked, "-keyout", str(key), "-out", str(certificate)], check=True, stderr=subprocess.DEVNULL
    )
    told = ["--tls-port", str(port), "--tls-auth-clients", "no", "--tls-cert-file", str(certificate)]
    return [*told, "--tls-key-file", str(key)], f"rediss://127.0.0.1:{port}?ssl_ca_certs={quote(str(certificate))}"


@pytest.mark.parametrize("way", [socket_of, tls_of])
async def test_an_address_may_ask_for_a_socket_or_for_tls(tmp_path, way):
    more, url = way(tmp_path)
    server = started(tmp_path, more=more)
    try:
        async with RedisBus(RedisOptions(url), Random(1)) as bus:
            heard = Heard()
            bus.subscribe("a", heard)
            async with asyncio.timeout(10):
                await bus.settled()
            bus.publish("a", b"told")
            assert await heard.until(1) == [b"told"]
    finally:
        server.kill()
