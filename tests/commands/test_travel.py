"""`everstep travel`: the page, and the past behind it, of a data directory that nobody serves."""

import asyncio
import json
import re
import signal
import sys
import urllib.error
import urllib.request

import pytest

from tests.commands.conftest import environment
from tests.commands.test_stretch import Film
from tests.support.life import SHARD


@pytest.fixture
async def page(data, root, life, settings):
    """Address and token of the page, of a process of its own."""
    options = ["--game", "tests.support.pasture", "--data", str(data.parent)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "server",
        "travel",
        *options,
        cwd=root,
        env=environment(settings),
        stdout=asyncio.subprocess.PIPE,
    )
    found = re.search(
        r"open (http://127\.0\.0\.1:\d+)/travel\.html#token=(\S{43})\n", (await process.stdout.readline()).decode()
    )
    yield found[1], found[2]
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0


async def get(url, token=None):
    """(status, body, whether more may come)."""

    def ask():
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(url, headers=headers)  # noqa: S310  # our own address
        try:
            with urllib.request.urlopen(request) as reply:  # noqa: S310  # our own address
                return reply.status, reply.read(), reply.headers["Everstep-State"] == "working"
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(), False

    return await asyncio.to_thread(ask)


async def whole(url, token):
    data, more = b"", True
    while more:
        status, piece, more = await get(f"{url}&at={len(data)}", token)
        assert status == 200, piece
        data += piece
    return data


async def test_the_past_of_a_directory_is_served_to_who_has_the_token(page, life):
    url, token = page
    assert (await get(f"{url}/travel.html"))[0] == 200
    assert (await get(f"{url}/travel.js"))[0] == 200
    assert (await get(f"{url}/metrics"))[0] == 404
    assert (await get(f"{url}/travel/reach?at=0"))[0] == 401
    reach = json.loads(await whole(f"{url}/travel/reach?", token))
    assert (reach["shard"], reach["from"]) == (SHARD, 40)
    seen = Film(await whole(f"{url}/travel/stretch?shard={SHARD}&from=50&to=70", token))
    assert list(seen.views) == list(range(50, 71))
    assert seen.end[2] == f"{life.digests[70]:016x}"
    status, reason, _ = await get(f"{url}/travel/stretch?shard={SHARD}&from=1&to=70&at=0", token)
    while status == 200:
        status, reason, _ = await get(f"{url}/travel/stretch?shard={SHARD}&from=1&to=70&at=0", token)
    assert status == 409
    assert "can be rebuilt" in json.loads(reason)["error"]
