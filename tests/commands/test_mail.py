"""`everstep mail`: over what is kept, and of a server that runs."""

import json
import socket
import threading

import pytest

from config.settings import Settings
from server.commands.kept import opened
from server.commands.mail import act_on_kept, ask, list_kept
from server.commands.replay import inspect_journal
from server.shard.machine import NOTHING
from server.shard.mail import Lane
from server.store.checkpoint_files import FileCheckpoints
from server.store.errors import StoreError, StoreInUse
from server.store.sqlite import SqliteJournal
from tests.support.life import SHARD, Life
from tests.support.pasture import GAME


@pytest.fixture
def settings():
    # Of what else keeps a world nobody knows whether it stands still.
    return Settings()


@pytest.fixture
async def data(tmp_path):
    """A directory whose world has three dead letters, and no server."""
    data = tmp_path / "data" / "pasture"
    async with stopped(data) as life:
        for n in (1, 2, 3):
            # What the pasture does not know it refuses; what it sent itself comes back to it, and dies.
            life.machine.post.send(SHARD, Lane.BULK, 60_000, b"cargo %d" % n)
        life.host.postman.release(life.machine.post.unacked(), [])
        await life.checkpoints.take()
        await ticks(life, 8)
        assert len(life.machine.post.dead) == 3
    return data


async def ticks(life, n):
    for _ in range(n):
        life.tick()
        # What was appended is durable when this answers.
        await life.journal.spans()


class stopped:  # noqa: N801  # reads as what it is
    """A life in a directory that is closed in the end, everything durable."""

    def __init__(self, data):
        self.data = data

    async def __aenter__(self):
        self.journal, self.checkpoints = await SqliteJournal.open(self.data), FileCheckpoints(self.data)
        self.life = Life(journal=self.journal, checkpoints=self.checkpoints)
        return await self.life.__aenter__()

    async def __aexit__(self, *error):
        self.life.host.close()
        await self.life.__aexit__(*error)
        await self.checkpoints.close()
        await self.journal.close()


async def listed(data, settings, capsys, shard=None):
    async with opened(data, GAME, settings) as kept:
        await list_kept(kept, shard)
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


async def test_dead_letters_are_listed_from_what_is_kept(data, settings, capsys):
    lines = await listed(data, settings, capsys)
    assert [(x["shard"], x["number"], x["lane"], x["kind"], x["bytes"]) for x in lines] == [
        (SHARD, n, "bulk", 60_000, 7) for n in (1, 2, 3)
    ]
    assert all("knows no mail of kind 60000" in line["reason"] for line in lines)
    assert await listed(data, settings, capsys, SHARD) == lines


async def test_a_world_that_stands_still_is_told_by_a_tick_of_its_journal(data, settings, capsys):
    with pytest.raises(StoreError, match=f"shard {SHARD} has no dead letter 77: nothing was done"):
        await act_on_kept(data, GAME, settings, None, "drop", [2, 77])
    told = await act_on_kept(data, GAME, settings, None, "drop", [2])
    assert (told["shard"], told["done"], told["left"]) == (SHARD, [2], [])
    told = await act_on_kept(data, GAME, settings, SHARD, "replay", [3])
    assert told["done"] == [3]
    assert [line["number"] for line in await listed(data, settings, capsys)] == [1]
    async with stopped(data) as life:
        assert life.machine.tick == told["tick"]
        (sent,) = life.machine.post.unacked()
        assert sent.payload == b"cargo 3"
        # It goes its way again: to itself, back, and dead once more, under another number.
        await ticks(life, 8)
        assert [dead.number for dead in life.machine.post.dead] == [1, 4]
        assert life.machine.step(NOTHING).mail == ()


async def test_the_journal_is_shown_with_its_letters(data, settings, capsys):
    async with opened(data, GAME, settings) as kept:
        await inspect_journal(kept, None, records=True)
    letters = [json.loads(line)["letters"] for line in capsys.readouterr().out.splitlines()]
    # Three went out and came back.
    assert sum(letters) == 6


async def test_a_directory_that_a_server_has_is_left_alone(data, settings):
    async with stopped(data):
        with pytest.raises(StoreInUse):
            await act_on_kept(data, GAME, settings, None, "drop", [1])


async def test_only_what_is_sure_to_stand_still_is_told_this_way(data, tmp_path, settings):
    other = settings.model_copy(update={"store": settings.store.model_copy(update={"kind": "mongodb"})})
    with pytest.raises(StoreError, match="--url"):
        await act_on_kept(data, GAME, other, None, "drop", [1])
    with pytest.raises(StoreError, match="does not exist"):
        await act_on_kept(tmp_path / "elsewhere", GAME, settings, None, "drop", [1])
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "nonsense", "http://127.0.0.1:http", "http://[::1", ""])
def test_a_server_that_is_not_there_is_told_in_one_line(url):
    with pytest.raises(StoreError, match="can't be asked"):
        ask(url, "token", "/mail/list")


@pytest.mark.parametrize("token", ["secret\nsecret", "s\N{BLACK STAR}cret"])
def test_a_token_that_no_header_can_hold_is_told_in_one_line_without_it(token):
    with pytest.raises(StoreError, match="no header can hold") as told:
        ask("http://127.0.0.1:9", token, "/mail/list")
    assert "cret" not in str(told.value)


def test_who_speaks_no_http_is_told_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer():
            connection, _ = other.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"-ERR unknown command\r\n")

        answering = threading.Thread(target=answer)
        answering.start()
        with pytest.raises(StoreError, match="can't be asked"):
            ask(f"http://127.0.0.1:{other.getsockname()[1]}", "token", "/mail/list")
        answering.join()
